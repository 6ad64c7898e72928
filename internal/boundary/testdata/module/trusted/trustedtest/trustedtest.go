package trustedtest

import (
	"os"
	"time"

	_ "example.test/m/attest/simtee"
	_ "example.test/m/host/leaf"
	_ "example.test/m/trusted/internal/leaf"
)

func lie() (time.Time, error) { return time.Now(), os.Remove("state") } // plays the host

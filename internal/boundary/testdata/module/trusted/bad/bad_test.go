package bad_test

import (
	_ "example.test/m/attest/simtee"
	_ "example.test/m/host/leaf"
	_ "example.test/m/trusted/internal/leaf" // want `trusted/server is the one way in`
	_ "example.test/m/trusted/trustedtest"
)

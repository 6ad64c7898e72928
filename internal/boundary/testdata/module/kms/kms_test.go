package kms_test

import (
	_ "example.test/m/attest/simtee"
	_ "example.test/m/kms"
	_ "example.test/m/trusted/trustedtest"
	_ "github.com/google/go-cmp/cmp"
	_ "os"
)

package attest

import (
	_ "example.test/m/client/leaf"  // want `a shared package is used`
	_ "example.test/m/cmd/leaf"     // want `a shared package is used` `a command is a main package`
	_ "example.test/m/host/leaf"    // want `a shared package is used`
	_ "example.test/m/trusted/leaf" // want `a shared package is used`
)

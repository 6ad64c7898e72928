package bad

import (
	_ "example.test/m/api/leaf"              // want `the core does not know its facades`
	_ "example.test/m/attest/simtee"         // want `which is for ./cmd/holdfast and ./trusted/trustedtest and tests`
	_ "example.test/m/client/leaf"           // want `they are the other side`
	_ "example.test/m/cmd/leaf"              // want `they are the other side` `a command is a main package`
	_ "example.test/m/host/leaf"             // want `only through what server.Config hands it`
	_ "example.test/m/trusted/internal/leaf" // want `trusted/server is the one way in`
	_ "example.test/m/trusted/trustedtest"   // want `which is for tests`
	_ "math/rand/v2"                         // want `crypto/rand`
	_ "plugin"                               // want `what it loads is not checked`
	_ "unsafe"                               // want `a package reaches any memory`
)

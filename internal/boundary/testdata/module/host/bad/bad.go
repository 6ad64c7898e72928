package bad

import (
	_ "example.com/unknown"          // want `{By: []string{"./host/bad"}, Imports: []string{"example.com/unknown"}`
	_ "example.test/m/api/leaf"      // want `sealed bytes and sockets`
	_ "example.test/m/client/leaf"   // want `sealed bytes and sockets`
	_ "example.test/m/cmd/leaf"      // want `sealed bytes and sockets` `a command is a main package`
	_ "example.test/m/govern"        // want `sealed bytes and sockets`
	_ "example.test/m/trusted/leaf"  // want `sealed bytes and sockets`
	_ "expvar"                       // want `debug endpoints`
	_ "github.com/google/go-cmp/cmp" // want `no row of Modules`
	_ "github.com/hashicorp/raft"    // want `no row of Modules`
	_ "net/http/pprof"               // want `debug endpoints`
	_ "os"
)

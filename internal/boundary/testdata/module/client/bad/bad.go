package bad

import (
	_ "example.test/m/api/leaf"
	_ "example.test/m/attest/intel/inteltest" // want `it mints evidence under any name`
	_ "example.test/m/client/clienttest"      // want `a server that protects nothing`
	_ "example.test/m/cmd/leaf"               // want `links no server` `a command is a main package`
	_ "example.test/m/govern/governtest"      // want `its signers sign whatever`
	_ "example.test/m/host/leaf"              // want `links no server`
	_ "example.test/m/internal/mount"         // want `it knows the facades and the node`
	_ "example.test/m/internal/revival"       // want `it opens files for a node`
	_ "example.test/m/internal/staying"       // want `it opens files for a node that is about to start, too`
	_ "example.test/m/test/versions"          // want `what it builds is no release`
	_ "example.test/m/trusted/leaf"           // want `links no server`
)

// Package tenant_test attacks a whole node over HTTPS, as a tenant who means ill
// and as strangers who have no credentials at all, while a well-behaved client
// must go on being served.
package tenant_test

import (
	"crypto/rand"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// strays is what libraries log by themselves, past the node's logger.
var strays trustedtest.Log

func TestMain(m *testing.M) {
	rand.Reader = dice
	log.SetOutput(&strays)
	flag.Parse()
	// Most of these tests wait, for disks and for timeouts: more at a time than
	// there are processors, unless told how many.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("8")
	}
	status := m.Run()
	for _, form := range strays.Leaked() {
		fmt.Fprintf(os.Stderr, "a planted secret was logged past the node's logger as %q\n", form)
		status = 1
	}
	os.Exit(status)
}

// An arena is a node with the eHSM API, served over TLS, to be attacked.
type arena struct {
	t        testing.TB
	node     *trustedtest.Node
	log      *trustedtest.Log // nil: nothing is planted
	endpoint *trustedtest.Endpoint
	setup    setup
	count    atomic.Int64 // of signed requests, so that no two are alike
}

// A setup is how an arena differs from what `holdfast dev` runs.
type setup struct {
	listen listen.Config
	wrap   func(net.Listener) net.Listener
	edit   func(*server.Config)
	disk   func(server.Disk) server.Disk
}

func newArena(t testing.TB, s setup) *arena {
	t.Helper()
	d := trustedtest.NewDomain(t, 1)
	a := &arena{t: t, node: d.Nodes[0], log: d.Log, setup: s}
	a.node.Wrap = s.disk
	a.restart()
	return a
}

// restart stops the node and serves it again, at another port.
func (a *arena) restart() {
	a.t.Helper()
	a.node.Edit = func(c *server.Config) {
		c.Mount = mount.Program{Version: "1.2.3", Revision: "abcdef0"}.Handler
		c.ConnContext = signature.ConnContext
		if a.setup.edit != nil {
			a.setup.edit(c)
		}
	}
	a.node.Restart()
	a.endpoint = a.node.Serve(a.setup.listen, a.setup.wrap)
}

// plant names what must never be logged.
func (a *arena) plant(secret []byte) {
	const tellable = 12 // shorter ones turn up by chance
	if a.log != nil && len(secret) >= tellable {
		a.log.Plant(secret)
		strays.Plant(secret)
	}
}

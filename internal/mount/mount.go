// Package mount puts the facades in front of a node: what both commands that
// run one serve, and what tests attack.
package mount

import (
	"context"
	"net/http"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/api/native"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// A Program is what the API says of the program that serves it.
type Program struct {
	Version  string
	Revision string // of the source
}

// Handler is the whole API of a node; it is a server.Config's Mount.
func (p Program) Handler(n *server.Node) http.Handler {
	return &api.Table{
		Routes: []api.Route{
			{Method: http.MethodGet, Path: "/status", Handler: api.StatusPage{Status: func(context.Context) kms.Status { return n.Status() }}},
			{Path: native.Prefix, Prefix: true, Handler: own(n)},
		},
		Rest: p.ehsm(n.Core()),
	}
}

// own is Holdfast's own API.
func own(n *server.Node) http.Handler {
	core := n.Core()
	return native.New(native.Config{
		Authenticate: func(ctx context.Context, c kms.Credential) (native.Caller, error) {
			caller, err := core.Authenticate(ctx, c)
			if err != nil { // not a nil *Caller in an interface
				return nil, err
			}
			return caller, nil
		},
		Enroller: core, Prover: n, Custodian: n, Roster: n, Ruler: core, Opener: core, Publisher: core, Watcher: n,
	})
}

func (p Program) ehsm(core *server.Core) http.Handler {
	return ehsm.New(ehsm.Config{
		Authenticate: func(ctx context.Context, c kms.Credential) (ehsm.Caller, error) {
			caller, err := core.Authenticate(ctx, c)
			if err != nil {
				return nil, err
			}
			return caller, nil
		},
		Enroll:  core.Enrol,
		Version: p.Version, GitSHA: p.Revision,
	})
}

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
	// Observer is told of every request; nil: nobody is.
	Observer api.Observer
}

// Handler is the whole API of a node; it is a server.Config's Mount.
func (p Program) Handler(n *server.Node) http.Handler {
	return &api.Table{
		Routes: []api.Route{
			{Method: http.MethodGet, Path: "/status", Handler: api.StatusPage{Status: func(context.Context) kms.Status { return n.Status() }}},
			{Method: http.MethodGet, Path: api.AuditCheckpointPath, Handler: api.CheckpointPage{Checkpoint: n.AuditCheckpoint}},
			{Method: http.MethodGet, Path: api.AlivePath, Handler: api.AlivePage},
			{Method: http.MethodGet, Path: api.ReadyPath, Handler: api.ReadyPage{Ready: n.Readiness}},
			{Path: native.Prefix, Prefix: true, Handler: p.own(n)},
		},
		Rest: p.ehsm(n),
	}
}

// watch has the observer told, and the node asked whether it takes more on.
func (p Program) watch(n *server.Node) api.Watch { return api.Watch{Observer: p.Observer, Gate: n} }

// own is Holdfast's own API.
func (p Program) own(n *server.Node) http.Handler {
	core := n.Core()
	return native.New(native.Config{
		Authenticate: func(ctx context.Context, c kms.Credential) (native.Caller, error) {
			caller, err := core.Authenticate(ctx, c)
			if err != nil { // not a nil *Caller in an interface
				return nil, err
			}
			return caller, nil
		},
		Enroller: core, Prover: n, Custodian: n, Roster: n, Archivist: n, Ruler: core, Opener: core, Publisher: core, Watcher: n,
		Watch: p.watch(n),
	})
}

func (p Program) ehsm(n *server.Node) http.Handler {
	core := n.Core()
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
		Watch: p.watch(n),
	})
}

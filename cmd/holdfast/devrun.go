package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/internal/revival"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// A devRun is one run of a node in this process, on its simulated machine.
type devRun struct {
	home     *devHome
	at       devPlacing
	drain    bool                                                       // it leaves the domain when it is told to end
	revive   *revival.Files                                             // nil: the domain need not be carried on
	begin    func(context.Context, server.Config) (*server.Node, error) // how it opens; nil: from its folder, or by joining
	logger   *slog.Logger
	child    bool                 // of dev: nobody has chosen its ports
	progress func(what string)    // how far it has come, for people
	serving  func(devHello) error // it is about to serve
	metrics  *mount.Metrics
}

// devHello is where a node serves, or why it does not; a child of dev says it in
// one line of JSON, after any number of lines that say how far it has come.
type devHello struct {
	Progress string `json:"progress,omitempty"`

	URL    string `json:"url,omitempty"`
	CA     string `json:"ca,omitempty"`
	Peers  string `json:"peers,omitempty"` // where other nodes reach it
	Node   string `json:"node_id,omitempty"`
	Domain string `json:"domain,omitempty"`

	Metrics string `json:"metrics,omitempty"` // URL

	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// serve opens the node, or has it join, and serves until ctx ends.
func (r *devRun) serve(ctx context.Context) (err error) {
	r.home.api = program()
	if r.metrics, err = mount.ListenMetrics(r.home.tuning.Metrics, &r.home.api, r.logger); err != nil {
		return err
	}
	defer r.metrics.Close()
	return r.home.with(r.logger, func(cfg server.Config, d *disk.Disk) (err error) {
		sockets, err := r.openSockets()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, sockets.close()) }()
		cfg.Peers = sockets.server()
		if cfg.AuditSinks, err = r.home.auditSinks(); err != nil {
			return err
		}
		node, err := r.open(ctx, cfg)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, node.Close()) }()
		if err := d.PurgeAside(); err != nil { // what the last run set aside is not needed: everything verified
			r.logger.Warn("files set aside were not removed", "cause", err)
		}
		if err := r.publish(ctx, node, sockets); err != nil || !r.drain {
			return err
		}
		return node.Drain(context.WithoutCancel(ctx))
	})
}

// slow is after how long a person wonders.
const slow = 3 * time.Second

func (r *devRun) open(ctx context.Context, cfg server.Config) (*server.Node, error) {
	wondering := time.AfterFunc(slow, func() {
		r.progress("not serving yet: it verifies its state, or waits for most of the domain's other nodes; " + r.home.path(logFile) + " says more")
	})
	defer wondering.Stop()
	switch {
	case r.begin != nil:
		wondering.Stop() // it waits for people
		return r.begin(ctx, cfg)
	case r.revive != nil:
		return r.revive.Revive(ctx, cfg)
	case len(r.at.Join) == 0:
		return server.Open(ctx, cfg)
	}
	wondering.Stop() // joining tells itself
	j := server.Joining{Sponsors: r.at.Join, Progress: r.progress}
	if r.at.Approval != "" {
		var err error
		if j.Approval, _, err = readEnvelope(r.at.Approval, govern.ApprovalType); err != nil {
			return nil, err
		}
	}
	return server.Join(ctx, cfg, j)
}

// publish serves, and says so.
func (r *devRun) publish(ctx context.Context, node *server.Node, sockets *devSockets) error {
	if err := os.WriteFile(r.home.path(caFile), node.CA(), 0o644); err != nil {
		return err
	}
	if err := sockets.openAPI(r); err != nil {
		return err
	}
	st := node.Status()
	if err := r.serving(devHello{URL: sockets.url(), CA: r.home.path(caFile), Peers: sockets.peers.Address, Node: st.Node.String(), Domain: st.DomainID.String(), Metrics: r.metrics.URL()}); err != nil {
		return err
	}
	r.logger.Info("serving", "address", sockets.at.API, "peers", sockets.peers.Address)
	defer r.metrics.Serve(node, sockets.api)()
	return node.Serve(ctx, sockets.api)
}

func (r *devRun) firstListen() string {
	if r.child || len(r.at.Join) > 0 {
		return freeListen
	}
	return devListen
}

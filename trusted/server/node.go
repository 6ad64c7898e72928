package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/auditing"
	"github.com/holdfast-kms/holdfast/trusted/internal/authn"
	"github.com/holdfast-kms/holdfast/trusted/internal/core"
	"github.com/holdfast-kms/holdfast/trusted/internal/keyring"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/runtimes"
	"github.com/holdfast-kms/holdfast/trusted/internal/session"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
	"github.com/holdfast-kms/holdfast/trusted/internal/traffic"
)

// stateDir is the folder, as the Disk understands it, of everything a node keeps.
const stateDir = ""

// startTimeout bounds how long a node waits to lead its domain of one.
const startTimeout = 30 * time.Second

// A Node is a running node.
type Node struct {
	cfg     Config
	charter *govern.Charter
	who     *identity
	root    *root.Root
	replica *replica.Replica
	authn   *authn.Authenticator
	core    *core.Core
	audit   *auditing.Log
	issuer  *issuer

	standing    *standing
	sessions    *session.Judge
	runtimes    *runtimes.Keys
	generations *generations
	watched     watched
	gate        *traffic.Gate
	draining    atomic.Bool // Serve is letting requests under way finish
	stopWork    context.CancelFunc
	work        sync.WaitGroup

	closing sync.Once
	err     error
}

func storageConfig(cfg Config, s *sealer, who *identity) (c storage.Config, err error) {
	err = s.storageKey.Use(func(key []byte) error {
		c = storage.Config{Disk: cfg.Disk, Dir: stateDir, Key: append([]byte(nil), key...), Domain: who.domain, Node: who.node,
			Logger: cfg.Logger, Now: cfg.Clock.Now, SegmentSize: cfg.SegmentSize}
		return nil
	})
	return c, err
}

func replicaConfig(cfg Config, who *identity, store *storage.Store) replica.Config {
	return replica.Config{Node: who.node, Store: store, Machine: state.New(), Logger: cfg.Logger,
		Every: cfg.Clock.Every, SnapshotEvery: cfg.SnapshotEvery}
}

// Open starts a node on the state that its disk holds. Everything is verified
// before it is used; what is missing or altered is an error of kind Damaged
// that names the file.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	start := cfg.Clock.Now()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := cfg.detect(ctx); err != nil {
		return nil, err
	}
	charter, err := govern.ParseCharter(cfg.Charter)
	if err != nil {
		return nil, kms.Errorf(kms.KindOf(err), "reading the charter: %w", err).WithHint(charterHint)
	}
	claims, err := cfg.examineSelf(ctx, charter)
	if err != nil {
		return nil, err
	}
	s, err := newSealer(ctx, cfg.Platform, cfg.Disk)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, charter: charter, stopWork: func() {}}
	n.standing = newStanding(&n.cfg, charter, claims)
	n.gate = newGate(&n.cfg)
	if n.who, err = s.readIdentity(); err != nil {
		return nil, err
	}
	set, err := s.readRoot(n.who.domain)
	if err != nil {
		return nil, err
	}
	n.root = root.New(set, n.who.domain, root.HoldfastLabels)
	n.generations = newGenerations(n, s, set)
	n.runtimes = runtimes.New(n.root, n.who.domain)
	if err := n.openReplica(ctx, s); err != nil {
		return nil, err
	}
	if err := n.assemble(start); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	n.startWork()
	return n, nil
}

// startWork starts what the node does by itself; Close waits for it.
func (n *Node) startWork() {
	ctx, cancel := context.WithCancel(context.Background())
	n.stopWork = cancel
	n.work.Go(func() {
		n.cfg.Clock.Every(ctx, selfCheckInterval, func() { n.Examine(ctx) })
	})
	n.work.Go(func() { n.turnEpochs(ctx) })
	n.work.Go(func() { n.keepAudit(ctx) })
	n.work.Go(func() { n.wear(ctx) })
	n.work.Go(func() { n.cfg.Clock.Every(ctx, beatInterval, n.core.Watches().Beat) })
	n.work.Go(func() { n.cfg.Clock.Every(ctx, traffic.Interval, n.gate.Adjust) })
	n.work.Go(func() { n.generations.run(ctx) })
	n.work.Go(func() { n.cfg.Clock.Every(ctx, keepInterval, func() { n.keepSecrets(ctx) }) })
	n.work.Go(func() { n.cfg.Clock.Every(ctx, tickInterval, n.generations.nudge) })
	n.work.Go(func() {
		n.cfg.Clock.Every(ctx, tickInterval, func() {
			if err := n.core.Tick(ctx); err != nil {
				n.cfg.Logger.Warn("domain time was not put on record", "cause", err)
			}
		})
	})
}

// Examine has this node attested again, and fetches what vendors have published
// about the machines of those whom it knows as attested. It happens by itself
// every hour; an operator who has heard of a new advisory need not wait.
func (n *Node) Examine(ctx context.Context) {
	n.standing.renew(ctx)
	view, err := n.replica.Local()
	if err == nil {
		err = n.sessions.Refresh(ctx, view.Policy(), n.core.Now(view))
	}
	if err != nil {
		n.cfg.Logger.Warn("refreshing collateral", "cause", err)
	}
}

func (n *Node) openReplica(ctx context.Context, s *sealer) error {
	sc, err := storageConfig(n.cfg, s, n.who)
	if err != nil {
		return err
	}
	latched := make(chan error, 1) // a store may latch before there is a replica to stop
	sc.OnLatch = func(cause error) { latched <- cause }
	store, err := storage.Open(sc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	n.replica, err = replica.Open(ctx, replicaConfig(n.cfg, n.who, store), latched)
	return err
}

// assemble checks that the state is of this charter and this master secret,
// and puts the parts on top of each other.
func (n *Node) assemble(start time.Time) error {
	view, err := n.replica.Local()
	if err != nil {
		return err
	}
	if err := n.checkFounding(view.Founding()); err != nil {
		return err
	}
	if err := n.generations.adopt(view); err != nil {
		return err
	}
	// A host that sets its clock back and restarts the node does not make
	// requests fresh again that came before the last change.
	if last := view.Time(); start.Before(last) {
		start = last
	}
	if n.sessions, err = session.New(session.Config{Root: n.root, Domain: n.who.domain, Verifiers: verifiers, Collateral: n.cfg.Collateral}); err != nil {
		return err
	}
	ring, err := keyring.New(n.root, n.cfg.KeyCache)
	if err != nil {
		return err
	}
	if n.authn, err = authn.New(authn.Config{Root: n.root, Start: start, ReplayLimit: n.cfg.ReplayLimit}); err != nil {
		return err
	}
	if err := n.openAudit(view); err != nil {
		return err
	}
	n.core = core.New(core.Config{Runtimes: n.runtimesConfig(), Replica: n.replica, Root: n.root, Keyring: ring, Authn: n.authn, Sessions: n.sessions, Now: n.cfg.Clock.Now,
		Serving: func(view *state.View, now time.Time) error { return n.standing.check(view.Policy(), now) },
		Admits:  n.admits, Audit: n.audit,
		Evidence: core.Evidence{Make: n.quote, Collateral: n.cfg.Collateral, Verifiers: verifiers},
		MaxApps:  n.cfg.MaxApps, MaxInvocations: n.cfg.MaxInvocations})
	if n.issuer, err = newIssuer(n.root, n.generations.authority, n.cfg.Clock); err != nil {
		return err
	}
	return n.core.StartAudit(context.Background())
}

const charterHint = "give the node the charter of its own domain, as it was founded on"

func (n *Node) checkFounding(f *state.Founding) error {
	if f == nil {
		return kms.Errorf(kms.Damaged, "the domain was never completely founded").
			WithHint(replica.UnfoundedHint)
	}
	if f.Domain != n.who.domain || string(f.Charter) != string(n.charter.Canonical()) {
		return kms.Errorf(kms.Damaged, "the charter is not the one that this node's domain was founded on").
			WithHint(charterHint)
	}
	return nil
}

// Limits of the API's HTTP server.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
	drainTimeout      = 10 * time.Second
)

// multiplexing bounds what one connection can make the node hold: every request
// that is open may have sent most of a body. net/http's 250 requests and 1 MB
// windows would be 37 MB for each of 2,000 connections of strangers.
var multiplexing = http.HTTP2Config{
	MaxConcurrentStreams:          16,
	MaxReceiveBufferPerConnection: 64 << 10,
	MaxReceiveBufferPerStream:     64 << 10,
	// A connection that takes nothing for so long is dropped: else a reader that
	// does not read would hold its streams for ever.
	WriteByteTimeout: readTimeout,
}

// Serve serves the API on l until ctx ends, then lets requests under way
// finish. It does not close the node.
func (n *Node) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: n.cfg.Mount(n), TLSConfig: n.issuer.tlsConfig(),
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, HTTP2: &multiplexing, ConnContext: n.cfg.ConnContext,
		ErrorLog: slog.NewLogLogger(n.cfg.Logger.Handler(), slog.LevelDebug), // remote addresses and TLS errors only
	}
	stopWatches := n.core.Watches().Serve()
	defer stopWatches()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(tls.NewListener(l, srv.TLSConfig)) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the API: %w", err)
	case <-ctx.Done():
	}
	n.draining.Store(true)
	stopWatches() // streams do not end by themselves
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	err := srv.Shutdown(drain)
	<-served
	return err
}

// Core is the door to the keys.
func (n *Node) Core() *Core { return n.core }

// CA is the PEM certificate that clients trust the node's API by.
func (n *Node) CA() []byte { return n.issuer.pem() }

// Close stops the node and waits for everything it started.
func (n *Node) Close() error {
	n.closing.Do(func() {
		if n.core != nil {
			n.core.Watches().End()
		}
		if n.gate != nil {
			n.gate.End()
		}
		n.stopWork()
		n.work.Wait()
		n.closeAudit()
		n.err = n.replica.Close()
	})
	return n.err
}

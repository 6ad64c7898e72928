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
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/runtimes"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
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
	cfg       Config
	charter   *govern.Charter
	who       *identity
	start     time.Time
	machine   *state.Machine
	root      *root.Root
	replica   *replica.Replica
	members   *members     // nil: a domain of one that takes nobody in
	assembled atomic.Bool  // all parts are there: other nodes may ask for them
	rejoined  bool         // it began with an empty log, or with what a signed recovery names
	boot      *member.Boot // of this start
	authn     *authn.Authenticator
	core      *core.Core
	audit     *auditing.Log
	issuer    *issuer

	standing    *standing
	sessions    *session.Judge
	runtimes    *runtimes.Keys
	generations *generations
	backing     sync.Mutex // held while a backup is made
	watched     watched
	gate        *traffic.Gate
	draining    atomic.Bool // Serve is letting requests under way finish
	parting     parting
	stopWork    context.CancelFunc
	work        sync.WaitGroup
	stopServing context.CancelFunc // of other nodes
	channels    sync.WaitGroup

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

func replicaConfig(cfg Config, who *identity, store *storage.Store, machine *state.Machine) replica.Config {
	return replica.Config{Node: who.node, Store: store, Machine: machine, Logger: cfg.Logger,
		Every: cfg.Clock.Every, Now: cfg.Clock.Now, SnapshotEvery: cfg.SnapshotEvery}
}

// Open starts a node on the state that its disk holds. Everything is verified
// before it is used; what is missing or altered is an error of kind Damaged
// that names the file. In a domain of several voters it returns when most of
// them have found each other, or ctx ends.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	n, s, err := prepareNode(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if s.ephemeral {
		return nil, cannotKeep("there is nothing that this node could be started from").WithHint(joinAnew)
	}
	return n.open(ctx, s)
}

func (n *Node) open(ctx context.Context, s *sealer) (_ *Node, err error) {
	if n.who, err = s.readIdentity(); err != nil {
		return nil, s.orNotFounded(err)
	}
	known, err := s.readRules(n.charter)
	if err != nil {
		return nil, err
	}
	if known.standing.RestartMode == govern.Rejoin {
		return n.rejoin(ctx, s, known)
	}
	if err := n.load(ctx, s, known); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n.begin(ctx)
}

// prepareNode examines this program, as the first thing that it does, and
// readies what does not depend on state.
func prepareNode(ctx context.Context, cfg Config) (*Node, *sealer, error) {
	if err := cfg.validate(); err != nil {
		return nil, nil, err
	}
	start := cfg.Clock.Now()
	if err := cfg.detect(ctx); err != nil {
		return nil, nil, err
	}
	charter, err := govern.ParseCharter(cfg.Charter)
	if err != nil {
		return nil, nil, kms.Errorf(kms.KindOf(err), "reading the charter: %w", err).WithHint(charterHint)
	}
	claims, err := cfg.examineSelf(ctx, charter)
	if err != nil {
		return nil, nil, err
	}
	s, err := newSealer(ctx, cfg.Platform, cfg.Disk)
	if err != nil {
		return nil, nil, err
	}
	n := &Node{cfg: cfg, charter: charter, start: start, machine: state.New(), stopWork: func() {}, stopServing: func() {}}
	n.standing = newStanding(&n.cfg, charter, claims)
	n.gate = traffic.NewGate(n.cfg.MaxRequests)
	return n, s, nil
}

// load takes up what the disk holds, and starts the node's copy of the log.
func (n *Node) load(ctx context.Context, s *sealer, known *rules) error {
	filed, err := s.readRoot(n.who.domain)
	if err != nil {
		return err
	}
	n.adoptRoot(s, filed)
	if err := n.openMembers(s, known); err != nil {
		return err
	}
	return n.openReplica(ctx, s, false)
}

// adoptRoot makes the master secrets that this node holds what everything is
// derived from.
func (n *Node) adoptRoot(s *sealer, filed []candidate) {
	set := root.NewSetOf(map[uint32]secret.Bytes{})
	n.root = root.New(set, n.who.domain, root.HoldfastLabels)
	n.generations = newGenerations(n, s, set, filed)
	n.runtimes = runtimes.New(n.root, n.who.domain)
}

// begin puts the node together on a state that is complete, and starts to work.
func (n *Node) begin(ctx context.Context) (*Node, error) {
	if err := n.assemble(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if n.machine.View().QuorumTime() { // which stood still while most nodes were down
		if err := n.moveTime(ctx); err != nil {
			n.cfg.Logger.Warn("domain time did not move", "cause", err)
		}
	}
	n.assembled.Store(true)
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
	if n.members != nil {
		n.work.Go(func() { n.members.run(ctx) })
		n.work.Go(func() { n.members.tick(ctx) })
	}
	n.work.Go(func() { n.turnEpochs(ctx) })
	n.work.Go(func() { n.keepAudit(ctx) })
	n.work.Go(func() { n.wear(ctx) })
	n.work.Go(func() { n.cfg.Clock.Every(ctx, beatInterval, n.core.Watches().Beat) })
	n.work.Go(func() { n.generations.run(ctx) })
	n.work.Go(func() { n.cfg.Clock.Every(ctx, keepInterval, func() { n.keepSecrets(ctx) }) })
	n.work.Go(func() { n.cfg.Clock.Every(ctx, tickInterval, n.generations.nudge) })
	n.work.Go(func() { n.cfg.Clock.Every(ctx, time.Second, n.generations.nudgeIfDue) })
	n.work.Go(func() { n.tickAlone(ctx) })
	n.work.Go(func() { n.gather(ctx) })
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

// openReplica starts this node's copy of the log, and its channels to the other
// nodes: a log of several voters says nothing until most have found each other. A
// node that joins begins with an empty log.
func (n *Node) openReplica(ctx context.Context, s *sealer, joining bool) error {
	sc, err := storageConfig(n.cfg, s, n.who)
	if err != nil {
		return err
	}
	latched := make(chan error, 1) // a store may latch before there is a replica to stop
	sc.OnLatch = func(cause error) { latched <- cause }
	open := storage.Open
	if joining && storage.Vacant(n.cfg.Disk, stateDir) == nil {
		open = storage.Create
	}
	store, err := open(sc)
	if err != nil {
		return err
	}
	rc := replicaConfig(n.cfg, n.who, store, n.machine)
	if n.members != nil {
		rc.Peers, rc.Member = n.members.channels, n.members.isMember
		serving, stop := context.WithCancel(context.Background())
		n.stopServing = stop
		n.channels.Go(func() { n.members.serve(serving) })
	}
	if joining {
		n.replica, err = replica.OpenJoining(ctx, rc, latched)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	n.replica, err = replica.Open(ctx, rc, latched)
	return err
}

// found waits until this node knows what the domain has acknowledged: in a domain
// of several voters, until most of them have found each other.
func (n *Node) found(ctx context.Context) (*state.View, error) {
	for {
		view, err := n.replica.View(ctx)
		if err == nil {
			return view, n.mayGoOn(view)
		}
		if n.members == nil || n.replica.Failure() != nil {
			return view, err
		}
		n.cfg.Logger.Warn("waiting for the domain's other nodes", "cause", err)
		n.members.catchUp(ctx)
		if r := n.members.rules(); r != nil && r.standing.RestartMode == govern.Rejoin && !n.rejoined {
			return nil, n.members.outdated(r)
		}
		if !pause(ctx, askAgain) {
			return nil, kms.Errorf(kms.Unavailable, "gave up waiting for the domain's other nodes: %w", err)
		}
	}
}

// assemble checks that the state is of this charter and this master secret,
// and puts the parts on top of each other.
func (n *Node) assemble(ctx context.Context) error {
	view, err := n.found(ctx)
	if err != nil {
		return err
	}
	if err := n.checkFounding(view.Founding()); err != nil {
		return err
	}
	if err := n.generations.adopt(ctx, view); err != nil {
		return err
	}
	start := n.start
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
		Serving: n.mayServe,
		Admits:  n.admits, Leads: n.replica.Leads, Audit: n.audit,
		Evidence:  core.Evidence{Make: n.quote, Collateral: n.cfg.Collateral, Verifiers: verifiers},
		MaxPerApp: n.gate.AppMost(), MayBegin: n.gate.Admit,
		MaxApps: n.cfg.MaxApps, MaxInvocations: n.cfg.MaxInvocations})
	if n.issuer, err = newIssuer(n.root, n.generations.authority, n.cfg.Clock); err != nil {
		return err
	}
	return n.core.StartAudit(context.Background())
}

// mayServe is nil while this node may serve apps: it is fit, and the domain has all
// the nodes that it needs to keep what it acknowledges.
func (n *Node) mayServe(view *state.View, now time.Time) error {
	if err := n.fit(view, now); err != nil {
		return err
	}
	return complete(view)
}

// fit is nil while the policy in force lets this node have its part, and it holds
// what the domain uses. Its own evidence is judged by the later of domain time and
// the host's clock, see members.now.
func (n *Node) fit(view *state.View, now time.Time) error {
	if err := n.parting.check(); err != nil {
		return err
	}
	if n.root.Current() != view.Generation() && !n.generations.takeUp(view) {
		return kms.Errorf(kms.Unavailable, "this node takes over generation %d of the master secret", view.Generation())
	}
	if _, gone := view.Removed(n.who.node); gone {
		return kms.Errorf(kms.Unavailable, "this node was removed from the domain").WithHint("ask another node")
	}
	if host := n.cfg.Clock.Now(); now.Before(host) {
		now = host
	}
	return n.standing.check(view.Policy(), now)
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
		n.stopWork()
		n.work.Wait()
		n.closeAudit()
		if n.replica != nil {
			n.err = n.replica.Close()
		}
		if n.members != nil {
			n.stopServing()
			n.err = errors.Join(n.err, n.members.channels.Close())
			n.channels.Wait()
		}
	})
	return n.err
}

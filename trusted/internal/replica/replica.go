// Package replica keeps the state machine in step with the replicated log:
// propose a command at any node, read at any node under a confirmed index,
// change who is a member. It runs hashicorp/raft over the sealed storage of its
// subpackage; a domain of one is a cluster of one.
//
// What it guarantees, whatever hosts do to clocks, packets and processes:
//
//   - A View holds everything that was acknowledged before it was asked for, by
//     any node (read.go). So the bound on how long a node honours what was
//     disabled, revoked or removed elsewhere is zero.
//   - A command is done at most once, however often it is sent (propose.go).
//   - Who reads at a node after he wrote there sees what he wrote.
//   - A node that is no member in the state that a read stands for is not told
//     of it (serve.go).
//
// A domain of one pays for none of this.
package replica

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Store is the sealed storage that a Replica runs on.
type Store interface {
	Log() raft.LogStore
	Stable() raft.StableStore
	Snapshots() raft.SnapshotStore
	// Applied says that raft's apply loop will not ask for entries up to index again.
	Applied(index uint64)
	// Keeps refuses to lose the entry at an index if it was applied, and latches.
	Keeps(index uint64) error
	// Check compares what is on disk with what was written, and latches on a difference.
	Check() error
	// Latched is why the store refuses everything, nil while it does not.
	Latched() error
	Close() error
}

// Config says how a Replica runs.
type Config struct {
	Node    kms.NodeID
	Store   Store
	Machine *state.Machine
	Logger  *slog.Logger
	// Every runs a func at an interval until ctx ends; the machine's clock is
	// not ours to read. nil: disk is checked only when it is written.
	Every func(ctx context.Context, interval time.Duration, f func())
	// Peers reaches the other members. nil: a domain of one, that stays so.
	Peers Peers
	// Member reports whether a node is a member in the newest state that this
	// node has. It is asked before anything is told or done for one. nil: all
	// whom Peers lets in are.
	Member func(kms.NodeID) bool
	// Now is the host's clock, which Readings hands on and nothing here depends
	// on. nil: it reads 1970.
	Now func() time.Time
	// SnapshotEvery is after how many entries a snapshot is taken; zero means
	// DefaultSnapshotEvery.
	SnapshotEvery int
}

// DefaultSnapshotEvery keeps the replay after a crash short: with what is
// written while a snapshot of some 100,000 keys is being taken, some 50,000 entries
// at most.
const DefaultSnapshotEvery = 45_000

// Timing of elections. Nobody else can win one in a domain of one, so it is
// short there. With several voters, one that is lost is noticed after at most
// three timeouts and replaced within two more.
const (
	aloneTimeout    = 50 * time.Millisecond
	electionTimeout = 500 * time.Millisecond
	commitTimeout   = 150 * time.Millisecond // see channels.commit
	trailingLogs    = 2_000
	checkInterval   = time.Second
	maxBatch        = 512
)

// A Replica is one node's copy of the domain's state.
type Replica struct {
	cfg       Config
	raft      *raft.Raft
	transport transport
	nodes     net.Listener // for NodeProtocol; nil in a domain of one
	fsm       *fsm
	changed   signal // who leads, or whether this node does
	lead      atomic.Pointer[leading]

	confirms *lane        // the leader's rounds
	answered []kms.NodeID // who did in those, the last one first
	asks     *lane        // requests to the leader for one

	unconfirmed atomic.Bool // the last round of either failed

	alone    atomic.Bool // this node is the only voter
	aloneMu  sync.Mutex
	changing int // changes of membership under way here

	linksMu sync.Mutex
	links   map[kms.NodeID]*link

	mu      sync.Mutex
	running *raft.Raft // raft, once it may be shut down
	stopped bool       // it was told to stop

	failure atomic.Pointer[error]
	ended   chan struct{} // closed once raft has stopped
	own     context.Context
	stop    context.CancelFunc
	owned   sync.WaitGroup
	closing sync.Once
}

// Bootstrap makes the store the first and only voter of a new cluster.
func Bootstrap(cfg Config) error {
	addr, transport := raft.NewInmemTransport(address(cfg.Node))
	defer transport.Close()
	only := raft.Configuration{Servers: []raft.Server{{ID: serverID(cfg.Node), Address: addr}}}
	err := raft.BootstrapCluster(raftConfig(cfg), cfg.Store.Log(), cfg.Store.Stable(), cfg.Store.Snapshots(), transport, only)
	if err != nil {
		return kms.Errorf(kms.Unavailable, "writing the first configuration: %w", err).WithHint(UnfoundedHint)
	}
	return nil
}

// Open starts the replica on a store whose every record has verified. As the
// only voter it returns when it leads and has applied everything; else at once,
// and Ready tells when it can serve. A cause that comes through latched stops
// it. The store is closed with the replica, or at once on error.
func Open(ctx context.Context, cfg Config, latched <-chan error) (*Replica, error) {
	r, err := start(cfg, latched)
	if err != nil {
		return nil, err
	}
	if voters, learners := r.Configuration(); len(voters)+len(learners) == 0 {
		unfounded := kms.Errorf(kms.Damaged, "the log names no members: the domain was never completely founded").WithHint(UnfoundedHint)
		return nil, errors.Join(unfounded, r.Close())
	}
	if r.alone.Load() {
		if err := r.awaitLead(ctx); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// OpenJoining starts the replica of a node that is to become a member, on a
// store that was created empty: what the domain has it gets from the leader,
// once that has added it as a learner.
func OpenJoining(_ context.Context, cfg Config, latched <-chan error) (*Replica, error) {
	if cfg.Peers == nil {
		return nil, errors.Join(kms.Errorf(kms.Invalid, "joining without peers"), cfg.Store.Close())
	}
	return start(cfg, latched)
}

func start(cfg Config, latched <-chan error) (*Replica, error) {
	r := newReplica(cfg)
	var err error
	r.raft, err = raft.NewRaft(raftConfig(cfg), r.fsm, cfg.Store.Log(), cfg.Store.Stable(), cfg.Store.Snapshots(), r.transport)
	if err != nil {
		r.stop()
		return nil, errors.Join(openError(cfg.Store, err), r.endTransport(), cfg.Store.Close())
	}
	if c, ok := r.transport.(*channels); ok {
		c.begin(r)
	}
	r.raft.RegisterObserver(raft.NewObserver(nil, false, r.observe))
	r.mu.Lock()
	r.running = r.raft
	r.mu.Unlock()
	r.reckonAlone()
	r.spawn(func() {
		select {
		case <-r.own.Done():
		case cause := <-latched:
			r.Fail(cause)
		}
	})
	r.spawn(func() { r.takeSnapshots(r.own) })
	r.spawn(func() { r.takeLead(r.own) })
	if cfg.Every != nil {
		r.spawn(func() { cfg.Every(r.own, checkInterval, r.check) })
	}
	if cfg.Peers != nil {
		r.spawn(func() { r.serve(r.nodes) })
	}
	if r.alone.Load() {
		r.hurry()
	}
	return r, nil
}

func newReplica(cfg Config) *Replica {
	own, stop := context.WithCancel(context.Background())
	r := &Replica{cfg: cfg, transport: newTransport(cfg), own: own, stop: stop, ended: make(chan struct{}), links: make(map[kms.NodeID]*link)}
	r.confirms = newLane(r, confirmLimit, r.confirm)
	r.asks = newLane(r, askLimit, r.askLeader)
	r.fsm = &fsm{machine: cfg.Machine, store: cfg.Store, stopped: r.Fail, own: own, configured: r.reckonIfRunning,
		due: make(chan struct{}, 1), every: cfg.snapshotEvery(), expected: make(map[kms.CommandID][]*expected)}
	if cfg.Peers != nil {
		r.nodes = cfg.Peers.Listener(NodeProtocol)
	}
	return r
}

// hurry has raft look at once whether it hears of a leader, instead of after
// the time that it gives others: the only voter waits for nobody.
func (r *Replica) hurry() {
	c := r.raft.ReloadableConfig()
	c.HeartbeatTimeout -= time.Microsecond // a shorter one than before is what makes it look
	if err := r.raft.ReloadConfig(c); err != nil {
		r.cfg.Logger.Warn("an election takes its usual time", "cause", err)
	}
}

// spawn starts what Close waits for. It is false once the replica stops.
func (r *Replica) spawn(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return false
	}
	r.owned.Go(f)
	return true
}

// link returns the connection to a member.
func (r *Replica) link(node kms.NodeID) *link {
	r.linksMu.Lock()
	defer r.linksMu.Unlock()
	l, ok := r.links[node]
	if !ok {
		dial := func(ctx context.Context) (net.Conn, error) { return r.cfg.Peers.Dial(ctx, node, NodeProtocol) }
		l = &link{dial: dial, spawn: r.spawn, ctx: r.own, pending: make(map[nonce]func(reply))}
		r.links[node] = l
	}
	return l
}

// UnfoundedHint is what to do where founding was cut short.
const UnfoundedHint = "nothing was acknowledged by this domain: remove the folder and found it again"

// openError prefers what the store found wrong to how raft reported it.
func openError(s Store, err error) error {
	if cause := s.Latched(); cause != nil {
		return cause
	}
	return kms.Errorf(kms.Damaged, "starting raft: %w", err)
}

func (c Config) snapshotEvery() uint64 {
	if c.SnapshotEvery > 0 {
		return uint64(c.SnapshotEvery)
	}
	return DefaultSnapshotEvery
}

func (c Config) member(node kms.NodeID) bool { return c.Member == nil || c.Member(node) }

func raftConfig(cfg Config) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = serverID(cfg.Node)
	timeout := electionTimeout
	if cfg.Peers == nil {
		timeout = aloneTimeout
	}
	c.HeartbeatTimeout, c.ElectionTimeout = timeout, timeout
	c.LeaderLeaseTimeout = timeout - time.Millisecond // cannot be changed later, and hurry shortens the others
	c.CommitTimeout = commitTimeout
	c.BatchApplyCh = true
	c.MaxAppendEntries = maxBatch
	c.TrailingLogs = trailingLogs
	c.ShutdownOnRemove = false // who was removed still tells why
	// Snapshots are taken by us, by count, not by raft's timer.
	c.SnapshotThreshold = 1 << 62
	c.SnapshotInterval = 24 * time.Hour
	c.NoLegacyTelemetry = true
	c.Logger = newLogger(cfg.Logger)
	return c
}

// awaitLead waits until this node leads and everything in the log is applied.
func (r *Replica) awaitLead(ctx context.Context) error {
	for {
		changed := r.changed.wait()
		if r.Leads() {
			return r.Failure()
		}
		select {
		case <-ctx.Done():
			return kms.Errorf(kms.Unavailable, "waiting to lead: %w", ctx.Err())
		case <-r.ended: // and will never lead
			return r.unavailable(raft.ErrRaftShutdown)
		case <-changed:
		}
	}
}

// answer waits for raft to answer. Raft v1.7.3 never answers what lies in its
// channels when it stops, so that is waited for too; what waits for raft then
// stays behind, and goes with the process.
func (r *Replica) answer(f raft.Future) error {
	answered := make(chan error, 1)
	go func() { answered <- f.Error() }()
	select {
	case err := <-answered:
		return err
	case <-r.ended:
		return raft.ErrRaftShutdown
	}
}

// Local returns the newest state that this node has. Others may have acknowledged
// more. The error is Unavailable when the node has stopped.
func (r *Replica) Local() (*state.View, error) {
	if err := r.Failure(); err != nil {
		return nil, err
	}
	return r.cfg.Machine.View(), nil
}

// Failure is why the replica has stopped, nil while it runs.
func (r *Replica) Failure() error {
	if p := r.failure.Load(); p != nil {
		return *p
	}
	return nil
}

const (
	restartHint = "the node stopped to protect what is on its disk: see its log, mend the cause, and restart it"
	maybeHint   = "it may have happened all the same: look before you ask again"
)

func stopped(cause error) error {
	return kms.Errorf(kms.Unavailable, "node has stopped: %w", cause).WithHint(cmp.Or(kms.HintOf(cause), restartHint))
}

// Fail stops the replica in order: nothing leaves it any more, then raft stops.
// The first cause stays.
func (r *Replica) Fail(cause error) {
	e := stopped(cause)
	if !r.failure.CompareAndSwap(nil, &e) {
		return
	}
	r.cfg.Logger.Error("replica stopped", "cause", cause)
	r.stop()
	_ = r.endTransport() // its connections are of no use any more, whatever they say
	r.shutdown()         // does not wait: the caller may be raft itself
}

// shutdown tells raft to stop, once it runs.
func (r *Replica) shutdown() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || r.running == nil {
		return
	}
	r.stopped = true
	down := r.running.Shutdown()
	r.owned.Go(func() {
		_ = down.Error() // never fails; waits for raft's goroutines
		close(r.ended)
	})
}

func (r *Replica) unavailable(err error) error {
	if f := r.Failure(); f != nil {
		return f
	}
	if cause := r.cfg.Store.Latched(); cause != nil { // of which Fail is about to be told
		return stopped(cause)
	}
	return kms.Errorf(kms.Unavailable, "the log did not take the command: %w", err).WithHint(maybeHint)
}

func (r *Replica) check() {
	if err := r.cfg.Store.Check(); err != nil {
		r.Fail(err)
	}
}

func (r *Replica) takeSnapshots(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.fsm.due:
			if err := r.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) && r.Failure() == nil && ctx.Err() == nil {
				r.cfg.Logger.Error("snapshot was not taken", "cause", err)
			}
		}
	}
}

// Snapshot takes a snapshot now.
func (r *Replica) Snapshot() error {
	err := r.raft.Snapshot().Error()
	if err == nil || errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return r.unavailable(err)
}

// transferLimit bounds how long Close tries to hand over the lead.
const transferLimit = 2 * time.Second

// Close hands the lead to another voter, if there is one, so that nobody has to
// wait for an election; then it stops raft, waits for everything that the
// replica started, and closes the store.
func (r *Replica) Close() (err error) {
	r.closing.Do(func() {
		r.handOver()
		r.stop()
		ended := r.endTransport()
		r.shutdown()
		r.owned.Wait()
		if c, ok := r.transport.(*channels); ok {
			c.drain()
		}
		e := error(kms.Errorf(kms.Unavailable, "node is closed"))
		r.failure.CompareAndSwap(nil, &e)
		err = errors.Join(ended, r.cfg.Store.Close())
	})
	return err
}

func (r *Replica) handOver() {
	if voters, _ := r.Configuration(); r.Failure() != nil || len(voters) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(r.own, transferLimit)
	defer cancel()
	if err := r.TransferLeadership(ctx); err != nil {
		r.cfg.Logger.Warn("the lead was not handed over", "cause", err)
	}
}

// endTransport lets nothing out any more.
func (r *Replica) endTransport() error {
	if r.nodes != nil {
		_ = r.nodes.Close() // twice, after Fail
	}
	return r.transport.Close()
}

// reckonIfRunning is reckonAlone once there is a raft to ask: it restores a
// snapshot before.
func (r *Replica) reckonIfRunning() {
	r.mu.Lock()
	running := r.running != nil
	r.mu.Unlock()
	if running {
		r.reckonAlone()
	}
}

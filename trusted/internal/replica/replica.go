// Package replica keeps the state machine in step with the replicated log:
// propose a command, read under a confirmed index. It runs hashicorp/raft over
// the sealed storage of its subpackage; a domain of one is a cluster of one.
package replica

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Store is the sealed storage that a Replica runs on.
type Store interface {
	Log() raft.LogStore
	Stable() raft.StableStore
	Snapshots() raft.SnapshotStore
	// Applied says that raft's apply loop will not ask for entries up to index again.
	Applied(index uint64)
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
	// SnapshotEvery is after how many entries a snapshot is taken; zero means
	// DefaultSnapshotEvery.
	SnapshotEvery int
}

// DefaultSnapshotEvery keeps the replay after a crash short: with what is
// written while a snapshot is being taken, some 50,000 entries at most.
const DefaultSnapshotEvery = 45_000

// Timing of a domain of one: nobody else can win an election, so waiting for
// others is a waste. The leader is there in some 0.15 s.
const (
	electionTimeout = 50 * time.Millisecond
	commitTimeout   = 5 * time.Millisecond
	trailingLogs    = 2_000
	checkInterval   = time.Second
	maxBatch        = 512
)

// A Replica is one node's copy of the domain's state.
type Replica struct {
	cfg       Config
	raft      *raft.Raft
	transport *raft.InmemTransport
	fsm       *fsm

	mu      sync.Mutex
	running *raft.Raft // raft, once it may be shut down
	stopped bool       // it was told to stop

	failure atomic.Pointer[error]
	ended   chan struct{} // closed once raft has stopped
	stop    context.CancelFunc
	owned   sync.WaitGroup
	closing sync.Once
}

// Bootstrap makes the store the first and only voter of a new cluster.
func Bootstrap(cfg Config) error {
	addr, transport := newTransport(cfg.Node)
	defer transport.Close()
	only := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(cfg.Node.String()), Address: addr}}}
	err := raft.BootstrapCluster(raftConfig(cfg), cfg.Store.Log(), cfg.Store.Stable(), cfg.Store.Snapshots(), transport, only)
	if err != nil {
		return kms.Errorf(kms.Unavailable, "writing the first configuration: %w", err).WithHint(UnfoundedHint)
	}
	return nil
}

// Open starts the replica on a store whose every record has verified, and
// returns when it leads and has applied everything. A cause that comes through
// latched stops it. The store is closed with the replica, or at once on error.
func Open(ctx context.Context, cfg Config, latched <-chan error) (*Replica, error) {
	_, transport := newTransport(cfg.Node)
	own, stop := context.WithCancel(context.Background())
	r := &Replica{cfg: cfg, transport: transport, stop: stop, ended: make(chan struct{})}
	r.fsm = &fsm{machine: cfg.Machine, store: cfg.Store, stopped: r.Fail, due: make(chan struct{}, 1), every: cfg.snapshotEvery()}
	var err error
	r.raft, err = raft.NewRaft(raftConfig(cfg), r.fsm, cfg.Store.Log(), cfg.Store.Stable(), cfg.Store.Snapshots(), transport)
	if err != nil {
		stop()
		return nil, errors.Join(openError(cfg.Store, err), cfg.Store.Close())
	}
	r.mu.Lock()
	r.running = r.raft
	r.mu.Unlock()
	r.owned.Go(func() {
		select {
		case <-own.Done():
		case cause := <-latched:
			r.Fail(cause)
		}
	})
	r.owned.Go(func() { r.takeSnapshots(own) })
	if cfg.Every != nil {
		r.owned.Go(func() { cfg.Every(own, checkInterval, r.check) })
	}
	if err := r.lead(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Replica) lead(ctx context.Context) error {
	if len(r.raft.GetConfiguration().Configuration().Servers) == 0 {
		return kms.Errorf(kms.Damaged, "the log names no members: the domain was never completely founded").WithHint(UnfoundedHint)
	}
	return r.awaitLead(ctx)
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

func newTransport(id kms.NodeID) (raft.ServerAddress, *raft.InmemTransport) {
	return raft.NewInmemTransport(raft.ServerAddress(id.String()))
}

func raftConfig(cfg Config) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(cfg.Node.String())
	c.HeartbeatTimeout = electionTimeout
	c.ElectionTimeout = electionTimeout
	c.LeaderLeaseTimeout = electionTimeout
	c.CommitTimeout = commitTimeout
	c.BatchApplyCh = true
	c.MaxAppendEntries = maxBatch
	c.TrailingLogs = trailingLogs
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
		select {
		case <-ctx.Done():
			return kms.Errorf(kms.Unavailable, "waiting to lead: %w", ctx.Err())
		case <-r.ended: // and will never lead
			return r.unavailable(raft.ErrRaftShutdown)
		case lead := <-r.raft.LeaderCh():
			if !lead {
				continue
			}
			if err := r.answer(r.raft.Barrier(0)); err != nil {
				return r.unavailable(err)
			}
			return r.Failure()
		}
	}
}

// Propose puts a command through the log and returns what became of it. An
// error of kind Unavailable leaves open whether it happened: ask again with
// the same command id, or read.
func (r *Replica) Propose(ctx context.Context, c *command.Command) (state.Result, error) {
	if err := r.Failure(); err != nil {
		return state.Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return state.Result{}, kms.Errorf(kms.Unavailable, "not started: %w", err)
	}
	data, err := proto.Marshal(c)
	if err != nil {
		return state.Result{}, kms.Errorf(kms.Internal, "encoding command: %w", err)
	}
	f := r.raft.Apply(data, 0)
	if err := r.answer(f); err != nil {
		return state.Result{}, r.unavailable(err)
	}
	res, ok := f.Response().(state.Result)
	if !ok {
		return state.Result{}, kms.Errorf(kms.Internal, "raft answered %T", f.Response())
	}
	if res.Err != nil {
		return res, res.Err
	}
	return res, nil
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

// View returns a state that holds everything acknowledged before the call, by
// any node. The error is Stale or Unavailable when it cannot know.
func (r *Replica) View(context.Context) (*state.View, error) { return r.Local() }

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
	return kms.Errorf(kms.Unavailable, "node has stopped: %w", cause).WithHint(restartHint)
}

// Fail stops the replica in order: nothing leaves it any more, then raft stops.
// The first cause stays.
func (r *Replica) Fail(cause error) {
	e := stopped(cause)
	if !r.failure.CompareAndSwap(nil, &e) {
		return
	}
	r.cfg.Logger.Error("replica stopped", "cause", cause)
	r.transport.Close()
	r.shutdown() // does not wait: the caller may be raft itself
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
			if err := r.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) && r.Failure() == nil {
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

// Close stops raft, waits for everything that the replica started, and closes
// the store.
func (r *Replica) Close() (err error) {
	r.closing.Do(func() {
		r.stop()
		r.shutdown()
		r.owned.Wait()
		r.transport.Close()
		e := error(kms.Errorf(kms.Unavailable, "node is closed"))
		r.failure.CompareAndSwap(nil, &e)
		err = r.cfg.Store.Close()
	})
	return err
}

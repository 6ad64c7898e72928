package replica

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// fsm feeds the log to the state machine. Raft calls it from one goroutine,
// Persist from another.
type fsm struct {
	machine *state.Machine
	store   Store
	stopped func(error)
	own     context.Context // ends with the replica
	// configured is called after a change of membership was applied.
	configured func()

	every uint64        // entries between snapshots
	since uint64        // entries since the last one
	due   chan struct{} // holds one token when a snapshot is due

	applied  atomic.Uint64 // the newest entry that readers see
	progress signal        // fires when that grows
	awaiting atomic.Int64  // how many wait for it
	members  atomic.Int64  // voters and learners as of there; 0: not known

	mu       sync.Mutex
	expected map[kms.CommandID][]*expected
	some     atomic.Bool // expected is not empty
}

// expected is a command that this node waits for.
type expected struct {
	id   kms.CommandID
	done chan state.Result // gets the first result
}

var _ raft.BatchingFSM = (*fsm)(nil)

// ApplyBatch applies committed entries and shows readers the result once, at
// the end. Raft answers the proposers after it returns, so who reads after his
// own write sees it.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	for i, l := range logs {
		f.machine.Term(l.Term)
		switch l.Type {
		case raft.LogCommand:
			out[i] = f.machine.Apply(l.Index, l.Data)
		case raft.LogConfiguration:
			f.configure(l)
		}
	}
	f.machine.Publish()
	if err := f.machine.Fatal(); err != nil {
		f.stopped(err)
	}
	f.deliver(logs, out)
	f.reached(logs[len(logs)-1].Index)
	f.store.Applied(logs[len(logs)-1].Index)
	if f.since += uint64(len(logs)); f.since >= f.every {
		f.since = 0
		select {
		case f.due <- struct{}{}:
		default: // one is due already
		}
	}
	return out
}

// configure takes over a change of membership, which is committed.
func (f *fsm) configure(l *raft.Log) {
	voters, learners := split(raft.DecodeConfiguration(l.Data))
	f.machine.Configure(l.Index, voters, learners)
	f.members.Store(int64(len(voters) + len(learners)))
	f.configured()
}

// reached says how far readers see.
func (f *fsm) reached(index uint64) {
	f.applied.Store(index)
	if f.awaiting.Load() > 0 {
		f.progress.fire()
	}
}

// await waits until readers see an entry. It is false if ctx or until ends first.
func (f *fsm) await(ctx context.Context, until <-chan struct{}, index uint64) bool {
	if f.applied.Load() >= index {
		return true
	}
	f.awaiting.Add(1)
	defer f.awaiting.Add(-1)
	for {
		progress := f.progress.wait()
		if f.applied.Load() >= index {
			return true
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return false
		case <-until:
			return false
		}
	}
}

// expect has the result of a command kept when it is applied here.
func (f *fsm) expect(id kms.CommandID) *expected {
	e := &expected{id, make(chan state.Result, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expected[id] = append(f.expected[id], e)
	f.some.Store(true)
	return e
}

func (f *fsm) unexpect(e *expected) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var others []*expected
	for _, o := range f.expected[e.id] {
		if o != e {
			others = append(others, o)
		}
	}
	if f.expected[e.id] = others; len(others) == 0 {
		delete(f.expected, e.id)
	}
	f.some.Store(len(f.expected) > 0)
}

// deliver hands out results that somebody here waits for.
func (f *fsm) deliver(logs []*raft.Log, results []any) {
	if !f.some.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, l := range logs {
		id, ok := commandID(l)
		if !ok {
			continue
		}
		for _, e := range f.expected[id] {
			select {
			case e.done <- results[i].(state.Result):
			default: // this is a repetition; the first result is there
			}
		}
	}
}

// commandID reads the id of an encoded command, which our encoder puts first.
func commandID(l *raft.Log) (id kms.CommandID, ok bool) {
	head := []byte{1<<3 | 2, byte(len(id))} // field 1, of bytes
	if l.Type != raft.LogCommand || len(l.Data) < len(head)+len(id) || !bytes.HasPrefix(l.Data, head) {
		return id, false
	}
	return kms.CommandID(l.Data[len(head) : len(head)+len(id)]), true
}

// Apply implements raft.FSM; raft calls ApplyBatch instead.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// Snapshot takes a picture that Persist writes while Apply goes on.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	f.since = 0
	return picture{f.machine.Snapshot(), f.own}, nil
}

// Restore replaces the state by a snapshot: this node's own at its start, or
// the leader's where this node lies too far behind. A state never goes back.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	if err := f.machine.Restore(r); err != nil {
		f.stopped(err) // the state before is gone
		return err
	}
	view := f.machine.View()
	index := view.Index()
	if before := f.applied.Load(); index < before {
		err := kms.Errorf(kms.Damaged, "a snapshot of entry %d was to replace the state of entry %d", index, before)
		f.stopped(err)
		return err
	}
	f.members.Store(int64(len(view.Voters()) + len(view.Learners())))
	f.configured()
	f.reached(index)
	return nil
}

type picture struct {
	*state.Snapshot
	own context.Context // ends with the replica
}

func (p picture) Persist(sink raft.SnapshotSink) error {
	if err := p.Write(&leisurely{w: sink, own: p.own}); err != nil {
		_ = sink.Cancel() // the write's error is the one to tell
		return err
	}
	return sink.Close()
}

func (p picture) Release() {}

// A leisurely writer rests about as often as it works. A snapshot of a large
// state is seconds of work; requests pass through many goroutines, and where all
// processors are busy each of them waits, and packets wait until the scheduler
// looks for them, which it does when it has nothing else to do.
type leisurely struct {
	w    io.Writer
	own  context.Context // in which it is given up
	done int             // bytes since the last rest
}

const (
	stint = 16 << 10               // bytes, some 0.2 ms of work
	rest  = 200 * time.Microsecond // at least; timers are coarser
)

func (l *leisurely) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := min(len(p), stint-l.done)
		did, err := l.w.Write(p[:part])
		n += did
		if err != nil {
			return n, err
		}
		p = p[part:]
		if l.done += part; l.done == stint {
			l.done = 0
			pause(l.own, rest, nil)
			if l.own.Err() != nil {
				return n, errStopping
			}
		}
	}
	return n, nil
}

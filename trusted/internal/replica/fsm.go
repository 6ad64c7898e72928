package replica

import (
	"io"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// fsm feeds the log to the state machine. Raft calls it from one goroutine,
// Persist from another.
type fsm struct {
	machine *state.Machine
	store   Store
	stopped func(error)

	every uint64        // entries between snapshots
	since uint64        // entries since the last one
	due   chan struct{} // holds one token when a snapshot is due
}

var _ raft.BatchingFSM = (*fsm)(nil)

// ApplyBatch applies committed entries and shows readers the result once, at
// the end. Raft answers the proposers after it returns, so who reads after his
// own write sees it.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			out[i] = f.machine.Apply(l.Index, l.Data)
		}
	}
	f.machine.Publish()
	if err := f.machine.Fatal(); err != nil {
		f.stopped(err)
	}
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

// Apply implements raft.FSM; raft calls ApplyBatch instead.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// Snapshot takes a picture that Persist writes while Apply goes on.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	f.since = 0
	return picture{f.machine.Snapshot()}, nil
}

// Restore replaces the state by a snapshot.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	return f.machine.Restore(r)
}

type picture struct{ *state.Snapshot }

func (p picture) Persist(sink raft.SnapshotSink) error {
	if err := p.Write(sink); err != nil {
		_ = sink.Cancel() // the write's error is the one to tell
		return err
	}
	return sink.Close()
}

func (p picture) Release() {}

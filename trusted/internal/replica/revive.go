package replica

import (
	"errors"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Replay brings a new machine to where a store's log ends, and starts nothing. It
// takes every entry for committed, also one that the others never had: what this
// node alone is left with is all that there is. last is the place of the log's
// end, which may lie behind the last entry that the machine was shown.
func Replay(s Store, m *state.Machine) (last Place, err error) {
	if last, err = restoreInto(s, m); err != nil {
		return last, err
	}
	first, err := s.Log().FirstIndex()
	if err != nil {
		return last, err
	}
	end, err := s.Log().LastIndex()
	if err != nil {
		return last, err
	}
	for i := max(first, last.Index+1); i <= end; i++ {
		var l raft.Log
		if err := s.Log().GetLog(i, &l); err != nil {
			return last, err
		}
		m.Term(l.Term)
		switch l.Type {
		case raft.LogCommand:
			m.Apply(l.Index, l.Data)
		case raft.LogConfiguration:
			voters, learners := split(raft.DecodeConfiguration(l.Data))
			m.Configure(l.Index, voters, learners)
		}
		last = Place{Index: l.Index, Term: l.Term}
	}
	m.Publish()
	return last, m.Fatal()
}

// A Place is one in the log.
type Place struct{ Index, Term uint64 }

func restoreInto(s Store, m *state.Machine) (at Place, err error) {
	all, err := s.Snapshots().List()
	if err != nil || len(all) == 0 {
		return at, err
	}
	meta, content, err := s.Snapshots().Open(all[0].ID)
	if err != nil {
		return at, err
	}
	return Place{meta.Index, meta.Term}, errors.Join(m.Restore(content), content.Close())
}

// Next is the place of the first entry that a node makes that carries a domain on
// behind `last`: in a term that the store never was in, nor anyone whom it voted for.
func Next(s Store, last Place) (Place, error) {
	term, err := s.Stable().GetUint64([]byte("CurrentTerm"))
	return Place{Index: last.Index + 1, Term: max(term, last.Term) + 1}, err
}

// Revive makes a machine's state, as of a place that Next gave, the beginning of a
// log whose only voter is this node: a snapshot is all that is left in the store.
// It counts from the moment that the store's list names it; a crash before leaves
// all as it was, one after that leaves nothing to do that opening the store does
// not do. The store is not to be used by a Replica before it was opened anew.
func Revive(s Store, node kms.NodeID, m *state.Machine, at Place) error {
	if err := s.Stable().SetUint64([]byte("CurrentTerm"), at.Term); err != nil {
		return err
	}
	only := raft.Configuration{Servers: []raft.Server{{ID: serverID(node), Address: address(node)}}}
	sink, err := s.Snapshots().Create(raft.SnapshotVersionMax, at.Index, at.Term, only, at.Index, nil)
	if err != nil {
		return err
	}
	if err := m.Snapshot().Write(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return err
	}
	first, err := s.Log().FirstIndex()
	if err != nil || first == 0 {
		return err
	}
	last, err := s.Log().LastIndex()
	if err != nil {
		return err
	}
	return errors.Join(s.Log().DeleteRange(first, last), s.Latched())
}

package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
)

var (
	keyTerm     = []byte("CurrentTerm")
	keyVoteTerm = []byte("LastVoteTerm")
	keyVoteCand = []byte("LastVoteCand")
)

// smallSegments make a handful of appends fill one.
const smallSegments = 1200

func config(d storage.Disk, node byte) storage.Config {
	return storage.Config{
		Disk: d, Key: bytes.Repeat([]byte{0x5a}, 32), Domain: kms.DomainID{1}, Node: kms.NodeID{node},
		SegmentSize: smallSegments,
	}
}

func create(t testing.TB, cfg storage.Config) *storage.Store {
	t.Helper()
	s, err := storage.Create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t testing.TB, cfg storage.Config) *storage.Store {
	t.Helper()
	s, err := storage.Open(cfg)
	if err != nil {
		t.Fatalf("opening: %v", err)
	}
	return s
}

// A state is everything that a store has acknowledged.
type state struct {
	First, Last uint64
	Entries     []raft.Log
	Term, Voted uint64
	Candidate   string
	SnapIndex   uint64
	SnapTerm    uint64
	SnapSize    int64
	SnapData    string
}

// dump reads everything that a store holds.
func dump(t testing.TB, s *storage.Store) state {
	t.Helper()
	var got state
	var errs [6]error
	got.First, errs[0] = s.Log().FirstIndex()
	got.Last, errs[1] = s.Log().LastIndex()
	got.Term, errs[2] = s.Stable().GetUint64(keyTerm)
	got.Voted, errs[3] = s.Stable().GetUint64(keyVoteTerm)
	candidate, err := s.Stable().Get(keyVoteCand)
	got.Candidate, errs[4] = string(candidate), err
	for i := got.First; i != 0 && i <= got.Last; i++ {
		var l raft.Log
		if err := s.Log().GetLog(i, &l); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		got.Entries = append(got.Entries, l)
	}
	snaps, err := s.Snapshots().List()
	errs[5] = err
	if len(snaps) > 0 {
		meta, r, err := s.Snapshots().Open(snaps[0].ID)
		if err != nil {
			t.Fatalf("snapshot: %v", err)
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("snapshot: %v", err)
		}
		got.SnapIndex, got.SnapTerm, got.SnapSize, got.SnapData = meta.Index, meta.Term, meta.Size, string(data)
	}
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return got
}

// entryAt makes an entry that says where it belongs. Its fields vary in every
// way that a record must carry.
func entryAt(index, term uint64) *raft.Log {
	l := &raft.Log{Index: index, Term: term, Data: fmt.Appendf(nil, "entry %d of term %d", index, term)}
	switch index % 4 {
	case 0:
		l.Type = raft.LogNoop
		l.Data = nil
	case 1:
		l.AppendedAt = time.Unix(1_700_000_000, int64(index)).UTC()
	case 2:
		l.Extensions = fmt.Appendf(nil, "extension %d", index)
	}
	return l
}

func entries(from, to, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := from; i <= to; i++ {
		logs = append(logs, entryAt(i, term))
	}
	return logs
}

var snapshotServers = raft.Configuration{Servers: []raft.Server{{ID: "one", Address: "one"}}}

func snapshot(s *storage.Store, index, term uint64, data string) error {
	sink, err := s.Snapshots().Create(1, index, term, snapshotServers, 1, nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(sink, strings.NewReader(data)); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// snapData is of two chunks.
func snapData(index uint64) string {
	return strings.Repeat(fmt.Sprintf("snapshot of entry %d;", index), 3400)
}

// A step is something that raft does with a store, and what it does to the state.
type step struct {
	name   string
	do     func(*storage.Store) error
	effect func(*state)
	silent bool   // an error is not returned, only latched
	undoes uint64 // the first of the entries that a leader replaces, if it does
}

func appendStep(from, to, term uint64) step {
	return step{
		name:   fmt.Sprintf("append %d-%d of term %d", from, to, term),
		do:     func(s *storage.Store) error { return s.Log().StoreLogs(entries(from, to, term)) },
		effect: func(st *state) { st.append(entries(from, to, term)) },
	}
}

func deleteStep(min, max uint64) step {
	return step{
		name:   fmt.Sprintf("delete %d-%d", min, max),
		do:     func(s *storage.Store) error { return s.Log().DeleteRange(min, max) },
		effect: func(st *state) { st.remove(min, max) },
	}
}

// conflictStep removes the end of the log because a leader has other entries there,
// which therefore were never applied.
func conflictStep(min, max uint64) step {
	s := deleteStep(min, max)
	s.undoes = min
	return s
}

// lasting is the newest of the entries up to last that no later step undoes.
func lasting(last uint64, later []step) uint64 {
	for _, s := range later {
		if s.undoes > 0 {
			last = min(last, s.undoes-1)
		}
	}
	return last
}

func termStep(term uint64) step {
	return step{
		name:   fmt.Sprintf("term %d", term),
		do:     func(s *storage.Store) error { return s.Stable().SetUint64(keyTerm, term) },
		effect: func(st *state) { st.Term = term },
		silent: true,
	}
}

func voteTermStep(term uint64) step {
	return step{
		name:   fmt.Sprintf("vote in term %d", term),
		do:     func(s *storage.Store) error { return s.Stable().SetUint64(keyVoteTerm, term) },
		effect: func(st *state) { st.Voted = term },
	}
}

func voteStep(candidate string) step {
	return step{
		name:   "vote for " + candidate,
		do:     func(s *storage.Store) error { return s.Stable().Set(keyVoteCand, []byte(candidate)) },
		effect: func(st *state) { st.Candidate = candidate },
	}
}

func snapshotStep(index, term uint64) step {
	return step{
		name:   fmt.Sprintf("snapshot %d", index),
		do:     func(s *storage.Store) error { return snapshot(s, index, term, snapData(index)) },
		effect: func(st *state) { st.snapshot(index, term) },
	}
}

func (st *state) append(logs []*raft.Log) {
	for _, l := range logs {
		if st.First == 0 {
			st.First = l.Index
		}
		st.Last = l.Index
		st.Entries = append(st.Entries, *l)
	}
}

func (st *state) remove(min, max uint64) {
	var kept []raft.Log
	for _, l := range st.Entries {
		if l.Index < min || l.Index > max {
			kept = append(kept, l)
		}
	}
	st.Entries, st.First, st.Last = kept, 0, 0
	if len(kept) > 0 {
		st.First, st.Last = kept[0].Index, kept[len(kept)-1].Index
	}
}

func (st *state) snapshot(index, term uint64) {
	data := snapData(index)
	st.SnapIndex, st.SnapTerm, st.SnapSize, st.SnapData = index, term, int64(len(data)), data
}

// reopened is what a start makes of a state: a log that the snapshot covers
// whole is gone, since raft could not continue it.
func (st state) reopened() state {
	if st.Last < st.SnapIndex {
		st.remove(0, st.Last)
	}
	return st
}

// history is what a node does in a busy life: full segments, a vote, two
// snapshots with the log compacted after each, a conflicting end of the log
// removed, a snapshot installed over all of it, and an end in a new segment.
func history() []step {
	return []step{
		termStep(1), appendStep(1, 1, 1), appendStep(2, 3, 1), voteTermStep(2), voteStep("two"), termStep(2),
		appendStep(4, 12, 2), appendStep(13, 14, 2), appendStep(15, 30, 2), appendStep(31, 31, 2),
		snapshotStep(20, 2), deleteStep(1, 17), appendStep(32, 40, 2),
		conflictStep(36, 40), termStep(3), appendStep(36, 37, 3), appendStep(38, 60, 3), appendStep(61, 61, 3),
		deleteStep(62, 70), // nothing
		snapshotStep(45, 3), deleteStep(18, 40), appendStep(62, 64, 3),
		snapshotStep(100, 4), deleteStep(41, 64), termStep(4), appendStep(101, 103, 4),
		conflictStep(101, 103), termStep(5), appendStep(101, 101, 5), // all of the log was in conflict
		appendStep(102, 110, 5), appendStep(111, 119, 5), appendStep(120, 127, 5), voteTermStep(6), voteStep("three"),
		snapshotStep(110, 5), deleteStep(101, 105), appendStep(128, 129, 5), appendStep(130, 142, 5), appendStep(143, 150, 5), appendStep(151, 152, 5), appendStep(153, 153, 5),
	}
}

// run does steps that all succeed and returns the state after them.
func run(t testing.TB, s *storage.Store, steps []step) state {
	t.Helper()
	var st state
	for _, step := range steps {
		if err := step.do(s); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		step.effect(&st)
	}
	return st
}

// lived returns a disk with a history behind it, closed in order, the state,
// and what the disk held after every few steps.
func lived(t testing.TB, node byte) (*faultdisk.Mem, state, []*faultdisk.Mem) {
	t.Helper()
	m := faultdisk.NewMem()
	s := create(t, config(m, node))
	var st state
	var older []*faultdisk.Mem
	for i, step := range history() {
		if i%3 == 0 {
			older = append(older, m.Clone())
		}
		if err := step.do(s); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		step.effect(&st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return m, st, older
}

func diff(t testing.TB, what string, want, got state) {
	t.Helper()
	if !reflect.DeepEqual(want, got) { // which is faster
		t.Fatalf("%s (-want +got):\n%.2000s", what, cmp.Diff(want, got))
	}
}

package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
)

// A life is a store on a disk that fails, beside what it has acknowledged.
type life struct {
	mem    *faultdisk.Mem
	disk   *faultdisk.Faulty
	store  *storage.Store
	acked  state // what must be there after a restart
	maybe  state // what may be: acked, or with the refused step done
	broken string
	told   atomic.Int32
}

// step does one step. It returns false once the store has latched.
func (l *life) step(t *testing.T, s step) bool {
	t.Helper()
	err := s.do(l.store)
	latched := l.store.Latched()
	s.effect(&l.maybe)
	switch {
	case err != nil && latched == nil:
		t.Fatalf("%s failed and nothing latched: %v", s.name, err)
	case err != nil && !errors.Is(err, kms.Unavailable):
		t.Fatalf("%s: untyped error %v", s.name, err)
	case err == nil && (latched == nil || !s.silent):
		l.acked = l.maybe // a rotation behind it may have failed, but it was acknowledged
	}
	if latched != nil {
		l.broken = s.name
	}
	return latched == nil
}

// afterwards checks that a latched store refuses every write and leaves the
// disk alone.
func (l *life) afterwards(t *testing.T) {
	t.Helper()
	touched := func() (n int) {
		for _, op := range []faultdisk.Op{faultdisk.Create, faultdisk.Write, faultdisk.Sync, faultdisk.Delete, faultdisk.Replace} {
			n += l.disk.Count(op)
		}
		return n
	}
	before := touched()
	last, _ := l.store.Log().LastIndex()
	first, _ := l.store.Log().FirstIndex()
	_, createErr := l.store.Snapshots().Create(1, 999, 9, snapshotServers, 1, nil)
	for name, err := range map[string]error{
		"append":    l.store.Log().StoreLog(entryAt(last+1, 9)),
		"delete":    l.store.Log().DeleteRange(first, last),
		"vote term": l.store.Stable().SetUint64(keyVoteTerm, 99),
		"vote":      l.store.Stable().Set(keyVoteCand, []byte("someone")),
		"snapshot":  createErr,
		"check":     l.store.Check(),
		"latched":   l.store.Latched(),
	} {
		if kms.KindOf(err) != kms.Unavailable || kms.HintOf(err) == "" {
			t.Fatalf("%s after %s failed: %v", name, l.broken, err)
		}
	}
	if err := l.store.Stable().SetUint64(keyTerm, 99); err != nil {
		t.Fatalf("raft would panic: %v", err)
	}
	if after := touched(); after != before {
		t.Fatalf("after %s failed, refused writes touched the disk %d times", l.broken, after-before)
	}
	for deadline := 1000; l.told.Load() != 1; deadline-- {
		if deadline == 0 {
			t.Fatalf("after %s failed the owner was told %d times", l.broken, l.told.Load())
		}
		time.Sleep(time.Millisecond)
	}
}

// open opens what the disk holds, compares it with what was acknowledged, and
// leaves the store open.
func (l *life) open(t *testing.T, m *faultdisk.Mem) (*storage.Store, state) {
	t.Helper()
	s, err := storage.Open(config(m, 1))
	if err != nil {
		t.Fatalf("after %s failed: opening: %v", l.broken, err)
	}
	got := dump(t, s)
	if !reflect.DeepEqual(got, l.acked.reopened()) && !reflect.DeepEqual(got, l.maybe.reopened()) {
		t.Fatalf("after %s failed neither what was acknowledged nor what was refused is there\nacknowledged: %s\nrefused: %s",
			l.broken, cmp.Diff(l.acked.reopened(), got), cmp.Diff(l.maybe.reopened(), got))
	}
	return s, got
}

func (l *life) find(t *testing.T, m *faultdisk.Mem) {
	t.Helper()
	s, _ := l.open(t, m)
	s.Close()
}

// restart does the same and goes on.
func (l *life) restart(t *testing.T, m *faultdisk.Mem) {
	t.Helper()
	s, got := l.open(t, m)
	defer s.Close()
	next := max(got.Last, got.SnapIndex) + 1
	if err := errors.Join(s.Log().StoreLogs(entries(next, next+30, 9)), s.Log().StoreLog(entryAt(next+31, 9))); err != nil {
		t.Fatalf("after %s failed the log does not go on: %v", l.broken, err)
	}
	s.Close()
	again := open(t, config(m, 1))
	defer again.Close()
	if last, _ := again.Log().LastIndex(); last != next+31 {
		t.Fatalf("after %s failed and going on the log ends at %d, not %d", l.broken, last, next+31)
	}
}

// begin starts a life.
func begin(t *testing.T, m *faultdisk.Mem) *life {
	t.Helper()
	l := &life{mem: m, disk: faultdisk.New(m)}
	cfg := config(l.disk, 1)
	cfg.OnLatch = func(error) { l.told.Add(1) }
	l.store = create(t, cfg)
	return l
}

// faults are the operations that can fail, by the file they are done to.
var faults = []struct {
	what, pattern string
	op            faultdisk.Op
}{
	{"log append", "*.wal", faultdisk.Write},
	{"log fsync", "*.wal", faultdisk.Sync},
	{"new log file", "*.wal", faultdisk.Create},
	{"head write", "head", faultdisk.Write},
	{"head fsync", "head", faultdisk.Sync},
	{"head read back", "head", faultdisk.Read},
	{"meta replace (term, vote, rotation, truncation, snapshot)", "meta", faultdisk.Replace},
	{"meta read back", "meta", faultdisk.Read},
	{"new snapshot", "snapshot-*", faultdisk.Create},
	{"snapshot write", "snapshot-*", faultdisk.Write},
	{"snapshot fsync", "snapshot-*", faultdisk.Sync},
}

// TestEveryFault fails each write of a busy life in turn, each in every way.
// After each the store has latched; what was acknowledged is there after a
// restart, after a power cut too; and the node goes on.
func TestEveryFault(t *testing.T) {
	for _, f := range faults {
		for _, how := range faultdisk.Hows() {
			if f.op == faultdisk.Read && how != faultdisk.NotDone {
				continue // a read does nothing
			}
			t.Run(fmt.Sprintf("%s, %s", f.what, how), func(t *testing.T) {
				t.Parallel()
				struck := 0
				for skip := 0; ; skip++ {
					l := begin(t, faultdisk.NewMem())
					l.disk.Arm(faultdisk.Fault{Op: f.op, Name: f.pattern, Skip: skip, How: how, Stay: how == faultdisk.Full})
					for _, s := range history() {
						if !l.step(t, s) {
							break
						}
					}
					if l.broken == "" && l.disk.Hits() > 0 {
						// A rotation failed behind the last step.
						for range 1000 {
							if l.store.Latched() != nil {
								l.broken = "the last rotation"
								break
							}
							time.Sleep(time.Millisecond)
						}
					}
					if l.disk.Hits() == 0 {
						l.store.Close()
						break // there is no such operation any more
					}
					struck++
					if l.broken == "" {
						t.Fatalf("fault %d struck and nothing latched", skip)
					}
					l.afterwards(t)
					l.disk.Kill()
					l.store.Close()
					l.restart(t, l.mem.PowerCut(rand.New(rand.NewPCG(uint64(skip), 3))))
					l.restart(t, l.mem)
				}
				if struck == 0 {
					t.Fatal("never struck")
				}
				t.Logf("struck %d times", struck)
			})
		}
	}
}

// TestDeleteFault: a file that cannot be removed is no reason to stop; it goes
// at the next start.
func TestDeleteFault(t *testing.T) {
	for _, how := range faultdisk.Hows() {
		l := begin(t, faultdisk.NewMem())
		l.disk.Arm(faultdisk.Fault{Op: faultdisk.Delete, How: how, Stay: true})
		for _, s := range history() {
			if !l.step(t, s) {
				t.Fatalf("%s: %s latched: %v", how, s.name, l.store.Latched())
			}
		}
		if l.disk.Hits() == 0 {
			t.Fatal("never struck")
		}
		l.store.Close()
		l.broken = "removing"
		l.restart(t, l.mem)
		snapshots := 0
		for _, name := range l.mem.Names() {
			if isSnap(name) {
				snapshots++
			}
		}
		if snapshots != 1 {
			t.Errorf("%s: files left: %q", how, l.mem.Names())
		}
	}
}

// TestPowerCuts lets the power fail between the steps of random lives, and
// during them.
func TestPowerCuts(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 50
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(uint64(seed), 4))
		l := begin(t, faultdisk.NewMem())
		ops := []faultdisk.Op{faultdisk.Write, faultdisk.Sync, faultdisk.Replace, faultdisk.Create}
		l.disk.Arm(faultdisk.Fault{Op: ops[rng.IntN(len(ops))], Skip: rng.IntN(120), How: faultdisk.Hows()[rng.IntN(3)], Stay: true})
		for range 60 {
			if !l.step(t, randomStep(rng, l.maybe)) {
				break
			}
		}
		if l.broken == "" {
			l.broken = fmt.Sprintf("the power (seed %d)", seed)
		}
		l.disk.Kill()
		l.store.Close()
		for range 3 {
			l.restart(t, l.mem.PowerCut(rng))
		}
	}
}

// TestFaultsDuringOpen breaks a life at some point, then the start that follows
// at each of its writes, then the power: the start after that finds everything.
func TestFaultsDuringOpen(t *testing.T) {
	for _, f := range faults {
		if f.op == faultdisk.Read {
			continue
		}
		t.Run(f.what, func(t *testing.T) {
			t.Parallel()
			for _, skip := range []int{0, 3, 9, 20} {
				l := begin(t, faultdisk.NewMem())
				l.disk.Arm(faultdisk.Fault{Op: f.op, Name: f.pattern, Skip: skip, How: faultdisk.Hows()[skip%2]})
				for _, s := range history() {
					if !l.step(t, s) {
						break
					}
				}
				l.disk.Kill()
				l.store.Close()
				l.breakOpen(t, rand.New(rand.NewPCG(uint64(skip), 8)))
			}
		})
	}
}

// breakOpen fails each write of a start in turn, in each way.
func (l *life) breakOpen(t *testing.T, rng *rand.Rand) {
	t.Helper()
	for _, op := range []faultdisk.Op{faultdisk.Create, faultdisk.Write, faultdisk.Sync, faultdisk.Replace, faultdisk.Delete} {
		for _, how := range faultdisk.Hows() {
			for skip, struck := 0, true; struck; skip++ {
				m := l.mem.Clone()
				d := faultdisk.New(m)
				d.Arm(faultdisk.Fault{Op: op, Skip: skip, How: how, Stay: skip%2 == 0})
				s, err := storage.Open(config(d, 1))
				struck = d.Hits() > 0
				d.Kill()
				switch {
				case err == nil:
					s.Close()
				case !errors.Is(err, kms.Unavailable) || errors.Is(err, kms.Damaged) || !struck:
					t.Fatalf("after %s failed, a start whose %s %d is %s: %v", l.broken, op, skip, how, err)
				}
				l.find(t, m.PowerCut(rng))
				l.find(t, m)
			}
		}
	}
}

// TestOpenMakesDurable: a process dies between writing a file and syncing it,
// the next one finds what was written, and then the power fails. What Open has
// shown to raft must be there still.
func TestOpenMakesDurable(t *testing.T) {
	for i := range 80 {
		rng := rand.New(rand.NewPCG(uint64(i), 6))
		l := begin(t, faultdisk.NewMem())
		fault := faultdisk.Fault{Op: faultdisk.Sync, Skip: i / 2, How: faultdisk.NotDone}
		if i%2 == 1 {
			fault = faultdisk.Fault{Op: faultdisk.Replace, Skip: i / 2, How: faultdisk.Done}
		}
		l.disk.Arm(fault)
		for _, s := range history() {
			if !l.step(t, s) {
				break
			}
		}
		l.disk.Kill()
		l.store.Close()
		s := open(t, config(l.mem, 1))
		shown := dump(t, s)
		for range 4 {
			again := open(t, config(l.mem.PowerCut(rng), 1))
			diff(t, "after "+l.broken+" failed, a start and a power cut", shown, dump(t, again))
			again.Close()
		}
		s.Close()
	}
}

// TestTornTail writes an append that was never acknowledged only in part, in
// every way that it can be cut in two, and either part may be the one that
// reached the disk. The state is the one before, or all of the append.
func TestTornTail(t *testing.T) {
	m := faultdisk.NewMem()
	cfg := config(m, 1)
	cfg.SegmentSize = 1500 // so that the append also ends the segment
	s := create(t, cfg)
	before := run(t, s, []step{appendStep(1, 3, 1), appendStep(4, 5, 1)})
	name := segments(m)[0]
	base := m.Clone()
	old := m.Get(name)
	after := before
	whole := appendStep(6, 12, 1)
	if err := whole.do(s); err != nil {
		t.Fatal(err)
	}
	whole.effect(&after)
	s.Close()
	torn := m.Get(name)
	old = append(old, make([]byte, len(torn)-len(old))...)
	first, last := 0, len(torn)
	for old[first] == torn[first] {
		first++
	}
	for old[last-1] == torn[last-1] {
		last--
	}
	seen := make(map[bool]int)
	for cut := first; cut <= last; cut++ {
		for _, lostEnd := range []bool{true, false} {
			d := base.Clone()
			written := bytes.Clone(torn)
			if lostEnd {
				copy(written[cut:], old[cut:])
			} else {
				copy(written[:cut], old[:cut])
			}
			d.Put(name, written)
			cfg.Disk = d
			again, err := storage.Open(cfg)
			if err != nil {
				t.Fatalf("cut at %d, end lost %v: %v", cut, lostEnd, err)
			}
			got := dump(t, again)
			// A torn batch may have ended the segment; the log must go on all the same.
			if err := again.Log().StoreLog(entryAt(got.Last+1, 1)); err != nil {
				t.Fatalf("cut at %d, end lost %v: going on: %v", cut, lostEnd, err)
			}
			again.Close()
			complete := bytes.Equal(written, torn)
			seen[complete]++
			want := before
			if complete {
				want = after
			}
			diff(t, fmt.Sprintf("cut at %d, end lost %v", cut, lostEnd), want, got)
		}
	}
	if seen[true] == 0 || seen[false] < 1000 {
		t.Errorf("cuts that left all of it, or not: %v", seen)
	}
}

// randomStep is something that raft may do in a state.
func randomStep(rng *rand.Rand, st state) step {
	last := max(st.Last, st.SnapIndex)
	term := st.Term + 1
	switch n := rng.IntN(20); {
	case n < 10:
		return appendOrEmpty(st, last, term, uint64(rng.IntN(12)))
	case n < 12:
		return termStep(term)
	case n < 13:
		return voteTermStep(term)
	case n < 14:
		return voteStep(fmt.Sprint("node ", term))
	case n < 16 && st.Last > st.SnapIndex: // a snapshot of our own
		return snapshotStep(st.SnapIndex+1+rng.Uint64N(st.Last-st.SnapIndex), term)
	case n < 18 && st.First != 0 && st.SnapIndex >= st.First: // compaction
		return deleteStep(st.First, min(st.SnapIndex, st.First+rng.Uint64N(20)))
	case n < 19 && st.Last > st.SnapIndex: // a conflict
		return deleteStep(max(st.First, st.SnapIndex+1)+rng.Uint64N(st.Last-max(st.First, st.SnapIndex+1)+1), st.Last)
	case n < 20:
		return snapshotStep(last+1+rng.Uint64N(30), term) // from the leader
	}
	return termStep(term)
}

// appendOrEmpty appends, unless a snapshot was just installed: then raft
// empties the log first.
func appendOrEmpty(st state, last, term, n uint64) step {
	if st.First != 0 && st.Last < st.SnapIndex {
		return deleteStep(st.First, st.Last)
	}
	return appendStep(last+1, last+1+n, term)
}

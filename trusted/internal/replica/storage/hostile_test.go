package storage_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
)

const (
	bitFlips    = 150
	truncations = 30
	zeroedTails = 20
)

// A tampering is what the host did to a node that is not running.
type tampering struct {
	name string
	file string // that the error must name, or other
	with string
	disk *faultdisk.Mem
}

// tamperings are all those of one file.
func tamperings(m *faultdisk.Mem, file string, rng *rand.Rand) []tampering {
	var all []tampering
	content := m.Get(file)
	put := func(name string, data []byte) {
		d := m.Clone()
		d.Put(file, data)
		all = append(all, tampering{name: name, file: file, disk: d})
	}
	for range bitFlips {
		flipped := bytes.Clone(content)
		flipped[rng.IntN(len(flipped))] ^= 1 << rng.IntN(8)
		put("bit flip", flipped)
	}
	// Beyond what was asked: flips where they hurt, since much of a file may be unused.
	used := len(bytes.TrimRight(content, "\x00"))
	for range bitFlips {
		flipped := bytes.Clone(content)
		flipped[rng.IntN(min(used+16, len(flipped)))] ^= 1 << rng.IntN(8)
		put("bit flip in use", flipped)
	}
	for range truncations {
		put("truncation", content[:rng.IntN(used)])
	}
	for range zeroedTails {
		zeroed := bytes.Clone(content)
		clear(zeroed[rng.IntN(used):])
		put("zeroed tail", zeroed)
	}
	put("empty", []byte{})
	put("deletion", nil)
	put("garbage", randomBytes(rng, len(content)))
	put("longer", append(bytes.Clone(content), content...))
	return all
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// swaps puts other files in a file's place: those of this node, those of
// another node of the same name or kind, and older copies of its own.
func swaps(m, other *faultdisk.Mem, older []*faultdisk.Mem, file string) []tampering {
	var all []tampering
	for _, with := range m.Names() {
		if with == file {
			continue
		}
		d := m.Clone()
		d.Put(file, m.Get(with))
		all = append(all, tampering{"copy of another file", file, with, d})
		d = d.Clone()
		d.Put(with, m.Get(file))
		all = append(all, tampering{"swap", file, with, d})
	}
	for _, theirs := range other.Names() {
		if theirs == file || (isSnap(theirs) && isSnap(file)) {
			d := m.Clone()
			d.Put(file, other.Get(theirs))
			all = append(all, tampering{"another node's", file, file, d})
		}
	}
	for _, old := range older {
		if content := old.Get(file); content != nil && !bytes.Equal(content, m.Get(file)) {
			d := m.Clone()
			d.Put(file, content)
			all = append(all, tampering{"older copy", file, file, d})
		}
	}
	return all
}

func isSnap(name string) bool { return strings.HasPrefix(name, "snapshot-") }

// judge opens a store that was tampered with. The outcome must be damage that
// names the file and changes nothing, or exactly the acknowledged state, on
// which the node can go on.
func judge(t *testing.T, c tampering, want state) (damaged bool) {
	t.Helper()
	before := c.disk.Clone()
	s, err := storage.Open(config(c.disk, 1))
	if err != nil {
		switch {
		case !errors.Is(err, kms.Damaged):
			t.Fatalf("%s of %s: untyped error: %v", c.name, c.file, err)
		case !strings.Contains(err.Error(), c.file) && (c.with == "" || !strings.Contains(err.Error(), c.with)):
			t.Fatalf("%s of %s: the error does not name it: %v", c.name, c.file, err)
		case kms.HintOf(err) == "":
			t.Fatalf("%s of %s: no hint: %v", c.name, c.file, err)
		}
		for _, name := range before.Names() {
			if !bytes.Equal(before.Get(name), c.disk.Get(name)) {
				t.Fatalf("%s of %s: a refused Open changed %s", c.name, c.file, name)
			}
		}
		return true
	}
	defer s.Close()
	diff(t, c.name+" of "+c.file, want, dump(t, s))
	last, _ := s.Log().LastIndex()
	if err := s.Log().StoreLog(entryAt(last+1, 9)); err != nil {
		t.Fatalf("%s of %s: going on: %v", c.name, c.file, err)
	}
	s.Close()
	again := open(t, config(c.disk, 1))
	defer again.Close()
	if got, _ := again.Log().LastIndex(); got != last+1 {
		t.Fatalf("%s of %s: after going on the log ends at %d, not %d", c.name, c.file, got, last+1)
	}
	return false
}

func TestHostileDisk(t *testing.T) {
	m, want, older := lived(t, 1)
	other, _, _ := lived(t, 2)
	for i, file := range m.Names() {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			outcome := make(map[string][2]int)
			for _, c := range append(tamperings(m, file, rng), swaps(m, other, older, file)...) {
				o := outcome[c.name]
				if judge(t, c, want) {
					o[0]++
				} else {
					o[1]++
				}
				outcome[c.name] = o
			}
			t.Logf("damaged, intact: %v", outcome)
			if o := outcome["deletion"]; o[0] != 1 {
				t.Error("deletion was not noticed")
			}
		})
	}
	if segments := slices.DeleteFunc(m.Names(), func(n string) bool { return !strings.HasSuffix(n, ".wal") }); len(segments) < 4 {
		t.Errorf("only %q: too little to be a test", segments)
	}
	if older[len(older)-1].Get("meta") == nil || len(older) < 8 {
		t.Error("no older copies: too little to be a test")
	}
}

// TestHostileDiskAtEveryStep puts each older copy of each file back after each
// step, without a Close in between: what a host sees that copies a node's files
// all the time.
func TestHostileDiskAtEveryStep(t *testing.T) {
	m := faultdisk.NewMem()
	s := create(t, config(m, 1))
	defer s.Close()
	var want state
	var older []*faultdisk.Mem
	for _, step := range history() {
		if err := step.do(s); err != nil {
			t.Fatal(err)
		}
		step.effect(&want)
		now := m.Clone()
		for _, file := range now.Names() {
			for _, c := range swaps(now, faultdisk.NewMem(), older, file) {
				if c.name == "older copy" {
					c.name += " after " + step.name
					judgeOlder(t, c, want)
				}
			}
		}
		older = append(older, now)
	}
}

// judgeOlder is judge, but an intact outcome may have finished what was begun.
func judgeOlder(t *testing.T, c tampering, want state) {
	t.Helper()
	s, err := storage.Open(config(c.disk, 1))
	if err != nil {
		if !errors.Is(err, kms.Damaged) || !strings.Contains(err.Error(), c.file) {
			t.Fatalf("%s of %s: %v", c.name, c.file, err)
		}
		return
	}
	defer s.Close()
	diff(t, c.name+" of "+c.file, want.reopened(), dump(t, s))
}

// TestRollbackOfAllFilesIsInvisible documents the limit: a node alone cannot
// tell an earlier moment of its own from now, which is why status says
// rollback_and_fork_protected: false in mode "sealed".
func TestRollbackOfAllFilesIsInvisible(t *testing.T) {
	m := faultdisk.NewMem()
	s := create(t, config(m, 1))
	early := run(t, s, history()[:9])
	copied := m.Clone()
	for _, step := range history()[9:] {
		if err := step.do(s); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	rolledBack := open(t, config(copied, 1))
	defer rolledBack.Close()
	diff(t, "the earlier state is taken for the newest", early, dump(t, rolledBack))
}

// TestRunning: what the host puts back under the live process is noticed, by
// Check and before the next write that depends on it, and latches.
func TestRunning(t *testing.T) {
	vote := func(s *storage.Store) error { return s.Stable().SetUint64(keyVoteTerm, 77) }
	sameTerm := func(s *storage.Store) error { return s.Stable().SetUint64(keyVoteTerm, 6) } // which writes nothing
	appendOne := func(s *storage.Store) error {
		last, _ := s.Log().LastIndex()
		return s.Log().StoreLog(entryAt(last+1, 5))
	}
	check := (*storage.Store).Check
	restore := func(m, old *faultdisk.Mem, file string) { m.Put(file, old.Get(file)) }
	rename := func(m, old *faultdisk.Mem, file string) { m.Swap(file, old.Get(file)) }
	remove := func(m, _ *faultdisk.Mem, file string) { m.Put(file, nil) }
	truncate := func(m, _ *faultdisk.Mem, file string) { m.Put(file, m.Get(file)[:10]) }
	cases := []struct {
		name, file string
		tamper     func(m, old *faultdisk.Mem, file string)
		notice     func(*storage.Store) error
	}{
		{"term and vote restored, check", "meta", restore, check},
		{"term and vote restored, next vote", "meta", restore, vote},
		{"term and vote restored, the same vote", "meta", restore, sameTerm},
		{"term and vote restored by rename", "meta", rename, vote},
		{"meta removed", "meta", remove, check},
		{"meta truncated", "meta", truncate, vote},
		{"head restored, check", "head", restore, check},
		{"head restored, next append", "head", restore, appendOne},
		{"head restored, next vote", "head", restore, vote},
		{"head restored by rename, check", "head", rename, check},
		{"head restored by rename, next vote", "head", rename, vote},
		{"head removed", "head", remove, check},
		{"head truncated", "head", truncate, appendOne},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := faultdisk.NewMem()
			told := make(chan error, 2)
			cfg := config(m, 1)
			cfg.OnLatch = func(err error) { told <- err }
			s := create(t, cfg)
			defer s.Close()
			run(t, s, history()[:20])
			old := m.Clone()
			if err := errors.Join(voteTermStep(6).do(s), voteStep("me").do(s), appendOne(s), appendOne(s), appendOne(s), s.Check()); err != nil {
				t.Fatal(err)
			}
			c.tamper(m, old, c.file)
			err := c.notice(s)
			if !errors.Is(err, kms.Damaged) || kms.KindOf(err) != kms.Unavailable || !strings.Contains(err.Error(), c.file) {
				t.Fatalf("got %v", err)
			}
			if err := appendOne(s); !errors.Is(err, kms.Unavailable) {
				t.Errorf("an append afterwards: %v", err)
			}
			if err := <-told; !errors.Is(err, kms.Unavailable) {
				t.Errorf("the owner was told %v", err)
			}
			if err := s.Stable().SetUint64(keyTerm, 99); err != nil {
				t.Errorf("raft would panic: %v", err)
			}
		})
	}
}

// TestRunningOlderRecord puts an authentic record of the same index and the
// same predecessor, which was removed in a conflict, in the place of the one
// that took its place.
func TestRunningOlderRecord(t *testing.T) {
	m := faultdisk.NewMem()
	cfg := config(m, 1)
	cfg.SegmentSize = 1 << 20
	s := create(t, cfg)
	defer s.Close()
	entry := func(index, term uint64, data string) *raft.Log {
		return &raft.Log{Index: index, Term: term, Data: []byte(data)}
	}
	if err := s.Log().StoreLogs([]*raft.Log{entry(1, 1, "first"), entry(2, 1, "old value")}); err != nil {
		t.Fatal(err)
	}
	old := payload(m.Get(segments(m)[0]), 1)
	if err := errors.Join(s.Log().DeleteRange(2, 2), s.Log().StoreLog(entry(2, 1, "new value"))); err != nil {
		t.Fatal(err)
	}
	name := segments(m)[1]
	content := m.Get(name)
	current := payload(content, 0)
	if len(old) != len(current) || bytes.Equal(old, current) {
		t.Fatal("the two records do not compare")
	}
	m.Put(name, bytes.Replace(content, current, old, 1))

	var l raft.Log
	if err := s.Log().GetLog(2, &l); err != nil || string(l.Data) != "new value" {
		t.Fatalf("before it is applied it comes from memory: %q, %v", l.Data, err)
	}
	s.Applied(2)
	if err := s.Log().GetLog(2, &l); !errors.Is(err, kms.Damaged) {
		t.Fatalf("the older record was not noticed: %q, %v", l.Data, err)
	}
	if s.Latched() == nil {
		t.Error("and did not latch")
	}
}

func segments(m *faultdisk.Mem) []string {
	return slices.DeleteFunc(m.Names(), func(n string) bool { return !strings.HasSuffix(n, ".wal") })
}

// TestRunningHostileReads tampers with the log and the snapshot under the live
// process and reads all of it: an error that latches, or the truth, and never a
// panic, which raft-wal's own decoder could be made to give.
func TestRunningHostileReads(t *testing.T) {
	m, _, _ := lived(t, 1)
	for i, file := range m.Names() {
		rng := rand.New(rand.NewPCG(2, uint64(i)))
		if file == "head" || file == "meta" {
			continue
		}
		var failed, fine int
		for range 60 {
			d := m.Clone()
			s := open(t, config(d, 1))
			last, _ := s.Log().LastIndex()
			s.Applied(last)
			content := d.Get(file)
			used := len(bytes.TrimRight(content, "\x00"))
			for range 1 + rng.IntN(3) {
				content[rng.IntN(used)] = byte(rng.Uint32())
			}
			d.Put(file, content)
			if readAll(t, s) != nil {
				failed++
				if s.Latched() == nil {
					t.Fatalf("%s: an error did not latch", file)
				}
			} else {
				fine++
			}
			s.Close()
		}
		t.Logf("%s: %d noticed, %d did not touch what was read", file, failed, fine)
		if failed == 0 {
			t.Errorf("%s: nothing was noticed", file)
		}
	}
}

// readAll reads the log and the snapshot, and fails the test if what it reads
// is not what was written.
func readAll(t *testing.T, s *storage.Store) error {
	t.Helper()
	first, _ := s.Log().FirstIndex()
	last, _ := s.Log().LastIndex()
	for i := first; i <= last; i++ {
		var l raft.Log
		if err := s.Log().GetLog(i, &l); err != nil {
			return err
		}
		if want := *entryAt(i, 5); !reflect.DeepEqual(want, l) {
			t.Fatalf("entry %d was altered: %s", i, cmp.Diff(want, l))
		}
	}
	snaps, err := s.Snapshots().List()
	if err != nil {
		return err
	}
	_, r, err := s.Snapshots().Open(snaps[0].ID)
	if err != nil {
		return err
	}
	defer r.Close()
	var data bytes.Buffer
	if _, err := data.ReadFrom(r); err != nil {
		return err
	}
	if data.String() != snapData(snaps[0].Index) {
		t.Fatal("the snapshot was altered")
	}
	return nil
}

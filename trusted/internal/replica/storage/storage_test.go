package storage_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
)

// TestHistory does every step of a busy life on one store, and on one that is
// closed and opened after each.
func TestHistory(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		m := faultdisk.NewMem()
		cfg := config(m, 1)
		s := create(t, cfg)
		var want state
		for i, step := range history() {
			if err := step.do(s); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			step.effect(&want)
			if reopen {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, cfg)
				want = want.reopened()
			}
			diff(t, step.name, want, dump(t, s))
			s.Applied(lasting(want.Last, history()[i+1:])) // from here on they come from the disk
			diff(t, step.name+", applied", want, dump(t, s))
			if err := s.Check(); err != nil {
				t.Fatalf("%s: check: %v", step.name, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKillAfterEveryStep leaves the store without Close: its files must do.
func TestKillAfterEveryStep(t *testing.T) {
	m := faultdisk.NewMem()
	s := create(t, config(m, 1))
	defer s.Close()
	var want state
	for _, step := range history() {
		if err := step.do(s); err != nil {
			t.Fatal(err)
		}
		step.effect(&want)
		copied := m.Clone()
		again := open(t, config(copied, 1))
		diff(t, step.name, want.reopened(), dump(t, again))
		again.Close()
	}
}

func TestCreateRefuses(t *testing.T) {
	m, _, _ := lived(t, 1)
	if _, err := storage.Create(config(m, 1)); !errors.Is(err, kms.Exists) {
		t.Errorf("on a store: %v", err)
	}
	for _, name := range m.Names() {
		only := faultdisk.NewMem()
		only.Put(name, m.Get(name))
		if _, err := storage.Create(config(only, 1)); !errors.Is(err, kms.Exists) {
			t.Errorf("on %s alone: %v", name, err)
		}
	}
	other := faultdisk.NewMem()
	other.Put("lost+found", []byte("x"))
	other.Put("notes.wal", []byte("x"))
	s, err := storage.Create(config(other, 1))
	if err != nil {
		t.Fatalf("beside files that are not ours: %v", err)
	}
	defer s.Close()
}

func TestOpenNothing(t *testing.T) {
	_, err := storage.Open(config(faultdisk.NewMem(), 1))
	if !errors.Is(err, kms.Damaged) || kms.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
}

func TestConfigRefused(t *testing.T) {
	good := config(faultdisk.NewMem(), 1)
	for name, spoil := range map[string]func(*storage.Config){
		"no disk":        func(c *storage.Config) { c.Disk = nil },
		"short key":      func(c *storage.Config) { c.Key = c.Key[:31] },
		"negative size":  func(c *storage.Config) { c.SegmentSize = -1 },
		"size too large": func(c *storage.Config) { c.SegmentSize = 1<<30 + 1 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := storage.Create(cfg); !errors.Is(err, kms.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLogRefuses checks what must not reach the disk.
func TestLogRefuses(t *testing.T) {
	s := create(t, config(faultdisk.NewMem(), 1))
	defer s.Close()
	if err := s.Log().StoreLogs(entries(1, 9, 1)); err != nil {
		t.Fatal(err)
	}
	big := &raft.Log{Index: 10, Term: 1, Data: make([]byte, 17<<20)}
	if err := s.Log().StoreLog(big); !errors.Is(err, kms.TooLarge) {
		t.Errorf("an entry of 17 MiB: %v", err)
	}
	if err := s.Log().DeleteRange(3, 4); !errors.Is(err, kms.Invalid) {
		t.Errorf("deleting from the middle: %v", err)
	}
	var l raft.Log
	for _, index := range []uint64{0, 10, 1 << 63} {
		if err := s.Log().GetLog(index, &l); err != raft.ErrLogNotFound { // as raft compares it
			t.Errorf("entry %d: %v", index, err)
		}
	}
	if err := s.Latched(); err != nil {
		t.Fatalf("latched: %v", err)
	}
	if err := s.Log().StoreLog(entryAt(11, 1)); !errors.Is(err, kms.Unavailable) || s.Latched() == nil {
		t.Errorf("a gap: %v, latched %v", err, s.Latched())
	}
}

func TestNodesAndDomainsDiffer(t *testing.T) {
	m, _, _ := lived(t, 1)
	other := config(m.Clone(), 2)
	if _, err := storage.Open(other); !errors.Is(err, kms.Damaged) {
		t.Errorf("another node: %v", err)
	}
	other = config(m.Clone(), 1)
	other.Domain = kms.DomainID{2}
	if _, err := storage.Open(other); !errors.Is(err, kms.Damaged) {
		t.Errorf("another domain: %v", err)
	}
	other = config(m.Clone(), 1)
	other.Key[0]++
	if _, err := storage.Open(other); !errors.Is(err, kms.Damaged) {
		t.Errorf("another key: %v", err)
	}
}

// TestNothingInClear greps the files for what was stored.
func TestNothingInClear(t *testing.T) {
	m, _, _ := lived(t, 1)
	for _, name := range m.Names() {
		for _, planted := range []string{"entry ", "extension", "snapshot of", "three", "CurrentTerm", "LastVote", "Servers"} {
			if strings.Contains(string(m.Get(name)), planted) {
				t.Errorf("%s shows %q", name, planted)
			}
		}
	}
}

func TestSnapshots(t *testing.T) {
	s := create(t, config(faultdisk.NewMem(), 1))
	defer s.Close()
	for index, size := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 3 * 64 << 10} {
		data := strings.Repeat("x", size)
		if err := snapshot(s, uint64(index+1), 1, data); err != nil {
			t.Fatal(err)
		}
		if got := dump(t, s); got.SnapSize != int64(size) || got.SnapData != data {
			t.Errorf("size %d: got %d", size, got.SnapSize)
		}
	}
	if err := snapshot(s, 2, 1, "late"); !errors.Is(err, kms.Conflict) || s.Latched() != nil {
		t.Errorf("an older snapshot that ends late: %v, latched %v", err, s.Latched())
	}
	sink, err := s.Snapshots().Create(1, 9, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(sink, "half")
	if err := sink.Cancel(); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, s); got.SnapIndex != 6 {
		t.Errorf("after Cancel the snapshot is of entry %d", got.SnapIndex)
	}
	if _, _, err := s.Snapshots().Open("head"); !errors.Is(err, kms.NotFound) {
		t.Errorf("a file that is no snapshot: %v", err)
	}
}

// TestOrphans: a snapshot that meta does not name is set aside at the next
// start, and so is a segment that is not listed.
func TestOrphans(t *testing.T) {
	m, want, older := lived(t, 1)
	named := ""
	for _, name := range m.Names() {
		if strings.HasPrefix(name, "snapshot-") {
			named = name
		}
	}
	m.Put("snapshot-9-900-0123456789abcdef.hfs", []byte("half"))
	const segment = "00000000000000000900-0000000000000099.wal"
	m.Put(segment, older[0].Get(older[0].Names()[0]))
	m.Put("not one of ours.wal", []byte("x"))
	s := open(t, config(m, 1))
	defer s.Close()
	diff(t, "state", want, dump(t, s))
	if m.Get(segment) != nil || m.Get("snapshot-9-900-0123456789abcdef.hfs") != nil || m.Get(named) == nil || m.Get("not one of ours.wal") == nil {
		t.Errorf("files: %q", m.Names())
	}
}

// TestRealDisk does the same on real files.
func TestRealDisk(t *testing.T) {
	d, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	cfg := config(d, 1)
	s := create(t, cfg)
	want := run(t, s, history())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, cfg)
	defer s.Close()
	diff(t, "reopened", want, dump(t, s))
	if err := d.PurgeAside(); err != nil {
		t.Fatal(err)
	}
}

// TestUndone: an entry that this node has applied is committed. A leader who has
// another one in its place comes from an older state, and undoes nothing here.
func TestUndone(t *testing.T) {
	applied := func(upTo uint64) (*storage.Store, *faultdisk.Mem) {
		m := faultdisk.NewMem()
		s := create(t, config(m, 1))
		t.Cleanup(func() { _ = s.Close() })
		if err := s.Log().StoreLogs(entries(1, 10, 1)); err != nil {
			t.Fatal(err)
		}
		s.Applied(upTo)
		if err := s.Check(); err != nil { // as a node does every second
			t.Fatal(err)
		}
		return s, m
	}
	for name, undo := range map[string]func(*storage.Store) error{
		"the end of the log":        func(s *storage.Store) error { return s.Log().DeleteRange(5, 10) },
		"the last one":              func(s *storage.Store) error { return s.Log().DeleteRange(7, 10) },
		"all of the log":            func(s *storage.Store) error { return s.Log().DeleteRange(1, 10) },
		"all, for an old snapshot":  func(s *storage.Store) error { return errors.Join(snapshot(s, 6, 1, "x"), s.Log().DeleteRange(1, 10)) },
		"another one, without more": func(s *storage.Store) error { return s.Log().StoreLogs(entries(7, 7, 2)) },
	} {
		s, m := applied(7)
		if err := undo(s); !errors.Is(err, kms.Damaged) || s.Latched() == nil || !strings.Contains(kms.HintOf(err), "survey") {
			t.Errorf("%s: %v (hint %q), latched: %v", name, err, kms.HintOf(err), s.Latched())
		}
		_ = s.Close()
		again := open(t, config(m, 1))
		if last, err := again.Log().LastIndex(); last != 10 || err != nil {
			t.Errorf("%s: the log ends at %d afterwards (%v)", name, last, err)
		}
		if err := again.Log().DeleteRange(6, 10); !errors.Is(err, kms.Damaged) {
			t.Errorf("%s: forgotten after a restart: %v", name, err)
		}
		_ = again.Close()
	}
	for name, do := range map[string]func(*storage.Store) error{
		"entries that were not applied": func(s *storage.Store) error { return s.Log().DeleteRange(8, 10) },
		"the beginning":                 func(s *storage.Store) error { return s.Log().DeleteRange(1, 5) },
		"all, for a snapshot of them":   func(s *storage.Store) error { return errors.Join(snapshot(s, 7, 1, "x"), s.Log().DeleteRange(1, 10)) },
	} {
		s, _ := applied(7)
		if err := do(s); err != nil || s.Latched() != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package storage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
)

// The tests here play a host that knows the files' formats and keeps what it
// has ever seen: it puts authentic bytes where they do not belong.

func command(index uint64, data string) *raft.Log {
	return &raft.Log{Index: index, Term: 1, Data: []byte(data)}
}

// frames returns where the payloads of a segment's entries lie.
func frames(segment []byte) (found [][2]int) {
	for pos := 32; pos+8 <= len(segment); {
		kind, size := segment[pos], int(binary.LittleEndian.Uint32(segment[pos+4:]))
		switch kind {
		case 1:
			found = append(found, [2]int{pos + 8, pos + 8 + size})
			pos += 8 + (size+7)&^7
		case 2:
			pos += 8 + (size+7)&^7
		case 3:
			pos += 8
		default:
			return found
		}
	}
	return found
}

// payload returns the n-th entry of a segment.
func payload(segment []byte, n int) []byte {
	at := frames(segment)[n]
	return segment[at[0]:at[1]]
}

// forge returns the segment with another payload for its n-th entry, of the
// same length, and every checksum put right.
func forge(t *testing.T, segment []byte, n int, with []byte) []byte {
	t.Helper()
	forged := bytes.Clone(segment)
	if len(payload(forged, n)) != len(with) {
		t.Fatalf("entry %d has %d bytes, its replacement %d", n, len(payload(forged, n)), len(with))
	}
	copy(payload(forged, n), with)
	start := 0
	for pos := 32; pos+8 <= len(forged) && forged[pos] != 0; {
		if forged[pos] == 3 {
			binary.LittleEndian.PutUint32(forged[pos+4:], crc32.Checksum(forged[start:pos], crc32.MakeTable(crc32.Castagnoli)))
			pos += 8
			start = pos
			continue
		}
		pos += 8 + (int(binary.LittleEndian.Uint32(forged[pos+4:]))+7)&^7
	}
	return forged
}

// conflicted returns a store, closed, whose entries 2 and 3 were removed and
// written anew, and the segments before and after. Old and new entries have
// the same length.
func conflicted(t *testing.T) (m *faultdisk.Mem, name string, before, after []byte) {
	t.Helper()
	m = faultdisk.NewMem()
	cfg := config(m, 1)
	cfg.SegmentSize = 1 << 16
	s := create(t, cfg)
	defer s.Close()
	if err := s.Log().StoreLogs([]*raft.Log{command(1, "first"), command(2, "old 2"), command(3, "old 3")}); err != nil {
		t.Fatal(err)
	}
	before = m.Get(segments(m)[0])
	if err := errors.Join(s.Log().DeleteRange(2, 3), s.Log().StoreLogs([]*raft.Log{command(2, "new 2"), command(3, "new 3")})); err != nil {
		t.Fatal(err)
	}
	name = segments(m)[1]
	return m, name, before, m.Get(name)
}

// TestForgedChecksumAlone makes sure that forge works: what it does without a
// change opens.
func TestForgedChecksumAlone(t *testing.T) {
	m, name, _, after := conflicted(t)
	m.Put(name, forge(t, after, 0, payload(after, 0)))
	open(t, config(m, 1)).Close()
}

// TestRemovedRecordPutBack puts entries that were removed in a conflict in the
// place of those that took theirs, with right checksums. Each is authentic, for
// this very index, and follows the same record.
func TestRemovedRecordPutBack(t *testing.T) {
	m, name, before, after := conflicted(t)
	for what, forged := range map[string][]byte{
		"in the middle: the chain breaks": forge(t, after, 0, payload(before, 1)),
		"the last: head names another":    forge(t, after, 1, payload(before, 2)),
		"both: head names another":        forge(t, forge(t, after, 0, payload(before, 1)), 1, payload(before, 2)),
	} {
		d := m.Clone()
		d.Put(name, forged)
		_, err := storage.Open(config(d, 1))
		if !errors.Is(err, kms.Damaged) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestRecordsMoved puts records of the same segment in each other's place.
func TestRecordsMoved(t *testing.T) {
	m, name, _, after := conflicted(t)
	m.Put(name, forge(t, forge(t, after, 0, payload(after, 1)), 1, payload(after, 0)))
	if _, err := storage.Open(config(m, 1)); !errors.Is(err, kms.Damaged) {
		t.Errorf("got %v", err)
	}
}

// TestForgedIndex sends raft-wal to another place for an entry, by the index of
// a segment that is complete, with a right checksum.
func TestForgedIndex(t *testing.T) {
	m, _, _ := lived(t, 1)
	name := segments(m)[0]
	forged := m.Get(name)
	all := frames(forged)
	last := all[len(all)-1][1]
	index := (last+7)&^7 + 8
	if forged[index-8] != 2 {
		t.Fatalf("no index frame at %d", index-8)
	}
	binary.LittleEndian.PutUint32(forged[index:], binary.LittleEndian.Uint32(forged[index+4:]))
	m.Put(name, forge(t, forged, 0, payload(forged, 0)))
	if _, err := storage.Open(config(m, 1)); !errors.Is(err, kms.Damaged) || !strings.Contains(err.Error(), "index") {
		t.Errorf("got %v", err)
	}
}

// TestEmptiedLog: after a log was emptied, what was in it cannot come back in
// the place of what came after, not even when a power cut has left a head that
// knows of neither.
func TestEmptiedLog(t *testing.T) {
	m := faultdisk.NewMem()
	cfg := config(m, 1)
	cfg.SegmentSize = 1 << 16
	s := create(t, cfg)
	if err := s.Log().StoreLog(command(1, "old")); err != nil {
		t.Fatal(err)
	}
	old := payload(m.Get(segments(m)[0]), 0)
	if err := s.Log().DeleteRange(1, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Log().StoreLog(command(1, "new")); err != nil {
		t.Fatal(err)
	}
	headless := 0
	for seed := range uint64(20) {
		cut := m.PowerCut(rand.New(rand.NewPCG(seed, 7)))
		if !bytes.Equal(cut.Get("head"), m.Get("head")) {
			headless++
		}
		honest := open(t, config(cut.Clone(), 1))
		var l raft.Log
		if err := honest.Log().GetLog(1, &l); err != nil || string(l.Data) != "new" {
			t.Fatalf("after a power cut: %q, %v", l.Data, err)
		}
		honest.Close()

		name := segments(cut)[0]
		cut.Put(name, forge(t, cut.Get(name), 0, old))
		s, err := storage.Open(config(cut, 1))
		if err != nil {
			continue
		}
		if err := s.Log().GetLog(1, &l); err == nil {
			t.Fatalf("the host brought back %q", l.Data)
		}
		s.Close()
	}
	s.Close()
	if headless == 0 {
		t.Error("no power cut lost the head")
	}
}

// TestOlderHead puts an older head beside everything else as it is. Where the
// log proves the rest it may be accepted; where it cannot, head is named.
func TestOlderHead(t *testing.T) {
	big := func(m *faultdisk.Mem) storage.Config {
		cfg := config(m, 1)
		cfg.SegmentSize = 1 << 16
		return cfg
	}
	cases := []struct {
		name   string
		since  []step
		intact bool
	}{
		{"entries since", []step{appendStep(1, 3, 1), appendStep(4, 5, 1)}, true},
		{"one vote since", []step{voteTermStep(2)}, true},
		{"two votes since", []step{voteTermStep(2), voteStep("two")}, false},
		// The old head knows of an empty log: were its tag not looked at, or the
		// layout, the rest would be taken for what is left of a removal.
		{"entries, some removed since", []step{appendStep(1, 9, 1), deleteStep(1, 5)}, false},
		{"a snapshot since", []step{snapshotStep(20, 1)}, true},
		{"entries and a snapshot since", []step{appendStep(1, 9, 1), snapshotStep(4, 1)}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := faultdisk.NewMem()
			s := create(t, big(m))
			head := m.Get("head")
			want := run(t, s, c.since)
			s.Close()
			m.Put("head", head)
			s, err := storage.Open(big(m))
			if !c.intact {
				if !errors.Is(err, kms.Damaged) || !strings.Contains(err.Error(), "head") {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			diff(t, "state", want, dump(t, s))
		})
	}
}

// TestDecoderTrap gives a running node the bytes that make raft-wal's own
// decoder panic.
func TestDecoderTrap(t *testing.T) {
	m, name, _, after := conflicted(t)
	s := open(t, config(m, 1))
	defer s.Close()
	s.Applied(3)
	trap := bytes.Clone(after)
	copy(payload(trap, 0), bytes.Repeat([]byte{0xff}, 16))
	m.Put(name, trap)
	var l raft.Log
	if err := s.Log().GetLog(2, &l); !errors.Is(err, kms.Damaged) || s.Latched() == nil {
		t.Errorf("got %v", err)
	}
}

// TestRemoveWhileRotating empties the log while raft-wal is about to begin a
// new segment behind the last append, and stops at each write of head.
func TestRemoveWhileRotating(t *testing.T) {
	// On one processor raft-wal's goroutine does not get its turn before the
	// removal has begun, unless that waits for it.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for skip := range 6 {
		m := faultdisk.NewMem()
		d := faultdisk.New(m)
		s := create(t, config(d, 1))
		full := []*raft.Log{command(1, strings.Repeat("x", smallSegments))}
		d.Arm(faultdisk.Fault{Op: faultdisk.Write, Name: "head", Skip: skip, How: faultdisk.NotDone, Stay: true})
		err := errors.Join(s.Log().StoreLogs(full), s.Log().DeleteRange(1, 1))
		d.Kill()
		s.Close()
		again, openErr := storage.Open(config(m, 1))
		if openErr != nil {
			t.Fatalf("head write %d failed (%v): %v", skip, err, openErr)
		}
		again.Close()
	}
}

// A fickle disk gives raft-wal a shorter tail than it gave Open.
type fickle struct {
	storage.Disk
	tail string
}

type cutFile struct{ types.WritableFile }

func (c cutFile) ReadAt(p []byte, off int64) (int, error) {
	if off > 100 {
		return 0, io.EOF
	}
	return c.WritableFile.ReadAt(p, off)
}

func (f fickle) OpenWriter(dir, name string) (types.WritableFile, error) {
	file, err := f.Disk.OpenWriter(dir, name)
	if err != nil || name != f.tail {
		return file, err
	}
	return cutFile{file}, nil
}

// TestChangedWhileOpening: raft-wal finds less than was verified a moment ago.
func TestChangedWhileOpening(t *testing.T) {
	m, name, _, _ := conflicted(t)
	_, err := storage.Open(config(fickle{m, name}, 1))
	if !errors.Is(err, kms.Damaged) || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v", err)
	}
	open(t, config(m, 1)).Close()
}

// TestUnknownNames: files with strange names are nobody's.
func TestUnknownNames(t *testing.T) {
	m, want, _ := lived(t, 1)
	for i, name := range []string{"x.wal", "00000000000000000001-0000000000000001.wal.wal", "-1-1.wal", "0-0.wal", "head.new", "meta.new", ".wal"} {
		m.Put(name, fmt.Appendf(nil, "%d", i))
	}
	s := open(t, config(m, 1))
	defer s.Close()
	diff(t, "state", want, dump(t, s))
}

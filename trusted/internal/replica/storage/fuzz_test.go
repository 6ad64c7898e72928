package storage

// These tests are inside the package: the parsers they feed are not exported,
// and each eats bytes from the host, or would if a seal were broken.

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/seal"
)

func fuzzBox(t testing.TB, label string) *seal.Box {
	t.Helper()
	box, err := seal.New(bytes.Repeat([]byte{7}, seal.KeyLen), label)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func mustDamage(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, kms.Damaged) {
		t.Fatalf("untyped error: %v", err)
	}
}

var someHead = head{seq: 7, first: 3, last: 9, lastTag: tag{1, 2, 3}, lastTerm: 2, metaSeq: 4, layout: 3, applied: 8}

func FuzzHead(f *testing.F) {
	f.Add(someHead.marshal())
	f.Add(head{first: 1}.marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, plain []byte) {
		h, err := parseHead(plain)
		mustDamage(t, err)
		if err == nil && !bytes.Equal(h.marshal(), plain) {
			t.Fatal("parsed and written again it differs")
		}
	})
}

// FuzzSlots feeds the head's file.
func FuzzSlots(f *testing.F) {
	box := fuzzBox(f, "head")
	file := make([]byte, headSize)
	copy(file, box.Seal(nil, someHead.marshal(), slotAAD(0)))
	f.Add(bytes.Clone(file))
	newer := someHead
	newer.seq++
	copy(file[slotStep:], box.Seal(nil, newer.marshal(), slotAAD(1)))
	f.Add(bytes.Clone(file))
	f.Add(file[:slotStep+10])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := readSlots(box, data)
		mustDamage(t, err)
		if err == nil && (found.slot < 0 || found.slot >= slots || len(found.record) != headSealed) {
			t.Fatalf("slot %d, record of %d bytes", found.slot, len(found.record))
		}
	})
}

var someMeta = meta{
	seq: 9, layout: 4, nextID: 3,
	segments: []types.SegmentInfo{
		{ID: 1, BaseIndex: 1, MinIndex: 2, MaxIndex: 9, Codec: 1, IndexStart: 400, CreateTime: time.Unix(5, 0).UTC(), SealTime: time.Unix(6, 0).UTC(), SizeLimit: 500},
		{ID: 2, BaseIndex: 10, MinIndex: 10, Codec: 1, CreateTime: time.Unix(6, 0).UTC(), SizeLimit: 500},
	},
	stable: map[string][]byte{"CurrentTerm": {1, 0, 0, 0, 0, 0, 0, 0}, "LastVoteCand": []byte("two")},
	snap:   snapshotRef{name: "snapshot-1-2-3.hfs", digest: [32]byte{1}, index: 8, term: 1},
}

func FuzzMeta(f *testing.F) {
	f.Add(someMeta.marshal())
	f.Add(meta{}.marshal())
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, plain []byte) {
		m, err := parseMeta(plain)
		mustDamage(t, err)
		if err == nil && !bytes.Equal(m.marshal(), plain) {
			t.Fatal("parsed and written again it differs")
		}
	})
}

func TestMetaRoundTrip(t *testing.T) {
	got, err := parseMeta(someMeta.marshal())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, someMeta) {
		t.Fatalf("got %+v\nwant %+v", got, someMeta)
	}
}

// FuzzRecord feeds what is inside a record, and the record.
func FuzzRecord(f *testing.F) {
	box := fuzzBox(f, "log")
	l := raft.Log{Index: 5, Term: 2, Type: raft.LogNoop, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: time.Unix(9, 9).UTC()}
	var b batch
	b.seal(box, []*raft.Log{&l}, tag{4})
	f.Add(appendPlain(nil, &l))
	f.Add(bytes.Clone(b.logs[0].Data))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parsePlain(data)
		mustDamage(t, err)
		if err == nil && !bytes.Equal(appendPlain(nil, &got), data) {
			t.Fatal("parsed and written again it differs")
		}
		got, prev, _, err := openRecord(box, 5, data)
		mustDamage(t, err)
		if err == nil && (!reflect.DeepEqual(got, l) || prev != tag{4}) {
			t.Fatal("opened a record that was not sealed")
		}
	})
}

// FuzzUnwrap feeds raft-wal's encoding: what unwrap lets through, raft-wal's
// decoder takes without a panic and reads the same.
func FuzzUnwrap(f *testing.F) {
	f.Add(encoded(f, 5, []byte("record")))
	f.Add(encoded(f, math.MaxUint64, bytes.Repeat([]byte{9}, 300)))
	f.Add(append(encoded(f, 5, []byte("record")), 0))
	f.Add(bytes.Repeat([]byte{0xff}, 12)) // a varint that raft-wal's decoder panics on
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, index := range []uint64{5, math.MaxUint64} {
			record, ok := unwrap(raw, index)
			if !ok {
				continue
			}
			var l raft.Log
			if err := (&wal.BinaryCodec{}).Decode(raw, &l); err != nil || l.Index != index || !bytes.Equal(l.Data, record) {
				t.Fatalf("raft-wal reads entry %d, %v", l.Index, err)
			}
			if !bytes.Equal(encoded(t, index, record), raw) {
				t.Fatal("encoded again it differs")
			}
		}
	})
}

func encoded(t testing.TB, index uint64, record []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := (&wal.BinaryCodec{}).Encode(&raft.Log{Index: index, Data: record}, &buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// collector is a visitor that copies.
type collector struct {
	entries [][]byte
	commits int
}

func (c *collector) entry(_ uint64, raw []byte) error {
	c.entries = append(c.entries, bytes.Clone(raw))
	return nil
}

func (c *collector) commit() error { c.commits++; return nil }

var fuzzSegment = types.SegmentInfo{ID: 1, BaseIndex: 1, MinIndex: 1, Codec: 1, SizeLimit: 1 << 12}

// segmentOf makes raft-wal write a segment, and returns the file.
func segmentOf(t testing.TB, sealed bool) []byte {
	t.Helper()
	files := &oneFile{}
	w, err := newFiler("", &guard{Disk: files, latch: &latch{}}).Create(fuzzSegment)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		index := uint64(2*i + 1)
		entries := []types.LogEntry{{Index: index, Data: []byte("payload one")}, {Index: index + 1, Data: bytes.Repeat([]byte{1}, 8*i)}}
		if err := w.Append(entries); err != nil {
			t.Fatal(err)
		}
	}
	if sealed {
		if _, err := w.ForceSeal(); err != nil {
			t.Fatal(err)
		}
	}
	return files.data
}

// oneFile is a disk of one file that grows.
type oneFile struct {
	Disk
	data []byte
}

func (o *oneFile) Create(string, string, uint64) (types.WritableFile, error) { return o, nil }
func (o *oneFile) Sync() error                                               { return nil }
func (o *oneFile) Close() error                                              { return nil }
func (o *oneFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(o.data).ReadAt(p, off)
}

func (o *oneFile) WriteAt(p []byte, off int64) (int, error) {
	o.data = append(o.data[:off], p...)
	return len(p), nil
}

func (o *oneFile) OpenWriter(string, string) (types.WritableFile, error) { return o, nil }

// TestWalkReadsRaftWal pins our reader to raft-wal's writer: an update of the
// library that changes the format fails here.
func TestWalkReadsRaftWal(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		var c collector
		w, err := walkSegment(bytes.NewReader(segmentOf(t, sealed)), fuzzSegment, &c)
		if err != nil || w.stop != nil {
			t.Fatal(err, w.stop)
		}
		if w.last != 6 || len(c.entries) != 6 || (w.indexStart != 0) != sealed {
			t.Errorf("sealed %v: %+v, %d entries", sealed, w, len(c.entries))
		}
		if string(c.entries[4]) != "payload one" {
			t.Errorf("entry 5 is %q", c.entries[4])
		}
	}
}

// FuzzSegment feeds a segment's file, as it is and with its checksums put
// right, which a host can do. What the walk accepts, raft-wal recovers to the
// same end.
func FuzzSegment(f *testing.F) {
	f.Add(segmentOf(f, false))
	f.Add(segmentOf(f, true))
	f.Add(append(segmentOf(f, false), make([]byte, 64)...))
	f.Add(segmentOf(f, false)[:100])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		walkAndRecover(t, data)
		walkAndRecover(t, summed(data))
	})
}

func walkAndRecover(t *testing.T, data []byte) {
	t.Helper()
	var c collector
	w, err := walkSegment(bytes.NewReader(data), fuzzSegment, &c)
	if err != nil {
		t.Fatalf("a reader that cannot fail failed: %v", err)
	}
	mustDamage(t, w.stop)
	if w.end > int64(len(data)) || w.last > uint64(len(c.entries)) {
		t.Fatalf("%+v of %d bytes and %d entries", w, len(data), len(c.entries))
	}
	disk := &oneFile{data: bytes.Clone(data)}
	g := &guard{Disk: disk, latch: &latch{}, tail: segmentName(fuzzSegment), verified: w.end}
	tail, err := newFiler("", g).RecoverTail(fuzzSegment)
	if err != nil {
		t.Fatalf("raft-wal refuses what was verified: %v", err)
	}
	if want := w.last; tail.LastIndex() != want {
		t.Fatalf("raft-wal recovers to %d, verified to %d", tail.LastIndex(), want)
	}
}

// summed puts every checksum right that a simple walk comes to.
func summed(data []byte) []byte {
	data = bytes.Clone(data)
	start := 0
	for pos := segmentHeader; pos+frameHeader <= len(data); {
		size := int(binary.LittleEndian.Uint32(data[pos+4:]))
		switch data[pos] {
		case frameEntry, frameIndex:
			pos += frameHeader + (size+7)&^7
		case frameCommit:
			binary.LittleEndian.PutUint32(data[pos+4:], crc32.Checksum(data[start:pos], castagnoli))
			pos += frameHeader
			start = pos
		default:
			return data
		}
	}
	return data
}

// TestSnapshotDigest: a file that is sealed all through and not the one that
// was named does not pass.
func TestSnapshotDigest(t *testing.T) {
	box := fuzzBox(t, "snapshot")
	ref := snapshotRef{name: "snapshot-1-8-0.hfs", index: 8, term: 1}
	file := snapshotUnit(box, ref, 0, 0, `{"index":8,"term":1}`)
	file = append(file, snapshotUnit(box, ref, 1, 1, "content")...)
	for _, right := range []bool{true, false} {
		ref.digest = sha256.Sum256(file)
		if !right {
			ref.digest[0]++
		}
		r := newSnapshotReader(box, ref, bytes.NewReader(file))
		if err := r.readInfo(); err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if right && (err != nil || string(content) != "content") {
			t.Errorf("got %q, %v", content, err)
		}
		if !right && (!errors.Is(err, kms.Damaged) || len(content) != 0) {
			t.Errorf("another file: got %q, %v", content, err)
		}
	}
}

func snapshotUnit(box *seal.Box, ref snapshotRef, number uint64, last byte, plain string) []byte {
	sealed := box.Seal(nil, []byte(plain), unitAAD(ref.name, number, last))
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(sealed))), append([]byte{last}, sealed...)...)
}

// FuzzSnapshot feeds a snapshot's file under its true digest: what is behind
// the digest must not be trusted either.
func FuzzSnapshot(f *testing.F) {
	box := fuzzBox(f, "snapshot")
	ref := snapshotRef{name: "snapshot-1-8-0.hfs", index: 8, term: 1}
	info := snapshotUnit(box, ref, 0, 0, `{"index":8,"term":1}`)
	f.Add(append(bytes.Clone(info), snapshotUnit(box, ref, 1, 1, "content")...))
	f.Add(append(append(bytes.Clone(info), snapshotUnit(box, ref, 1, 0, "con")...), snapshotUnit(box, ref, 2, 1, "tent")...))
	f.Add(snapshotUnit(box, ref, 0, 1, `{"index":8,"term":1}`))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, file []byte) {
		ref := ref
		ref.digest = sha256.Sum256(file)
		r := newSnapshotReader(box, ref, bytes.NewReader(file))
		if err := r.readInfo(); err != nil {
			mustDamage(t, err)
			return
		}
		_, err := io.Copy(io.Discard, r)
		mustDamage(t, err)
	})
}

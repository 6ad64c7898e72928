package storage

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfast-kms/holdfast/kms"
)

const (
	metaName    = "meta"
	metaVersion = 1

	// maxMeta bounds the file that is read back; 32 MiB would be a list of
	// 400,000 segments.
	maxMeta = 32 << 20
)

// A meta is what raft-wal and raft want kept beside the log, and which snapshot
// counts. It is an immutable value: a change makes a new one.
//
// The snapshot is named here and not in head, because an older copy of head
// is accepted where it differs only by what the log itself proves; meta is not.
type meta struct {
	seq      uint64 // counts the metas
	layout   uint64 // counts the changes to the list of segments
	nextID   uint64 // of the next segment
	segments []types.SegmentInfo
	stable   map[string][]byte
	snap     snapshotRef
}

// A snapshotRef names a snapshot; the zero value names none.
type snapshotRef struct {
	name        string
	digest      [sha256.Size]byte // of the file
	index, term uint64            // of the last entry that it covers
}

func (m meta) withSegments(ps types.PersistentState) meta {
	m.seq++
	m.layout++
	m.nextID, m.segments = ps.NextSegmentID, slices.Clone(ps.Segments)
	return m
}

func (m meta) withStable(key string, value []byte) meta {
	m.seq++
	m.stable = maps.Clone(m.stable)
	if m.stable == nil {
		m.stable = make(map[string][]byte)
	}
	m.stable[key] = slices.Clone(value)
	return m
}

func (m meta) withSnapshot(ref snapshotRef) meta {
	m.seq++
	m.snap = ref
	return m
}

func (m meta) state() types.PersistentState {
	return types.PersistentState{NextSegmentID: m.nextID, Segments: slices.Clone(m.segments)}
}

const segmentFields = 7*8 + 8 + 4

func (m meta) marshal() []byte {
	b := make([]byte, 0, 64+len(m.segments)*segmentFields)
	b = append(b, metaVersion)
	for _, v := range []uint64{m.seq, m.layout, m.nextID} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.segments)))
	for _, s := range m.segments {
		for _, v := range []uint64{
			s.ID, s.BaseIndex, s.MinIndex, s.MaxIndex, s.Codec, s.IndexStart, stamp(s.CreateTime), stamp(s.SealTime),
		} {
			b = binary.BigEndian.AppendUint64(b, v)
		}
		b = binary.BigEndian.AppendUint32(b, s.SizeLimit)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.stable)))
	for _, key := range slices.Sorted(maps.Keys(m.stable)) {
		b = appendCounted(b, []byte(key))
		b = appendCounted(b, m.stable[key])
	}
	b = appendCounted(b, []byte(m.snap.name))
	b = append(b, m.snap.digest[:]...)
	b = binary.BigEndian.AppendUint64(b, m.snap.index)
	return binary.BigEndian.AppendUint64(b, m.snap.term)
}

func appendCounted(b, field []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
	return append(b, field...)
}

// stamp keeps the zero time zero, which to raft-wal means "not sealed", and
// any other time from becoming it.
func stamp(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	if ns := t.UnixNano(); ns != 0 {
		return uint64(ns)
	}
	return 1
}

func unstamp(v uint64) time.Time {
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(v)).UTC()
}

func parseMeta(plain []byte) (meta, error) {
	var m meta
	c := cursor{rest: plain}
	version := c.u8()
	m.seq, m.layout, m.nextID = c.u64(), c.u64(), c.u64()
	for range c.u32() {
		s := types.SegmentInfo{
			ID: c.u64(), BaseIndex: c.u64(), MinIndex: c.u64(), MaxIndex: c.u64(), Codec: c.u64(), IndexStart: c.u64(),
			CreateTime: unstamp(c.u64()), SealTime: unstamp(c.u64()), SizeLimit: c.u32(),
		}
		if c.bad { // a count is no reason to go on
			break
		}
		m.segments = append(m.segments, s)
	}
	last := ""
	for i := range c.u32() {
		key := string(c.bytes(uint64(c.u32())))
		value := c.bytes(uint64(c.u32()))
		if c.bad || (i > 0 && key <= last) {
			return meta{}, errMeta
		}
		if m.stable == nil {
			m.stable = make(map[string][]byte)
		}
		m.stable[key], last = value, key
	}
	m.snap.name = string(c.bytes(uint64(c.u32())))
	copy(m.snap.digest[:], c.bytes(sha256.Size))
	m.snap.index, m.snap.term = c.u64(), c.u64()
	if !c.done() || version != metaVersion {
		return meta{}, errMeta
	}
	return m, m.validate()
}

var errMeta = kms.Errorf(kms.Damaged, "meta of an unknown form")

// validate refuses a list that raft-wal would stumble over.
func (m meta) validate() error {
	for i, s := range m.segments {
		tail := i == len(m.segments)-1
		sealed := !s.SealTime.IsZero()
		switch {
		case s.BaseIndex == 0 || s.MinIndex < s.BaseIndex || s.MaxIndex == math.MaxUint64 || s.ID >= m.nextID,
			sealed == tail,
			sealed && (s.MaxIndex < s.MinIndex || s.IndexStart < frameHeader || s.IndexStart > math.MaxUint32),
			i > 0 && s.BaseIndex != m.segments[i-1].MaxIndex+1:
			return kms.Errorf(kms.Damaged, "meta with an impossible segment %d", s.ID)
		}
	}
	return nil
}

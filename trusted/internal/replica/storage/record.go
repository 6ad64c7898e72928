package storage

import (
	"encoding/binary"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/seal"
)

// A tag stands for a record: it covers what the record holds, its index and
// the tag before it.
type tag [seal.TagLen]byte

// A mark is what is remembered of each record in the log, to know it again.
type mark struct {
	tag  tag
	term uint64
}

// A log record is
//
//	tag of the previous record (16) | sealed: version (1) | term (8) | type (1) | appended at, Unix ns (8) |
//	                                          length of extensions (4) | extensions | data
//
// with the index and the previous tag as additional data; domain and node are
// in the box's label. It carries the previous tag so that it opens alone, and
// the chain is checked by comparing. Only the index is left in clear in
// raft-wal's own encoding, which files records by it.
const (
	recordVersion = 1
	recordFixed   = 1 + 8 + 1 + 8 + 4

	// maxEntry bounds one entry, and so what a hostile length can make us
	// allocate; maxBatch bounds one append, whose offsets raft-wal counts in 32 bits.
	maxEntry  = 16 << 20
	maxBatch  = 1 << 30
	maxRecord = maxEntry + recordFixed + seal.TagLen + seal.Overhead
)

func recordAAD(index uint64, prev tag) (aad [8 + seal.TagLen]byte) {
	binary.BigEndian.PutUint64(aad[:8], index)
	copy(aad[8:], prev[:])
	return aad
}

func appendPlain(dst []byte, l *raft.Log) []byte {
	var at int64
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	dst = append(dst, recordVersion)
	dst = binary.BigEndian.AppendUint64(dst, l.Term)
	dst = append(dst, byte(l.Type))
	dst = binary.BigEndian.AppendUint64(dst, uint64(at))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(l.Extensions)))
	dst = append(dst, l.Extensions...)
	return append(dst, l.Data...)
}

// openRecord opens the record of an index. What it returns is authentic for
// that index; whether it is the one that belongs there, the tags tell.
func openRecord(box *seal.Box, index uint64, record []byte) (l raft.Log, prev, own tag, err error) {
	if len(record) < len(prev) {
		return l, prev, own, kms.Errorf(kms.Damaged, "record %d is too short", index)
	}
	prev, own = tag(record[:len(prev)]), tag(seal.Tag(record))
	aad := recordAAD(index, prev)
	plain, err := box.Open(nil, record[len(prev):], aad[:])
	if err != nil {
		return l, prev, own, kms.Errorf(kms.Damaged, "record %d does not open", index)
	}
	if l, err = parsePlain(plain); err != nil {
		return l, prev, own, err
	}
	l.Index = index
	return l, prev, own, nil
}

func parsePlain(plain []byte) (l raft.Log, err error) {
	c := cursor{rest: plain}
	version := c.u8()
	l.Term = c.u64()
	l.Type = raft.LogType(c.u8())
	if at := int64(c.u64()); at != 0 {
		l.AppendedAt = time.Unix(0, at).UTC()
	}
	l.Extensions = orNil(c.bytes(uint64(c.u32())))
	if c.bad || version != recordVersion {
		return raft.Log{}, kms.Errorf(kms.Damaged, "record of an unknown form")
	}
	l.Data = orNil(c.rest)
	return l, nil
}

// orNil returns what raft-wal would for an empty field.
func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// A batch seals the entries of one append into buffers that it reuses. The
// records are valid until the next seal.
type batch struct {
	plain, records []byte
	logs           []raft.Log
	refs           []*raft.Log
	marks          []mark
}

// keepBuffer is the largest buffer that a batch keeps for the next.
const keepBuffer = 4 << 20

// seal seals entries that follow a record with the tag prev.
func (b *batch) seal(box *seal.Box, entries []*raft.Log, prev tag) {
	size := 0
	for _, l := range entries {
		size += seal.TagLen + seal.Overhead + recordFixed + len(l.Extensions) + len(l.Data)
	}
	if cap(b.records) < size {
		b.records = make([]byte, 0, size)
	}
	b.records, b.logs, b.refs, b.marks = b.records[:0], b.logs[:0], b.refs[:0], b.marks[:0]
	for _, l := range entries {
		start := len(b.records)
		b.plain = appendPlain(b.plain[:0], l)
		aad := recordAAD(l.Index, prev)
		b.records = append(b.records, prev[:]...)
		b.records = box.Seal(b.records, b.plain, aad[:])
		record := b.records[start:len(b.records):len(b.records)]
		prev = tag(seal.Tag(record))
		b.logs = append(b.logs, raft.Log{Index: l.Index, Data: record})
		b.marks = append(b.marks, mark{tag: prev, term: l.Term})
	}
	for i := range b.logs {
		b.refs = append(b.refs, &b.logs[i])
	}
}

// done lets go of buffers that grew too large.
func (b *batch) done() {
	clear(b.plain)
	if cap(b.records) > keepBuffer || cap(b.plain) > keepBuffer {
		*b = batch{}
	}
}

// clearTime is how raft-wal encodes the zero time: we seal the time ourselves.
var clearTime, _ = time.Time{}.MarshalBinary()

// unwrap takes a record out of raft-wal's encoding of a raft.Log: index, term,
// type, data and extensions as varints and counted bytes, then a time. Ours
// has no term, type, extensions or time in clear, so everything but the record
// is known in advance, and anything else is refused. In particular no varint
// is passed on that raft-wal's decoder would run past the buffer with.
func unwrap(raw []byte, index uint64) ([]byte, bool) {
	var head [2*binary.MaxVarintLen64 + 2]byte
	known := append(binary.AppendUvarint(head[:0], index), 0, 0) // term, type
	if len(raw) < len(known) || string(raw[:len(known)]) != string(known) {
		return nil, false
	}
	raw = raw[len(known):]
	size, n := binary.Uvarint(raw)
	if n <= 0 || size == 0 || size > maxRecord || (n > 1 && raw[n-1] == 0) {
		return nil, false
	}
	raw = raw[n:]
	if uint64(len(raw)) < size {
		return nil, false
	}
	record, rest := raw[:size], raw[size:]
	if len(rest) != 1+len(clearTime) || rest[0] != 0 || string(rest[1:]) != string(clearTime) {
		return nil, false
	}
	return record, true
}

package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfast-kms/holdfast/kms"
)

// This file reads raft-wal's segments (segment/format.go of v0.4.2, version 0
// of the format) before raft-wal does: its own reader trusts lengths, offsets
// and varints, and forgives what a torn write leaves but also what a host cuts off.
//
//	file   = header, batch...
//	header = magic (4) | 0 0 0 | version 0 (1) | base index (8) | id (8) | codec (8)
//	batch  = entry frame... , index frame if the segment ends here, commit frame
//	frame  = type (1) | 0 0 0 | length, or in a commit CRC-32C of the batch (4) | payload | zeros up to 8 bytes
//
// all little endian. The first batch's checksum covers the header too. An index
// frame holds the 4-byte offset of each entry's frame. Space that was reserved
// and not yet written is zero.
const (
	segmentMagic  = 0x58eb6b0d
	segmentHeader = 32
	frameHeader   = 8

	frameEnd    = 0
	frameEntry  = 1
	frameIndex  = 2
	frameCommit = 3

	// walOverhead is the most that raft-wal's encoding adds to a record.
	walOverhead = 64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segmentName is raft-wal's name for a segment's file (segment/filer.go).
func segmentName(info types.SegmentInfo) string {
	return fmt.Sprintf("%020d-%016x.wal", info.BaseIndex, info.ID)
}

// isSegment reports whether name is one that segmentName makes.
func isSegment(name string) bool {
	var info types.SegmentInfo
	n, err := fmt.Sscanf(name, "%020d-%016x.wal", &info.BaseIndex, &info.ID)
	return err == nil && n == 2 && name == segmentName(info)
}

// A visitor is told what lies in a segment. Entries count once their batch is
// committed. An error from either ends the walk before the batch.
type visitor interface {
	entry(index uint64, raw []byte) error // raw is valid during the call
	commit() error
}

// A walk is what was found in a segment.
type walk struct {
	end        int64  // of the last batch that is whole; 0: none is
	last       uint64 // index of the last entry up to there; base index - 1: none
	indexStart uint64 // where the index frame's payload begins; 0: there is none up to there
	stop       error  // why the walk ended; nil: there was nothing more
}

// walkSegment reads a segment from its beginning up to the first thing that is
// not in order, or the commit after an index frame, after which there is
// nothing. The error is one of reading; whatever the bytes are, is in walk.stop.
//
// It is written for hostile bytes: a length is believed up to what one entry
// may have, and nothing is read that is not there.
func walkSegment(r io.ReaderAt, info types.SegmentInfo, v visitor) (walk, error) {
	w := walker{walk: walk{last: info.BaseIndex - 1}, in: reader{r: r}, info: info, v: v}
	err := w.run()
	var ioErr *readError
	if errors.As(err, &ioErr) {
		return w.walk, ioErr
	}
	w.stop = err
	return w.walk, nil
}

type walker struct {
	walk
	in   reader
	info types.SegmentInfo
	v    visitor

	pos        int64    // of the next frame
	crc        uint32   // of the batch so far
	offsets    []uint32 // of all entry frames so far
	batchIndex uint64   // indexStart, once this batch is committed
}

var errCut = kms.Errorf(kms.Damaged, "ends in the middle of a frame")

func (w *walker) run() error {
	if err := w.header(); err != nil {
		return err
	}
	most := int64(w.info.SizeLimit) + maxBatch // the last batch may go beyond the limit
	for w.indexStart == 0 {
		if w.pos > most {
			return kms.Errorf(kms.Damaged, "longer than a segment can be")
		}
		head, err := w.in.at(w.pos, frameHeader)
		if err != nil {
			return endOf(err)
		}
		kind, size := head[0], binary.LittleEndian.Uint32(head[4:])
		if kind == frameEnd && binary.LittleEndian.Uint64(head) == 0 {
			return nil
		}
		if head[1]|head[2]|head[3] != 0 {
			return kms.Errorf(kms.Damaged, "frame at %d is of an unknown form", w.pos)
		}
		if err := w.frame(kind, size); err != nil {
			return err
		}
	}
	return nil
}

// endOf makes the end of the file the end of the walk: a file need not be padded.
func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (w *walker) header() error {
	want := make([]byte, 0, segmentHeader)
	want = binary.LittleEndian.AppendUint64(want, segmentMagic)
	want = binary.LittleEndian.AppendUint64(want, w.info.BaseIndex)
	want = binary.LittleEndian.AppendUint64(want, w.info.ID)
	want = binary.LittleEndian.AppendUint64(want, w.info.Codec)
	got, err := w.in.at(0, segmentHeader)
	if err != nil {
		return endOf(err)
	}
	if string(got) != string(want) {
		return kms.Errorf(kms.Damaged, "header is not this segment's")
	}
	w.crc = crc32.Update(0, castagnoli, got)
	w.pos = segmentHeader
	return nil
}

func (w *walker) frame(kind byte, size uint32) error {
	switch kind {
	case frameEntry:
		if w.batchIndex != 0 || size > maxRecord+walOverhead {
			return kms.Errorf(kms.Damaged, "frame at %d cannot be an entry", w.pos)
		}
		return w.entry(size)
	case frameIndex:
		if w.batchIndex != 0 || len(w.offsets) == 0 || uint64(size) != 4*uint64(len(w.offsets)) {
			return kms.Errorf(kms.Damaged, "frame at %d cannot be an index", w.pos)
		}
		return w.index(size)
	case frameCommit:
		return w.commit(size)
	}
	return kms.Errorf(kms.Damaged, "frame at %d is of an unknown kind", w.pos)
}

// take reads a frame with its padding, adds it to the checksum and steps over
// it. It returns the payload.
func (w *walker) take(size uint32) ([]byte, error) {
	padded := (int64(size) + 7) &^ 7
	whole, err := w.in.at(w.pos, frameHeader+int(padded))
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errCut
		}
		return nil, err
	}
	w.crc = crc32.Update(w.crc, castagnoli, whole)
	w.pos += int64(len(whole))
	return whole[frameHeader : frameHeader+int(size)], nil
}

func (w *walker) entry(size uint32) error {
	w.offsets = append(w.offsets, uint32(w.pos))
	raw, err := w.take(size)
	if err != nil {
		return err
	}
	return w.v.entry(w.info.BaseIndex+uint64(len(w.offsets))-1, raw)
}

// index checks the offsets, which raft-wal will follow.
func (w *walker) index(size uint32) error {
	w.batchIndex = uint64(w.pos) + frameHeader
	raw, err := w.take(size)
	if err != nil {
		return err
	}
	for i, offset := range w.offsets {
		if binary.LittleEndian.Uint32(raw[4*i:]) != offset {
			return kms.Errorf(kms.Damaged, "index names a wrong place for entry %d", w.info.BaseIndex+uint64(i))
		}
	}
	return nil
}

func (w *walker) commit(sum uint32) error {
	if sum != w.crc {
		return kms.Errorf(kms.Damaged, "checksum at %d does not fit", w.pos)
	}
	if err := w.v.commit(); err != nil {
		return err
	}
	w.pos += frameHeader
	w.crc = 0
	w.end = w.pos
	w.last = w.info.BaseIndex + uint64(len(w.offsets)) - 1
	w.indexStart = w.batchIndex
	return nil
}

// A readError is a failure of the disk, not of what lies on it.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// readAhead is how much a reader asks the disk for at a time.
const readAhead = 64 << 10

// A reader reads a file from front to back in large pieces.
type reader struct {
	r     io.ReaderAt
	buf   []byte
	start int64 // of buf in the file
}

// at returns n bytes at pos, valid until the next call. The error is io.EOF
// where the file ends before, else a *readError.
func (r *reader) at(pos int64, n int) ([]byte, error) {
	if pos < r.start || pos+int64(n) > r.start+int64(len(r.buf)) {
		if err := r.fill(pos, n); err != nil {
			return nil, err
		}
	}
	off := pos - r.start
	return r.buf[off : off+int64(n)], nil
}

func (r *reader) fill(pos int64, n int) error {
	size := max(n, readAhead)
	if cap(r.buf) < size {
		r.buf = make([]byte, size)
	}
	got, err := r.r.ReadAt(r.buf[:size], pos)
	r.buf, r.start = r.buf[:got], pos
	if err != nil && !errors.Is(err, io.EOF) {
		return &readError{err}
	}
	if got < n {
		return io.EOF
	}
	return nil
}

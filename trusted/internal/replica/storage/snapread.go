package storage

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"math"
	"path"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/seal"
)

// A snapshotReader returns a snapshot's content, each chunk once it has been
// verified, and the last one once the whole file has its digest. It holds one
// chunk in memory.
type snapshotReader struct {
	box    *seal.Box
	ref    snapshotRef
	path   string // for errors
	info   snapshotInfo
	latch  *latch // nil: an error is only returned
	close  func() error
	in     *bufio.Reader
	digest hash.Hash
	number uint64
	sealed []byte
	plain  []byte
	chunk  []byte // of plain: not read yet
	ended  bool   // the last chunk is in plain
	err    error
}

// readSnapshot opens a snapshot's file and reads what raft says of it.
func (s *Store) readSnapshot(ref snapshotRef) (*snapshotReader, error) {
	f, err := s.cfg.Disk.OpenReader(s.cfg.Dir, ref.name)
	if err != nil {
		return nil, s.anchor.reading(ref.name, err)
	}
	r := newSnapshotReader(s.boxes.snap, ref, io.NewSectionReader(f, 0, math.MaxInt64))
	r.path, r.close = path.Join(s.cfg.Dir, ref.name), f.Close
	if err := r.readInfo(); err != nil {
		return nil, errors.Join(r.typed(err), f.Close())
	}
	return r, nil
}

func newSnapshotReader(box *seal.Box, ref snapshotRef, file io.Reader) *snapshotReader {
	return &snapshotReader{
		box: box, ref: ref, path: ref.name, in: bufio.NewReaderSize(file, chunkSize), digest: sha256.New(),
		close: func() error { return nil },
	}
}

// verifySnapshot reads a snapshot to its end and returns what is to be told of it.
func (s *Store) verifySnapshot(ref snapshotRef) (*raft.SnapshotMeta, error) {
	r, err := s.readSnapshot(ref)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	size, err := io.Copy(io.Discard, r)
	if err != nil {
		return nil, err
	}
	return r.info.raft(ref.name, size), nil
}

func (r *snapshotReader) readInfo() error {
	if err := r.unit(); err != nil {
		return err
	}
	if err := json.Unmarshal(r.plain, &r.info); err != nil {
		return kms.Errorf(kms.Damaged, "its description is of an unknown form")
	}
	if r.ended || r.info.Index != r.ref.index || r.info.Term != r.ref.term {
		return kms.Errorf(kms.Damaged, "its description is not the one that meta has")
	}
	return nil
}

// unit reads and opens the next unit.
func (r *snapshotReader) unit() error {
	var head [unitHeader]byte
	if _, err := io.ReadFull(r.in, head[:]); err != nil {
		return cut(err)
	}
	size, last := binary.BigEndian.Uint32(head[:4]), head[4]
	if size > maxUnit || last > 1 || (r.number > 0 && size > chunkSize+seal.Overhead) {
		return kms.Errorf(kms.Damaged, "unit %d is of an unknown form", r.number)
	}
	if uint32(cap(r.sealed)) < size {
		r.sealed = make([]byte, size)
	}
	r.sealed = r.sealed[:size]
	if _, err := io.ReadFull(r.in, r.sealed); err != nil {
		return cut(err)
	}
	r.digest.Write(head[:])
	r.digest.Write(r.sealed)
	plain, err := r.box.Open(r.plain[:0], r.sealed, unitAAD(r.ref.name, r.number, last))
	if err != nil {
		return kms.Errorf(kms.Damaged, "unit %d does not open", r.number)
	}
	r.plain = plain
	r.number++
	r.ended = last == 1
	if r.ended {
		return r.end()
	}
	return nil
}

// end checks what only the end shows.
func (r *snapshotReader) end() error {
	if _, err := r.in.ReadByte(); err == nil {
		return kms.Errorf(kms.Damaged, "goes on after its last unit")
	} else if !errors.Is(err, io.EOF) {
		return &readError{err}
	}
	if [sha256.Size]byte(r.digest.Sum(nil)) != r.ref.digest {
		return kms.Errorf(kms.Damaged, "is not the file that meta names")
	}
	return nil
}

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return kms.Errorf(kms.Damaged, "ends too early")
	}
	return &readError{err}
}

func (r *snapshotReader) Read(p []byte) (int, error) {
	for len(r.chunk) == 0 && r.err == nil {
		if r.ended {
			r.err = io.EOF
			break
		}
		if err := r.unit(); err != nil {
			r.err = r.typed(err)
			if r.latch != nil {
				r.err = r.latch.trip(r.err)
			}
			break
		}
		r.chunk = r.plain
	}
	if len(r.chunk) == 0 {
		return 0, r.err
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

// typed tells damage from a disk that cannot be read.
func (r *snapshotReader) typed(err error) error {
	var ioErr *readError
	if errors.As(err, &ioErr) {
		return unreadable(r.path, err)
	}
	return damagedAt(r.path, "%w", err)
}

func (r *snapshotReader) Close() error { return r.close() }

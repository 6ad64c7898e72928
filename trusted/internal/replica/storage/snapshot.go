package storage

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfast-kms/holdfast/kms"
)

// A snapshot's file is a row of units, each
//
//	length (4, big endian) | last (1) | sealed
//
// Unit 0 holds what raft says of the snapshot, the others its content in
// chunks of 64 KiB; the last one, which alone is marked so, may be shorter or
// empty. The file's name, the unit's number and the mark are bound to each.
//
// The name is random and meta alone makes a snapshot count, so it is written
// under its own name: a temporary one would add a state and no safety.
const (
	snapshotPrefix = "snapshot-"
	snapshotSuffix = ".hfs"

	chunkSize  = 64 << 10
	unitHeader = 4 + 1
	// maxUnit bounds a unit that is read back; that of the metadata holds the
	// domain's members.
	maxUnit = 4 << 20
)

func isSnapshot(name string) bool {
	return strings.HasPrefix(name, snapshotPrefix) && strings.HasSuffix(name, snapshotSuffix)
}

// snapshotInfo is what raft says of a snapshot.
type snapshotInfo struct {
	Version            raft.SnapshotVersion `json:"version"`
	Index              uint64               `json:"index"`
	Term               uint64               `json:"term"`
	Configuration      raft.Configuration   `json:"configuration"`
	ConfigurationIndex uint64               `json:"configuration_index"`
}

func unitAAD(name string, number uint64, last byte) []byte {
	return fmt.Appendf(nil, "%s/%d/%d", name, number, last)
}

// snapshotStore is a Store as raft.SnapshotStore.
type snapshotStore Store

// List returns the snapshot that meta names, or nothing: raft would take an
// older one in silence if it could not read the newest.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	s.snapMu.Lock()
	defer s.snapMu.Unlock()
	if s.snap == nil {
		return nil, nil
	}
	meta := *s.snap
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open opens the snapshot that meta names. What the reader returns is
// verified; an error of it latches.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.snapMu.Lock()
	meta := s.snap
	ref := s.anchor.snapshot()
	s.snapMu.Unlock()
	if meta == nil || id != meta.ID || id != ref.name {
		return nil, nil, kms.Errorf(kms.NotFound, "no snapshot %q", id)
	}
	r, err := (*Store)(s).readSnapshot(ref)
	if err != nil {
		return nil, nil, s.latch.trip(err)
	}
	r.latch = s.latch
	out := *meta
	return &out, r, nil
}

// Create begins a snapshot. It counts once the sink's Close has returned nil.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if err := s.latch.err(); err != nil {
		return nil, err
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, kms.Errorf(kms.Internal, "drawing a name: %w", err)
	}
	name := fmt.Sprintf("%s%d-%d-%s%s", snapshotPrefix, term, index, hex.EncodeToString(random[:]), snapshotSuffix)
	file, err := s.cfg.Disk.Create(s.cfg.Dir, name, 0)
	if err != nil {
		return nil, s.latch.trip(kms.Errorf(kms.Unavailable, "making the file: %w", err).WithFile(path.Join(s.cfg.Dir, name)))
	}
	k := &sink{
		s: (*Store)(s), name: name, file: file, digest: sha256.New(), chunk: make([]byte, 0, chunkSize),
		info: snapshotInfo{version, index, term, configuration, configurationIndex},
	}
	info, err := json.Marshal(k.info)
	if err != nil {
		return nil, errors.Join(kms.Errorf(kms.Internal, "encoding: %w", err), k.Cancel())
	}
	if err := k.unit(info, false); err != nil {
		return nil, err
	}
	return k, nil
}

// A sink writes a snapshot; raft uses it from one goroutine at a time.
type sink struct {
	s      *Store
	name   string
	info   snapshotInfo
	file   types.WritableFile
	digest hash.Hash
	offset int64
	number uint64 // of the next unit
	size   int64  // of what was written to the sink
	chunk  []byte // not written out yet
	out    []byte
	ended  bool
}

func (k *sink) ID() string { return k.name }

func (k *sink) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		if len(k.chunk) == chunkSize { // only now is it known not to be the last
			if err := k.flush(false); err != nil {
				return 0, err
			}
		}
		n := min(len(p), chunkSize-len(k.chunk))
		k.chunk = append(k.chunk, p[:n]...)
		p = p[n:]
	}
	k.size += int64(written)
	return written, nil
}

func (k *sink) flush(last bool) error {
	err := k.unit(k.chunk, last)
	k.chunk = k.chunk[:0]
	return err
}

func (k *sink) unit(plain []byte, last bool) error {
	if err := k.s.latch.err(); err != nil {
		return err
	}
	mark := byte(0)
	if last {
		mark = 1
	}
	k.out = append(k.out[:0], make([]byte, unitHeader)...)
	k.out = k.s.boxes.snap.Seal(k.out, plain, unitAAD(k.name, k.number, mark))
	size := len(k.out) - unitHeader
	k.out[0], k.out[1], k.out[2], k.out[3], k.out[4] = byte(size>>24), byte(size>>16), byte(size>>8), byte(size), mark
	if _, err := k.file.WriteAt(k.out, k.offset); err != nil {
		return k.fail("writing", err)
	}
	k.digest.Write(k.out)
	k.offset += int64(len(k.out))
	k.number++
	return nil
}

func (k *sink) fail(doing string, err error) error {
	return k.s.latch.trip(kms.Errorf(kms.Unavailable, "%s: %w", doing, err).WithFile(path.Join(k.s.cfg.Dir, k.name)))
}

// Close makes the snapshot the one that counts. The file is durable before
// meta names it, and meta is durable before the older snapshot goes: whenever
// we crash, meta names one that is there.
func (k *sink) Close() error {
	if k.ended {
		return nil
	}
	k.ended = true
	if err := k.flush(true); err != nil {
		return errors.Join(err, k.file.Close())
	}
	if err := k.file.Sync(); err != nil {
		return errors.Join(k.fail("making durable", err), k.file.Close())
	}
	if err := k.file.Close(); err != nil {
		return k.fail("closing", err)
	}
	return k.s.adopt(k)
}

// Cancel gives the snapshot up.
func (k *sink) Cancel() error {
	if k.ended {
		return nil
	}
	k.ended = true
	err := k.file.Close()
	k.s.removeSnapshot(k.name)
	return err
}

// adopt makes a finished snapshot the one that counts.
func (s *Store) adopt(k *sink) error {
	s.snapMu.Lock()
	defer s.snapMu.Unlock()
	ref := snapshotRef{name: k.name, index: k.info.Index, term: k.info.Term}
	k.digest.Sum(ref.digest[:0])
	older, err := s.anchor.name(ref)
	if err != nil {
		if s.latch.err() == nil { // it came too late, see anchor.name
			s.removeSnapshot(k.name)
		}
		return err
	}
	s.snap = k.info.raft(k.name, k.size)
	s.anchor.reached(ref.index) // all that it holds is committed
	if older != "" {
		s.removeSnapshot(older)
	}
	return nil
}

// removeSnapshot sets a file aside that meta does not name. If that fails, the
// next Open does it again.
func (s *Store) removeSnapshot(name string) {
	if s.latch.err() != nil {
		return
	}
	if err := s.cfg.Disk.Delete(s.cfg.Dir, name); err != nil {
		s.cfg.Logger.Warn("a snapshot that is no longer needed stays until the next start", "file", name, "error", err)
	}
}

func (i snapshotInfo) raft(name string, size int64) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: i.Version, ID: name, Index: i.Index, Term: i.Term,
		Configuration: i.Configuration, ConfigurationIndex: i.ConfigurationIndex, Size: size,
	}
}

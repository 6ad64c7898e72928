package storage

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"path"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/seal"
)

// An anchor is head and meta: in memory, where they are true, and on disk,
// where they are compared with it before each write. It is the types.MetaStore
// of raft-wal.
//
// Its methods latch their errors themselves: raft-wal calls CommitState from a
// goroutine that only logs what went wrong.
type anchor struct {
	disk             Disk
	dir              string
	headBox, metaBox *seal.Box
	latch            *latch
	applied          atomic.Uint64 // what the next head says of it, or more

	// mu is taken last: nothing that holds it calls raft-wal, which calls
	// CommitState while StoreLogs waits for it.
	mu     sync.Mutex
	file   types.WritableFile // of head
	head   head
	slot   int    // where head was written last
	record []byte // what lies there
	meta   meta
	sealed []byte // what lies in meta's file
}

var _ types.MetaStore = (*anchor)(nil)

// create writes the head of an empty log. Meta follows with raft-wal's first
// CommitState; a crash between leaves a store that Open calls damaged, which
// nobody has been told to be there.
func (a *anchor) create() error {
	f, err := a.disk.Create(a.dir, headName, headSize)
	if err != nil {
		return a.latch.trip(kms.Errorf(kms.Unavailable, "making the file: %w", err).WithFile(path.Join(a.dir, headName)))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.file, a.slot = f, slots-1
	return a.writeHead(head{first: 1}, durable)
}

// Whether a head must be on the disk before its write returns.
const (
	durable = true
	lazy    = false // the kernel has it: it outlives the process, not a power cut
)

// advance says that the log reaches to last. It is what every append waits
// for, so it is lazy: it costs one read and one write of a few hundred bytes
// and no fsync.
func (a *anchor) advance(first, last uint64, m mark, sync bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.head
	h.first, h.last, h.lastTag, h.lastTerm = first, last, m.tag, m.term
	return a.writeHead(h, sync)
}

// shrink says that the log holds no more than first to last.
func (a *anchor) shrink(first, last uint64, m mark) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.head
	h.first, h.last, h.lastTag, h.lastTerm = first, last, m.tag, m.term
	if h.empty() {
		// What comes next follows no record that ever was, so that after a
		// crash the removed records cannot be taken for new ones.
		if _, err := rand.Read(h.lastTag[:]); err != nil {
			return a.latch.trip(kms.Errorf(kms.Internal, "drawing a tag: %w", err))
		}
	}
	return a.writeHead(h, durable)
}

// name says which snapshot counts, durably. It refuses to go back: a snapshot
// of our own state that took long may end after a newer one came from the leader.
func (a *anchor) name(ref snapshotRef) (older string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.meta.snap
	if ref.index < now.index {
		return "", kms.Errorf(kms.Conflict, "a snapshot of entry %d is already there, this one is of entry %d", now.index, ref.index)
	}
	return now.name, a.replaceMeta(a.meta.withSnapshot(ref))
}

// snapshot returns which snapshot counts.
func (a *anchor) snapshot() snapshotRef {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.meta.snap
}

func (a *anchor) current() head {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.head
}

// writeHead writes h into the slot that does not hold the current head. The
// caller holds mu.
func (a *anchor) writeHead(h head, sync bool) error {
	if err := a.latch.err(); err != nil {
		return err
	}
	if err := a.tryWriteHead(h, sync); err != nil {
		return a.latch.trip(err)
	}
	return nil
}

func (a *anchor) tryWriteHead(h head, sync bool) error {
	if err := a.sameHead(a.file.ReadAt); err != nil {
		return err
	}
	h.seq = a.head.seq + 1
	h.applied = max(h.applied, a.applied.Load())
	slot := (a.slot + 1) % slots
	record := a.headBox.Seal(make([]byte, 0, headSealed), h.marshal(), slotAAD(slot))
	if _, err := a.file.WriteAt(record, int64(slot)*slotStep); err != nil {
		return kms.Errorf(kms.Unavailable, "writing: %w", err).WithFile(path.Join(a.dir, headName))
	}
	if sync {
		if err := a.file.Sync(); err != nil {
			return kms.Errorf(kms.Unavailable, "making durable: %w", err).WithFile(path.Join(a.dir, headName))
		}
	}
	a.head, a.slot, a.record = h, slot, record
	return nil
}

// sameHead compares the slot that was written last with what was written. No
// head is in memory before the first write.
func (a *anchor) sameHead(readAt func([]byte, int64) (int, error)) error {
	if a.record == nil {
		return nil
	}
	var found [headSealed]byte
	n, err := readAt(found[:], int64(a.slot)*slotStep)
	if err != nil && !errors.Is(err, io.EOF) {
		return a.reading(headName, err)
	}
	if !bytes.Equal(found[:n], a.record) {
		return a.damaged(headName, "changed under the running node: it does not hold what was written last")
	}
	return nil
}

// replaceMeta makes m the meta, durably, and says so in head. The caller holds mu.
//
// Head is synced: so meta on the disk is the one that head there names or the
// one after, and an older head than that, or an older meta, is noticed.
func (a *anchor) replaceMeta(m meta) error {
	if err := a.compare(); err != nil {
		return err
	}
	sealed := a.metaBox.Seal(nil, m.marshal(), nil)
	if err := a.disk.Replace(a.dir, metaName, sealed); err != nil {
		return a.latch.trip(kms.Errorf(kms.Unavailable, "replacing: %w", err).WithFile(path.Join(a.dir, metaName)))
	}
	a.meta, a.sealed = m, sealed
	return a.nameMeta()
}

// nameMeta makes head name the meta, durably. The caller holds mu.
func (a *anchor) nameMeta() error {
	h := a.head
	h.metaSeq, h.layout = a.meta.seq, a.meta.layout
	return a.writeHead(h, durable)
}

// confirm is what a start does before anything else: the process that wrote
// meta may have died before it was durable, or before head named it. The same
// meta is made durable first, so that head never names one that a power cut
// takes back, and then named, so that the next one is one step away again.
func (a *anchor) confirm() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.compare(); err != nil {
		return err
	}
	if err := a.disk.Replace(a.dir, metaName, a.sealed); err != nil {
		return a.latch.trip(kms.Errorf(kms.Unavailable, "making durable: %w", err).WithFile(path.Join(a.dir, metaName)))
	}
	return a.nameMeta()
}

// compare reads head and meta by their names and compares them with what was
// written; by name, because a file that was put in the place of ours does not
// show through the one that we hold open. The caller holds mu.
func (a *anchor) compare() error {
	if err := a.latch.err(); err != nil {
		return err
	}
	if err := a.tryCompare(); err != nil {
		return a.latch.trip(err)
	}
	return nil
}

func (a *anchor) tryCompare() error {
	data, err := a.disk.ReadFile(a.dir, headName, headSize)
	if err != nil {
		return a.reading(headName, err)
	}
	if err := a.sameHead(bytes.NewReader(data).ReadAt); err != nil {
		return err
	}
	if a.sealed == nil { // no meta has been written yet
		return nil
	}
	found, err := a.disk.ReadFile(a.dir, metaName, int64(len(a.sealed))+1)
	if err != nil {
		return a.reading(metaName, err)
	}
	if !bytes.Equal(found, a.sealed) {
		return a.damaged(metaName, "changed under the running node: it does not hold what was written last")
	}
	return nil
}

// check compares, and has head say how far entries were applied by now.
func (a *anchor) check() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.compare(); err != nil || a.applied.Load() <= a.head.applied {
		return err
	}
	return a.writeHead(a.head, lazy)
}

// reached says that the entries up to index were applied.
func (a *anchor) reached(index uint64) {
	for old := a.applied.Load(); old < index && !a.applied.CompareAndSwap(old, index); old = a.applied.Load() {
	}
}

// Load returns what has been verified before.
func (a *anchor) Load(string) (types.PersistentState, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.meta.state(), nil
}

// CommitState keeps raft-wal's list of segments.
func (a *anchor) CommitState(ps types.PersistentState) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.replaceMeta(a.meta.withSegments(ps))
}

// GetStable returns a stable value, or nil. It answers from memory.
func (a *anchor) GetStable(key []byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return bytes.Clone(a.meta.stable[string(key)]), nil
}

// SetStable keeps a stable value. One that is there already costs a look at
// the disk but no write.
func (a *anchor) SetStable(key, value []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old, there := a.meta.stable[string(key)]; there && bytes.Equal(old, value) {
		return a.compare()
	}
	return a.replaceMeta(a.meta.withStable(string(key), value))
}

// Close is called by raft-wal, which knows nothing of the head.
func (a *anchor) Close() error { return nil }

func (a *anchor) closeHead() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	err := a.file.Close()
	a.file = nil
	return err
}

package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfast-kms/holdfast/kms"
)

// Open opens a store that is there. It verifies every byte that counts before
// raft-wal or raft sees one, changes nothing on the disk unless all of it
// holds, and returns an error of kind kms.Damaged that names the file otherwise.
// A disk that cannot be read gives kms.Unavailable.
func Open(cfg Config) (*Store, error) {
	s, err := newStore(cfg)
	if err != nil {
		return nil, err
	}
	r := &recovery{s: s, a: s.anchor}
	if err := r.verify(); err != nil {
		return nil, err
	}
	if err := r.resume(); err != nil {
		err = errors.Join(err, s.anchor.closeHead())
		if s.wal != nil {
			err = errors.Join(err, s.wal.Close())
		}
		return nil, err
	}
	r.tidy()
	return s, nil
}

// A recovery finds out what a store's files hold. It is the visitor of the
// segments in turn.
type recovery struct {
	s    *Store
	a    *anchor
	file string // that is being read
	head head
	torn bool // one of head's slots does not open

	// segments is the list that raft-wal is to get: that of meta, continued if
	// the tail turns out to be full.
	segments  types.PersistentState
	continued bool
	lastSeen  uint64 // last index that raft-wal will see; 0: none
	tail      string
	verified  int64    // how much of the tail counts
	unsynced  []string // the segments that may not be durable

	limit     uint64 // last index of the current segment that counts
	following bool   // a record has been seen that counts
	leftover  bool   // the records are those that head has dropped, all of them
	marks     window[mark]
	pending   window[raft.Log]
}

func (r *recovery) verify() error {
	for _, step := range []func() error{r.readHead, r.readMeta, r.readSnapshot, r.readLog} {
		if err := r.contain(step); err != nil {
			return err
		}
	}
	return nil
}

// contain is the last resort: the readers above are written for hostile bytes
// and fuzzed, but a node that falls over a byte would be the host's to stop
// without a word.
func (r *recovery) contain(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = r.a.damaged(r.file, "reading it went wrong: %v", p)
		}
	}()
	return do()
}

func (r *recovery) readHead() error {
	r.file = headName
	data, err := r.a.disk.ReadFile(r.a.dir, headName, headSize)
	if err != nil {
		return r.a.reading(headName, err)
	}
	found, err := readSlots(r.s.boxes.head, data)
	if err != nil {
		return r.a.damaged(headName, "%w", err)
	}
	r.head, r.torn = found.newest, found.torn
	if r.torn {
		r.s.cfg.Logger.Warn("one of the two records in head does not open; the other one counts", "file", headName)
	}
	r.a.head, r.a.slot, r.a.record = found.newest, found.slot, found.record
	r.a.reached(found.newest.applied)
	return nil
}

func (r *recovery) readMeta() error {
	r.file = metaName
	data, err := r.a.disk.ReadFile(r.a.dir, metaName, maxMeta+1)
	if err != nil {
		return r.a.reading(metaName, err)
	}
	if len(data) > maxMeta {
		return r.a.damaged(metaName, "larger than %d bytes", maxMeta)
	}
	plain, err := r.s.boxes.meta.Open(nil, data, nil)
	if err != nil {
		return r.a.damaged(metaName, "does not open")
	}
	m, err := parseMeta(plain)
	if err != nil {
		return r.a.damaged(metaName, "%w", err)
	}
	// Meta is written before head, and head is synced after it, so meta is the
	// one that head names or the next.
	switch {
	case m.seq < r.head.metaSeq:
		return r.a.damaged(metaName, "an older copy: number %d, and head knows of %d", m.seq, r.head.metaSeq)
	case m.seq > r.head.metaSeq+1 || m.layout < r.head.layout || m.layout > r.head.layout+1:
		return r.a.damaged(headName, "an older copy: it knows of meta number %d, and that is at %d", r.head.metaSeq, m.seq)
	case len(m.segments) == 0:
		return r.a.damaged(metaName, "lists no segments")
	}
	r.a.meta, r.a.sealed = m, data
	r.segments = m.state()
	return nil
}

// fault makes the error for a file that does not fit head. Where there is a
// sign that it is rather head that is the older one, head is named: it fell
// back to its older slot, or a meta has been written since.
func (r *recovery) fault(name, format string, args ...any) *kms.Error {
	what := fmt.Errorf(format, args...)
	if r.torn || r.a.meta.seq > r.head.metaSeq {
		return r.a.damaged(headName, "an older copy, or damaged in part: %s does not fit it: %w", name, what)
	}
	return r.a.damaged(name, "%w", what)
}

func (r *recovery) readSnapshot() error {
	ref := r.a.meta.snap
	if ref.name == "" {
		return nil
	}
	r.file = ref.name
	meta, err := r.s.verifySnapshot(ref)
	if err != nil {
		return err
	}
	r.s.snap = meta
	r.a.reached(meta.Index)
	return nil
}

// readLog verifies the segments.
func (r *recovery) readLog() error {
	// Head's first goes up, durably, before raft-wal drops what is before it.
	if oldest := r.segments.Segments[0].MinIndex; !r.head.empty() && oldest > r.head.first {
		return r.a.damaged(headName, "an older copy: it knows of record %d, and the log begins at %d", r.head.first, oldest)
	}
	for i := 0; i < len(r.segments.Segments); i++ { // the list may grow
		if err := r.readSegment(r.segments.Segments[i]); err != nil {
			return err
		}
	}
	if r.lastSeen == 0 {
		r.leftover = false // what was seen was in a batch that is cut off
	}
	if r.leftover && r.a.meta.layout != r.head.layout {
		// What head dropped was dropped since, so these are not its leftovers.
		return r.a.damaged(headName, "an older copy: it knows of no records, and the log has some that do not follow it")
	}
	if !r.marks.empty() && r.marks.first > r.a.meta.snap.index+1 {
		return r.a.damaged(headName, "records are missing between the snapshot of entry %d and the log, which begins at %d",
			r.a.meta.snap.index, r.marks.first)
	}
	return nil
}

func (r *recovery) readSegment(info types.SegmentInfo) error {
	name := segmentName(info)
	r.file = name
	tail := info.SealTime.IsZero()
	f, err := r.a.disk.OpenReader(r.a.dir, name)
	if err != nil {
		if tail && errors.Is(err, fs.ErrNotExist) && (r.head.empty() || r.head.last < info.BaseIndex) {
			// It was listed and not made yet. Raft-wal makes it.
			r.sawTail(info, walk{last: info.BaseIndex - 1})
			return nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			return r.fault(name, "missing")
		}
		return r.a.reading(name, err)
	}
	defer f.Close()
	r.limit = math.MaxUint64
	if !tail {
		r.limit = info.MaxIndex
	}
	w, err := walkSegment(f, info, r)
	if err != nil {
		return r.a.reading(name, err)
	}
	if !tail {
		return r.sawSealed(info, w)
	}
	return r.checkTail(info, w)
}

// sawSealed checks a segment that meta says is complete: all of it must be.
func (r *recovery) sawSealed(info types.SegmentInfo, w walk) error {
	name := segmentName(info)
	switch {
	case w.stop != nil:
		return r.fault(name, "%w", w.stop)
	case w.last < info.MaxIndex:
		return r.fault(name, "ends at record %d, meta has it up to %d", w.last, info.MaxIndex)
	case w.indexStart != info.IndexStart:
		return r.fault(name, "its index is not where meta has it")
	}
	return nil
}

// checkTail checks the segment that was being written: all of it up to head
// must be there, and what follows counts as far as it holds.
func (r *recovery) checkTail(info types.SegmentInfo, w walk) error {
	name := segmentName(info)
	if !r.head.empty() && w.last < r.head.last {
		stop := w.stop
		if stop == nil {
			stop = io.ErrUnexpectedEOF
		}
		return r.fault(name, "ends at record %d, head has it up to %d: %w", w.last, r.head.last, stop)
	}
	if w.stop != nil {
		r.s.cfg.Logger.Warn("a write that was never acknowledged is cut off", "file", name, "after", w.last, "reason", w.stop)
	}
	r.marks.dropFrom(w.last + 1) // what was read of a batch that is cut off
	r.pending.dropFrom(w.last + 1)
	r.unsynced = append(r.unsynced, name)
	r.sawTail(info, w)
	return nil
}

func (r *recovery) sawTail(info types.SegmentInfo, w walk) {
	r.tail, r.verified = segmentName(info), w.end
	switch {
	case w.last >= info.BaseIndex:
		r.lastSeen = w.last
	case len(r.segments.Segments) > 1:
		r.lastSeen = info.BaseIndex - 1
	}
	if w.indexStart != 0 {
		r.rotate(info, w)
	}
}

// rotate does what raft-wal was about to do when the process died after the
// last append to a segment: it lists the segment as complete and begins the
// next. Raft-wal v0.4.2 does not do it at its Open, and refuses every append
// to such a tail with ErrSealed ever after.
func (r *recovery) rotate(tail types.SegmentInfo, w walk) {
	ps := &r.segments
	sealed := &ps.Segments[len(ps.Segments)-1]
	sealed.MaxIndex, sealed.IndexStart, sealed.SealTime = w.last, w.indexStart, r.s.cfg.Now()
	ps.Segments = append(ps.Segments, types.SegmentInfo{
		ID: ps.NextSegmentID, BaseIndex: w.last + 1, MinIndex: w.last + 1,
		Codec: tail.Codec, SizeLimit: uint32(r.s.cfg.SegmentSize), CreateTime: r.s.cfg.Now(),
	})
	ps.NextSegmentID++
	r.continued = true
}

// entry verifies a record: it must be authentic for its index, follow the one
// before, and at head's place be the one that head names.
func (r *recovery) entry(index uint64, raw []byte) error {
	// What does not count must have the form too: so a host cannot make us walk
	// through, and remember the places of, frames of nothing.
	record, ok := unwrap(raw, index)
	if !ok {
		return kms.Errorf(kms.Damaged, "record %d is not of the form of ours", index)
	}
	if r.leftover || index > r.limit || (!r.head.empty() && index < r.head.first) || index < r.segments.Segments[0].MinIndex {
		return nil
	}
	l, prev, own, err := openRecord(r.s.boxes.log, index, record)
	if err != nil {
		return err
	}
	if r.marks.empty() && !r.following && r.head.empty() && prev != r.head.lastTag {
		r.leftover = true
		return nil
	}
	if err := r.chained(index, prev, own); err != nil {
		return err
	}
	r.following = true
	r.marks.push(index, mark{own, l.Term})
	if index > r.a.meta.snap.index {
		r.pending.push(index, l)
	}
	return nil
}

func (r *recovery) chained(index uint64, prev, own tag) error {
	if last, any := r.marks.at(r.marks.last()); any {
		if index != r.marks.last()+1 || prev != last.tag {
			return kms.Errorf(kms.Damaged, "record %d does not follow the one before", index)
		}
	} else if !r.head.empty() && index != r.head.first {
		return kms.Errorf(kms.Damaged, "the log begins at record %d, head has it from %d", index, r.head.first)
	}
	if !r.head.empty() && index == r.head.last && own != r.head.lastTag {
		return kms.Errorf(kms.Damaged, "record %d is not the one that head names", index)
	}
	return nil
}

// commit has nothing to do: what a batch that is cut off left is dropped at
// the end of its segment, and only the tail's end is ever cut off.
func (r *recovery) commit() error { return nil }

// resume opens raft-wal on what was verified, makes it durable, and finishes
// what was begun.
func (r *recovery) resume() error {
	s, a := r.s, r.a
	f, err := a.disk.OpenWriter(a.dir, headName)
	if err != nil {
		return a.reading(headName, err)
	}
	a.file = f
	for _, name := range r.unsynced {
		if err := r.syncFile(name); err != nil {
			return s.latch.trip(kms.Errorf(kms.Unavailable, "making durable: %w", err).WithFile(path.Join(a.dir, name)))
		}
	}
	if err := a.confirm(); err != nil {
		return err
	}
	if r.continued {
		if err := a.CommitState(r.segments); err != nil {
			return err
		}
	}
	g := &guard{Disk: a.disk, latch: s.latch, tail: r.tail, verified: r.verified}
	if err := r.contain(func() error { return s.openWAL(g) }); err != nil {
		return err
	}
	if err := r.compareWAL(); err != nil {
		return err
	}
	g.opened()
	s.marks, s.pending = r.marks, r.pending
	if err := r.dropLeftovers(); err != nil {
		return err
	}
	return r.settle()
}

// syncFile makes durable what was found in a segment, before meta lists it as
// complete and before raft counts on it: the process that wrote it may have
// died before its fsync.
func (r *recovery) syncFile(name string) error {
	f, err := r.a.disk.OpenWriter(r.a.dir, name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// compareWAL makes sure that raft-wal sees what was verified: the host may
// have changed a file in between, and raft-wal goes back to an earlier batch
// without a word where it finds the last one torn.
func (r *recovery) compareWAL() error {
	first, err := r.s.wal.FirstIndex()
	if err != nil {
		return err
	}
	last, err := r.s.wal.LastIndex()
	if err != nil {
		return err
	}
	want := uint64(0)
	if r.lastSeen > 0 {
		want = r.segments.Segments[0].MinIndex
	}
	if first != want || last != r.lastSeen {
		return r.a.damaged(r.tail, "changed while it was opened: the log has records %d to %d, verified were %d to %d",
			first, last, want, r.lastSeen)
	}
	return nil
}

// dropLeftovers makes raft-wal drop the records that head had dropped already
// when the process died.
func (r *recovery) dropLeftovers() error {
	first, err := r.s.wal.FirstIndex()
	if err != nil {
		return err
	}
	last := r.lastSeen
	switch {
	case first == 0 || (!r.leftover && first >= r.head.first) || (!r.leftover && r.head.empty()):
		return nil
	case !r.leftover:
		last = r.head.first - 1
	}
	if err := r.s.wal.DeleteRange(first, last); err != nil {
		return r.s.latch.trip(kms.Errorf(kms.Unavailable, "removing records %d to %d from the log: %w", first, last, err))
	}
	return nil
}

// settle makes head say, durably, what was found: raft will count on all of it,
// the records beyond the old head too.
func (r *recovery) settle() error {
	s, a := r.s, r.a
	if !r.marks.empty() {
		last, _ := r.marks.at(r.marks.last())
		if err := a.advance(r.marks.first, r.marks.last(), last, durable); err != nil {
			return err
		}
	}
	// Raft-wal refuses what does not follow its last record, so a log that
	// ends before the snapshot would refuse every append: raft was about to
	// empty it when the process died after installing the snapshot.
	log := (*logStore)(s)
	if last, _ := log.LastIndex(); last != 0 && last < r.a.meta.snap.index {
		first, _ := log.FirstIndex()
		return log.DeleteRange(first, last)
	}
	return nil
}

// tidy sets aside the snapshots that meta does not name: they were being
// written when the process died, or have been replaced.
func (r *recovery) tidy() {
	names, err := r.a.disk.ListDir(r.a.dir)
	if err != nil {
		r.s.cfg.Logger.Warn("old snapshots stay until the next start", "error", err)
		return
	}
	for _, name := range names {
		if isSnapshot(name) && name != r.a.meta.snap.name {
			r.s.removeSnapshot(name)
		}
	}
}

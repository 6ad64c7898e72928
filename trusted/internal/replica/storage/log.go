package storage

import (
	"math"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/seal"
)

// logStore is a Store as raft.LogStore.
type logStore Store

var _ raft.MonotonicLogStore = (*logStore)(nil)

// IsMonotonic says that the log has no gaps, so raft empties it when it
// installs a snapshot.
func (s *logStore) IsMonotonic() bool { return true }

// FirstIndex returns the index of the first record, 0 if there is none.
func (s *logStore) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.marks.empty() {
		return 0, nil
	}
	return s.marks.first, nil
}

// LastIndex returns the index of the last record, 0 if there is none.
func (s *logStore) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.marks.empty() {
		return 0, nil
	}
	return s.marks.last(), nil
}

// GetLog reads an entry. Those that are not applied yet come from memory and
// cannot fail; the others come from the disk, and one that is not what was
// written latches.
func (s *logStore) GetLog(index uint64, log *raft.Log) error {
	for {
		s.mu.RLock()
		entry, kept := s.pending.at(index)
		want, there := s.marks.at(index)
		s.mu.RUnlock()
		switch {
		case !there:
			return raft.ErrLogNotFound // compared by raft without errors.Is
		case kept:
			*log = entry
			return nil
		}
		entry, err := s.readLog(index, want)
		if err == nil {
			*log = entry
			return nil
		}
		// The record may have been removed or replaced while we read.
		s.mu.RLock()
		now, there := s.marks.at(index)
		s.mu.RUnlock()
		if there && now == want {
			return s.latch.trip(err)
		}
	}
}

// readLog reads a record from the disk and makes sure that it is the one that
// was written, not an older one for the same index.
func (s *logStore) readLog(index uint64, want mark) (raft.Log, error) {
	var stored raft.Log
	if err := s.wal.GetLog(index, &stored); err != nil {
		return raft.Log{}, kms.Errorf(kms.Damaged, "reading record %d of the log: %w", index, err)
	}
	l, _, own, err := openRecord(s.boxes.log, index, stored.Data)
	if err != nil {
		return raft.Log{}, err
	}
	if (mark{own, l.Term}) != want {
		return raft.Log{}, kms.Errorf(kms.Damaged, "record %d of the log is not the one that was written", index)
	}
	return l, nil
}

// StoreLog appends one entry.
func (s *logStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs appends entries, durably. Their Data and Extensions are kept in
// memory until they are applied and must not change.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if err := s.latch.err(); err != nil {
		return err
	}
	if err := checkSize(logs); err != nil {
		return err // nothing has been touched, so nothing latches
	}
	if err := (*Store)(s).Keeps(logs[0].Index); err != nil {
		return err
	}
	h := s.anchor.current()
	if err := follows(h, logs); err != nil {
		return s.latch.trip(err)
	}
	s.sealed.seal(s.boxes.log, logs, h.lastTag)
	defer s.sealed.done()
	if err := s.wal.StoreLogs(s.sealed.refs); err != nil {
		return s.latch.trip(kms.Errorf(kms.Unavailable, "appending to the log: %w", err))
	}
	// If we crash here the records lie beyond head, and the next Open keeps
	// them: they were not acknowledged, and may have happened.
	first := h.first
	if h.empty() {
		first = logs[0].Index
	}
	if err := s.anchor.advance(first, logs[len(logs)-1].Index, s.sealed.marks[len(logs)-1], lazy); err != nil {
		return err
	}
	s.remember(logs)
	return nil
}

// remember lets readers see what has been stored.
func (s *logStore) remember(logs []*raft.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, l := range logs {
		s.marks.push(l.Index, s.sealed.marks[i])
		s.pending.push(l.Index, *l)
	}
}

func checkSize(logs []*raft.Log) error {
	total := 0
	for _, l := range logs {
		size := len(l.Data) + len(l.Extensions)
		if size > maxEntry {
			return kms.Errorf(kms.TooLarge, "log entry has %d bytes, at most %d are allowed", size, maxEntry)
		}
		total += size + walOverhead + recordFixed + seal.TagLen + seal.Overhead + frameHeader
	}
	if total > maxBatch {
		return kms.Errorf(kms.TooLarge, "%d log entries have %d bytes, at most %d are allowed", len(logs), total, maxBatch)
	}
	return nil
}

// follows makes sure that entries continue the log. They do unless raft has
// lost track of it, which happens if it went on after an error.
func follows(h head, logs []*raft.Log) error {
	next := logs[0].Index
	if !h.empty() {
		next = h.last + 1
	}
	for _, l := range logs {
		if l.Index != next || next == 0 || next == math.MaxUint64 {
			return kms.Errorf(kms.Internal, "log entry %d does not follow entry %d", l.Index, next-1)
		}
		next++
	}
	return nil
}

// DeleteRange removes the records from min to max, which must begin or end the log.
func (s *logStore) DeleteRange(min, max uint64) error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if err := s.latch.err(); err != nil {
		return err
	}
	h := s.anchor.current()
	if min > max || h.empty() || max < h.first || min > h.last {
		return nil
	}
	// The end of the log goes where a leader has other entries there, or with all of
	// it when a snapshot takes its place.
	if max >= h.last && !(*Store)(s).covers() {
		if err := (*Store)(s).Keeps(min); err != nil {
			return err
		}
	}
	if err := s.awaitRotation(); err != nil {
		return err
	}
	first, last, m, err := s.rest(s.anchor.current(), min, max)
	if err != nil {
		return err
	}
	// From the root to the leaves: head first. If we crash before raft-wal has
	// done its part, Open finishes or forgets it (see the package comment).
	if err := s.anchor.shrink(first, last, m); err != nil {
		return err
	}
	// Readers must not look for what is about to go.
	s.forget(first, last)
	if err := s.wal.DeleteRange(min, max); err != nil {
		return s.latch.trip(kms.Errorf(kms.Unavailable, "removing records %d to %d from the log: %w", min, max, err))
	}
	return nil
}

// awaitRotation waits until raft-wal has begun the next segment, if the last
// append filled one. Between a head that drops the whole log and raft-wal's
// doing so, the list of segments must not change for another reason: that it
// did not is how Open knows leftovers when it sees them.
func (s *logStore) awaitRotation() error {
	// Deleting what is beyond the log does nothing but wait for it.
	if err := s.wal.DeleteRange(math.MaxUint64, math.MaxUint64); err != nil {
		return s.latch.trip(kms.Errorf(kms.Unavailable, "waiting for a new segment: %w", err))
	}
	return s.latch.err()
}

// rest returns what the log holds without min to max, and its last mark.
func (s *logStore) rest(h head, min, max uint64) (first, last uint64, m mark, err error) {
	switch {
	case min <= h.first && max >= h.last:
		return h.last + 1, h.last, mark{term: h.lastTerm}, nil
	case min <= h.first:
		return max + 1, h.last, mark{h.lastTag, h.lastTerm}, nil
	case max >= h.last:
		s.mu.RLock()
		defer s.mu.RUnlock()
		m, there := s.marks.at(min - 1)
		if !there {
			return 0, 0, m, s.latch.trip(kms.Errorf(kms.Internal, "record %d is in head's range and not in the log", min-1))
		}
		return h.first, min - 1, m, nil
	}
	return 0, 0, m, kms.Errorf(kms.Invalid, "records %d to %d neither begin nor end the log", min, max)
}

// forget keeps the records first to last only.
func (s *logStore) forget(first, last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks.dropThrough(first - 1)
	s.marks.dropFrom(last + 1)
	s.pending.dropThrough(first - 1)
	s.pending.dropFrom(last + 1)
}

// Package replay remembers requests that were accepted, in a table of fixed
// size, so that none is accepted twice.
//
// Requests are kept in buckets of one second of their own timestamp. When the
// table is full the oldest bucket goes, and with it the permission to be that
// old: memory stays flat under any load, and what shrinks is the age that is
// accepted, never the protection. The package reads no clock.
package replay

import (
	"bytes"
	"math"
	"sort"
	"time"
)

// A Mark is the first 16 bytes of a request's MAC. Only who knows the API key
// can make two requests with one mark, and would only hurt himself.
type Mark [16]byte

// Window is how far a request's timestamp may lie from now, either way
// (eHSM's is 10 minutes).
const Window = 10 * time.Minute

// soon is how far ahead of now a timestamp may be before it counts as ahead.
const soon = 30 * time.Second

// A Verdict is what Add found.
type Verdict uint8

// The verdicts.
const (
	Fresh   Verdict = iota // not seen before, and remembered now
	Seen                   // seen before
	TooOld                 // older than what the table still remembers
	Crowded                // too far ahead of now, while many such requests are remembered
	Outside                // not within Window of now
)

// A Table remembers requests. It is not safe for concurrent use.
type Table struct {
	limit   int
	count   int
	ahead   int // a quarter of limit: how many may be remembered ahead of now
	floor   int64
	buckets map[int64]map[Mark]struct{}
}

// NewTable makes a table that remembers at most limit requests (≥ 4), and
// accepts none with a timestamp before floor (seconds since 1970).
func NewTable(limit int, floor int64) *Table {
	return &Table{limit: max(limit, 4), ahead: max(limit/4, 1), floor: floor, buckets: map[int64]map[Mark]struct{}{}}
}

// Floor is the oldest second whose requests are accepted.
func (t *Table) Floor() int64 { return t.floor }

// Len is how many requests are remembered.
func (t *Table) Len() int { return t.count }

// Age is how old a request may be at time now.
func (t *Table) Age(now time.Time) time.Duration {
	return max(0, min(Window, now.Sub(time.Unix(t.floor, 0))))
}

// Check judges a timestamp without remembering anything.
func (t *Table) Check(at, now time.Time) Verdict {
	if d := now.Sub(at); d >= Window || d <= -Window {
		return Outside
	}
	if at.Unix() < t.floor {
		return TooOld
	}
	return Fresh
}

// Judge says what Add would, and remembers nothing but that time went on.
func (t *Table) Judge(mark Mark, at, now time.Time) Verdict {
	if v := t.Check(at, now); v != Fresh {
		return v
	}
	if _, seen := t.buckets[at.Unix()][mark]; seen {
		return Seen
	}
	t.expire(now)
	// Without this limit a tenant could fill the table with timestamps from
	// the future, and so push out the present.
	if at.Sub(now) > soon && t.countAfter(now.Add(soon)) >= t.ahead {
		return Crowded
	}
	if t.count >= t.limit {
		return t.judgeFull(at, now)
	}
	return Fresh
}

// judgeFull decides when the oldest bucket would have to go: not the present
// one, which would refuse everybody, nor for a request that is no younger. Such
// a one would be remembered below the floor, and dropped next, the floor would
// go back to it and let in again what was forgotten meanwhile.
func (t *Table) judgeFull(at, now time.Time) Verdict {
	switch oldest := t.oldest(); {
	case oldest >= now.Unix():
		return Crowded
	case oldest >= at.Unix():
		return TooOld
	}
	return Fresh
}

// Add remembers mark at its timestamp, unless it is refused.
func (t *Table) Add(mark Mark, at, now time.Time) Verdict {
	if v := t.Judge(mark, at, now); v != Fresh {
		return v
	}
	for t.count >= t.limit {
		oldest := t.oldest()
		t.drop(oldest)
		t.floor = oldest + 1
	}
	t.put(at.Unix(), mark)
	return Fresh
}

func (t *Table) put(second int64, mark Mark) {
	b := t.buckets[second]
	if b == nil {
		b = map[Mark]struct{}{}
		t.buckets[second] = b
	}
	b[mark] = struct{}{}
	t.count++
}

// expire forgets what the window refuses anyway. It raises no floor that
// matters: Check refuses those timestamps as Outside.
func (t *Table) expire(now time.Time) {
	horizon := now.Add(-Window).Unix()
	if t.floor >= horizon {
		return
	}
	if horizon-t.floor > int64(2*Window/time.Second) { // far behind: look at buckets, not at seconds
		for s := range t.buckets {
			if s < horizon {
				t.drop(s)
			}
		}
		t.floor = horizon
		return
	}
	for ; t.floor < horizon; t.floor++ {
		t.drop(t.floor)
	}
}

func (t *Table) drop(second int64) {
	t.count -= len(t.buckets[second])
	delete(t.buckets, second)
}

func (t *Table) oldest() int64 {
	oldest := int64(math.MaxInt64)
	for s := range t.buckets {
		oldest = min(oldest, s)
	}
	return oldest
}

func (t *Table) countAfter(at time.Time) (n int) {
	for s, b := range t.buckets {
		if s > at.Unix() {
			n += len(b)
		}
	}
	return n
}

// A Bucket is one second of the table, with its marks in order.
type Bucket struct {
	Second int64
	Marks  []Mark
}

// Buckets copies the table out, in order of seconds.
func (t *Table) Buckets() []Bucket {
	out := make([]Bucket, 0, len(t.buckets))
	for s, b := range t.buckets {
		marks := make([]Mark, 0, len(b))
		for m := range b {
			marks = append(marks, m)
		}
		sort.Slice(marks, func(i, j int) bool { return bytes.Compare(marks[i][:], marks[j][:]) < 0 })
		out = append(out, Bucket{Second: s, Marks: marks})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Second < out[j].Second })
	return out
}

// Load puts a bucket back that Buckets gave out.
func (t *Table) Load(b Bucket) {
	for _, m := range b.Marks {
		t.put(b.Second, m)
	}
}

package keyring

import (
	"errors"
	"sync/atomic"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// ErrEmpty is what Spend says where this node has set no invocations aside under
// a version, or has used up those it had.
var ErrEmpty = errors.New("no invocations are set aside")

// A Meter counts what this node does with one version of a key. What it was
// credited with went through the log before, so it may be forgotten at any
// moment: that is lost, and never given out twice.
type Meter struct {
	left atomic.Int64 // invocations that may still be done
	used atomic.Int64 // when the epoch began in which the version was used last
	turn chan struct{}

	noted int64  // the latest of used that is in the state; of who notes
	block uint64 // how much is to be set aside next; of who has the turn
}

func newMeter() *Meter { return &Meter{turn: make(chan struct{}, 1)} }

// take takes an invocation, if one is left. Who takes the last one may leave the
// meter below zero by as many as come at once: those are never done.
func (m *Meter) take() bool { return m.left.Load() > 0 && m.left.Add(-1) >= 0 }

// touch notes that the version is used in the epoch that began then.
func (m *Meter) touch(epoch int64) {
	if m.used.Load() != epoch {
		m.used.Store(epoch)
	}
}

// Turn is held by who sets invocations aside; see Fill.
func (m *Meter) Turn() chan struct{} { return m.turn }

// Empty reports whether nothing is left.
func (m *Meter) Empty() bool { return m.left.Load() <= 0 }

// Block is how much to set aside next. The caller has the turn.
func (m *Meter) Block() uint64 { return m.block }

// Fill adds what was set aside, and says how much to set aside the next time.
// The caller has the turn.
func (m *Meter) Fill(n, next uint64) {
	m.left.Add(int64(n))
	m.block = next
}

// Meter is the meter of a key's version.
func (r *Keyring) Meter(ref kms.KeyRef) *Meter {
	s := slot{ref.ID, ref.Version}
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.meters[s]
	if !ok {
		m = newMeter()
		r.meters[s] = m
	}
	return m
}

// Spend lends the current version of a key for one encryption, which counts as
// one invocation. The errors are ErrEmpty, with the meter that is to be filled,
// and those of Lend.
func (r *Keyring) Spend(rec *state.Key, use func(alg.Key) error) (*Meter, error) {
	l, err := r.find(rec, rec.Current)
	if err != nil {
		return nil, err
	}
	if !l.meter.take() {
		return l.meter, ErrEmpty
	}
	l.meter.touch(r.epoch.Load())
	return nil, use(l.key)
}

// SetEpoch says when the present epoch began, ns since 1970.
func (r *Keyring) SetEpoch(began int64) { r.epoch.Store(began) }

// UsedIn is when the epoch began in which this node used a key last; 0: it has
// not since it started, or that was long ago and is in the state.
func (r *Keyring) UsedIn(rec *state.Key) (epoch int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range rec.Versions {
		if m, ok := r.meters[slot{rec.ID, rec.Versions[i].Number}]; ok {
			epoch = max(epoch, m.used.Load())
		}
	}
	return epoch
}

// A Note is that a key was used in the epoch that began at Since.
type Note struct {
	Key   kms.KeyID
	Since int64

	meter *Meter
}

// Notes lists what is not in the state yet, and forgets meters that count
// nothing any more.
func (r *Keyring) Notes() (notes []Note) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s, m := range r.meters {
		if used := m.used.Load(); used > m.noted {
			notes = append(notes, Note{s.id, used, m})
		} else if m.Empty() && !r.cache.Contains(s) {
			delete(r.meters, s)
		}
	}
	return notes
}

// Noted says that notes are in the state.
func (r *Keyring) Noted(notes []Note) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range notes {
		n.meter.noted = max(n.meter.noted, n.Since)
	}
}

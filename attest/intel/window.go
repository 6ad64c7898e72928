package intel

import (
	"time"

	"github.com/holdfast-kms/holdfast/attest"
)

// A window is the time, both ends inclusive, in which everything that a
// verification rests on is in force. The zero window has no ends.
type window struct{ from, until time.Time }

// narrow intersects w with from … until.
func (w *window) narrow(from, until time.Time) {
	if from.After(w.from) {
		w.from = from
	}
	if w.until.IsZero() || until.Before(w.until) {
		w.until = until
	}
}

// inForce refuses what was issued after v.at or whose next update is before
// it, and narrows the window to it.
func (v *verification) inForce(part string, issued, nextUpdate time.Time) error {
	switch {
	case issued.IsZero() || nextUpdate.IsZero():
		return attest.Refuse(attest.Malformed, part, "it has no dates")
	case v.at.Before(issued):
		return attest.Refuse(attest.CollateralNotYet, part, "issued %s", stamp(issued))
	case v.at.After(nextUpdate):
		return attest.Refuse(attest.CollateralExpired, part, "its next update was due %s", stamp(nextUpdate))
	}
	v.window.narrow(issued, nextUpdate)
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

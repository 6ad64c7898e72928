package state

import (
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// recent refuses a command that was on its way for so long that its first result
// may be forgotten: nobody can tell any more whether it was done.
func (m *Machine) recent(c *command.Command) (Result, bool) {
	base := c.GetBase()
	switch {
	case base == 0: // it was proposed where no other node could have done it
		return Result{}, true
	case base >= m.next.index:
		return refuse(kms.Invalid, "the command rests on an entry that comes after it"), false
	case m.next.index-base > doneLimit/2:
		return refuseAs(kms.Errorf(kms.Unavailable, "the command was on its way for too long").
			WithHint("it may have happened all the same: look before you ask again")), false
	}
	return Result{}, true
}

// doneEntry is the result of a command, as far as a retry needs it.
type doneEntry struct {
	id      kms.CommandID
	refused bool
	kind    kms.Kind
	index   uint64
	key     kms.KeyID
}

// doneRing remembers the last so many results.
type doneRing struct {
	entries []doneEntry
	at      int // where the next one goes
	byID    map[kms.CommandID]int
}

func newDoneRing(limit int) doneRing {
	return doneRing{entries: make([]doneEntry, 0, limit), byID: make(map[kms.CommandID]int)}
}

func (r *doneRing) get(id kms.CommandID) (doneEntry, bool) {
	i, ok := r.byID[id]
	if !ok {
		return doneEntry{}, false
	}
	return r.entries[i], true
}

func (r *doneRing) put(id kms.CommandID, res Result) {
	e := doneEntry{id: id, index: res.Index}
	if res.Err != nil {
		e.refused, e.kind = true, res.Err.Kind
	}
	if res.Key != nil {
		e.key = res.Key.ID
	}
	r.add(e)
}

func (r *doneRing) add(e doneEntry) {
	if len(r.entries) < cap(r.entries) {
		r.entries = append(r.entries, e)
		r.byID[e.id] = len(r.entries) - 1
		return
	}
	delete(r.byID, r.entries[r.at].id)
	r.entries[r.at] = e
	r.byID[e.id] = r.at
	r.at = (r.at + 1) % len(r.entries)
}

// all lists the entries, oldest first.
func (r *doneRing) all() []doneEntry {
	out := make([]doneEntry, 0, len(r.entries))
	if len(r.entries) == cap(r.entries) {
		out = append(out, r.entries[r.at:]...)
		return append(out, r.entries[:r.at]...)
	}
	return append(out, r.entries...)
}

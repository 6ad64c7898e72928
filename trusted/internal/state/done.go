package state

import "github.com/holdfast-kms/holdfast/kms"

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

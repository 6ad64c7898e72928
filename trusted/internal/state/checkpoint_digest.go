package state

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

const digestLabel = "holdfast/v1/state"

// A tally is what all records add up to that there can be many of: the sum, in
// four lanes of 64 bits, of their SHA-256. So a change costs the hash of the
// record that goes and of the one that comes, however many there are. Two states
// that differ by a fault have one sum with a probability of 2⁻²⁵⁶. One who could
// choose records freely might find two sets with one sum; it is no help to him:
// the nodes that compare are attested, and a set that he chose is the same on all.
type tally [4]uint64

// A tallied is a record of a kind that there can be many of.
type tallied interface {
	// tally appends the record, no two alike. The form is part of the protocol: a
	// member that is new goes to the end, and only where it is not zero, so that
	// nodes of both versions come to one sum until the new one is used.
	tally(b []byte) []byte
}

// count takes a record out of the tally, if there was one, and puts one in.
func count[T interface {
	comparable
	tallied
}](m *Machine, was, is T) {
	var none T
	if was != none {
		for i, n := range m.hash(was) {
			m.next.tally[i] -= n
		}
	}
	if is != none {
		for i, n := range m.hash(is) {
			m.next.tally[i] += n
		}
	}
}

func (m *Machine) hash(r tallied) (t tally) {
	m.scratch = r.tally(m.scratch[:0])
	sum := sha256.Sum256(m.scratch)
	for i := range t {
		t[i] = binary.BigEndian.Uint64(sum[8*i:])
	}
	return t
}

// The kinds of records, first in their forms.
const (
	tallyKey byte = 1 + iota
	tallyCredential
	tallyApp
	tallyAlias
	tallyAdmission
	tallyQuotePolicy
	tallyRemoved
	tallySecret
)

func (k *Key) tally(b []byte) []byte {
	b = append(append(append(b, tallyKey), k.ID[:]...), k.App[:]...)
	b = append(b, byte(k.State), byte(k.Origin), flag(k.Exportable))
	b = number(number(number(b, uint64(k.Spec)), uint64(k.Usages)), uint64(k.Current))
	b = number(number(number(b, uint64(k.Created)), uint64(k.Expires)), k.Revision)
	b = number(b, uint64(len(k.Versions)))
	for i := range k.Versions {
		v := &k.Versions[i]
		b = number(number(append(b, byte(v.State)), uint64(v.Number)<<32|uint64(v.Generation)), uint64(v.Created))
		b = text(b, v.Wrapped)
		if v.Once != 0 { // no state and no length begins so
			b = number(append(b, 0xff), uint64(v.Once))
		}
	}
	b = text(b, k.Condition)
	b = append(b, flag(k.Labels != nil), flag(k.Deletion != nil))
	if k.Labels != nil {
		b = number(text(b, k.Labels.Description), uint64(len(k.Labels.Tags)))
		for _, t := range k.Labels.Tags {
			b = text(text(b, t.Name), t.Value)
		}
	}
	if k.Deletion != nil {
		b = number(append(b, byte(k.Deletion.Before)), uint64(k.Deletion.Due))
	}
	if r := k.Rotation; r != nil {
		b = number(number(append(b, 'r'), uint64(r.Period)), uint64(r.Next))
	}
	if k.LastUsed != 0 {
		b = number(append(b, 'u'), uint64(k.LastUsed))
	}
	for i := range k.Versions {
		if v := &k.Versions[i]; v.Reserved != 0 {
			b = number(number(append(b, 'i'), uint64(v.Number)), v.Reserved)
		}
	}
	return b
}

// Of a sealed value its length and its tag stand for all of it.
func (s *Secret) tally(b []byte) []byte {
	b = append(append(append(append(b, tallySecret), s.ID[:]...), s.App[:]...), s.Key[:]...)
	b = text(text(text(b, string(s.Name)), s.Description), string(s.Rotation))
	for _, n := range []uint64{uint64(s.Created), uint64(s.Changed), uint64(s.Rotated), uint64(s.Told), uint64(s.Due),
		uint64(s.Current), uint64(s.Previous), uint64(s.Last), s.Revision, uint64(len(s.Labels))} {
		b = number(b, n)
	}
	for _, l := range s.Labels {
		b = number(text(b, l.Name), uint64(l.Version))
	}
	for _, v := range s.Versions {
		b = number(number(number(b, uint64(v.Number)), uint64(v.Created)), uint64(v.Under))
		b = number(text(b, v.Wrapped), uint64(len(v.Sealed)))
		b = append(b, v.Sealed[max(0, len(v.Sealed)-16):]...)
	}
	return b
}

func (c *Credential) tally(b []byte) []byte {
	b = append(append(append(b, tallyCredential), c.ID[:]...), c.App[:]...)
	b = number(number(b, uint64(c.Permissions)), uint64(c.Once)<<32|uint64(c.Generation))
	b = number(number(number(b, uint64(c.Created)), uint64(c.Expires)), c.Revision)
	return text(text(b, c.Name), c.Wrapped)
}

func (a *App) tally(b []byte) []byte {
	b = number(append(append(b, tallyApp), a.ID[:]...), uint64(a.Created))
	for _, id := range a.Credentials {
		b = append(b, id[:]...)
	}
	return b
}

func (a *Alias) tally(b []byte) []byte {
	b = append(append(append(b, tallyAlias), a.App[:]...), a.Key[:]...)
	return text(number(number(number(b, uint64(a.Created)), uint64(a.Updated)), a.Revision), a.Name)
}

func (a *Admission) tally(b []byte) []byte {
	return number(append(append(b, tallyAdmission), a.ID[:]...), uint64(a.Expires))
}

func (q *quotePolicy) tally(b []byte) []byte {
	b = append(append(append(b, tallyQuotePolicy), q.ID[:]...), q.app[:]...)
	b = append(append(b, q.MRENCLAVE[:]...), q.MRSIGNER[:]...)
	return number(b, uint64(q.Created.UnixNano()))
}

// removed is a node that was removed, with its id.
type removed struct {
	id kms.NodeID
	Removal
}

func (r *removed) tally(b []byte) []byte {
	return number(append(append(append(b, tallyRemoved), r.id[:]...), byte(r.Reason)), uint64(r.Time))
}

func flag(is bool) byte {
	if is {
		return 1
	}
	return 0
}

func number(b []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(b, n) }

func text[T []byte | string](b []byte, s T) []byte { return append(number(b, uint64(len(s))), s...) }

// Digest names the whole state: what there can be many of by its tally, the rest
// as a snapshot has it, and the results of all commands. It takes some tenths of
// a millisecond, however many keys there are.
func (m *Machine) Digest() (d [32]byte) { return m.next.digest(m.replay.Floor()) }

func (v *View) digest(replayFloor int64) (d [32]byte) {
	h := sha256.New()
	out := &recordWriter{w: bufio.NewWriterSize(h, 1<<12)}
	header := v.header(replayFloor)
	header.Checkpoints = nil // what was compared before is no part of it
	out.put(&command.Record{Kind: &command.Record_Header{Header: header}})
	v.writePast(out)
	v.writeEphemerals(out)
	v.writeOrders(out)
	v.writeNodes(out)
	v.writeRecoveries(out)
	v.writeAudit(out)
	_ = out.w.Flush() // a hash takes everything
	b := append([]byte(digestLabel), byte(snapshotFormat))
	for _, n := range v.tally {
		b = number(b, n)
	}
	for _, n := range []int{v.keys.Len(), v.credentials.Len(), v.apps.Len(), v.aliases.Len(), v.admissions.Len(), v.quotePolicies.Len(), v.removed.Len(), v.secrets.Len()} {
		b = number(b, uint64(n))
	}
	return sha256.Sum256(h.Sum(b))
}

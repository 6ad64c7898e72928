package state

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// CheckpointEvery is how many entries lie between two checkpoints. It is part of
// the protocol.
const CheckpointEvery = 4096

// keptCheckpoints is how many can still be compared with.
const keptCheckpoints = 4

// A Checkpoint is the digest of the state after an entry. Every node makes it at
// the same entries; the leader puts its own through the log, and a node that has
// another one stops: by a fault of a program or a machine it has another state
// than it should, and must serve it to nobody.
type Checkpoint struct {
	Index  uint64
	Digest [32]byte
}

// Checkpoint is the newest one; the zero Checkpoint before the first.
func (v *View) Checkpoint() Checkpoint {
	if len(v.checkpoints) == 0 {
		return Checkpoint{}
	}
	return v.checkpoints[len(v.checkpoints)-1]
}

// enter goes on to an entry of the log, and leaves a checkpoint behind where it
// is time.
func (m *Machine) enter(index uint64) {
	if last := m.next.index; last/CheckpointEvery != index/CheckpointEvery && m.next.founding != nil {
		all := append(slices.Clone(m.next.checkpoints), Checkpoint{Index: last, Digest: m.Digest()})
		m.next.checkpoints = all[max(0, len(all)-keptCheckpoints):]
	}
	m.next.index, m.next.term = index, m.entering
}

// checkpoint compares with the leader's.
func (m *Machine) checkpoint(by *command.Principal, p *command.Checkpoint) Result {
	c, err := checkpointFrom(p)
	if by != nil || err != nil {
		return refuse(kms.Invalid, "checkpoint is malformed")
	}
	i := slices.IndexFunc(m.next.checkpoints, func(own Checkpoint) bool { return own.Index == c.Index })
	switch {
	case i < 0:
		return refuse(kms.Stale, "there is no checkpoint there, or none any more")
	case m.next.checkpoints[i].Digest != c.Digest:
		return m.stop(kms.Errorf(kms.Damaged, "the state after entry %d is another than the leader's", c.Index).
			WithHint("if folders of other nodes were put back, stop all and `survey` each: this one may be the one that is right; else have it removed and another one join, keep its folder, and report a fault of the program"))
	}
	return Result{}
}

func checkpointFrom(p *command.Checkpoint) (c Checkpoint, err error) {
	if c.Index = p.GetIndex(); !fill(c.Digest[:], p.GetDigest()) {
		return c, malformed("checkpoint")
	}
	return c, nil
}

// note takes what became of a command into the digest over all results.
func (m *Machine) note(id kms.CommandID, r *Result) {
	b := append(m.scratch[:0], m.next.results[:]...)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Index)
	switch {
	case r.Err != nil:
		b = append(b, 1+byte(r.Err.Kind))
	case r.Key != nil:
		b = binary.BigEndian.AppendUint64(append(append(b, 0), r.Key.ID[:]...), r.Key.Revision)
	}
	m.next.results, m.scratch = sha256.Sum256(b), b
}

// putCheckpoints and loadCheckpoints are a snapshot's.
func (v *View) putCheckpoints(h *command.Header) {
	h.Results = v.results[:]
	for _, c := range v.checkpoints {
		h.Checkpoints = append(h.Checkpoints, &command.Checkpoint{Index: c.Index, Digest: c.Digest[:]})
	}
}

func (m *Machine) loadCheckpoints(h *command.Header) error {
	if !fill(m.next.results[:], h.GetResults()) || len(h.GetCheckpoints()) > keptCheckpoints {
		return malformed("snapshot: checkpoints")
	}
	for _, p := range h.GetCheckpoints() {
		c, err := checkpointFrom(p)
		if err != nil || c.Index >= h.GetIndex() {
			return malformed("snapshot: checkpoints")
		}
		m.next.checkpoints = append(m.next.checkpoints, c)
	}
	return nil
}

package state

import (
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// quorumVoters is from how many voters on no single clock moves domain time.
const quorumVoters = 3

// jumpAlert is from where on a step of domain time makes an event.
const jumpAlert = time.Minute

// QuorumTime reports whether domain time is that of a majority of voters: from
// three on. Below it is the clock of the host that proposes.
func (v *View) QuorumTime() bool { return len(v.voters) >= quorumVoters }

// advance moves domain time as a tick says, where it takes a majority. The error
// is why it moves nothing.
func (m *Machine) advance(c *command.Command) *kms.Error {
	op, ok := c.GetOp().(*command.Command_Tick)
	if !ok || !m.next.QuorumTime() {
		return nil
	}
	if c.GetPrincipal() != nil {
		return kms.Errorf(kms.Invalid, "a tick is of the node itself")
	}
	t, err := m.next.median(op.Tick.GetReadings())
	if err != nil {
		return err
	}
	if step := time.Duration(t - m.next.time); t > m.next.time && step > jumpAlert {
		m.event(kms.Event{Kind: kms.EventTimeJumped, Number: uint64(step / time.Second)})
	}
	m.next.time = max(m.next.time, t)
	return nil
}

// median is the middle one of the readings of a majority of voters, the lower one
// of two. Whose readings arrive is up to hosts, so that those that lie may be most
// of them though fewer than half of the voters do: the more are missing, the lower
// is the one that counts, so that a true clock always reads as much or more. Where
// all are there it lies between two readings of true clocks, or is one.
func (v *View) median(readings []*command.Reading) (int64, *kms.Error) {
	if len(readings) < v.majority() || len(readings) > len(v.voters) {
		return 0, kms.Errorf(kms.Invalid, "%d of %d voters read their clocks", len(readings), len(v.voters))
	}
	var from []kms.NodeID
	var times []int64
	for _, r := range readings {
		var id kms.NodeID
		if !fill(id[:], r.GetNode()) || r.GetTime() <= 0 {
			return 0, kms.Errorf(kms.Invalid, "a reading is malformed")
		}
		if _, member := v.Member(id); !member || !contains(v.voters, id) {
			return 0, kms.Errorf(kms.Denied, "who read its clock does not vote")
		}
		from, times = append(from, id), append(times, r.GetTime())
	}
	if len(sorted(from)) != len(from) {
		return 0, kms.Errorf(kms.Invalid, "a voter read its clock twice")
	}
	slices.Sort(times)
	liars := len(v.voters) - v.majority() // at most
	return times[min((len(times)-1)/2, len(times)-1-liars)], nil
}

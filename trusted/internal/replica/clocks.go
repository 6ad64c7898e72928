package replica

import (
	"context"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// readingsLimit is how long the slowest voters are waited for.
const readingsLimit = 500 * time.Millisecond

// A Reading is what a voter's clock read while Readings was called.
type Reading struct {
	Node kms.NodeID
	Time time.Time
}

// Readings returns what the voters' clocks read, this node's among them if it
// votes. Each was given in answer to a nonce drawn for this call, so no host
// can pass off an old one, and one that is held back counts only while it is
// waited for. The error is Unavailable if most of the voters did not answer.
func (r *Replica) Readings(ctx context.Context) ([]Reading, error) {
	if err := r.Failure(); err != nil {
		return nil, err
	}
	voters, _ := r.Configuration()
	heard := r.poll(ctx, voters, readingsLimit)
	if len(heard) < len(voters)/2+1 || len(voters) == 0 {
		return nil, errNoQuorum
	}
	out := make([]Reading, len(heard))
	for i, s := range heard {
		out[i] = Reading{s.node, time.Unix(0, s.clock).UTC()}
	}
	return out, nil
}

// Applied returns the newest entry that a member's state machine has applied.
func (r *Replica) Applied(ctx context.Context, node kms.NodeID) (uint64, error) {
	for _, s := range r.poll(ctx, []kms.NodeID{node}, askLimit) {
		return s.applied, nil
	}
	return 0, kms.Errorf(kms.Unavailable, "node %v does not answer", node)
}

// memberStanding is a standing, and whose.
type memberStanding struct {
	node kms.NodeID
	standing
}

// poll asks members how they stand: all of them until limit, then until most
// have answered or ctx ends.
func (r *Replica) poll(ctx context.Context, members []kms.NodeID, limit time.Duration) []memberStanding {
	var heard []memberStanding
	answers, question, open := make(chan memberReply, len(members)), frame{kind: ask, id: newNonce()}, 0
	for _, m := range members {
		if m == r.cfg.Node {
			heard = append(heard, memberStanding{m, r.standing()})
			continue
		}
		l := r.link(m)
		if l.call(question, func(a reply) { answers <- memberReply{m, a} }) {
			defer l.forget(question.id)
			open++
		}
	}
	all, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	most, cancelMost := context.WithTimeout(ctx, askLimit)
	defer cancelMost()
	for wait := all; open > 0; {
		select {
		case a := <-answers:
			open--
			if a.kind == answer {
				heard = append(heard, memberStanding{a.node, parseStanding(a.body)})
			}
			if wait == most && len(heard) > len(members)/2 {
				return heard
			}
		case <-wait.Done():
			if wait == most || len(heard) > len(members)/2 {
				return heard
			}
			wait = most
		}
	}
	return heard
}

type memberReply struct {
	node kms.NodeID
	reply
}

// standing is what this node answers who asks. Raft changes its term in memory
// after it has done so on disk.
func (r *Replica) standing() standing {
	s := standing{term: r.raft.CurrentTerm(), applied: r.fsm.applied.Load()}
	if r.cfg.Now != nil {
		s.clock = r.cfg.Now().UnixNano()
	}
	return s
}

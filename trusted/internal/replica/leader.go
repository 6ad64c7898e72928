package replica

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/kms"
)

// leading is a term in which this node leads and has committed an entry of its
// own, and so knows all that was committed before.
type leading struct {
	term    uint64
	barrier uint64 // that entry: what is committed after it, this term's leader made
	floor   uint64 // the newest entry that the state machine had applied by then
}

// at is the entry that readers must see where a leader's log is committed up to
// commit. Entries that open a term never reach the state machine, so up to
// there it is the newest one that did.
func (l *leading) at(commit uint64) point {
	if commit <= l.barrier {
		return point{index: l.floor}
	}
	return point{commit, l.term}
}

// leads returns the term in which this node leads now, nil if it does not.
func (r *Replica) leads() *leading {
	l := r.lead.Load()
	if l == nil || r.raft.State() != raft.Leader || r.raft.CurrentTerm() != l.term {
		return nil
	}
	return l
}

// Leads reports whether this node leads, with everything applied that was
// committed before it did.
func (r *Replica) Leads() bool { return r.leads() != nil }

// Leader returns who leads, as far as this node has heard.
func (r *Replica) Leader() (kms.NodeID, bool) {
	_, id := r.raft.LeaderWithID()
	node, err := kms.ParseNodeID(string(id))
	return node, err == nil && id != ""
}

// LeaderChanged returns a channel that is closed when another leads, nobody
// does, or this node has taken up the lead. Take it before looking.
func (r *Replica) LeaderChanged() <-chan struct{} { return r.changed.wait() }

// observe wakes those who wait for a leader. Raft calls it from its main loop.
func (r *Replica) observe(o *raft.Observation) bool {
	switch o.Data.(type) {
	case raft.LeaderObservation, raft.RaftState:
		r.changed.fire()
	}
	return false // nothing goes to the observer's channel
}

// takeLead readies the node for reads whenever it is elected.
func (r *Replica) takeLead(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.ended:
			return
		case lead := <-r.raft.LeaderCh():
			for lead && ctx.Err() == nil && r.raft.State() == raft.Leader && r.leads() == nil {
				r.settle(ctx)
			}
		}
	}
}

// settle commits an entry of this term, which shows that everything committed
// before is in the log: a leader's commit index may lie behind until then, and
// would be no answer to a read.
func (r *Replica) settle(ctx context.Context) {
	term := r.raft.CurrentTerm()
	barrier := r.raft.Barrier(0)
	if err := r.answer(barrier); err != nil {
		pause(ctx, retryPause, r.ended)
		return
	}
	// The entry went into the log between the two readings, so if they are the
	// same it is of this term.
	if r.raft.CurrentTerm() != term {
		return
	}
	at, _ := barrier.(raft.IndexFuture)
	if at == nil {
		return // raft's futures of entries all are
	}
	r.lead.Store(&leading{term: term, barrier: at.Index(), floor: r.fsm.applied.Load()})
	r.changed.fire()
}

// Configuration returns who votes and who learns, as this node's raft knows it.
// The newest change may not be committed yet.
func (r *Replica) Configuration() (voters, learners []kms.NodeID) {
	return split(r.raft.GetConfiguration().Configuration())
}

func split(c raft.Configuration) (voters, learners []kms.NodeID) {
	for _, s := range c.Servers {
		id, err := kms.ParseNodeID(string(s.ID))
		switch {
		case err != nil: // we write no such ids
		case s.Suffrage == raft.Voter:
			voters = append(voters, id)
		default:
			learners = append(learners, id)
		}
	}
	return voters, learners
}

// AddLearner lets a node receive the log. Like all changes of membership it is
// up to the leader; it returns when the change is committed. Unavailable leaves
// open whether it happened.
func (r *Replica) AddLearner(ctx context.Context, node kms.NodeID) error {
	return r.change(ctx, r.raft.AddNonvoter, node)
}

// Promote gives a learner a vote. The caller has made sure that it has caught
// up (see Applied) and holds what a voter must.
func (r *Replica) Promote(ctx context.Context, node kms.NodeID) error {
	return r.change(ctx, r.raft.AddVoter, node)
}

// RemoveServer ends a node's part in the log. A leader does not remove itself,
// since it could not tell whether that was done: it transfers its leadership.
func (r *Replica) RemoveServer(ctx context.Context, node kms.NodeID) error {
	if node == r.cfg.Node {
		return kms.Errorf(kms.Conflict, "a leader does not remove itself").WithHint("transfer leadership, and have the new leader remove this node")
	}
	remove := func(id raft.ServerID, _ raft.ServerAddress, prev uint64, timeout time.Duration) raft.IndexFuture {
		return r.raft.RemoveServer(id, prev, timeout)
	}
	return r.change(ctx, remove, node)
}

type changeFunc func(raft.ServerID, raft.ServerAddress, uint64, time.Duration) raft.IndexFuture

// changeLimit bounds how long raft may keep a change waiting for the one before.
const changeLimit = 5 * time.Second

// change changes the configuration. From before raft hears of it until it is
// known what became of it, this node does not take itself for the only voter.
func (r *Replica) change(ctx context.Context, f changeFunc, node kms.NodeID) error {
	if err := r.Failure(); err != nil {
		return err
	}
	if r.leads() == nil {
		return kms.Errorf(kms.Unavailable, "this node does not lead").WithHint("ask the leader")
	}
	r.beginChange()
	done := make(chan error, 1)
	if !r.spawn(func() {
		defer r.endChange()
		done <- r.answer(f(serverID(node), address(node), 0, changeLimit))
	}) {
		r.endChange()
		return r.unavailable(raft.ErrRaftShutdown)
	}
	select {
	case err := <-done:
		if err != nil {
			return r.unavailable(err)
		}
		return nil
	case <-ctx.Done():
		return kms.Errorf(kms.Unavailable, "waiting for the change to be committed: %w", ctx.Err())
	}
}

func (r *Replica) beginChange() {
	r.aloneMu.Lock()
	defer r.aloneMu.Unlock()
	r.changing++
	r.alone.Store(false)
}

func (r *Replica) endChange() {
	r.aloneMu.Lock()
	r.changing--
	r.aloneMu.Unlock()
	r.reckonAlone()
}

// reckonAlone finds out whether this node is the only voter. It goes by the
// newest configuration in the log: the moment a second voter is in it, he might
// be elected. While this node leads, only its own change can put one there.
func (r *Replica) reckonAlone() {
	r.aloneMu.Lock()
	defer r.aloneMu.Unlock()
	voters, _ := r.Configuration()
	r.alone.Store(r.changing == 0 && len(voters) == 1 && voters[0] == r.cfg.Node)
}

// TransferLeadership hands the lead to the voter who has applied most of those
// who answer. It is nil if this node does not lead.
func (r *Replica) TransferLeadership(ctx context.Context) error {
	if r.raft.State() != raft.Leader {
		return nil
	}
	to, ok := r.heir(ctx)
	if !ok {
		return kms.Errorf(kms.Unavailable, "no other voter answers")
	}
	done := make(chan error, 1)
	go func() { done <- r.answer(r.raft.LeadershipTransferToServer(serverID(to), address(to))) }()
	select {
	case err := <-done:
		if err != nil {
			return kms.Errorf(kms.Unavailable, "transferring leadership: %w", err)
		}
		return nil
	case <-ctx.Done():
		return kms.Errorf(kms.Unavailable, "transferring leadership: %w", ctx.Err())
	}
}

func (r *Replica) heir(ctx context.Context) (best kms.NodeID, ok bool) {
	voters, _ := r.Configuration()
	most := uint64(0)
	for _, s := range r.poll(ctx, voters, heirLimit) {
		// Raft would wait for one whom it does not reach, and take no command meanwhile.
		if s.node != r.cfg.Node && r.reaches(s.node) && (!ok || s.applied > most) {
			best, most, ok = s.node, s.applied, true
		}
	}
	return best, ok
}

const heirLimit = 300 * time.Millisecond

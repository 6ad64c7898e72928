package replica

import (
	"context"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Bounds of reads. A caller waits for the round under way and the next, so two
// of a follower's and two more seconds are the five after which a read is refused.
const (
	confirmLimit = time.Second             // for one round of the leader's
	askLimit     = 1500 * time.Millisecond // for one request to the leader
	retryLimit   = 2 * time.Second         // for all that comes after the first try
	retryPause   = 20 * time.Millisecond   // between tries
)

// View returns a state that holds everything acknowledged before the call, by
// any node. The error is Stale or Unavailable when it cannot know.
//
// It rests on no clock. A leader that hosts have cut off, stopped or slowed
// does not know that another was elected, and neither do its followers; what
// raft heard from them before the call proves nothing, however short ago that
// seems, since hosts set clocks and hold packets back. So each read waits for a
// round that began after the call: the leader notes how far the log is
// committed, draws a nonce, and asks voters for their terms; when most of them,
// with himself, have answered that very nonce with the leader's own term, no
// other leader can have been elected when it was drawn, for he would have needed
// the vote, and so the term, of one of these. A reply that was kept from an
// earlier round carries another nonce and counts for nothing. Where another node
// asks the leader, and the two are most of the voters, no third one is asked.
//
// The state is that of the index so confirmed or later. All who wait share one
// round; who comes while one is under way waits for the next. The only voter of
// a domain needs none: nobody can be elected without it.
func (r *Replica) View(ctx context.Context) (*state.View, error) {
	if r.solitary() {
		return r.Local()
	}
	at, ok := r.unasked()
	var err error
	if !ok {
		at, err = r.attempt(ctx, true)
	}
	if err == nil && r.fsm.applied.Load() >= at.index {
		return r.Local()
	}
	return r.viewSlowly(ctx, at, err)
}

// solitary is whether there is nobody else who could have acknowledged anything.
func (r *Replica) solitary() bool {
	return r.cfg.Peers == nil || (r.alone.Load() && r.fsm.members.Load() == 1 && r.leads() != nil)
}

// unasked is the leader's index where its word is enough. Learners may have
// applied and acknowledged what this node has committed and not yet applied.
func (r *Replica) unasked() (point, bool) {
	if !r.alone.Load() {
		return point{}, false
	}
	lead := r.leads()
	if lead == nil {
		return point{}, false
	}
	at := lead.at(r.raft.CommitIndex())
	return at, r.leads() == lead && r.alone.Load()
}

// attempt joins the next round, see lane.join.
func (r *Replica) attempt(ctx context.Context, own bool) (point, error) {
	if err := r.Failure(); err != nil {
		return point{}, err
	}
	l := r.asks
	if r.leads() != nil {
		l = r.confirms
	}
	rd := l.join(own)
	select {
	case <-rd.done:
		return rd.at, rd.err
	case <-ctx.Done():
		return point{}, kms.Errorf(kms.Unavailable, "%w", ctx.Err())
	case <-r.ended:
		return point{}, errStopping
	}
}

// viewSlowly goes on after a first try: until the index is applied, or with
// further tries.
func (r *Replica) viewSlowly(ctx context.Context, at point, err error) (*state.View, error) {
	ctx, cancel := context.WithTimeout(ctx, retryLimit)
	defer cancel()
	for {
		if failure := r.Failure(); failure != nil {
			return nil, failure
		}
		changed := r.changed.wait()
		if err == nil {
			if r.fsm.await(ctx, r.ended, at.index) {
				return r.Local()
			}
			err = errNotApplied
		}
		if ctx.Err() != nil {
			return nil, kms.Errorf(kms.Stale, "what others have acknowledged is not known: %w", err).WithHint(staleHint)
		}
		pause(ctx, retryPause, changed)
		next, failed := r.attempt(ctx, false)
		if failed == nil || ctx.Err() == nil { // else what failed before tells more
			at, err = next, failed
		}
	}
}

const staleHint = "the node cannot reach most of the domain's nodes: ask another one, or see to its network"

var (
	errStopping   = kms.Errorf(kms.Unavailable, "node is stopping")
	errNotLeading = kms.Errorf(kms.Unavailable, "no leader is known")
	errNoQuorum   = kms.Errorf(kms.Unavailable, "most of the voters did not answer")
	errDeposed    = kms.Errorf(kms.Unavailable, "another leader was elected")
	errNotApplied = kms.Errorf(kms.Unavailable, "this node lies behind")
	errRefused    = kms.Errorf(kms.Unavailable, "the leader refused")
)

// confirm is the leader's round, see View.
func (r *Replica) confirm(ctx context.Context) (point, error) {
	lead := r.leads()
	if lead == nil {
		return point{}, errNotLeading
	}
	at := lead.at(r.raft.CommitIndex())
	if r.leads() != lead { // the index may be another leader's
		return point{}, errDeposed
	}
	voters, _ := r.Configuration()
	if err := r.confirmTerm(ctx, lead.term, voters); err != nil {
		return point{}, err
	}
	return at, nil
}

// confirmTerm asks voters whether a term is still theirs: as many as it takes
// with this node, and the others when those are slow. Only one round is under
// way at a time.
func (r *Replica) confirmTerm(ctx context.Context, term uint64, voters []kms.NodeID) error {
	b := &ballot{r: r, question: frame{kind: ask, id: newNonce()}, answers: make(chan reply, len(voters)), need: len(voters)/2 + 1}
	for _, v := range r.byAnswer(voters) {
		if v == r.cfg.Node {
			b.need-- // answered below
		} else {
			b.unasked = append(b.unasked, v)
		}
	}
	defer b.end()
	if err := b.run(ctx, term); err != nil {
		return err
	}
	// This node's own answer, after all others.
	if r.raft.CurrentTerm() != term {
		return errDeposed
	}
	return nil
}

// askLeader has the leader confirm an index.
func (r *Replica) askLeader(ctx context.Context) (point, error) {
	changed := r.changed.wait()
	leader, known := r.Leader()
	if !known || leader == r.cfg.Node {
		return point{}, errNotLeading
	}
	answered := make(chan reply, 1)
	// All who wait for this came before the term was read: see vouched.
	question := frame{kind: seek, id: newNonce(), body: termBytes(r.raft.CurrentTerm())}
	l := r.link(leader)
	if !l.call(question, func(a reply) { answered <- a }) {
		return point{}, errNotLeading
	}
	defer l.forget(question.id)
	select {
	case a := <-answered:
		if a.kind != found {
			return point{}, errRefused
		}
		at := parsePoint(a.body)
		r.told(leader, at)
		return at, nil
	case <-changed:
		return point{}, errDeposed
	case <-ctx.Done():
		return point{}, errNoQuorum
	}
}

// vouched is the leader's index where this node and the member who asks for it
// are most of the voters: that he asks is his answer. He has read his term after
// all who wait at him came, so nobody can have been elected with his vote before
// they did, nor with this node's, which reads its own term after it was asked. A
// host that keeps the question changes nothing about it: those who wait for the
// answer wait for longer.
func (r *Replica) vouched(by kms.NodeID, term uint64) (point, bool) {
	lead := r.leads()
	if lead == nil || lead.term != term {
		return point{}, false
	}
	at := lead.at(r.raft.CommitIndex())
	voters, _ := r.Configuration()
	need := len(voters)/2 + 1
	for _, v := range voters {
		if v == by || v == r.cfg.Node {
			need--
		}
	}
	return at, need <= 0 && r.leads() == lead
}

// told passes on to raft what the leader said is committed.
func (r *Replica) told(leader kms.NodeID, at point) {
	if c, ok := r.transport.(*channels); ok {
		c.commit(leader, at)
	}
}

// Ready returns when this node can serve: when it knows a state that holds
// everything acknowledged before the call.
func (r *Replica) Ready(ctx context.Context) error {
	for {
		changed := r.changed.wait()
		_, err := r.View(ctx)
		if err == nil {
			return nil
		}
		if failure := r.Failure(); failure != nil {
			return failure
		}
		if ctx.Err() != nil {
			return kms.Errorf(kms.Unavailable, "waiting for most of the domain's nodes: %w", err)
		}
		pause(ctx, retryPause, changed)
	}
}

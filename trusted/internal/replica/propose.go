package replica

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// proposeLimit bounds how long a command is tried: long enough for another
// leader to be elected, shorter than the time in which it could be forgotten
// that it was done.
const proposeLimit = 8 * time.Second

// Propose puts a command through the log, by way of the leader, and returns
// what became of it once this node has applied it: who reads here after his own
// write sees it. An error of kind Unavailable leaves open whether it happened:
// ask again with the same command, or read.
//
// A leader may be lost with the command in its log, where the next one may find
// it or not. So it is sent again with the same id, and whoever applies it a
// second time answers with the first result: it is never done twice. A host
// that keeps a forwarded command and lets it go much later does no more: the
// command says by base how old it is, and one that is older than what is
// remembered of ids is refused (see state.Machine.Apply).
//
// A command that is above the domain's feature level is sent to nobody: a node
// whose program does not know it would stop. The error is Unsupported.
//
// The result is that of this node's own state machine, not what the leader
// says, but where a snapshot took this node past the entry.
func (r *Replica) Propose(ctx context.Context, c *command.Command) (state.Result, error) {
	if err := r.Failure(); err != nil {
		return state.Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return state.Result{}, kms.Errorf(kms.Unavailable, "not started: %w", err)
	}
	if len(c.GetId()) != len(kms.CommandID{}) {
		return state.Result{}, kms.Errorf(kms.Internal, "a command without an id")
	}
	if err := r.cfg.Machine.View().CheckFeature(c); err != nil {
		return state.Result{}, err
	}
	if c.Base == 0 { // else it is being asked again
		c.Base = r.fsm.applied.Load()
	}
	data, err := proto.Marshal(c)
	if err != nil {
		return state.Result{}, kms.Errorf(kms.Internal, "encoding command: %w", err)
	}
	if len(data) > maxCommand {
		return state.Result{}, kms.Errorf(kms.TooLarge, "command has %d bytes, at most %d are allowed", len(data), maxCommand)
	}
	res, err := r.submit(ctx, c, data)
	if err != nil {
		return state.Result{}, err
	}
	if res.Err != nil {
		return res, res.Err
	}
	return res, nil
}

func (r *Replica) submit(ctx context.Context, c *command.Command, data []byte) (state.Result, error) {
	if r.cfg.Peers == nil {
		f := r.raft.Apply(data, 0)
		if err := r.answer(f); err != nil {
			return state.Result{}, r.unavailable(err)
		}
		res, ok := f.Response().(state.Result)
		if !ok {
			return state.Result{}, kms.Errorf(kms.Internal, "raft answered %T", f.Response())
		}
		return res, nil
	}
	p := &proposal{r: r, data: data, own: r.fsm.expect(kms.CommandID(c.GetId()))}
	defer r.fsm.unexpect(p.own)
	ctx, cancel := context.WithTimeout(ctx, proposeLimit)
	defer cancel()
	return p.run(ctx)
}

// A proposal is a command on its way.
type proposal struct {
	r    *Replica
	data []byte
	own  *expected
	sent bool // it may be in a log
}

// run tries until it is known what became of the command.
func (p *proposal) run(ctx context.Context) (state.Result, error) {
	r := p.r
	for {
		changed := r.changed.wait()
		if res, done, err := p.try(ctx, changed); done {
			return res, err
		}
		if err := r.Failure(); err != nil {
			return state.Result{}, err
		}
		if ctx.Err() != nil {
			return state.Result{}, p.unknown(ctx.Err())
		}
		select {
		case res := <-p.own.done: // it was only the answer that was lost
			return res, nil
		case <-r.ended:
			return state.Result{}, p.unknown(raft.ErrRaftShutdown)
		default:
			pause(ctx, retryPause, changed)
		}
	}
}

func (p *proposal) unknown(cause error) error {
	if !p.sent {
		return kms.Errorf(kms.Unavailable, "no leader was found: %w", cause).WithHint(staleHint)
	}
	return p.r.unavailable(cause)
}

// try sends the command once. It is done when the result is known.
func (p *proposal) try(ctx context.Context, changed <-chan struct{}) (state.Result, bool, error) {
	r := p.r
	if r.raft.State() == raft.Leader {
		res, _, why := r.apply(p.data)
		p.sent = p.sent || why == 0 || why == unknown
		return res, why == 0, nil
	}
	leader, known := r.Leader()
	if !known || leader == r.cfg.Node {
		return state.Result{}, false, nil
	}
	answered := make(chan reply, 1)
	question := frame{kind: propose, id: newNonce(), body: p.data}
	l := r.link(leader)
	if !l.call(question, func(a reply) { answered <- a }) {
		return state.Result{}, false, nil
	}
	defer l.forget(question.id)
	select {
	case res := <-p.own.done:
		return res, true, nil
	case a := <-answered:
		return p.heard(ctx, leader, a)
	case <-changed: // he may be lost
	case <-ctx.Done():
	case <-r.ended:
	}
	p.sent = true
	return state.Result{}, false, nil
}

// heard takes the leader's answer.
func (p *proposal) heard(ctx context.Context, leader kms.NodeID, a reply) (state.Result, bool, error) {
	switch a.kind {
	case refusal:
		switch why := reason(a.body[0]); why {
		case malformed:
			return state.Result{}, true, kms.Errorf(kms.Internal, "the leader took the command for none")
		case notYours: // this node led when another one asked it, and leads no more
			return state.Result{}, true, kms.Errorf(kms.Unavailable, "the leader takes no command from this node that names another as its proposer")
		case notMember:
			return state.Result{}, true, kms.Errorf(kms.Unavailable, "the leader does not know this node as a member")
		default:
			p.sent = p.sent || why == unknown
		}
		return state.Result{}, false, nil
	case outcome:
		p.sent = true
		v, err := parseVerdict(a.body)
		if err != nil {
			return state.Result{}, true, kms.Errorf(kms.Internal, "%w", err)
		}
		return p.settle(ctx, leader, v)
	}
	p.sent = true // the connection was lost
	return state.Result{}, false, nil
}

// settle waits until this node has applied the entry, too.
func (p *proposal) settle(ctx context.Context, leader kms.NodeID, v verdict) (state.Result, bool, error) {
	r := p.r
	r.told(leader, v.at)
	if !r.fsm.await(ctx, r.ended, v.at.index) {
		return state.Result{}, false, nil
	}
	select {
	case res := <-p.own.done:
		return res, true, nil
	default: // a snapshot took us past it
	}
	view, err := r.Local()
	if err != nil {
		return state.Result{}, true, err
	}
	return v.result(view), true, nil
}

// apply has raft take an entry here, where this node leads. The reason is zero
// when it is known what became of it.
func (r *Replica) apply(data []byte) (res state.Result, at point, why reason) {
	f := r.raft.Apply(data, 0)
	switch err := r.answer(f); {
	case err == nil:
		res, ok := f.Response().(state.Result)
		if !ok {
			return res, at, unknown
		}
		return res, point{index: f.Index(), term: r.termOf(f.Index())}, 0
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return res, at, notLeader
	}
	return res, at, unknown
}

// termOf is the term of an entry that this node has just committed as leader, 0
// if it leads no more.
func (r *Replica) termOf(index uint64) uint64 {
	if l := r.leads(); l != nil && index > l.barrier {
		return l.term
	}
	return 0
}

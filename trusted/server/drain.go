package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A parting is whether a node is about to leave its domain, or has left it.
type parting struct{ stage atomic.Uint32 }

// The stages of a parting.
const (
	stays uint32 = iota
	leaves
	left
)

// check is nil while the node is to stay.
func (p *parting) check() error {
	switch p.stage.Load() {
	case leaves:
		return kms.Errorf(kms.Unavailable, "this node finishes what it has begun, and leaves the domain").WithHint("ask another node")
	case left:
		return kms.Errorf(kms.Unavailable, "this node has left the domain").WithHint("ask another node; this one's process may be stopped")
	}
	return nil
}

// Drain ends this node's own part in the domain for good, and in order: it takes on
// nothing new, hands the lead over, finishes what it has begun, ends its audit log,
// and has the others remove it. What is refused leaves it as it was. The errors are
// Conflict (the domain would lose its quorum) and Unavailable.
//
// Its host may want that before it takes the machine away: who could switch a node
// off may also have it leave.
func (n *Node) Drain(ctx context.Context) error { return n.drain(ctx, 0) }

// leaveTime bounds how long a node takes to leave; drainTimeout of it is for the
// requests under way.
const leaveTime = drainTimeout + 10*time.Second

// drain is Drain; so many of the requests under way wait for it.
func (n *Node) drain(ctx context.Context, waiting int) error {
	if n.members == nil {
		return errNobodyLeft()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime) // begun, it is ended
	defer cancel()
	if err := n.canGo(ctx); err != nil {
		return err
	}
	if !n.parting.stage.CompareAndSwap(stays, leaves) {
		return kms.Errorf(kms.Exists, "the node leaves already, or has left")
	}
	n.cfg.Logger.Warn("this node leaves the domain")
	err := n.leave(ctx, waiting)
	if err != nil && !n.dropped(ctx) {
		n.parting.stage.Store(stays)
		n.cfg.Logger.Warn("this node stays: it could not leave", "cause", err)
		return errors.Join(err, n.core.StartAudit(ctx))
	}
	n.parting.stage.Store(left)
	n.cfg.Logger.Warn("this node has left the domain")
	return nil
}

func errNobodyLeft() error {
	return kms.Errorf(kms.Conflict, "a domain of one node would have none left").WithHint("let another node join first")
}

// canGo asks that the domain goes on without this node: that of the voters who
// would be left a majority answers now. They will have to agree on its going.
func (n *Node) canGo(ctx context.Context) error {
	view, err := n.replica.View(ctx)
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(view.Voters()), func(id kms.NodeID) bool { return id == n.who.node })
	switch {
	case len(rest) == len(view.Voters()):
		return nil // it does not vote
	case len(rest) == 0:
		return errNobodyLeft()
	}
	var alive atomic.Int32
	var asking sync.WaitGroup
	for _, id := range rest {
		asking.Go(func() {
			if n.members.alive(ctx, id) {
				alive.Add(1)
			}
		})
	}
	asking.Wait()
	if int(alive.Load()) <= len(rest)/2 {
		return kms.Errorf(kms.Conflict, "of the %d voters that would be left %d answer, which is no majority", len(rest), alive.Load()).
			WithHint("start the others, or let another node join first")
	}
	return nil
}

// leave does what Drain says.
func (n *Node) leave(ctx context.Context, waiting int) error {
	if err := n.stopLeading(ctx); err != nil {
		return err
	}
	n.finish(ctx, waiting)
	stop, cancel := context.WithTimeout(ctx, stopAuditTime)
	defer cancel()
	if err := n.core.StopAudit(stop); err != nil {
		n.cfg.Logger.Warn("the audit log did not end in order", "cause", err)
	}
	return n.remove(ctx, &wire.Remove{Node: n.who.node[:], Reason: uint32(kms.NodeDrained)})
}

// stopLeading hands the lead over, if this node has it. Who is to take it may be
// busy, so it is tried for some time.
func (n *Node) stopLeading(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	for n.replica.Leads() {
		if err := n.handOver(ctx); err != nil && (!errors.Is(err, kms.Unavailable) || !pause(ctx, removePause)) {
			return err
		}
	}
	return nil
}

// finish waits until no more requests are under way than wait for this, or for as
// long as a node that shuts down would. New ones are refused by now.
func (n *Node) finish(ctx context.Context, waiting int) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	for n.gate.Load().UnderWay > waiting && pause(ctx, finishPause) {
	}
}

const finishPause = 5 * time.Millisecond

// dropped reports whether the others hold this node for gone. Who removes it does
// not speak with it any more, so that the answer may be lost; but everybody may ask
// them by which rules they judge.
func (n *Node) dropped(ctx context.Context) bool {
	if n.hasGone(n.who.node[:]) {
		return true
	}
	n.members.catchUp(ctx)
	_, stays := n.members.Socket(n.who.node)
	return !stays
}

// drainByOrder has a node leave in order, as an operator's order says: this one, or
// the one that it names, which is asked to. So many of the requests under way here
// wait for it. An order is good for one try: what was refused is spent, so that it is
// not carried out later, when nobody expects that any more.
func (n *Node) drainByOrder(ctx context.Context, id kms.NodeID, order []byte, waiting int) error {
	view, err := n.replica.View(ctx)
	if err == nil {
		err = view.CheckDrain(id, order, n.core.Now(view))
	}
	if err != nil {
		return err
	}
	if err = n.drainOrdered(ctx, view, id, order, waiting); err != nil && !errors.Is(err, kms.NotFound) {
		n.spendOrder(ctx, id, order)
	}
	return err
}

// spendOrder has the domain remember an order to drain that was refused. Where the
// log cannot be written nobody leaves by an order either; it is told, and no more.
func (n *Node) spendOrder(ctx context.Context, id kms.NodeID, order []byte) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	_, err := n.core.Order(ctx, func(*state.View) (*command.Command, error) {
		return &command.Command{Op: &command.Command_SpendOrder{SpendOrder: &command.SpendOrder{By: n.who.node[:], Node: id[:], Order: order}}}, nil
	})
	if err != nil && !errors.Is(err, kms.Exists) { // the node that was to leave has done it
		n.cfg.Logger.Warn("an order to drain that was refused is good until it expires", "node", id.String(), "cause", err)
	}
}

// drainOrdered is drainByOrder, for an order that was checked.
func (n *Node) drainOrdered(ctx context.Context, view *state.View, id kms.NodeID, order []byte, waiting int) error {
	err := isMember(view, id)
	switch {
	case err != nil:
		return err
	case id == n.who.node:
		return n.drain(ctx, waiting)
	case n.members == nil:
		return errNobodyLeft()
	}
	err = n.members.call(ctx, id, member.MethodDrain, &wire.Remove{Node: id[:], Reason: uint32(kms.NodeDrained), Order: order}, &wire.Removed{})
	if !errors.Is(err, kms.Unavailable) {
		return err
	}
	if view, lost := n.replica.View(ctx); lost == nil {
		if _, gone := view.Removed(id); gone { // and so the answer was lost
			return nil
		}
	}
	return kms.Errorf(kms.Unavailable, "the node does not leave: %w", err).WithHint("where it does not answer, order its removal: `holdfast node remove`")
}

func isMember(view *state.View, id kms.NodeID) error {
	rec, there := view.Node(id)
	if r, gone := view.Removed(id); gone {
		return kms.Errorf(kms.Exists, "the node was removed already: %s", r.Reason)
	}
	switch {
	case !there:
		return kms.Errorf(kms.NotFound, "there is no such node")
	case !rec.Member():
		return kms.Errorf(kms.Misused, "the node is no member: it waits").WithHint("it is forgotten an hour after it last asked")
	}
	return nil
}

// takeDrain is the side of the node that is to leave. It does not take the other
// node's word for the order.
func (m *members) takeDrain(ctx context.Context, r *wire.Remove) (*wire.Removed, error) {
	if !m.node.assembled.Load() {
		return nil, kms.Errorf(kms.Unavailable, "this node has not found the others of its domain yet")
	}
	return &wire.Removed{}, m.node.drainByOrder(ctx, m.node.who.node, r.GetOrder(), 0)
}

// orderedTo is what an order says that it is for, unverified.
func orderedTo(order []byte) govern.Deed {
	e, err := govern.ParseEnvelope(order)
	if err != nil {
		return 0
	}
	o, err := govern.ParseOrder(e.Payload)
	if err != nil {
		return 0
	}
	return o.Deed
}

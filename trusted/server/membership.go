package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Nodes lists who has a part in the domain or waits for one, and who had. The
// error is Unavailable.
func (n *Node) Nodes(context.Context) (kms.NodeList, error) {
	view, err := n.replica.Local()
	if err != nil {
		return kms.NodeList{}, err
	}
	var l kms.NodeList
	leader, _ := n.replica.Leader()
	peers := n.peers()
	view.Nodes(func(rec *state.Node) bool {
		l.Nodes = append(l.Nodes, n.nodeInfo(view, rec, leader, peers[rec.ID]))
		return true
	})
	view.RemovedNodes(func(id kms.NodeID, r state.Removal) bool {
		l.Departed = append(l.Departed, kms.DepartedNode{ID: id, Reason: r.Reason, Time: time.Unix(0, r.Time).UTC()})
		return true
	})
	return l, nil
}

// ApproveNode admits a node that waits, on an operator's approval. The errors are
// those of state's CheckApproval, NotFound, Exists, Exhausted and Unavailable.
func (n *Node) ApproveNode(ctx context.Context, id kms.NodeID, approval []byte) error {
	_, err := n.core.Order(ctx, func(*state.View) (*command.Command, error) {
		return &command.Command{Op: &command.Command_ApproveNode{ApproveNode: &command.ApproveNode{By: n.who.node[:], Node: id[:], Approval: approval}}}, nil
	})
	if err == nil && n.members != nil {
		n.members.nudge()
	}
	return err
}

// RemoveNode ends a node's part in the domain for good, as an order says: when it
// returns no node speaks with that one. An order to drain has that node finish what
// it has begun first, see Drain. The errors are those of state's CheckRemoval,
// NotFound, Exists, Conflict (the domain would lose its quorum) and Unavailable.
func (n *Node) RemoveNode(ctx context.Context, id kms.NodeID, order []byte) error {
	if len(order) == 0 {
		return kms.Errorf(kms.Invalid, "there is no order").WithField("order")
	}
	if orderedTo(order) == govern.DeedDrain {
		return n.drainByOrder(ctx, id, order, 1) // it is one of the requests under way itself
	}
	return n.remove(ctx, &wire.Remove{Node: id[:], Reason: uint32(kms.NodeExpelled), Order: order})
}

// removeTime bounds how long remove waits for a node that leads.
const removeTime = 5 * time.Second

// remove has the leader do it. One that is to go itself hands the lead over first,
// and the next one takes a moment: so it is asked again while nobody can do it.
func (n *Node) remove(ctx context.Context, r *wire.Remove) error {
	if n.members == nil {
		return kms.Errorf(kms.Conflict, "a domain of one node would have none left")
	}
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	for again := false; ; again = true {
		err := n.removeOnce(ctx, r)
		if again && n.hasGone(r.GetNode()) { // before, and the answer was lost
			return nil
		}
		if !errors.Is(err, kms.Unavailable) || !pause(ctx, removePause) {
			return err
		}
	}
}

const removePause = 50 * time.Millisecond

func (n *Node) removeOnce(ctx context.Context, r *wire.Remove) error {
	leader, known := n.replica.Leader()
	switch {
	case !known:
		return kms.Errorf(kms.Unavailable, "no leader is known")
	case leader == n.who.node && string(r.GetNode()) != string(leader[:]):
		return n.members.end(ctx, n.who.node, r)
	case leader == n.who.node:
		if err := n.handOver(ctx); err != nil {
			return err
		}
		return kms.Errorf(kms.Unavailable, "another node leads now")
	}
	return n.members.call(ctx, leader, member.MethodRemove, r, &wire.Removed{})
}

func (n *Node) hasGone(raw []byte) bool {
	id, err := nodeID(raw)
	_, gone := n.machine.View().Removed(id)
	return err == nil && gone
}

// handOver has another node lead.
func (n *Node) handOver(ctx context.Context) error {
	view, err := n.replica.Local()
	if err == nil && len(view.Voters()) < 2 {
		return kms.Errorf(kms.Conflict, "a domain of one node would have none left").WithHint("let another node join first")
	}
	if err == nil {
		err = n.replica.TransferLeadership(ctx)
	}
	return err
}

// takeRemoval is the leader's side of remove.
func (m *members) takeRemoval(ctx context.Context, r *wire.Remove) (*wire.Removed, error) {
	peer, ok := member.PeerOf(ctx)
	if !ok || !m.node.assembled.Load() || !m.node.replica.Leads() {
		return nil, kms.Errorf(kms.Unavailable, "this node does not lead")
	}
	if string(r.GetNode()) == string(m.node.who.node[:]) {
		if err := m.node.handOver(ctx); err != nil {
			return nil, err
		}
		return nil, kms.Errorf(kms.Unavailable, "another node leads now").WithHint("ask again")
	}
	return &wire.Removed{}, m.end(ctx, peer.Peer(), r)
}

// end takes a node's part away: its vote first where the others could not do
// without it else, then its record; after that nobody speaks with it.
func (m *members) end(ctx context.Context, by kms.NodeID, r *wire.Remove) error {
	id, err := nodeID(r.GetNode())
	if err != nil {
		return err
	}
	cmd := &command.Command{Op: &command.Command_RemoveNode{RemoveNode: &command.RemoveNode{By: by[:], Node: id[:], Reason: r.GetReason(), Order: r.GetOrder()}}}
	err = m.order(ctx, cmd)
	if errors.Is(err, kms.Conflict) && m.voteCanGo(ctx, by, id, r) {
		m.busy.Lock() // reconcile would give it back
		defer m.busy.Unlock()
		if err = m.node.replica.RemoveServer(ctx, id); err == nil {
			err = m.order(ctx, cmd)
		}
	}
	if err != nil {
		return err
	}
	m.channels.Enforce()
	m.nudge()
	return nil
}

// voteCanGo reports whether a node can be taken out of the configuration before it
// is removed: an order or the node itself says so, and another voter is left.
func (m *members) voteCanGo(ctx context.Context, by, id kms.NodeID, r *wire.Remove) bool {
	view, err := m.node.replica.View(ctx)
	if err != nil || len(view.Voters()) != 2 || !slices.Contains(view.Voters(), id) {
		return false
	}
	switch kms.Departure(r.GetReason()) {
	case kms.NodeDrained:
		return by == id
	case kms.NodeExpelled:
		return view.CheckRemoval(id, r.GetOrder(), m.node.core.Now(view)) == nil
	}
	return false
}

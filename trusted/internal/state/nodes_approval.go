package state

import (
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// CheckApproval asks whether an operator's envelope approves, at some time, of
// the node that proved c. The errors are those of govern (Stale: given under
// another policy) and Exists: the approval was used before.
func (v *View) CheckApproval(envelope []byte, c attest.Claims, at time.Time) (*govern.Approval, error) {
	a, err := v.Policy().OpenApproval(envelope)
	if err != nil {
		return nil, err
	}
	if _, spent := v.orders.Get(string(a.Nonce[:])); spent {
		return nil, kms.Errorf(kms.Exists, "the approval was used before").WithField("nonce").
			WithHint("it is good for one node: have another one signed")
	}
	if err := v.Policy().Approves(a, c, at); err != nil {
		return nil, err
	}
	return a, nil
}

// CheckRemoval asks whether an order has a node removed, at some time. The errors
// are those of govern, Exists, Expired and Conflict: it is about another node.
func (v *View) CheckRemoval(node kms.NodeID, order []byte, at time.Time) error {
	return v.checkLeave(govern.DeedRemove, node, order, at)
}

// CheckDrain asks whether an order has a node leave by itself, at some time. The
// node obeys it, and no command carries it: the id never comes back, so it is good
// once; where it was refused, SpendOrder sees to that. The errors are those of
// CheckRemoval.
func (v *View) CheckDrain(node kms.NodeID, order []byte, at time.Time) error {
	return v.checkLeave(govern.DeedDrain, node, order, at)
}

func (v *View) checkLeave(deed govern.Deed, node kms.NodeID, order []byte, at time.Time) error {
	o, err := v.checkOrder(order, deed, 0, at)
	if err != nil {
		return err
	}
	if o.Node != node {
		return kms.Errorf(kms.Conflict, "the order is about node %s", o.Node).WithField("node")
	}
	return nil
}

// spendOrder remembers an order to drain that was refused.
func (m *Machine) spendOrder(by *command.Principal, p *command.SpendOrder) Result {
	var id kms.NodeID
	if by != nil || !fill(id[:], p.GetNode()) {
		return refuse(kms.Invalid, "the order that is spent is malformed")
	}
	if err := m.spokenBy(p.GetBy()); err != nil {
		return refuseAs(err)
	}
	if err := m.next.CheckDrain(id, p.GetOrder(), m.next.Time()); err != nil {
		return refuseAs(err)
	}
	m.spend(p.GetOrder(), govern.DeedDrain)
	return Result{}
}

// ProvedUntil is when what a node has on record is too old under the policy in
// force.
func (v *View) ProvedUntil(n *Node) time.Time {
	return time.Unix(0, n.Proved).Add(time.Duration(v.Policy().EvidenceAge)).UTC()
}

// approveNode admits a node that waits.
func (m *Machine) approveNode(by *command.Principal, p *command.ApproveNode) Result {
	var id kms.NodeID
	if by != nil || !fill(id[:], p.GetNode()) || len(p.GetApproval()) == 0 {
		return refuse(kms.Invalid, "approval is malformed")
	}
	if err := m.spokenBy(p.GetBy()); err != nil {
		return refuseAs(err)
	}
	old, there := m.next.Node(id)
	switch {
	case !there:
		return refuse(kms.NotFound, "no such node waits")
	case old.Member():
		return refuse(kms.Exists, "the node is a member already")
	}
	n := *old
	// The policy may have changed while it waited.
	if err := admits(m.next.Policy(), n.Claims, m.next.Time()); err != nil {
		return refuseAs(err)
	}
	if n.Replaces != (kms.NodeID{}) {
		if err := m.replaceable(n.Replaces, n.ID); err != nil {
			return refuseAs(err)
		}
	}
	return m.approve(&n, p.GetApproval())
}

// approve admits a node on an approval, and uses that up.
func (m *Machine) approve(n *Node, envelope []byte) Result {
	a, err := m.next.CheckApproval(envelope, n.Claims, m.next.Time())
	if err != nil {
		return refuseAs(err)
	}
	if err := m.approvedToReplace(n, a); err != nil {
		return refuseAs(err)
	}
	r := m.admitNode(n, kms.EventNodeApproved)
	if r.Err == nil {
		m.spendNonce(a.Nonce, a.Expires)
	}
	return r
}

// approvedToReplace settles whom a node goes for. It says so itself and has shown
// that node's key, or the operator says so, or both say the same.
func (m *Machine) approvedToReplace(n *Node, a *govern.Approval) error {
	switch {
	case a.Action == govern.ActReplace && n.Replaces != (kms.NodeID{}) && n.Replaces != a.Replaces:
		return kms.Errorf(kms.Conflict, "the approval is to replace node %s, and the node asks to replace %s", a.Replaces, n.Replaces).WithField("replaces")
	case a.Action == govern.ActReplace:
		n.Replaces = a.Replaces
		return m.replaceable(n.Replaces, n.ID)
	case n.Replaces != (kms.NodeID{}) && !n.Proven:
		return kms.Errorf(kms.Denied, "the approval is to join, and the node asks to replace %s without having shown its key", n.Replaces).WithField("replaces").
			WithHint("sign an approval to replace, or have the node ask without naming another one")
	}
	return nil
}

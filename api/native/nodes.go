package native

import (
	"context"
	"slices"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// A Roster shows the nodes of the domain and takes the documents that change who
// they are. Its errors are those of approvals and orders, and Unavailable.
type Roster interface {
	Nodes(ctx context.Context) (kms.NodeList, error)
	ApproveNode(ctx context.Context, id kms.NodeID, approval []byte) error
	RemoveNode(ctx context.Context, id kms.NodeID, order []byte) error
}

// maxDeparted is how many of those who left are told: ids never come back, so
// there may be many.
const maxDeparted = 1000

// nodes serves the NodeService.
type nodes struct{ Roster }

func (n nodes) ListNodes(ctx context.Context, r *connect.Request[holdfastv1.ListNodesRequest]) (*connect.Response[holdfastv1.ListNodesResponse], error) {
	l, err := n.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	m := &holdfastv1.ListNodesResponse{}
	for i := range l.Nodes {
		m.Nodes = append(m.Nodes, nodeInfo(&l.Nodes[i]))
	}
	if r.Msg.GetDeparted() {
		m.Departed = departed(l.Departed)
	}
	return connect.NewResponse(m), nil
}

func (n nodes) ApproveNode(ctx context.Context, r *connect.Request[holdfastv1.ApproveNodeRequest]) (*connect.Response[holdfastv1.ApproveNodeResponse], error) {
	id, err := nodeID(r.Msg.GetNodeId())
	if err != nil {
		return nil, err
	}
	if err := n.Roster.ApproveNode(ctx, id, []byte(r.Msg.GetApproval())); err != nil {
		return nil, spoken(err)
	}
	return connect.NewResponse(&holdfastv1.ApproveNodeResponse{}), nil
}

func (n nodes) RemoveNode(ctx context.Context, r *connect.Request[holdfastv1.RemoveNodeRequest]) (*connect.Response[holdfastv1.RemoveNodeResponse], error) {
	id, err := nodeID(r.Msg.GetNodeId())
	if err != nil {
		return nil, err
	}
	if err := n.Roster.RemoveNode(ctx, id, []byte(r.Msg.GetOrder())); err != nil {
		return nil, spoken(err)
	}
	return connect.NewResponse(&holdfastv1.RemoveNodeResponse{}), nil
}

func nodeID(text string) (kms.NodeID, error) {
	id, err := kms.ParseNodeID(text)
	if err != nil {
		return id, kms.Errorf(kms.Invalid, "%w", err).WithField("node_id")
	}
	return id, nil
}

func nodeInfo(n *kms.NodeInfo) *holdfastv1.Node {
	m := &holdfastv1.Node{NodeId: n.ID.String(), Name: n.Name, Role: n.Role.String(), Leader: n.Leader, Self: n.Self, Socket: n.Socket, Api: n.API,
		Tee: n.TEE, Program: n.Program, Identity: n.Identity, Platform: n.Platform, TcbStatus: n.TCBStatus, TcbEvaluationDataNumber: n.EvaluationNumber,
		Simulated: n.Simulated, Proved: timestamp(n.Proved), ValidUntil: timestamp(n.ValidUntil), FeatureLevel: n.FeatureLevel,
		Generations: n.Generations, Joined: timestamp(n.Joined), Revision: n.Revision, Connected: n.Connected, Trouble: n.Trouble}
	if n.Replaces != (kms.NodeID{}) {
		m.Replaces = n.Replaces.String()
	}
	return m
}

// departed are the last to go, the last one first.
func departed(all []kms.DepartedNode) (out []*holdfastv1.DepartedNode) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b kms.DepartedNode) int { return b.Time.Compare(a.Time) })
	for _, d := range all[:min(len(all), maxDeparted)] {
		out = append(out, &holdfastv1.DepartedNode{NodeId: d.ID.String(), Reason: d.Reason.String(), Time: timestamp(d.Time)})
	}
	return out
}

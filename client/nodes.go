package client

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// The procedures of the domain's nodes. Approvals and orders are obeyed once, so
// they are sent once and the outcome told.
var (
	actListNodes   = action{name: "ListNodes", unsigned: true, repeatable: true}
	actApproveNode = action{name: "ApproveNode", unsigned: true}
	actRemoveNode  = action{name: "RemoveNode", unsigned: true}
)

// A Departed is a node that is gone for good.
type Departed struct {
	ID     kms.NodeID `json:"node_id"`
	Reason string     `json:"reason"` // in words
	Time   time.Time  `json:"time"`
}

// Nodes lists who has a part in the domain or waits for one, as the node that is
// asked knows it: its word, which a client with Config.Trust has from a program
// that the domain's policy admits. With departed also the last thousand who left,
// the last one first. Error: Unavailable.
func (c *Client) Nodes(ctx context.Context, departed bool) ([]kms.NodeInfo, []Departed, error) {
	r, err := callNative(ctx, c, actListNodes, c.nodes().ListNodes, &holdfastv1.ListNodesRequest{Departed: departed})
	if err != nil {
		return nil, nil, err
	}
	var all []kms.NodeInfo
	for _, m := range r.GetNodes() {
		n, err := readNode(m)
		if err != nil {
			return nil, nil, garbled(actListNodes, 0, err)
		}
		all = append(all, n)
	}
	var gone []Departed
	for _, m := range r.GetDeparted() {
		d := Departed{Reason: printable(m.GetReason())}
		if !unhex(d.ID[:], m.GetNodeId()) || m.GetTime() == nil {
			return nil, nil, garbled(actListNodes, 0, errNode)
		}
		d.Time = m.GetTime().AsTime()
		gone = append(gone, d)
	}
	return all, gone, nil
}

// ApproveNode has the domain admit a node that waits. The approval's envelope is
// signed by an operator; the client needs no credential. Errors: Invalid, TooLarge,
// Denied (signatures, another domain, machine or program), NotFound (no such node
// waits), Exists (it is a member, or the approval was used before), Expired, Stale
// (given under another policy), Conflict (the node asks for something else),
// Exhausted, Unavailable.
func (c *Client) ApproveNode(ctx context.Context, node kms.NodeID, approval []byte) error {
	_, err := callNative(ctx, c, actApproveNode, c.nodes().ApproveNode, &holdfastv1.ApproveNodeRequest{NodeId: node.String(), Approval: string(approval)})
	return err
}

// RemoveNode has the domain end a node's part in it for good: when it returns no
// other node speaks with that one. The order's envelope is signed by an operator
// or the owner; the client needs no credential. Errors: Invalid, TooLarge, Denied
// (signatures, another domain), NotFound, Exists (the order was obeyed before),
// Expired, Conflict (it is about another node, or the domain would lose its
// quorum), Unavailable.
func (c *Client) RemoveNode(ctx context.Context, node kms.NodeID, order []byte) error {
	_, err := callNative(ctx, c, actRemoveNode, c.nodes().RemoveNode, &holdfastv1.RemoveNodeRequest{NodeId: node.String(), Order: string(order)})
	return err
}

var errNode = errors.New("a node of another form")

// readNode reads a node. A role or an identity that has no word here, of a newer
// node's, is none.
func readNode(m *holdfastv1.Node) (n kms.NodeInfo, err error) {
	if !unhex(n.ID[:], m.GetNodeId()) || m.GetReplaces() != "" && !unhex(n.Replaces[:], m.GetReplaces()) {
		return n, errNode
	}
	if id, err := govern.ParseIdentity([]byte(m.GetIdentity())); err == nil {
		n.Identity = string(id.Canonical())
	}
	_ = n.Role.UnmarshalText([]byte(m.GetRole())) // never fails
	n.Name, n.Leader, n.Self, n.Socket, n.API = printable(m.GetName()), m.GetLeader(), m.GetSelf(), printable(m.GetSocket()), printable(m.GetApi())
	n.TEE, n.Program, n.Platform = printable(m.GetTee()), printable(m.GetProgram()), printable(m.GetPlatform())
	n.TCBStatus, n.EvaluationNumber, n.Simulated = printable(m.GetTcbStatus()), m.GetTcbEvaluationDataNumber(), m.GetSimulated()
	n.FeatureLevel, n.Generations, n.Revision = m.GetFeatureLevel(), m.GetGenerations(), m.GetRevision()
	n.Connected, n.Trouble = m.GetConnected(), printable(m.GetTrouble())
	if m.GetProved() != nil {
		n.Proved = m.GetProved().AsTime()
	}
	if m.GetValidUntil() != nil {
		n.ValidUntil = m.GetValidUntil().AsTime()
	}
	if m.GetJoined() != nil {
		n.Joined = m.GetJoined().AsTime()
	}
	return n, nil
}

func (c *Client) nodes() holdfastv1connect.NodeServiceClient {
	return holdfastv1connect.NewNodeServiceClient(nativeHTTP{client: c, unsigned: true}, c.native(), nativeOptions()...)
}

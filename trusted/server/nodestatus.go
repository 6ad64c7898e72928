package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// membersStatus says who the nodes are, and what the domain would not survive.
func (n *Node) membersStatus(s *kms.Status, view *state.View) {
	s.Voters = len(view.Voters())
	if view.QuorumTime() {
		s.Time = "quorum"
	}
	s.Leader, _ = n.replica.Leader()
	peers := n.peers()
	if s.Ready && s.Voters > 1 && s.Leader == (kms.NodeID{}) {
		s.Ready, s.Reason = false, alone(peers)
	}
	view.Nodes(func(rec *state.Node) bool {
		s.Nodes = append(s.Nodes, n.nodeInfo(view, rec, s.Leader, peers[rec.ID]))
		return true
	})
	if view.Rule().Standing.RestartMode == govern.Rejoin { // nothing that lies on a disk is ever gone on from
		s.Protected = true
		if view.Gathering() {
			s.Warnings = append(s.Warnings, "the domain begins on a node that keeps nothing over a restart: if it ends before three nodes vote, begin again")
		} else if s.Voters < 3 {
			s.Warnings = append(s.Warnings, fmt.Sprintf("mode rejoin on %d nodes: when one stops, only a signed recovery goes on; have others join", s.Voters))
		}
		return
	}
	switch s.Voters {
	case 1:
		s.Warnings = append(s.Warnings, "mode sealed on one node: restoring all files of an older state together cannot be noticed",
			"one node: when this machine is lost, so is every key, unless a backup and shares of the recovery key are kept")
	case 2:
		s.Warnings = append(s.Warnings, "mode sealed: restoring an older state of both nodes together cannot be noticed",
			"two nodes: the domain stops when either does; have a third one join")
	default: // so many any two majorities have in common
		s.Warnings = append(s.Warnings, fmt.Sprintf("mode sealed: restoring an older state of %d of the %d nodes, while the network keeps others apart, cannot be noticed; mode rejoin has no such gap", s.Voters/2*2+2-s.Voters, s.Voters))
	}
}

// alone says why a node has no leader to ask: the others refuse it, or cannot be
// reached.
func alone(peers map[kms.NodeID]member.Peer) string {
	for _, p := range peers {
		if p.Unwelcome != nil {
			return "no leader is known: " + p.Unwelcome.Error()
		}
	}
	return "no leader is known: most of the domain's nodes are not reached, or are about to choose one"
}

func (n *Node) peers() map[kms.NodeID]member.Peer {
	all := map[kms.NodeID]member.Peer{}
	if n.members == nil {
		return all
	}
	for _, p := range n.members.channels.Peers() {
		all[p.Node] = p
	}
	return all
}

func (n *Node) nodeInfo(view *state.View, rec *state.Node, leader kms.NodeID, peer member.Peer) kms.NodeInfo {
	i := kms.NodeInfo{ID: rec.ID, Name: rec.Name, Role: roleOf(view, rec), Leader: rec.ID == leader, Self: rec.ID == n.who.node,
		Socket: rec.Socket, API: rec.API, Replaces: rec.Replaces, TEE: string(rec.Claims.TEE), Program: state.Program(rec.Claims),
		TCBStatus: string(rec.Claims.Status), EvaluationNumber: rec.Claims.EvaluationNumber, Simulated: rec.Claims.Simulated,
		Proved: time.Unix(0, rec.Proved).UTC(), ValidUntil: rec.Claims.ValidUntil, FeatureLevel: rec.Feature, Generations: rec.Generations,
		Joined: time.Unix(0, rec.Joined).UTC(), Revision: rec.Revision, Connected: peer.Channels > 0 || rec.ID == n.who.node}
	i.Platform = rec.Claims.Platform.Machine().String()
	if id := govern.IdentityOf(rec.Claims); id.TEE() != "" {
		i.Identity = string(id.Canonical())
	}
	i.Trouble = n.trouble(view, rec, peer)
	return i
}

// roleOf is the role that a node has, or is about to have: one that was admitted
// does not wait any more.
func roleOf(view *state.View, rec *state.Node) kms.NodeRole {
	if role := view.Role(rec.ID); role != kms.RoleWaiting || !rec.Member() {
		return role
	}
	return kms.RoleLearner
}

// trouble is why a node does not serve, as far as this one knows and everybody
// may be told.
func (n *Node) trouble(view *state.View, rec *state.Node, peer member.Peer) string {
	now := n.core.Now(view)
	switch {
	case !rec.Member():
		return "waits for an operator's approval"
	case view.Policy().NodePolicy().Admit(rec.Claims, now) != nil:
		return "the policy in force does not admit it: " + view.Policy().NodePolicy().Admit(rec.Claims, now).Error()
	case now.After(view.ProvedUntil(rec)):
		return "its evidence is older than the policy wants"
	case rec.ID == n.who.node:
		return ""
	case peer.Channels == 0 && peer.Refusal != nil && errors.Is(peer.Refusal, kms.Denied):
		return peer.Refusal.Error()
	case peer.Channels == 0 && peer.Unwelcome != nil:
		return peer.Unwelcome.Error()
	case peer.Channels == 0:
		return "this node has no channel to it"
	case !view.HoldsRoot(rec):
		return "it takes over the master secrets"
	}
	return ""
}

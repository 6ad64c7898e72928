package state

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// Limits of who can be on record. They are part of the protocol.
const (
	// MaxMembers is how many nodes have a part in the domain at once; those that
	// another one goes for do not count.
	MaxMembers = 31
	// MaxMembersHere is how many of them are of one machine when another one comes
	// without an operator's approval: two, so that one can take over from the other.
	MaxMembersHere = 2
	// MaxWaiting is how many nodes wait at once, and MaxWaitingHere how many of
	// one machine: so that one machine cannot keep all others from asking.
	MaxWaiting     = 64
	MaxWaitingHere = 8
	// WaitingTime is how long a node waits since it last proved itself.
	WaitingTime = time.Hour
	// MaxRemoved is how many nodes a domain has had in its life: one in an hour
	// for thirty years. Their ids are all remembered.
	MaxRemoved = 1 << 18

	maxBoot = 2048 // bytes of a start's public key
	maxName = 64
)

// A Node is a node of the domain, or one that waits to be. Immutable, as all
// records are.
type Node struct {
	ID     kms.NodeID
	Boot   []byte // HPKE public key of its present start
	Socket string // where other nodes reach it
	API    string // where clients do
	Name   string // for people
	// Claims are what is left of the evidence that it last showed; the founder's
	// may be missing. Proved is when they were put on record.
	Claims attest.Claims
	Proved int64
	// Feature is the newest feature level that its program knows.
	Feature uint32
	// Generations: it has every generation in use below this number, durably.
	Generations uint32
	// Wanted is the role that it is to have. Which one it has is in the log's
	// configuration: see View.Role.
	Wanted kms.NodeRole
	Joined int64 // when it was first seen
	// Replaces is the node that goes for it. Proven: it showed that it holds that
	// one's key or, where its kind of TEE keeps none, that it is on that one's machine,
	// in its place; else an operator's approval has to say so.
	Replaces kms.NodeID
	Proven   bool
	Revision uint64

	claims []byte // Claims as they are kept
}

// Member reports whether it was admitted: the others speak with it.
func (n *Node) Member() bool { return n.Wanted > kms.RoleWaiting }

// A Removal is what is left of a node that was removed.
type Removal struct {
	Reason kms.Departure
	Time   int64
}

// Nodes calls f with all nodes in order of their ids, those that wait included,
// until f returns false.
func (v *View) Nodes(f func(*Node) bool) {
	for _, n := range v.nodes {
		if !f(n) {
			return
		}
	}
}

// Node finds a node that is on record.
func (v *View) Node(id kms.NodeID) (*Node, bool) {
	i, ok := slices.BinarySearchFunc(v.nodes, id, compareNode)
	if !ok {
		return nil, false
	}
	return v.nodes[i], true
}

func compareNode(n *Node, id kms.NodeID) int { return bytes.Compare(n.ID[:], id[:]) }

// Member finds a node that was admitted and not removed.
func (v *View) Member(id kms.NodeID) (*Node, bool) {
	n, ok := v.Node(id)
	if !ok || !n.Member() {
		return nil, false
	}
	return n, true
}

// Removed says of a node that it was removed, when and why. It never comes back.
func (v *View) Removed(id kms.NodeID) (Removal, bool) { return v.removed.Get(string(id[:])) }

// RemovedNodes calls f with the nodes that were removed, in order of their ids,
// until f returns false.
func (v *View) RemovedNodes(f func(kms.NodeID, Removal) bool) {
	v.removed.Scan(func(id string, r Removal) bool { return f(kms.NodeID([]byte(id)), r) })
}

// Voters are the nodes that vote, as the log's configuration has them: in order
// of their ids. The caller must not change them.
func (v *View) Voters() []kms.NodeID { return v.voters }

// Learners are the nodes that follow the log and do not vote, so.
func (v *View) Learners() []kms.NodeID { return v.learners }

// Role is what a node is in the log's configuration; RoleWaiting where it is not
// in it.
func (v *View) Role(id kms.NodeID) kms.NodeRole {
	switch {
	case contains(v.voters, id):
		return kms.RoleVoter
	case contains(v.learners, id):
		return kms.RoleLearner
	}
	return kms.RoleWaiting
}

func contains(sorted []kms.NodeID, id kms.NodeID) bool {
	_, found := slices.BinarySearchFunc(sorted, id, compareID)
	return found
}

func compareID(a, b kms.NodeID) int { return bytes.Compare(a[:], b[:]) }

// majority is how many voters decide.
func (v *View) majority() int { return len(v.voters)/2 + 1 }

// HoldsRoot reports whether a node has announced that it has every generation in
// use. A voter that has not cannot serve.
func (v *View) HoldsRoot(n *Node) bool { return n.Generations > v.Generation() }

// A NodeRefusal is why a policy does not admit a voter.
type NodeRefusal struct {
	Node kms.NodeID
	Err  error // Denied, and wraps the *attest.Error
}

// Quorum judges what each voter has on record under a policy, as of a time. kept
// says that a majority of the voters is admitted.
func (v *View) Quorum(next *govern.Policy, at time.Time) (refused []NodeRefusal, kept bool) {
	for _, id := range v.voters {
		n, ok := v.Member(id)
		if !ok {
			refused = append(refused, NodeRefusal{id, kms.Errorf(kms.Denied, "the node was removed")})
		} else if err := admits(next, n.Claims, at); err != nil {
			refused = append(refused, NodeRefusal{id, err})
		}
	}
	return refused, len(v.voters)-len(refused) >= v.majority()
}

// CheckQuorum asks that a policy leaves a majority of the voters admitted, or says
// halt. Whether a domain of one could go on is for its node to know, which has
// newer evidence of itself than is on record. The error is Denied and names those
// whom the policy would expel.
func (v *View) CheckQuorum(next *govern.Policy, at time.Time) error {
	if next.Halt || len(v.voters) < 2 {
		return nil
	}
	refused, kept := v.Quorum(next, at)
	if kept {
		return nil
	}
	all := make([]string, len(refused))
	for i, r := range refused {
		all[i] = r.Node.String() + " (" + r.Err.Error() + ")"
	}
	return kms.Errorf(kms.Denied, "the policy would leave no majority of the %d voters; it would expel %s", len(v.voters), strings.Join(all, ", ")).
		WithField("nodes").WithHint("list their identities, or set halt if the domain is to stop")
}

// CheckHolders asks whether a generation of the master secret is with enough
// nodes to be used: a majority of the voters. In a domain of one the node that
// made it has it. The errors are Invalid and Unavailable.
func (v *View) CheckHolders(raw [][]byte) error {
	if len(v.voters) < 2 && len(raw) == 0 {
		return nil
	}
	holders := make([]kms.NodeID, len(raw))
	for i, b := range raw {
		if !fill(holders[i][:], b) || !contains(v.voters, holders[i]) {
			return kms.Errorf(kms.Invalid, "who holds the new generation is no voter").WithField("holders")
		}
	}
	if len(sorted(holders)) != len(holders) {
		return kms.Errorf(kms.Invalid, "a holder is named twice").WithField("holders")
	}
	if len(holders) < v.majority() {
		return kms.Errorf(kms.Unavailable, "%d of %d voters hold the new generation, which is no majority", len(holders), len(v.voters)).
			WithHint("see to the nodes that do not answer, then rotate again")
	}
	return nil
}

// admits asks whether a policy admits a node. The error is Denied.
func admits(p *govern.Policy, c attest.Claims, at time.Time) error {
	if err := p.NodePolicy().Admit(c, at); err != nil {
		return kms.Errorf(kms.Denied, "policy %d does not admit the node: %w", p.Serial, err).WithHint(attest.ReasonOf(err).Hint())
	}
	return nil
}

// Configure takes over who votes and who learns, as an entry of the log that is
// no command has it.
func (m *Machine) Configure(index uint64, voters, learners []kms.NodeID) {
	if m.Fatal() != nil {
		return
	}
	m.enter(index)
	m.begin()
	old := m.next.voters
	m.next.voters, m.next.learners = sorted(voters), sorted(learners)
	m.next.gathering = m.next.gathering && len(m.next.voters) < Gathered
	if m.next.founding != nil {
		for _, id := range m.next.voters {
			if !contains(old, id) {
				m.event(kms.Event{Kind: kms.EventNodeJoined, Node: id})
			}
		}
	}
	m.finishEvents()
}

func sorted(ids []kms.NodeID) []kms.NodeID {
	out := slices.Clone(ids)
	slices.SortFunc(out, compareID)
	return slices.Compact(out)
}

// founderFrom is the record of the first node, which the bootstrap names.
func founderFrom(id kms.NodeID, p *command.Found) (*Node, error) {
	n := &Node{ID: id}
	if p.GetFounder() != nil {
		var err error
		if n, err = nodeFrom(p.GetFounder()); err != nil || n.ID != id {
			return nil, malformed("founder's record")
		}
	}
	n.Wanted, n.Generations, n.Feature = kms.RoleVoter, 1, max(n.Feature, p.GetFeatureLevel())
	n.Replaces, n.Proven = kms.NodeID{}, false
	return n, nil
}

// setFounder puts the first node on record. It votes alone, unless the log's
// configuration, which came before, says otherwise.
func (m *Machine) setFounder(n *Node) {
	n.Joined, n.Proved, n.Revision = m.next.time, m.next.time, m.revise()
	m.setNode(n)
	if len(m.next.voters) == 0 {
		m.next.voters = []kms.NodeID{n.ID}
	}
}

// setNode puts a record in the place of what there is under its id. Views share
// what they hold.
func (m *Machine) setNode(n *Node) {
	i, there := slices.BinarySearchFunc(m.next.nodes, n.ID, compareNode)
	all := slices.Clone(m.next.nodes)
	if there {
		all[i] = n
	} else {
		all = slices.Insert(all, i, n)
	}
	m.next.nodes = all
	m.next.simulated = m.next.simulated || n.Member() && n.Claims.Simulated
	m.reckonWaiting()
}

func (m *Machine) dropNodes(gone func(*Node) bool) {
	m.next.nodes = slices.DeleteFunc(slices.Clone(m.next.nodes), gone)
	m.reckonWaiting()
}

// reckonWaiting notes when the first of those who wait has waited too long.
func (m *Machine) reckonWaiting() {
	m.next.waitingUntil = 0
	for _, n := range m.next.nodes {
		if until := n.Proved + int64(WaitingTime); !n.Member() && (m.next.waitingUntil == 0 || until < m.next.waitingUntil) {
			m.next.waitingUntil = until
		}
	}
}

// forgetWaiting drops those who have waited too long. They had no part, so they
// may come again. It runs with each command.
func (m *Machine) forgetWaiting() {
	if until := m.next.waitingUntil; until == 0 || m.next.time < until {
		return
	}
	m.dropNodes(func(n *Node) bool { return !n.Member() && m.next.time >= n.Proved+int64(WaitingTime) })
}

func nodeFrom(p *command.Node) (*Node, error) {
	n := &Node{Boot: exact(p.GetBoot()), Socket: p.GetSocket(), API: p.GetApi(), Name: p.GetName(), Feature: p.GetFeature(),
		Generations: p.GetGenerations(), Wanted: kms.NodeRole(p.GetWanted()), Joined: p.GetJoined(), Proved: p.GetProved(),
		Proven: p.GetProven(), Revision: p.GetRevision(), claims: exact(p.GetClaims())}
	if !fill(n.ID[:], p.GetId()) || n.ID == (kms.NodeID{}) || len(n.Boot) > maxBoot || p.GetWanted() > uint32(kms.RoleVoter) ||
		!kms.Printable(n.Socket, kms.MaxSocket) || !kms.Printable(n.API, kms.MaxSocket) || !kms.Printable(n.Name, maxName) {
		return nil, malformed("node record")
	}
	if r := p.GetReplaces(); len(r) > 0 && !fill(n.Replaces[:], r) {
		return nil, malformed("node record")
	}
	if len(n.claims) == 0 {
		return n, nil
	}
	var err error
	if n.Claims, err = attest.ParseClaims(n.claims); err != nil {
		return nil, malformed("node record")
	}
	return n, nil
}

// Proto is the record as commands and snapshots carry it. It shares the record's bytes.
func (n *Node) Proto() *command.Node {
	p := &command.Node{Id: n.ID[:], Boot: n.Boot, Socket: n.Socket, Api: n.API, Name: n.Name, Claims: n.claims, Feature: n.Feature,
		Generations: n.Generations, Wanted: uint32(n.Wanted), Joined: n.Joined, Proved: n.Proved, Proven: n.Proven, Revision: n.Revision}
	if n.Replaces != (kms.NodeID{}) {
		p.Replaces = n.Replaces[:]
	}
	return p
}

// putMembers writes the log's configuration into a snapshot's header, and
// writeNodes the records behind it.
func (v *View) putMembers(h *command.Header) {
	h.Voters, h.Learners, h.Gathering = rawIDs(v.voters), rawIDs(v.learners), v.gathering
}

func (v *View) writeNodes(out *recordWriter) {
	for _, n := range v.nodes {
		out.put(&command.Record{Kind: &command.Record_Node{Node: n.Proto()}})
	}
}

func (v *View) writeRemoved(out *recordWriter) {
	v.removed.Scan(func(id string, r Removal) bool {
		return out.put(&command.Record{Kind: &command.Record_RemovedNode{RemovedNode: &command.RemovedNode{
			Id: []byte(id), Reason: uint32(r.Reason), Time: r.Time}}})
	})
}

func rawIDs(ids []kms.NodeID) (raw [][]byte) {
	for i := range ids {
		raw = append(raw, ids[i][:])
	}
	return raw
}

func idsFrom(raw [][]byte) ([]kms.NodeID, bool) {
	ids := make([]kms.NodeID, len(raw))
	for i, b := range raw {
		if !fill(ids[i][:], b) || i > 0 && compareID(ids[i-1], ids[i]) >= 0 {
			return nil, false
		}
	}
	return ids, true
}

func (m *Machine) loadMembers(h *command.Header) error {
	var ok, okay bool
	m.next.voters, ok = idsFrom(h.GetVoters())
	m.next.learners, okay = idsFrom(h.GetLearners())
	if !ok || !okay || h.GetGathering() && len(m.next.voters) >= Gathered {
		return malformed("snapshot: members")
	}
	m.next.gathering = h.GetGathering()
	return nil
}

func (m *Machine) loadNode(p *command.Node) error {
	n, err := nodeFrom(p)
	if err != nil {
		return err
	}
	if all := m.next.nodes; !n.Wanted.Valid() || len(all) > 0 && compareID(all[len(all)-1].ID, n.ID) >= 0 || m.next.founding == nil {
		return malformed("snapshot: node")
	}
	m.next.nodes = append(m.next.nodes, n)
	m.reckonWaiting()
	return nil
}

func (m *Machine) loadRemoved(p *command.RemovedNode) error {
	r := Removal{Reason: kms.Departure(p.GetReason()), Time: p.GetTime()}
	if len(p.GetId()) != len(kms.NodeID{}) || p.GetReason() > 255 || !r.Reason.Valid() {
		return malformed("snapshot: removed node")
	}
	if _, twice := m.next.removed.Load(string(p.GetId()), r); twice {
		return malformed("snapshot: removed node")
	}
	count(m, nil, &removed{kms.NodeID(p.GetId()), r})
	return nil
}

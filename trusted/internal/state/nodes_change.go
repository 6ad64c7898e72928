package state

import (
	"slices"
	"strings"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// putNode takes up a node that wants to join, or one that waits and has proved
// itself again. Where the policy wants no more than evidence it is admitted at
// once; with an approval too; else it waits for one.
func (m *Machine) putNode(by *command.Principal, p *command.PutNode) Result {
	n, err := nodeFrom(p.GetNode())
	if by != nil || err != nil || len(n.claims) == 0 || len(n.Boot) == 0 || n.Socket == "" {
		return refuse(kms.Invalid, "node record is malformed")
	}
	n.Generations, n.Wanted, n.Replaces, n.Proven = 0, kms.RoleWaiting, kms.NodeID{}, false
	if err := m.mayJoin(p, n); err != nil {
		return refuseAs(err)
	}
	n.Joined, n.Proved = m.next.time, m.next.time
	if old, there := m.next.Node(n.ID); there {
		n.Joined = old.Joined
	}
	if err := m.askedToReplace(p, n); err != nil {
		return refuseAs(err)
	}
	if len(p.GetApproval()) > 0 {
		return m.approve(n, p.GetApproval())
	}
	if m.admittedWithout(n) {
		if err := m.roomHere(n); err != nil {
			return refuseAs(err)
		}
		return m.admitNode(n, kms.EventNodeAdmitted)
	}
	return m.letWait(n)
}

// mayJoin asks what every node that joins has to meet, approved or not.
func (m *Machine) mayJoin(p *command.PutNode, n *Node) error {
	if err := m.spokenBy(p.GetBy()); err != nil {
		return err
	}
	if r, gone := m.next.Removed(n.ID); gone {
		return kms.Errorf(kms.Denied, "the node was removed from the domain: %s", r.Reason).
			WithHint("begin in an empty folder: a node comes back under a new key")
	}
	if _, member := m.next.Member(n.ID); member {
		return kms.Errorf(kms.Exists, "the node is a member already")
	}
	if err := m.judgedNow(p.GetPolicySerial(), n.Claims); err != nil {
		return err
	}
	if n.Feature < m.next.feature {
		return tooOld(n.Feature, m.next.feature)
	}
	if m.next.removed.Len() >= MaxRemoved {
		return kms.Errorf(kms.Exhausted, "the domain has had %d nodes, which is all it takes", MaxRemoved)
	}
	return nil
}

func tooOld(has, wants uint32) error {
	return kms.Errorf(kms.Denied, "the node's program knows feature level %d, and the domain is at %d", has, wants).
		WithHint("run a version of the program that the others run")
}

// spokenBy asks that a command of a node's is of a member.
func (m *Machine) spokenBy(raw []byte) error {
	var id kms.NodeID
	if !fill(id[:], raw) {
		return kms.Errorf(kms.Invalid, "no node is named that says so")
	}
	if _, ok := m.next.Member(id); !ok {
		return kms.Errorf(kms.Denied, "who says so is no member of the domain")
	}
	return nil
}

// judgedNow asks that claims were judged under the policy in force, and that it
// admits them.
func (m *Machine) judgedNow(serial uint64, c attest.Claims) error {
	if policy := m.next.Policy(); serial != policy.Serial {
		return kms.Errorf(kms.Conflict, "the policy changed meanwhile")
	}
	return admits(m.next.Policy(), c, m.next.Time())
}

// askedToReplace notes the node that is to go.
func (m *Machine) askedToReplace(p *command.PutNode, n *Node) error {
	if len(p.GetReplaces()) == 0 {
		return nil
	}
	if !fill(n.Replaces[:], p.GetReplaces()) {
		return kms.Errorf(kms.Invalid, "the node to replace is malformed").WithField("replaces")
	}
	n.Proven = p.GetProven()
	return m.replaceable(n.Replaces, n.ID)
}

// replaceable asks whether a node can go for another one. Whether it still lives
// is not for the state to know.
func (m *Machine) replaceable(old, by kms.NodeID) error {
	if r, gone := m.next.Removed(old); gone {
		return kms.Errorf(kms.NotFound, "the node to replace was removed already: %s", r.Reason).WithField("replaces").
			WithHint("join without naming it")
	}
	if _, ok := m.next.Member(old); !ok || old == by {
		return kms.Errorf(kms.NotFound, "there is no such node to replace").WithField("replaces")
	}
	for _, n := range m.next.nodes {
		if n.Member() && n.Replaces == old && n.ID != by {
			return kms.Errorf(kms.Conflict, "node %s replaces it already", n.ID).WithField("replaces").
				WithHint("have that one removed first, if it will not come")
		}
	}
	return nil
}

// admittedWithout says whether a node needs no approval: the policy asks for
// none, or it is one that was approved, under another key. To have another node
// go takes that one's key, whatever the policy says.
func (m *Machine) admittedWithout(n *Node) bool {
	if n.Replaces == (kms.NodeID{}) {
		return m.next.Policy().Admission == govern.AdmitAttested
	}
	old, _ := m.next.Member(n.Replaces)
	return n.Proven && (m.next.Policy().Admission == govern.AdmitAttested || sameNode(old.Claims, n.Claims))
}

// admitNode gives a node its part. Its root it gets from the leader.
func (m *Machine) admitNode(n *Node, how kms.EventKind) Result {
	if err := m.roomFor(n); err != nil {
		return refuseAs(err)
	}
	n.Wanted, n.Revision = kms.RoleLearner, m.revise()
	m.setNode(n)
	m.event(kms.Event{Kind: how, Node: n.ID})
	return Result{}
}

// staying are the members that stay when those that are replaced have gone, and
// the one that n goes for.
func (m *Machine) staying(n *Node) (all []*Node) {
	going := map[kms.NodeID]bool{n.Replaces: true}
	for _, o := range m.next.nodes {
		if o.Member() {
			going[o.Replaces] = true
		}
	}
	for _, o := range m.next.nodes {
		if o.Member() && !going[o.ID] {
			all = append(all, o)
		}
	}
	return all
}

// roomHere asks of a node that no operator approved of whether there are few of its
// machine: else whoever has one machine that the policy admits would have most of
// the votes, and so the domain's clock and whether it serves at all. One that takes
// a place on the same machine makes them no more.
func (m *Machine) roomHere(n *Node) error {
	if old, ok := m.next.Member(n.Replaces); ok && machineOf(old.Claims) == machineOf(n.Claims) {
		return nil
	}
	here := 0
	for _, o := range m.staying(n) {
		if machineOf(o.Claims) == machineOf(n.Claims) {
			here++
		}
	}
	if here >= MaxMembersHere {
		return kms.Errorf(kms.Exhausted, "%d nodes of its machine are members already, and no operator approves of another one", here).
			WithHint("start it on another machine, or with an operator's approval (a platform that hides its id counts as one machine with all others that do); or remove one")
	}
	return nil
}

// roomFor asks whether one more can be a member.
func (m *Machine) roomFor(n *Node) error {
	if len(m.staying(n)) >= MaxMembers {
		return kms.Errorf(kms.Exhausted, "the domain has %d nodes, which is all it takes", MaxMembers).
			WithHint("remove one that is not needed")
	}
	return nil
}

// letWait puts a node on record that has no part yet.
func (m *Machine) letWait(n *Node) Result {
	all, here := 0, 0
	for _, o := range m.next.nodes {
		if o.Member() || o.ID == n.ID {
			continue
		}
		all++
		if machineOf(o.Claims) == machineOf(n.Claims) {
			here++
		}
	}
	if all >= MaxWaiting || here >= MaxWaitingHere {
		return refuseAs(kms.Errorf(kms.Exhausted, "too many nodes wait to join already").
			WithHint("approve those that are wanted; the others are forgotten an hour after they last asked"))
	}
	if _, again := m.next.Node(n.ID); !again {
		m.event(kms.Event{Kind: kms.EventNodeWaiting, Node: n.ID})
	}
	n.Revision = m.revise()
	m.setNode(n)
	return Result{}
}

// machineOf names the machine that claims are of; those that hide it are one.
func machineOf(c attest.Claims) string {
	return string(c.Platform.PPID) + "/" + string(c.Platform.ChipID)
}

// announceNode takes over what a member says of itself.
func (m *Machine) announceNode(by *command.Principal, p *command.AnnounceNode) Result {
	said, err := nodeFrom(p.GetNode())
	if by != nil || err != nil || len(said.Boot) == 0 || said.Socket == "" || said.Generations > m.next.Generation()+2 {
		return refuse(kms.Invalid, "node record is malformed")
	}
	if string(p.GetBy()) != string(said.ID[:]) {
		return refuse(kms.Denied, "a node speaks for itself alone")
	}
	if err := m.spokenBy(p.GetBy()); err != nil {
		return refuseAs(err)
	}
	old, _ := m.next.Member(said.ID)
	if said.Feature < m.next.feature {
		return refuseAs(tooOld(said.Feature, m.next.feature))
	}
	if m.next.rule.Standing.RestartMode == govern.Rejoin && len(old.Boot) > 0 && string(old.Boot) != string(said.Boot) {
		return refuse(kms.Denied, "a node that was started again joins anew")
	}
	n := *old
	n.Boot, n.Socket, n.API, n.Name, n.Feature, n.Generations = said.Boot, said.Socket, said.API, said.Name, said.Feature, said.Generations
	if len(said.claims) > 0 {
		if err := m.proveAgain(&n, said, p.GetPolicySerial()); err != nil {
			return refuseAs(err)
		}
	}
	if m.next.HoldsRoot(&n) {
		n.Wanted = kms.RoleVoter
	}
	n.Revision = m.revise()
	m.setNode(&n)
	return Result{}
}

// proveAgain puts fresh claims in the place of those on record. They have to be
// of the program and machine that was admitted: an approval is for no other.
func (m *Machine) proveAgain(n, said *Node, serial uint64) error {
	if err := m.judgedNow(serial, said.Claims); err != nil {
		return err
	}
	switch {
	case len(n.claims) > 0 && !sameNode(n.Claims, said.Claims):
		return kms.Errorf(kms.Denied, "the evidence is of another program or machine than the node that was admitted").
			WithHint("another program or machine is another node: begin in an empty folder, and join")
	case said.Claims.EvaluationNumber < n.Claims.EvaluationNumber:
		return kms.Errorf(kms.Stale, "the collateral is of evaluation %d, and %d was seen before", said.Claims.EvaluationNumber, n.Claims.EvaluationNumber).
			WithHint("see to where collateral comes from: it hands out what is older than what it had")
	}
	n.Claims, n.claims, n.Proved = said.Claims, said.claims, m.next.time
	return nil
}

// sameNode compares what never changes while a program runs on a machine.
func sameNode(a, b attest.Claims) bool {
	return a.SameProgram(b) && a.Platform.PPID.Equal(b.Platform.PPID) && a.Platform.ChipID.Equal(b.Platform.ChipID) &&
		a.Platform.FMSPC.Equal(b.Platform.FMSPC) && a.Debug == b.Debug && (a.Simulated == b.Simulated)
}

// removeNode ends a node's part for good, where the reason given holds.
func (m *Machine) removeNode(by *command.Principal, p *command.RemoveNode) Result {
	var id kms.NodeID
	reason := kms.Departure(p.GetReason())
	if by != nil || !fill(id[:], p.GetNode()) || p.GetReason() > 255 || !reason.Valid() || (reason == kms.NodeExpelled) != (len(p.GetOrder()) > 0) {
		return refuse(kms.Invalid, "removal is malformed")
	}
	if err := m.spokenBy(p.GetBy()); err != nil {
		return refuseAs(err)
	}
	n, there := m.next.Node(id)
	if !there {
		if r, gone := m.next.Removed(id); gone {
			return refuseAs(kms.Errorf(kms.Exists, "the node was removed already: %s", r.Reason))
		}
		return refuse(kms.NotFound, "there is no such node")
	}
	if err := m.reasonHolds(n, p, reason); err != nil {
		return refuseAs(err)
	}
	if err := m.dispensable(id); err != nil {
		return refuseAs(err)
	}
	m.spend(p.GetOrder(), govern.DeedRemove)
	m.next.authorityDue = m.next.authorityDue || m.forCause(p.GetOrder())
	m.dropNodes(func(o *Node) bool { return o.ID == id })
	gone := removed{id, Removal{Reason: reason, Time: m.next.time}}
	m.next.removed.Set(string(id[:]), gone.Removal)
	count(m, nil, &gone)
	kind := kms.EventNodeLeft
	if reason.Forced() {
		kind = kms.EventNodeEvicted
	}
	m.event(kms.Event{Kind: kind, Node: id, Reason: reason.String()})
	return Result{}
}

// forCause reports whether a node is removed for what it did: it may have taken
// the certificate authority's key along.
func (m *Machine) forCause(order []byte) bool {
	if len(order) == 0 {
		return false
	}
	o, err := m.next.rule.Standing.OpenOrder(m.next.rule.Policy, order, govern.DeedRemove)
	return err == nil && o.ForCause
}

// reasonHolds checks a reason against the state, so that no node's word alone
// has another one removed.
func (m *Machine) reasonHolds(n *Node, p *command.RemoveNode, reason kms.Departure) error {
	if !n.Member() && reason != kms.NodeExpelled { // the others are forgotten by themselves
		return kms.Errorf(kms.Misused, "the node is no member: it waits").WithHint("it is forgotten an hour after it last asked")
	}
	holds := false
	switch reason {
	case kms.NodeExpelled:
		return m.next.CheckRemoval(n.ID, p.GetOrder(), m.next.Time())
	case kms.NodeDrained:
		holds = string(p.GetBy()) == string(n.ID[:])
	case kms.NodeRefused:
		holds = admits(m.next.Policy(), n.Claims, m.next.Time()) != nil
	case kms.NodeAged:
		holds = !m.next.Time().Before(m.next.ProvedUntil(n))
	case kms.NodeReplaced:
		holds = slices.ContainsFunc(m.next.nodes, func(o *Node) bool { return o.Member() && o.Replaces == n.ID })
	}
	if !holds {
		return kms.Errorf(kms.Conflict, "it is not so that the node is to go: %s", reason).WithField("reason")
	}
	return nil
}

// dispensable asks that a majority of the voters stays: what they do not answer
// any more can never be changed.
func (m *Machine) dispensable(id kms.NodeID) error {
	if !contains(m.next.voters, id) {
		return nil
	}
	stay := 0
	for _, voter := range m.next.voters {
		if _, member := m.next.Member(voter); member && voter != id {
			stay++
		}
	}
	if stay < m.next.majority() {
		return kms.Errorf(kms.Conflict, "%d of %d voters would be left, which is no majority", stay, len(m.next.voters)).
			WithHint("it has to stop voting first; or let another node join")
	}
	return nil
}

// Program names the program that claims are of, for people: its measurement.
func Program(c attest.Claims) string {
	var m attest.Hex
	switch {
	case c.SGX != nil:
		m = c.SGX.MRENCLAVE
	case c.TDX != nil:
		m = c.TDX.MRTD
	case c.SNP != nil:
		m = c.SNP.Measurement
	default:
		return ""
	}
	return strings.ToUpper(string(c.TEE)) + " " + m.String()
}

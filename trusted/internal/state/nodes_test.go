package state_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// node is the id of the n-th node; the founder is the first.
func node(n byte) kms.NodeID { return kms.NodeID{n} }

func raw(n byte) []byte { id := node(n); return id[:] }

// claims are what a simulated machine proves of the program that the policy
// names, from an hour before the start for 300 days.
func claims(machine byte) attest.Claims {
	return attest.Claims{TEE: attest.SGX, Version: 3, Simulated: true, RevocationChecked: true, Status: attest.UpToDate, EvaluationNumber: 17,
		SGX:        &attest.SGXClaims{MRENCLAVE: make([]byte, 32), MRSIGNER: make([]byte, 32), Attributes: make([]byte, 16)},
		ReportData: make([]byte, 64), Root: make([]byte, 32), Platform: attest.Platform{FMSPC: make([]byte, 6), PPID: bytes.Repeat([]byte{machine}, 16)},
		Issued: time.Unix(0, start).Add(-time.Hour).UTC(), ValidFrom: time.Unix(0, start).Add(-time.Hour).UTC(),
		ValidUntil: time.Unix(0, start).Add(300 * 24 * time.Hour).UTC()}
}

func kept(t testing.TB, c attest.Claims) []byte {
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (m *machine) record(n byte) *command.Node {
	return &command.Node{Id: raw(n), Boot: []byte{n}, Socket: fmt.Sprintf("10.0.0.%d:7", n), Api: fmt.Sprintf("10.0.0.%d:8", n),
		Name: fmt.Sprint("node ", n), Feature: 1, Claims: kept(m.t, claims(n))}
}

// put is a node that comes to the founder, as edit has it.
func (m *machine) put(n byte, edit func(*command.PutNode)) *command.Command {
	p := &command.PutNode{By: raw(1), Node: m.record(n), PolicySerial: m.View().Policy().Serial}
	if edit != nil {
		edit(p)
	}
	return &command.Command{Op: &command.Command_PutNode{PutNode: p}}
}

// announce is what a member says of itself.
func (m *machine) announce(n byte, edit func(*command.AnnounceNode)) *command.Command {
	p := &command.AnnounceNode{By: raw(n), Node: m.record(n), PolicySerial: m.View().Policy().Serial}
	p.Node.Generations = m.View().Generation() + 1
	if edit != nil {
		edit(p)
	}
	return &command.Command{Op: &command.Command_AnnounceNode{AnnounceNode: p}}
}

func removeNode(by, n byte, why kms.Departure, order []byte) *command.Command {
	return &command.Command{Op: &command.Command_RemoveNode{RemoveNode: &command.RemoveNode{By: raw(by), Node: raw(n), Reason: uint32(why), Order: order}}}
}

// removal is an operator's order that a node leaves.
func (m *machine) removal(n byte, nonce byte) []byte {
	return m.orderAbout(govern.DeedRemove, n, nonce)
}

func (m *machine) orderAbout(deed govern.Deed, n byte, nonce byte) []byte {
	doc := &govern.Order{Version: govern.OrderVersion, Domain: m.rulers.Founding.Domain, Deed: deed, Node: node(n),
		Expires: time.Unix(0, m.time).Add(time.Hour).UTC().Truncate(time.Second), Nonce: govern.Nonce{0xee, nonce}}
	return m.rulers.Sign(govern.OrderType, doc.Canonical(), m.rulers.Operator)
}

// configure has these vote, and nobody learn.
func (m *machine) configure(voters ...byte) {
	m.index++
	m.log = append(m.log, append([]byte{0}, voters...)) // no command begins so: see replay
	m.Configure(m.index, ids(voters), nil)
	m.Publish()
}

// replay applies an entry of a log with configurations in it.
func replay(m *state.Machine, index uint64, entry []byte) {
	if entry[0] == 0 {
		m.Configure(index, ids(entry[1:]), nil)
		return
	}
	m.Apply(index, entry)
}

func ids(numbers []byte) (all []kms.NodeID) {
	for _, n := range numbers {
		all = append(all, node(n))
	}
	return all
}

// grow makes a domain of these nodes, the founder among them, who all vote.
func (m *machine) grow(others ...byte) {
	m.t.Helper()
	m.must(m.do(nil, m.announce(1, nil)))
	voters := []byte{1}
	for _, n := range others {
		m.must(m.do(nil, m.put(n, nil)))
		m.must(m.do(nil, m.announce(n, nil)))
		voters = append(voters, n)
		m.configure(voters...)
	}
}

// needApproval puts a policy in force that admits no node without an operator.
func (m *machine) needApproval() {
	m.t.Helper()
	m.must(m.do(nil, setPolicy(m.rulers.Next(func(p *govern.Policy) { p.Admission = govern.AdmitApproved }))))
}

func (m *machine) roles() string {
	var out string
	m.View().Nodes(func(n *state.Node) bool {
		out += fmt.Sprintf("%d %s %s; ", n.ID[0], n.Wanted, m.View().Role(n.ID))
		return true
	})
	return out
}

// The founder is the one node and the one voter from the first command on.
func TestFounderIsTheFirstNode(t *testing.T) {
	m := newMachine(t)
	if got := m.roles(); got != "1 voter voter; " {
		t.Errorf("nodes: %s", got)
	}
	v := m.View()
	if n, ok := v.Member(node(1)); !ok || !v.HoldsRoot(n) || v.QuorumTime() || !slices.Equal(v.Voters(), ids([]byte{1})) {
		t.Errorf("founder: %+v, voters %v", n, v.Voters())
	}
	if got := m.told(0, 0); got != "domain_founded 1, app_enrolled 1, app_enrolled 2" {
		t.Errorf("the founding is told as %s", got)
	}
}

func TestFounderProves(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*command.Found)
		ok   bool
	}{
		"with claims":       {func(f *command.Found) {}, true},
		"another node's":    {func(f *command.Found) { f.Founder.Id = raw(2) }, false},
		"broken claims":     {func(f *command.Found) { f.Founder.Claims = []byte("{}x") }, false},
		"a socket of lines": {func(f *command.Found) { f.Founder.Socket = "a\nb" }, false},
	} {
		fresh := newMachine(t)
		found := decode(t, fresh.log[0]).GetFound()
		found.Founder = fresh.record(1)
		found.Founder.Wanted, found.Founder.Replaces = uint32(kms.RoleWaiting), raw(9)
		c.edit(found)
		m := &machine{Machine: state.New(), t: t, time: start, rulers: fresh.rulers}
		r := m.do(nil, &command.Command{Op: &command.Command_Found{Found: found}})
		if (r.Err == nil) != c.ok {
			t.Errorf("%s: %v", name, r.Err)
		}
		if !c.ok {
			continue
		}
		n, _ := m.View().Member(node(1))
		if n == nil || n.Wanted != kms.RoleVoter || n.Replaces != (kms.NodeID{}) || n.Claims.EvaluationNumber != 17 || n.Socket != "10.0.0.1:7" {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

// A node joins, learns, gets the root, votes, and leaves; and that is told.
func TestNodeLife(t *testing.T) {
	m := newMachine(t)
	from := m.index + 1
	m.must(m.do(nil, m.put(2, nil)))
	if got := m.roles(); got != "1 voter voter; 2 learner waiting; " {
		t.Errorf("joined: %s", got)
	}
	m.Configure(m.index+1, ids([]byte{1}), ids([]byte{2}))
	m.index++
	m.Publish()
	if got := m.roles(); got != "1 voter voter; 2 learner learner; " {
		t.Errorf("learns: %s", got)
	}
	m.must(m.do(nil, m.announce(2, func(p *command.AnnounceNode) { p.Node.Generations = 0 })))
	if got := m.roles(); got != "1 voter voter; 2 learner learner; " {
		t.Errorf("without the root: %s", got)
	}
	m.must(m.do(nil, m.announce(2, nil)))
	if got := m.roles(); got != "1 voter voter; 2 voter learner; " {
		t.Errorf("with the root: %s", got)
	}
	m.configure(2, 1)
	if got := m.roles(); got != "1 voter voter; 2 voter voter; " {
		t.Errorf("votes: %s", got)
	}
	m.refused("one of two voters", m.do(nil, removeNode(2, 2, kms.NodeDrained, nil)), kms.Conflict)
	m.configure(1)
	m.must(m.do(nil, removeNode(2, 2, kms.NodeDrained, nil)))
	if r, gone := m.View().Removed(node(2)); !gone || r.Reason != kms.NodeDrained || r.Time != m.time || m.roles() != "1 voter voter; " {
		t.Errorf("left: %+v, %s", r, m.roles())
	}
	if got, want := m.told(from, 0), "node_admitted, node_joined, node_left"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	events := seen(t, m.View().Events(), 0)
	if last := events[len(events)-1]; last.Node != node(2) || last.Reason != "drained" {
		t.Errorf("the last event is %+v", last)
	}
	m.refused("removed twice", m.do(nil, removeNode(1, 2, kms.NodeAged, nil)), kms.Exists)
	m.refused("comes back", m.do(nil, m.put(2, nil)), kms.Denied)
	m.refused("speaks on", m.do(nil, m.announce(2, nil)), kms.Denied)
	again := &machine{Machine: restored(t, m.Machine), rulers: m.rulers, t: t, time: m.time, index: m.index}
	again.refused("comes back, after a snapshot", again.do(nil, again.put(2, nil)), kms.Denied)
}

func TestPutNodeRefused(t *testing.T) {
	other := claims(2)
	other.SGX.MRENCLAVE = bytes.Repeat([]byte{9}, 32)
	late := claims(2)
	late.ValidUntil = time.Unix(0, start).Add(-time.Minute).UTC()
	for _, c := range []struct {
		name string
		edit func(*command.PutNode)
		want kms.Kind
	}{
		{"without claims", func(p *command.PutNode) { p.Node.Claims = nil }, kms.Invalid},
		{"without a key of its start", func(p *command.PutNode) { p.Node.Boot = nil }, kms.Invalid},
		{"a key too long", func(p *command.PutNode) { p.Node.Boot = make([]byte, 2049) }, kms.Invalid},
		{"without a socket", func(p *command.PutNode) { p.Node.Socket = "" }, kms.Invalid},
		{"a name that steers a terminal", func(p *command.PutNode) { p.Node.Name = "\x1b[2J" }, kms.Invalid},
		{"no id", func(p *command.PutNode) { p.Node.Id = make([]byte, 32) }, kms.Invalid},
		{"a short id", func(p *command.PutNode) { p.Node.Id = p.Node.Id[:31] }, kms.Invalid},
		{"claims in another spelling", func(p *command.PutNode) { p.Node.Claims = append([]byte(" "), p.Node.Claims...) }, kms.Invalid},
		{"claims with more", func(p *command.PutNode) {
			p.Node.Claims = append(bytes.TrimSuffix(p.Node.Claims, []byte("}")), `,"x":1}`...)
		}, kms.Invalid},
		{"by nobody", func(p *command.PutNode) { p.By = nil }, kms.Invalid},
		{"by a stranger", func(p *command.PutNode) { p.By = raw(9) }, kms.Denied},
		{"by itself", func(p *command.PutNode) { p.By = raw(2) }, kms.Denied},
		{"under another policy", func(p *command.PutNode) { p.PolicySerial++ }, kms.Conflict},
		{"another program", func(p *command.PutNode) { p.Node.Claims = kept(t, other) }, kms.Denied},
		{"evidence past its time", func(p *command.PutNode) { p.Node.Claims = kept(t, late) }, kms.Denied},
		{"a program too old", func(p *command.PutNode) { p.Node.Feature = 0 }, kms.Denied},
		{"a member", func(p *command.PutNode) { p.Node = newMachine(t).record(1) }, kms.Exists},
		{"for an unknown node", func(p *command.PutNode) { p.Replaces, p.Proven = raw(9), true }, kms.NotFound},
		{"for itself", func(p *command.PutNode) { p.Replaces, p.Proven = raw(2), true }, kms.NotFound},
		{"for half a node", func(p *command.PutNode) { p.Replaces, p.Proven = raw(1)[:9], true }, kms.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.refused(c.name, m.do(nil, m.put(2, c.edit)), c.want)
			if got := m.roles(); got != "1 voter voter; " {
				t.Errorf("nodes: %s", got)
			}
		})
	}
	m := newMachine(t)
	m.refused("of an app", m.do(m.by(1), m.put(2, nil)), kms.Invalid)
}

// Nobody sets what is the state's own.
func TestPutNodeKeepsItsOwn(t *testing.T) {
	m := newMachine(t)
	m.needApproval()
	m.must(m.do(nil, m.put(2, func(p *command.PutNode) {
		p.Node.Wanted, p.Node.Generations, p.Node.Joined, p.Node.Replaces, p.Node.Proven = uint32(kms.RoleVoter), 7, 1, raw(1), true
	})))
	n, _ := m.View().Node(node(2))
	if n.Member() || n.Generations != 0 || n.Joined != m.time || n.Replaces != (kms.NodeID{}) || n.Proven {
		t.Errorf("%+v", n)
	}
}

func TestAnnounceRefused(t *testing.T) {
	elsewhere, debug, older, program := claims(9), claims(2), claims(2), claims(2)
	debug.Debug = true
	older.EvaluationNumber--
	program.SGX.MRENCLAVE = bytes.Repeat([]byte{9}, 32)
	for _, c := range []struct {
		name string
		edit func(*command.AnnounceNode)
		want kms.Kind
	}{
		{"for another", func(p *command.AnnounceNode) { p.By = raw(1) }, kms.Denied},
		{"by a stranger", func(p *command.AnnounceNode) { p.By, p.Node.Id = raw(9), raw(9) }, kms.Denied},
		{"a key that is none", func(p *command.AnnounceNode) { p.Node.Boot = nil }, kms.Invalid},
		{"no socket", func(p *command.AnnounceNode) { p.Node.Socket = "" }, kms.Invalid},
		{"generations that are not made", func(p *command.AnnounceNode) { p.Node.Generations = 3 }, kms.Invalid},
		{"a program too old", func(p *command.AnnounceNode) { p.Node.Feature = 0 }, kms.Denied},
		{"claims of another machine", func(p *command.AnnounceNode) { p.Node.Claims = kept(t, elsewhere) }, kms.Denied},
		{"claims of another program", func(p *command.AnnounceNode) { p.Node.Claims = kept(t, program) }, kms.Denied},
		{"claims that the host can make", func(p *command.AnnounceNode) { p.Node.Claims = kept(t, debug) }, kms.Denied},
		{"claims by an older word", func(p *command.AnnounceNode) { p.Node.Claims = kept(t, older) }, kms.Stale},
		{"claims under another policy", func(p *command.AnnounceNode) { p.PolicySerial++ }, kms.Conflict},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.must(m.do(nil, m.put(2, nil)))
			before, _ := m.View().Node(node(2))
			m.refused(c.name, m.do(nil, m.announce(2, c.edit)), c.want)
			if after, _ := m.View().Node(node(2)); after != before {
				t.Errorf("the record changed to %+v", after)
			}
		})
	}
}

// What a member says takes the place of what it said; claims stay where it has
// no new ones.
func TestAnnounce(t *testing.T) {
	m := newMachine(t)
	m.must(m.do(nil, m.put(2, nil)))
	put := m.time
	m.time += int64(time.Hour)
	m.must(m.do(nil, m.announce(2, func(p *command.AnnounceNode) {
		p.Node.Claims, p.Node.Boot, p.Node.Socket = nil, []byte("next"), "there:1"
	})))
	n, _ := m.View().Member(node(2))
	if string(n.Boot) != "next" || n.Socket != "there:1" || n.Proved != put || n.Claims.EvaluationNumber != 17 || n.Joined != put {
		t.Errorf("without claims: %+v", n)
	}
	fresh := claims(2)
	fresh.EvaluationNumber++
	m.must(m.do(nil, m.announce(2, func(p *command.AnnounceNode) { p.Node.Claims = kept(t, fresh) })))
	if n, _ = m.View().Member(node(2)); n.Proved != m.time || n.Claims.EvaluationNumber != 18 || n.Joined != put {
		t.Errorf("with claims: %+v", n)
	}
	// One who waits is no member, and says nothing.
	m.needApproval()
	m.must(m.do(nil, m.put(3, nil)))
	m.refused("one who waits", m.do(nil, m.announce(3, nil)), kms.Denied)
}

func TestRemoveNode(t *testing.T) {
	m := newMachine(t)
	m.grow(2, 3, 4)
	from := m.index + 1
	expires := m.View().ProvedUntil(func() *state.Node { n, _ := m.View().Node(node(2)); return n }())
	m.refused("of its own accord, says another", m.do(nil, removeNode(1, 2, kms.NodeDrained, nil)), kms.Conflict)
	m.refused("refused, but it is not", m.do(nil, removeNode(1, 2, kms.NodeRefused, nil)), kms.Conflict)
	m.refused("aged, but it is not", m.do(nil, removeNode(1, 2, kms.NodeAged, nil)), kms.Conflict)
	m.refused("replaced by nobody", m.do(nil, removeNode(1, 2, kms.NodeReplaced, nil)), kms.Conflict)
	m.refused("by order of nobody", m.do(nil, removeNode(1, 2, kms.NodeExpelled, nil)), kms.Invalid)
	m.refused("an order that is none", m.do(nil, removeNode(1, 2, kms.NodeExpelled, []byte("x"))), kms.Invalid)
	m.refused("an order for something else", m.do(nil, removeNode(1, 2, kms.NodeExpelled, m.orderTo(govern.DeedRotate, 1, 1))), kms.Denied)
	m.refused("an order about another", m.do(nil, removeNode(1, 2, kms.NodeExpelled, m.removal(3, 1))), kms.Conflict)
	m.refused("an order with another reason", m.do(nil, removeNode(1, 2, kms.NodeAged, m.removal(2, 1))), kms.Invalid)
	m.refused("no reason", m.do(nil, removeNode(1, 2, 0, nil)), kms.Invalid)
	around := removeNode(1, 2, 0, nil)
	around.GetRemoveNode().Reason = 256 + uint32(kms.NodeDrained)
	m.refused("a reason that wraps around", m.do(nil, around), kms.Invalid)
	m.refused("unknown", m.do(nil, removeNode(1, 9, kms.NodeAged, nil)), kms.NotFound)
	m.refused("by a stranger", m.do(nil, removeNode(9, 2, kms.NodeExpelled, m.removal(2, 1))), kms.Denied)
	m.refused("for an app", m.do(m.by(1), removeNode(1, 2, kms.NodeExpelled, m.removal(2, 1))), kms.Invalid)

	order := m.removal(2, 1)
	m.must(m.do(nil, removeNode(1, 2, kms.NodeExpelled, order)))
	// Three of four voters are left, which is the least that decides.
	m.refused("one too many", m.do(nil, removeNode(3, 3, kms.NodeDrained, nil)), kms.Conflict)
	m.configure(1, 3, 4)
	m.must(m.do(nil, removeNode(3, 3, kms.NodeDrained, nil)))
	m.configure(1, 4)
	// The evidence of all ages; who proves itself again may stay.
	m.tick(expires.UnixNano()-1, 1, 4)
	m.refused("a moment too early", m.do(nil, removeNode(1, 4, kms.NodeAged, nil)), kms.Conflict)
	m.tick(expires.UnixNano(), 1, 4)
	m.configure(1)
	m.must(m.do(nil, m.announce(1, nil)))
	m.must(m.do(nil, removeNode(1, 4, kms.NodeAged, nil)))
	m.refused("aged, but it proved itself", m.do(nil, removeNode(1, 1, kms.NodeAged, nil)), kms.Conflict)
	m.refused("the last one", m.do(nil, removeNode(1, 1, kms.NodeDrained, nil)), kms.Conflict)
	if got, want := m.told(from, 0), "node_evicted, node_left, node_evicted"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	var all []kms.Departure
	m.View().RemovedNodes(func(_ kms.NodeID, r state.Removal) bool { all = append(all, r.Reason); return true })
	if want := []kms.Departure{kms.NodeExpelled, kms.NodeDrained, kms.NodeAged}; !slices.Equal(all, want) {
		t.Errorf("removed: %v, want %v", all, want)
	}
}

// A policy that does not admit what a node has on record has it removed; one that
// would leave no majority is not taken, unless it says halt.
func TestPolicyAndNodes(t *testing.T) {
	m := newMachine(t)
	m.grow(2, 3)
	machine := func(n byte) attest.Hex { return claims(n).Platform.PPID }
	deny := func(n ...byte) func(*govern.Policy) {
		return func(p *govern.Policy) {
			p.Attestation.SGX.DenyPlatforms = nil
			for _, n := range n {
				p.Attestation.SGX.DenyPlatforms = append(p.Attestation.SGX.DenyPlatforms, machine(n))
			}
		}
	}
	next := *m.View().Policy()
	deny(2, 3)(&next)
	refused, kept := m.View().Quorum(&next, m.View().Time())
	if kept || len(refused) != 2 || refused[0].Node != node(2) || refused[1].Node != node(3) || kms.KindOf(refused[0].Err) != kms.Denied {
		t.Errorf("two of three denied: kept %v, refused %v", kept, refused)
	}
	other := *m.rulers // its policy is not taken, so the next one follows the same
	m.refused("no majority left", m.do(nil, setPolicy(other.Next(deny(2, 3)))), kms.Denied)
	m.must(m.do(nil, setPolicy(m.rulers.Next(deny(3)))))
	if refused, kept = m.View().Quorum(m.View().Policy(), m.View().Time()); !kept || len(refused) != 1 {
		t.Errorf("one of three denied: kept %v, refused %v", kept, refused)
	}
	m.refused("it proves itself in vain", m.do(nil, m.announce(3, nil)), kms.Denied)
	m.must(m.do(nil, removeNode(1, 3, kms.NodeRefused, nil)))
	if refused, _ = m.View().Quorum(m.View().Policy(), m.View().Time()); len(refused) != 1 || refused[0].Node != node(3) {
		t.Errorf("a voter that was removed: %v", refused)
	}
	m.must(m.do(nil, setPolicy(m.rulers.Next(func(p *govern.Policy) { deny(1, 2, 3)(p); p.Halt = true }))))
}

func TestRepeatedNodeCommands(t *testing.T) {
	m := newMachine(t)
	for i, c := range []*command.Command{m.put(2, nil), m.announce(1, nil), removeNode(1, 2, kms.NodeExpelled, m.removal(2, 1))} {
		c.Id = id(uint64(500 + i))
		first := m.do(nil, c)
		m.must(first)
		before := m.roles()
		if again := m.do(nil, c); again.Err != nil || again.Index != first.Index || m.roles() != before {
			t.Errorf("%d: done twice: %+v", i, again)
		}
	}
	m.refused("removed, under another id", m.do(nil, removeNode(1, 2, kms.NodeExpelled, m.removal(2, 1))), kms.Exists)
}

// A generation is in use once a majority of the voters holds it.
func TestHolders(t *testing.T) {
	m := newMachine(t)
	m.grow(2, 3)
	rotate := func(holders ...[]byte) state.Result {
		c := putGeneration(1, m.orderTo(govern.DeedRotate, 1, 1))
		c.GetPutGeneration().Holders = holders
		return m.do(nil, c)
	}
	m.refused("nobody", rotate(), kms.Unavailable)
	m.refused("a minority", rotate(raw(1)), kms.Unavailable)
	m.refused("one twice", rotate(raw(1), raw(1)), kms.Invalid)
	m.refused("a stranger", rotate(raw(1), raw(9)), kms.Invalid)
	m.refused("half an id", rotate(raw(1), raw(2)[:7]), kms.Invalid)
	m.must(rotate(raw(3), raw(1)))
	n, _ := m.View().Member(node(2))
	if m.View().HoldsRoot(n) {
		t.Error("a node holds the root that has not said so")
	}
	m.must(m.do(nil, m.announce(2, nil)))
	if n, _ = m.View().Member(node(2)); !m.View().HoldsRoot(n) {
		t.Error("a node that said so does not hold the root")
	}
}

// What is in a snapshot is what was there.
func TestNodesInSnapshots(t *testing.T) {
	m := newMachine(t)
	m.grow(2, 3)
	m.must(m.do(nil, m.put(5, func(p *command.PutNode) { p.Replaces, p.Proven = raw(2), true })))
	m.must(m.do(nil, removeNode(1, 3, kms.NodeExpelled, m.removal(3, 1))))
	m.Configure(m.index+1, ids([]byte{1, 2}), ids([]byte{5}))
	m.index++
	m.Publish()
	m.needApproval()
	m.must(m.do(nil, m.put(6, nil)))
	again := restored(t, m.Machine)
	list := func(v *state.View) (all []*state.Node) {
		v.Nodes(func(n *state.Node) bool { all = append(all, n); return true })
		return all
	}
	if diff := cmp.Diff(list(m.View()), list(again.View()), cmpopts.IgnoreUnexported(state.Node{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([][]kms.NodeID{m.View().Voters(), m.View().Learners()}, [][]kms.NodeID{again.View().Voters(), again.View().Learners()}); diff != "" {
		t.Error(diff)
	}
	if r, gone := again.View().Removed(node(3)); !gone || r.Reason != kms.NodeExpelled {
		t.Errorf("removed: %+v", r)
	}
	if m.Digest() != again.Digest() || !bytes.Equal(snapshot(t, m.Machine), snapshot(t, again)) {
		t.Error("a restored machine has another state")
	}
}

package state_test

import (
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// approval is an operator's for a machine under the policy in force, as edit has it.
func (m *machine) approval(n byte, edit func(*govern.Approval)) []byte {
	a := &govern.Approval{Version: govern.ApprovalVersion, Domain: m.rulers.Founding.Domain, Action: govern.ActJoin,
		Platform: claims(n).Platform.PPID, Identity: govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: make([]byte, 32)}},
		PolicySerial: m.View().Policy().Serial, Expires: time.Unix(0, m.time).Add(time.Hour).UTC().Truncate(time.Second), Nonce: govern.Nonce{0xaa, n}}
	if edit != nil {
		edit(a)
	}
	return m.rulers.Sign(govern.ApprovalType, a.Canonical(), m.rulers.Operator)
}

func approveNode(n byte, approval []byte) *command.Command {
	return &command.Command{Op: &command.Command_ApproveNode{ApproveNode: &command.ApproveNode{By: raw(1), Node: raw(n), Approval: approval}}}
}

func replacing(n byte) func(*govern.Approval) {
	return func(a *govern.Approval) { a.Action, a.Replaces = govern.ActReplace, node(n) }
}

func TestApprovalRefused(t *testing.T) {
	m := newMachine(t)
	m.needApproval()
	elsewhere := newMachine(t)
	m.must(m.do(nil, m.put(2, nil)))
	forged := func(by *govern.PrivateKey) []byte {
		e, err := govern.ParseEnvelope(m.approval(2, nil))
		if err != nil {
			t.Fatal(err)
		}
		return m.rulers.Sign(govern.ApprovalType, e.Payload, by)
	}
	for _, c := range []struct {
		name     string
		approval []byte
		want     kms.Kind
	}{
		{"nonsense", []byte("x"), kms.Invalid},
		{"another document", m.orderTo(govern.DeedRotate, 1, 1), kms.Invalid},
		{"of the owner", forged(m.rulers.Owner), kms.Denied},
		{"of a signer", forged(m.rulers.Signers[0]), kms.Denied},
		{"of another domain's operator", forged(elsewhere.rulers.Operator), kms.Denied},
		{"for another domain", m.approval(2, func(a *govern.Approval) { a.Domain = elsewhere.rulers.Founding.Domain }), kms.Denied},
		{"for another machine", m.approval(3, nil), kms.Denied},
		{"for another program", m.approval(2, func(a *govern.Approval) { a.Identity.SGX.MRENCLAVE[0]++ }), kms.Denied},
		{"under another policy", m.approval(2, func(a *govern.Approval) { a.PolicySerial-- }), kms.Stale},
		{"past its time", m.approval(2, func(a *govern.Approval) { a.Expires = a.Expires.Add(-time.Hour) }), kms.Expired},
		{"to replace an unknown one", m.approval(2, replacing(9)), kms.NotFound},
		{"to replace itself", m.approval(2, replacing(2)), kms.NotFound},
	} {
		m.refused(c.name, m.do(nil, approveNode(2, c.approval)), c.want)
		m.refused(c.name+", brought along", m.do(nil, m.put(3, func(p *command.PutNode) {
			p.Node.Claims, p.Approval = kept(t, claims(2)), c.approval
		})), c.want)
	}
	if got := m.roles(); got != "1 voter voter; 2 waiting waiting; " {
		t.Fatalf("nodes: %s", got)
	}
	c := approveNode(2, m.approval(2, nil))
	c.GetApproveNode().By = raw(2)
	m.refused("by who waits", m.do(nil, c), kms.Denied)
	m.refused("for an app", m.do(m.by(1), approveNode(2, m.approval(2, nil))), kms.Invalid)
	m.refused("of nobody", m.do(nil, approveNode(9, m.approval(2, nil))), kms.NotFound)
	m.refused("no approval", m.do(nil, approveNode(2, nil)), kms.Invalid)
	m.must(m.do(nil, approveNode(2, m.approval(2, nil)))) // the others spent nothing
}

// An approval is good for one node, once, also after a snapshot.
func TestApprovalIsSpent(t *testing.T) {
	m := newMachine(t)
	m.needApproval()
	from := m.index + 1
	m.must(m.do(nil, m.put(2, nil)))
	same := func(p *command.PutNode) { p.Node.Claims = kept(t, claims(2)) }
	m.must(m.do(nil, m.put(3, same)))
	approval := m.approval(2, nil)
	m.must(m.do(nil, approveNode(2, approval)))
	m.refused("twice", m.do(nil, approveNode(2, approval)), kms.Exists)
	m.refused("for another on the same machine", m.do(nil, approveNode(3, approval)), kms.Exists)
	m.refused("brought along", m.do(nil, m.put(4, func(p *command.PutNode) { same(p); p.Approval = approval })), kms.Exists)
	again := &machine{Machine: restored(t, m.Machine), rulers: m.rulers, t: t, time: m.time, index: m.index}
	again.refused("after a snapshot", again.do(nil, approveNode(3, approval)), kms.Exists)
	m.must(m.do(nil, m.put(5, func(p *command.PutNode) { p.Approval = m.approval(5, nil) })))
	if got, want := m.roles(), "1 voter voter; 2 learner waiting; 3 waiting waiting; 5 learner waiting; "; got != want {
		t.Errorf("nodes: %s, want %s", got, want)
	}
	if got, want := m.told(from, 0), "node_waiting, node_waiting, node_approved, node_approved"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	// By the time that it is forgotten it has expired.
	m.time += 2 * int64(time.Hour)
	m.must(m.do(nil, m.put(3, same)))
	m.must(m.do(nil, m.put(6, func(p *command.PutNode) { p.Approval = m.approval(6, nil) })))
	m.refused("after its time", m.do(nil, approveNode(3, approval)), kms.Expired)
}

// A policy that came in between is the one that counts.
func TestApprovalUnderANewPolicy(t *testing.T) {
	m := newMachine(t)
	m.needApproval()
	m.must(m.do(nil, m.put(2, nil)))
	old := m.approval(2, nil)
	m.must(m.do(nil, setPolicy(m.rulers.Next(func(p *govern.Policy) { p.Attestation.SGX.DenyPlatforms = []attest.Hex{claims(2).Platform.PPID} }))))
	m.refused("given before", m.do(nil, approveNode(2, old)), kms.Denied)
	m.refused("given now", m.do(nil, approveNode(2, m.approval(2, nil))), kms.Denied)
}

// To have another node go takes its key or an operator's word, under every policy.
func TestReplace(t *testing.T) {
	asking := func(old byte, proven bool) func(*command.PutNode) {
		return func(p *command.PutNode) { p.Replaces, p.Proven = raw(old), proven }
	}
	on := func(machine byte, old byte) func(*command.PutNode) {
		return func(p *command.PutNode) { p.Node.Claims = kept(t, claims(machine)); asking(old, true)(p) }
	}
	for _, c := range []struct {
		name     string
		approved bool // the policy wants approvals
		put      func(*command.PutNode)
		approval func(*govern.Approval) // nil: none is given
		member   bool
		want     kms.Kind // of the approval's refusal
	}{
		{"with its key", false, asking(2, true), nil, true, 0},
		{"without its key", false, asking(2, false), nil, false, 0},
		{"with its key on its machine, where approvals are wanted", true, on(2, 2), nil, true, 0},
		{"with its key on another machine, where approvals are wanted", true, asking(2, true), nil, false, 0},
		{"that approved to join", true, asking(2, true), func(*govern.Approval) {}, true, 0},
		{"without its key, approved to join", true, asking(2, false), func(*govern.Approval) {}, false, kms.Denied},
		{"without its key, approved to replace", true, asking(2, false), replacing(2), true, 0},
		{"without asking, approved to replace", true, nil, replacing(2), true, 0},
		{"approved to replace another", true, asking(2, true), replacing(3), false, kms.Conflict},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.grow(2, 3)
			if c.approved {
				m.needApproval()
			}
			m.must(m.do(nil, m.put(5, c.put)))
			if c.approval != nil {
				r := m.do(nil, approveNode(5, m.approval(5, c.approval)))
				if c.want != 0 {
					m.refused("approval", r, c.want)
				} else {
					m.must(r)
				}
			}
			n, _ := m.View().Node(node(5))
			if n.Member() != c.member || c.member && n.Replaces != node(2) {
				t.Fatalf("member %v, replaces %s", n.Member(), n.Replaces)
			}
			r := m.do(nil, removeNode(1, 2, kms.NodeReplaced, nil))
			if (r.Err == nil) != c.member {
				t.Errorf("the old one goes: %v", r.Err)
			}
		})
	}
}

// Two wait that showed the key of one node: the first one approved replaces it.
func TestReplaceOnceProven(t *testing.T) {
	m := newMachine(t)
	m.grow(2, 3)
	m.needApproval()
	for _, n := range []byte{5, 6} {
		m.must(m.do(nil, m.put(n, func(p *command.PutNode) { p.Replaces, p.Proven = raw(2), true })))
	}
	m.must(m.do(nil, approveNode(5, m.approval(5, nil))))
	m.refused("the second", m.do(nil, approveNode(6, m.approval(6, nil))), kms.Conflict)
}

// Two wait to replace one node: the first one approved does.
func TestReplaceOnce(t *testing.T) {
	m := newMachine(t)
	m.grow(2, 3)
	for _, n := range []byte{5, 6} {
		m.must(m.do(nil, m.put(n, func(p *command.PutNode) { p.Replaces = raw(2) })))
	}
	m.must(m.do(nil, approveNode(5, m.approval(5, replacing(2)))))
	m.refused("the second", m.do(nil, approveNode(6, m.approval(6, replacing(2)))), kms.Conflict)
	m.must(m.do(nil, removeNode(1, 2, kms.NodeReplaced, nil)))
	m.refused("the second, when the first has come", m.do(nil, approveNode(6, m.approval(6, replacing(2)))), kms.NotFound)
}

package server_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// proves is what a machine's evidence will say of it, before it is part of any domain.
func proves(t *testing.T, n *trustedtest.Node) attest.Claims {
	t.Helper()
	platform, err := n.TEE.Open(n.Machine().Fuses)
	if err != nil {
		t.Fatal(err)
	}
	guest := platform.Guest(attest.SGX, n.Clock.Now)
	ev, err := guest.Evidence(ctx, [64]byte{1})
	if err == nil {
		ev.Collateral, err = guest.Collateral(ctx, ev)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := sgx.Verify(ev, n.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An approver signs approvals of what a node has proved.
type approver struct {
	t *testing.T
	d *trustedtest.Domain
}

// approval is one of a machine, good for an hour, as edit changes it.
func (a approver) approval(c attest.Claims, edit func(*govern.Approval)) []byte {
	return a.signed(c, edit, a.d.Rulers.Operator)
}

func (a approver) signed(c attest.Claims, edit func(*govern.Approval), by *govern.PrivateKey) []byte {
	first := a.d.Nodes[0]
	doc := &govern.Approval{Version: govern.ApprovalVersion, Domain: a.d.Rulers.Founding.Domain, Action: govern.ActJoin, Platform: c.Platform.Machine(),
		Identity: govern.IdentityOf(c), PolicySerial: first.Server().Status().PolicySerial, Expires: first.Clock.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	rand.Read(doc.Nonce[:])
	if edit != nil {
		edit(doc)
	}
	return a.d.Rulers.Sign(govern.ApprovalType, doc.Canonical(), by)
}

// approved founds a domain of two nodes whose policy wants an approval for each
// that comes.
func approved(t *testing.T) (approver, *trustedtest.Domain) {
	t.Helper()
	d := trustedtest.NewDomain(t, 2)
	if _, err := d.Nodes[1].Core().SubmitPolicy(ctx, d.Rulers.Next(func(p *govern.Policy) { p.Admission = govern.AdmitApproved })); err != nil {
		t.Fatal(err)
	}
	return approver{t, d}, d
}

// waiting is the node that waits, as a node lists it.
func waiting(t *testing.T, on *trustedtest.Node) kms.NodeInfo {
	t.Helper()
	return eventually(t, func() (kms.NodeInfo, error) {
		l, err := on.Server().Nodes(ctx)
		if err != nil {
			return kms.NodeInfo{}, err
		}
		for _, n := range l.Nodes {
			if n.Role == kms.RoleWaiting {
				return n, nil
			}
		}
		return kms.NodeInfo{}, errors.New("nobody waits")
	})
}

// told are the kinds of events about a node, in order, as a node tells them.
func told(t *testing.T, on *trustedtest.Node, about kms.NodeID) (kinds []kms.EventKind) {
	t.Helper()
	err := on.Server().WatchEvents(ctx, kms.WatchRequest{Earliest: true, UntilNow: true}, func(batch kms.Events) error {
		for _, e := range batch.Events {
			if e.Node == about {
				kinds = append(kinds, e.Kind)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return kinds
}

// refusals are approvals that are none for the node with these claims.
func (a approver) refusals(c attest.Claims) map[string]struct {
	envelope []byte
	kind     kms.Kind
	says     string
} {
	elsewhere := proves(a.t, a.d.Nodes[0])
	type row = struct {
		envelope []byte
		kind     kms.Kind
		says     string
	}
	return map[string]row{
		"of another machine": {a.approval(c, func(x *govern.Approval) { x.Platform = elsewhere.Platform.Machine() }), kms.Denied, "platform"},
		"of another program": {a.approval(c, func(x *govern.Approval) {
			x.Identity = govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: make(attest.Hex, 32)}}
		}), kms.Denied, "program"},
		"of another domain":    {a.approval(c, func(x *govern.Approval) { x.Domain[0]++ }), kms.Denied, "domain"},
		"under another policy": {a.approval(c, func(x *govern.Approval) { x.PolicySerial-- }), kms.Stale, "policy 1"},
		"that is over":         {a.approval(c, func(x *govern.Approval) { x.Expires = x.Expires.Add(-2 * time.Hour) }), kms.Expired, "approval"},
		"by the owner":         {a.signed(c, nil, a.d.Rulers.Owner), kms.Denied, "no say"},
		"by a signer":          {a.signed(c, nil, a.d.Rulers.Signers[0]), kms.Denied, "no say"},
		"to replace one that is not there": {a.approval(c, func(x *govern.Approval) {
			x.Action, x.Replaces = govern.ActReplace, kms.NodeID{9}
		}), kms.NotFound, "replace"},
		"no approval at all": {[]byte("{}"), kms.Invalid, ""},
	}
}

// TestApprovedNodeJoins: where the policy wants approvals a node waits, everybody
// sees what an approval has to name, no other approval lets it in, and the right
// one does.
func TestApprovedNodeJoins(t *testing.T) {
	t.Parallel()
	a, d := approved(t)
	app := d.Nodes[0].Enrol()
	key := aesKey(t, app)
	n := d.Machine()
	n.Name = "third"
	claims := proves(t, n)
	joined := make(chan error, 1)
	go func() { joined <- n.Join(nil) }()
	w := waiting(t, d.Nodes[1])
	if w.Name != "third" || w.Platform != claims.Platform.Machine().String() || w.Identity != string(govern.IdentityOf(claims).Canonical()) ||
		!strings.Contains(w.Trouble, "approval") || !strings.Contains(w.Program, claims.SGX.MRENCLAVE.String()) || w.Generations != 0 {
		t.Errorf("listed as %+v", w)
	}
	for name, r := range a.refusals(claims) {
		err := d.Nodes[1].Server().ApproveNode(ctx, w.ID, r.envelope)
		if !errors.Is(err, r.kind) || !strings.Contains(err.Error(), r.says) {
			t.Errorf("an approval %s: %v, want %v that says %q", name, err, r.kind, r.says)
		}
	}
	select {
	case err := <-joined:
		t.Fatalf("it joined, or gave up: %v", err)
	default:
	}
	if got := told(t, d.Nodes[0], w.ID); !slices.Equal(got, []kms.EventKind{kms.EventNodeWaiting}) {
		t.Errorf("so far these events: %v", got)
	}
	good := a.approval(claims, nil)
	if err := d.Nodes[1].Server().ApproveNode(ctx, w.ID, good); err != nil {
		t.Fatal(err)
	}
	if err := <-joined; err != nil {
		t.Fatal(err)
	}
	d.AwaitVoters(3)
	used(t, app, key, n, d.Nodes[0])
	if got, want := told(t, d.Nodes[0], w.ID), []kms.EventKind{kms.EventNodeWaiting, kms.EventNodeApproved, kms.EventNodeJoined}; !slices.Equal(got, want) {
		t.Errorf("these events: %v, want %v", got, want)
	}
	if err := d.Nodes[0].Server().ApproveNode(ctx, w.ID, good); !errors.Is(err, kms.Exists) {
		t.Errorf("approved again: %v", err)
	}
	n.Restart() // it was approved before
	used(t, app, key, n, d.Nodes[1])
}

// TestApprovalBroughtAlong: a node that brings its approval joins without waiting,
// and one that brings none for it is told why at once. An approval is good once.
func TestApprovalBroughtAlong(t *testing.T) {
	t.Parallel()
	a, d := approved(t)
	n := d.Machine()
	claims := proves(t, n)
	var before kms.Position
	for name, r := range a.refusals(claims) {
		err := n.Join(r.envelope)
		if !errors.Is(err, r.kind) || !strings.Contains(err.Error(), r.says) {
			t.Errorf("an approval %s: %v, want %v that says %q", name, err, r.kind, r.says)
		}
		e := toldOf(t, d.Nodes[0], d.Nodes[1], before)
		if before = e.Position; e.Reason != string(kms.RefusedApproval) {
			t.Errorf("an approval %s: told %+v", name, e)
		}
	}
	if l, err := d.Nodes[0].Server().Nodes(ctx); err != nil || len(l.Nodes) != 2 {
		t.Errorf("%d nodes, %v: a node that was refused is on record", len(l.Nodes), err)
	}
	good := a.approval(claims, nil)
	if err := n.Join(good); err != nil {
		t.Fatal(err)
	}
	d.AwaitVoters(3)
	other := d.Machine()
	if err := other.Join(good); !errors.Is(err, kms.Exists) {
		t.Errorf("another machine with an approval that was used: %v", err)
	}
	if e := toldOf(t, d.Nodes[0], n, before); e.Reason != string(kms.RefusedApproval) {
		t.Errorf("told %+v", e)
	}
}

// TestPolicyWithoutQuorum: a policy that would expel most of the nodes is refused
// and names them; where it says halt the domain stops.
func TestPolicyWithoutQuorum(t *testing.T) {
	if testing.Short() {
		t.Skip("!!! SKIPPED: -short")
	}
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	app := d.Nodes[0].Enrol()
	expel := func(p *govern.Policy) {
		p.Nodes = []govern.NodeEntry{{Name: "another program", Identity: govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: make([]byte, 32)}}}}
	}
	rulers := *d.Rulers // so that the refused one is not the last
	_, err := d.Nodes[1].Core().SubmitPolicy(ctx, rulers.Next(expel))
	if !errors.Is(err, kms.Denied) || kms.HintOf(err) == "" {
		t.Fatalf("got %v", err)
	}
	for _, n := range d.Nodes {
		if id := n.Server().Status().Node.String()[:16]; !strings.Contains(err.Error(), id) {
			t.Errorf("%v does not name %s", err, id)
		}
	}
	app.MustCaller()
	halt := func(p *govern.Policy) { expel(p); p.Halt = true }
	if _, err := d.Nodes[1].Core().SubmitPolicy(ctx, d.Rulers.Next(halt)); err != nil {
		t.Fatal(err)
	}
	for i, n := range d.Nodes {
		if _, err := app.On(n).Caller(); !errors.Is(err, kms.Unavailable) {
			t.Errorf("node %d serves under a policy that expels it: %v", i, err)
		}
		if s := n.Server().Status(); s.Ready || s.Reason == "" {
			t.Errorf("node %d: ready %t, reason %q", i, s.Ready, s.Reason)
		}
	}
}

// TestPolicyDropsProgram: a node whose program is in no entry any more is removed,
// serves nobody, and the others go on.
func TestPolicyDropsProgram(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	app := d.Nodes[0].Enrol()
	key := aesKey(t, app)
	old := d.Machine()
	old.TEE.Measurement = [32]byte{7}
	identity := govern.IdentityOf(proves(t, old))
	if _, err := d.Nodes[0].Core().SubmitPolicy(ctx, d.Rulers.Next(func(p *govern.Policy) {
		p.Nodes = append(p.Nodes, govern.NodeEntry{Name: "old", Identity: identity})
		p.Nodes[0].MayReplicate = []string{"old"}
	})); err != nil {
		t.Fatal(err)
	}
	if err := old.Join(nil); err != nil {
		t.Fatal(err)
	}
	d.AwaitVoters(3)
	used(t, app, key, old, d.Nodes[0])
	id := old.Server().Status().Node
	if _, err := d.Nodes[0].Core().SubmitPolicy(ctx, d.Rulers.Next(func(p *govern.Policy) {
		p.Nodes = slices.Clone(p.Nodes[:1])
		p.Nodes[0].MayReplicate = nil
	})); err != nil {
		t.Fatal(err)
	}
	if _, err := app.On(old).Caller(); err == nil {
		t.Error("a node whose program was dropped serves")
	}
	eventually(t, func() (string, error) { // and it says why
		s := old.Server().Status()
		if s.Ready || !strings.Contains(s.Reason, "not allowed") {
			return "", fmt.Errorf("ready %t, reason %q", s.Ready, s.Reason)
		}
		return s.Reason, nil
	})
	_ = old.Stop()
	d.AwaitVoters(2)
	used(t, app, key, d.Nodes[0], d.Nodes[1])
	l, err := d.Nodes[0].Server().Nodes(ctx)
	if err != nil || len(l.Nodes) != 2 || len(l.Departed) != 1 || l.Departed[0].ID != id || l.Departed[0].Reason != kms.NodeRefused {
		t.Errorf("%+v, %v", l, err)
	}
	if kinds := told(t, d.Nodes[1], id); kinds[len(kinds)-1] != kms.EventNodeEvicted {
		t.Errorf("these events: %v", kinds)
	}
}

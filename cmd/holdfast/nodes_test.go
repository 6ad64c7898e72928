package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// newOperatorTerminal makes a terminal at the first of two nodes, whose policy
// wants an operator's approval for each that comes. The operator's and the owner's
// keys are files in its folder.
func newOperatorTerminal(t *testing.T) (*terminal, *trustedtest.Domain) {
	t.Helper()
	d := trustedtest.NewDomain(t, 2)
	first := d.Nodes[0]
	first.Edit = func(c *server.Config) { c.Mount = program().Handler }
	first.Restart()
	must(first.Core().SubmitPolicy(t.Context(), d.Rulers.Next(func(p *govern.Policy) { p.Admission = govern.AdmitApproved })))
	endpoint := first.Serve(listen.Config{}, nil)
	term := &terminal{t: t, dir: t.TempDir(), env: map[string]string{"HOLDFAST_URL": endpoint.URL}}
	term.env["HOLDFAST_CA"] = term.write("ca.pem", first.Server().CA(), 0o644)
	term.write("operator.key", must(d.Rulers.Operator.EncodePEM(nil)), 0o600)
	term.write("owner.key", must(d.Rulers.Owner.EncodePEM(nil)), 0o600)
	return term, d
}

// listed is the one node of a role that `node list` shows.
func (term *terminal) listed(role kms.NodeRole) (shownNode, error) {
	var doc struct{ Nodes []shownNode }
	if err := json.Unmarshal([]byte(term.ok("", "node", "list", "--json")), &doc); err != nil {
		return shownNode{}, err
	}
	for _, n := range doc.Nodes {
		if n.Role == role {
			return n, nil
		}
	}
	return shownNode{}, errors.New("there is none")
}

func (term *terminal) await(role kms.NodeRole) shownNode {
	term.t.Helper()
	for range 600 {
		if n, err := term.listed(role); err == nil {
			return n
		}
		time.Sleep(50 * time.Millisecond)
	}
	term.t.Fatalf("no node is a %s after 30 s", role)
	return shownNode{}
}

// TestNodeCommands: an operator sees who waits, approves of it, sees it vote and
// removes it; what is not to be signed is not signed.
func TestNodeCommands(t *testing.T) {
	term, d := newOperatorTerminal(t)
	n := d.Machine()
	n.Name = "newcomer\x1b[2J" // its own choice, which is refused
	if err := n.Join(nil); !errors.Is(err, kms.Invalid) {
		t.Errorf("a name that steers a terminal: %v", err)
	}
	n = d.Machine()
	n.Name = "newcomer"
	joined := make(chan error, 1)
	go func() { joined <- n.Join(nil) }()
	w := term.await(kms.RoleWaiting)
	id := w.ID.String()
	operator, owner := term.path("operator.key"), term.path("owner.key")

	list := term.ok("", "node", "list")
	for _, want := range []string{"newcomer", "waiting", w.Platform, w.Program, "holdfast node approve " + id[:16], "leader"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list lacks %q:\n%s", want, list)
		}
	}
	if out := term.ok("", "node", "show", id[:8]); !strings.Contains(out, w.Platform) || !strings.Contains(out, id) {
		t.Errorf("shown: %s", out)
	}
	if out := term.ok("", "status"); !strings.Contains(out, "2 vote, 1 wait for an approval") {
		t.Errorf("status: %s", out)
	}
	wrong := strings.Repeat("11", 32)
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"another machine":     {[]string{id, "--operator", operator, "--machine", wrong[:32]}, "not on"},
		"another program":     {[]string{id, "--operator", operator, "--mrenclave", wrong}, "not SGX"},
		"another policy":      {[]string{id, "--operator", operator, "--policy", "7"}, "policy 2 is in force"},
		"nobody's":            {[]string{id}, "--operator FILE"},
		"no operator's key":   {[]string{id, "--operator", owner}, "no say"},
		"in place of nobody":  {[]string{id, "--operator", operator, "--replace", wrong}, "not found"},
		"of an unknown node":  {[]string{wrong, "--operator", operator}, "no node begins with"},
		"of too few digits":   {[]string{id[:7], "--operator", operator}, "is not the id"},
		"of no node":          {[]string{"--operator", operator}, "which node"},
		"of no node, to keep": {[]string{"--operator", operator, "--out", term.path("x"), "--domain", wrong}, "not all is said"},
		"signed, and to sign": {[]string{id, "--operator", operator, "--approval", operator}, "signed already"},
		"of what is no such":  {[]string{id, "--approval", operator}, "operator.key"},
		"that has ended":      {[]string{id, "--operator", operator, "--expires=-1h"}, "from now on"},
	} {
		o := term.run("", append([]string{"node", "approve"}, c.args...)...)
		if o.status == 0 || !strings.Contains(o.stderr, c.says) {
			t.Errorf("an approval %s: %+v, want one that says %q", name, o, c.says)
		}
	}
	told := term.run("", "node", "approve", id[:16], "--operator", operator, "--machine", w.Platform)
	if told.status != 0 || !strings.Contains(told.stdout, "approved  "+id) || !strings.Contains(told.stderr, "machine  "+w.Platform) {
		t.Fatalf("%+v", told)
	}
	if err := <-joined; err != nil {
		t.Fatal(err)
	}
	d.AwaitVoters(3)
	if out := term.ok("", "events"); !strings.Contains(out, "node "+id+" admitted by an operator's approval") {
		t.Errorf("events: %s", out)
	}
	term.removes(d, n, id)
}

// removes orders that a node goes: signed first, handed in later.
func (term *terminal) removes(d *trustedtest.Domain, n *trustedtest.Node, id string) {
	term.t.Helper()
	if o := term.run("", "node", "remove", id); o.status != exitUsage {
		term.t.Errorf("an order that nobody signed: %+v", o)
	}
	order := term.path("order")
	term.ok("", "node", "remove", id[:16], "--operator", term.path("owner.key"), "--out", order)
	if out := term.ok("", "domain", "submit", order); !strings.Contains(out, "removed  "+id) {
		term.t.Errorf("printed %q", out)
	}
	_ = n.Stop()
	d.AwaitVoters(2)
	if out := term.ok("", "node", "list", "--all"); !strings.Contains(out, "removed by order") || strings.Contains(out, "newcomer") {
		term.t.Errorf("the list:\n%s", out)
	}
	id = d.Nodes[1].Server().Status().Node.String()
	drain := term.path("drain")
	if o := term.run("", "node", "drain", id[:16], "--operator", term.path("operator.key"), "--out", drain); o.status != 0 || !strings.Contains(o.stderr, "drain-node "+id) {
		term.t.Errorf("signed: %+v", o)
	}
	if out := term.ok("", "domain", "submit", drain); !strings.Contains(out, "drained  "+id) {
		term.t.Errorf("printed %q", out)
	}
	if o := term.run("", "node", "drain", d.Nodes[0].Server().Status().Node.String(), "--operator", term.path("operator.key")); o.status == 0 || !strings.Contains(o.stderr, "would have none left") {
		term.t.Errorf("the last one: %+v", o)
	}
	if o := term.run("", "domain", "submit", order); o.status == 0 || !strings.Contains(o.stderr, "exists already") && !strings.Contains(o.stderr, "removed already") && !strings.Contains(o.stderr, "obeyed") {
		term.t.Errorf("again: %+v", o)
	}
}

// TestApprovalAlone: an approval is signed without a node, and brought along.
func TestApprovalAlone(t *testing.T) {
	term, d := newOperatorTerminal(t)
	n := d.Machine()
	waits := make(chan error, 1)
	go func() { waits <- n.Join(nil) }() // so that the list says what machine it is
	w := term.await(kms.RoleWaiting)
	_, mrenclave, _ := strings.Cut(w.Program, " ")
	st := d.Nodes[0].Server().Status()
	term.env["HOLDFAST_URL"] = "https://127.0.0.1:1" // nobody is there
	term.ok("", "node", "approve", "--operator", term.path("operator.key"), "--out", term.path("approval"),
		"--domain", st.DomainID.String(), "--policy", "2", "--machine", w.Platform, "--mrenclave", mrenclave)
	if err := d.Nodes[1].Server().ApproveNode(t.Context(), w.ID, []byte(term.read("approval"))); err != nil {
		t.Fatal(err)
	}
	if err := <-waits; err != nil {
		t.Fatal(err)
	}
}

package server_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// tdxEntry admits the simulated TDX machines, of a program.
func tdxEntry(name string, p simtee.Program) govern.NodeEntry {
	return govern.NodeEntry{Name: name, Identity: govern.Identity{TDX: &attest.TDXIdentity{MRTD: p.MRTD[:], RTMR1: p.RTMR[1][:], RTMR2: p.RTMR[2][:]}}, MayReplicate: []string{"node"}}
}

// program is what the simulated TDX machine of a node proves.
func program(t *testing.T, n *trustedtest.Node) simtee.Program {
	t.Helper()
	p, err := n.TEE.Open(n.Machine().Fuses)
	if err != nil {
		t.Fatal(err)
	}
	return p.Program()
}

// takesTDX has a domain of two nodes or more take nodes without a sealing key: by
// policy, and by restart mode.
func takesTDX(t *testing.T, d *trustedtest.Domain, edit func(*govern.Policy)) {
	t.Helper()
	a := d.Rulers.Founding.Standing.DraftAmendment(d.Rulers.Founding.Policy)
	a.RestartMode = govern.Rejoin
	if _, err := d.Nodes[0].Core().Amend(ctx, d.Rulers.Sign(govern.AmendmentType, a.Canonical(), append([]*govern.PrivateKey{d.Rulers.Owner}, d.Rulers.Signers[:2]...)...)); err != nil {
		t.Fatal(err)
	}
	admitTDX(t, d, edit)
	for _, n := range d.Nodes {
		eventually(t, func() (bool, error) { return true, knowsMode(n, "rejoin") })
	}
}

func admitTDX(t *testing.T, d *trustedtest.Domain, edit func(*govern.Policy)) {
	t.Helper()
	_, err := d.Nodes[0].Core().SubmitPolicy(ctx, d.Rulers.Next(func(p *govern.Policy) {
		p.Nodes = []govern.NodeEntry{p.Nodes[0], tdxEntry("tdx", program(t, d.Nodes[0]))}
		p.Nodes[0].MayReplicate = []string{"tdx"}
		if edit != nil {
			edit(p)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
}

// tdx is a machine without a sealing key.
func tdx(d *trustedtest.Domain) *trustedtest.Node {
	n := d.Machine()
	n.Kind = attest.TDX
	return n
}

func mustJoin(t *testing.T, n *trustedtest.Node) *trustedtest.Node {
	t.Helper()
	if err := n.JoinBy(time.Minute); err != nil {
		t.Fatal(err)
	}
	return n
}

// onlyTDX has three TDX nodes come and the others go.
func onlyTDX(t *testing.T, d *trustedtest.Domain) {
	t.Helper()
	founders := append([]*trustedtest.Node(nil), d.Nodes...)
	for range 3 {
		mustJoin(t, tdx(d))
	}
	d.AwaitVoters(3 + len(founders))
	for _, n := range founders {
		id := n.Server().Status().Node
		o := orderer{t, d.Nodes[len(d.Nodes)-1], d}
		o.expel(id)
		_ = n.Stop()
	}
	d.Nodes = d.Nodes[len(founders):]
	d.AwaitVoters(3)
}

// members are the ids of who is in the domain, as a node has it.
func members(t *testing.T, n *trustedtest.Node) map[kms.NodeID]bool {
	t.Helper()
	all := map[kms.NodeID]bool{}
	for _, i := range n.Server().Status().Nodes {
		all[i.ID] = true
	}
	return all
}

// restartsAnew restarts a TDX node: it comes back under another id, in the place of
// what it was, and uses keys that were made while it was away.
func restartsAnew(t *testing.T, d *trustedtest.Domain, n, other *trustedtest.Node) {
	t.Helper()
	app := other.Enrol()
	was := n.Server().Status().Node
	_ = n.Stop()
	key := aesKey(t, app.On(other))
	n.MustStart()
	now := n.Server().Status()
	if now.Node == was || !now.Ready {
		t.Fatalf("node %s, ready %t (%s); before %s", now.Node, now.Ready, now.Reason, was)
	}
	used(t, app, key, n, other)
	if _, err := disk.Open(n.Dir); !errors.Is(err, disk.ErrInUse) {
		t.Errorf("its folder is free for another process: %v", err)
	}
	d.AwaitVoters(len(d.Nodes))
	if all := members(t, other); all[was] || !all[now.Node] || len(all) != len(d.Nodes) {
		t.Errorf("members %v", all)
	}
}

// TestWithoutSealingKey: a TDX node joins, serves, is killed and comes back in its own
// place, again and again; in a domain whose other nodes have sealing keys, and in one
// where none has.
func TestWithoutSealingKey(t *testing.T) {
	t.Parallel()
	t.Run("one", func(t *testing.T) {
		t.Parallel()
		d := trustedtest.NewDomain(t, 2)
		takesTDX(t, d, nil)
		n := mustJoin(t, tdx(d))
		d.AwaitVoters(3)
		for range 2 {
			restartsAnew(t, d, n, d.Nodes[0])
		}
		restartsAnew(t, d, d.Nodes[1], n) // one with a key, in this mode too
		if !strings.Contains(d.Log.String(), "it opens nowhere; the node begins anew") {
			t.Error("the log does not say that the folder was set aside")
		}
	})
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		d := trustedtest.NewDomain(t, 2)
		takesTDX(t, d, nil)
		onlyTDX(t, d)
		for range 2 {
			leader, other := roles(d)
			restartsAnew(t, d, leader, other)
		}
	})
}

// TestAllWithoutSealingKeyStopped: when all TDX nodes were stopped no disk opens, and
// the domain stays down, until it is restored as owner and threshold say on a machine
// with a sealing key; then TDX nodes join again.
func TestAllWithoutSealingKeyStopped(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewRecoverable(t, 2)
	app := d.Nodes[0].Enrol()
	takesTDX(t, d, nil)
	onlyTDX(t, d)
	sealed := seal(t, app, d.Nodes[1])
	saved := d.Nodes[0].Backup()
	stopAll(d)
	for i, n := range d.Nodes {
		if err := n.StartWithin(2 * time.Second); !errors.Is(err, kms.Unavailable) {
			t.Errorf("node %d: %v", i, err)
		}
		_, err := n.Survey()
		wantTyped(t, "survey", err, kms.Misused, "--stay")
		_, err = n.PrepareRestore(saved)
		wantTyped(t, "restore", err, kms.Misused, "--stay")
	}
	rescue := d.Machine()
	c, err := rescue.PrepareRestore(saved)
	if err != nil {
		t.Fatal(err)
	}
	doc := d.Recovery(c, func(r *govern.Recovery) { r.Amendments = 1 })
	if err := rescue.Restore(saved, doc, d.Hand(saved, c, d.Rulers.Holders[0]), d.Hand(saved, c, d.Rulers.Holders[2])); err != nil {
		t.Fatal(err)
	}
	sealed.opens(t, rescue)
	for _, n := range d.Nodes[:2] {
		n.MustStart()
		sealed.opens(t, n)
	}
	d.Nodes = append(d.Nodes[:2:2], rescue)
	d.AwaitVoters(3)
}

func wantTyped(t *testing.T, what string, err error, kind kms.Kind, hint string) {
	t.Helper()
	if !errors.Is(err, kind) || !errors.Is(err, attest.ErrNoSealingKey) || !strings.Contains(kms.HintOf(err), hint) {
		t.Errorf("%s: %v, hint %q; want %v", what, err, kms.HintOf(err), kind)
	}
}

// TestWithoutSealingKeyRefused: such a node founds nothing in two steps, starts from no folder, and
// joins no domain in which nodes resume from their files.
func TestWithoutSealingKeyRefused(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 1)
	alone := tdx(d)
	wantTyped(t, "founding", alone.TryFound(), kms.Misused, "found --stay")
	if names, err := os.ReadDir(alone.Dir); err != nil || len(names) > 2 { // lock and aside
		t.Errorf("it left %v, %v", names, err)
	}
}

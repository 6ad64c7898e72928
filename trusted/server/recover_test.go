package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// sealedBy is what a key sealed, to be opened after the domain was brought back.
type sealedBy struct {
	app  *trustedtest.App
	key  kms.KeyID
	data []byte
}

var beforeTheLoss = []byte("what was sealed before the loss")

func seal(t *testing.T, app *trustedtest.App, on *trustedtest.Node) sealedBy {
	t.Helper()
	key := aesKey(t, app.On(on))
	c, err := app.On(on).MustCaller().Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: key}, Plaintext: beforeTheLoss, Layout: kms.LayoutNative})
	if err != nil {
		t.Fatal(err)
	}
	return sealedBy{app, key, c.Data}
}

func (s sealedBy) opens(t *testing.T, on *trustedtest.Node) {
	t.Helper()
	p, err := s.app.On(on).MustCaller().Decrypt(ctx, kms.DecryptRequest{Data: s.data, Layout: kms.LayoutNative})
	if err != nil || !bytes.Equal(p.Data, beforeTheLoss) {
		t.Fatalf("got %q, %v", p.Data, err)
	}
}

func stopAll(d *trustedtest.Domain) {
	for _, n := range d.Nodes {
		_ = n.Stop()
	}
}

func wantRefusal(t *testing.T, what string, err error, kind kms.Kind) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v, want %v", what, err, kind)
	}
}

// TestSurvivor: what one disk has left of a domain goes on as owner and threshold
// say, once, and with all keys; who was of the domain joins anew or not at all.
func TestSurvivor(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewRecoverable(t, 3)
	app := d.Nodes[0].Enrol()
	sealed := seal(t, app, d.Nodes[1])
	head := d.Nodes[2].Server().Status().Head
	stopAll(d)
	survivor, other := d.Nodes[1], d.Nodes[2]
	found, err := survivor.Survey()
	if err != nil {
		t.Fatal(err)
	}
	again, err := survivor.Survey() // it changes nothing
	if err != nil || again.Request.Head != found.Request.Head {
		t.Fatalf("%+v, then %+v, %v", found.Request.Head, again.Request.Head, err)
	}
	if h := found.Request.Head; h.Index < head.Index || h.Term < head.Term || h.PolicySerial != head.PolicySerial || len(found.Lost) != 2 {
		t.Errorf("found %+v without %v; the running domain showed %+v", h, found.Lost, head)
	}
	elsewhere, err := other.Survey()
	if err != nil {
		t.Fatal(err)
	}
	signers := d.Rulers.Signers
	for name, tt := range map[string]struct {
		on   *trustedtest.Node
		doc  []byte
		kind kms.Kind
	}{
		"by the signers alone":     {survivor, d.SignRecovery(found, nil, signers[:2]...), kms.Denied},
		"a signature short":        {survivor, d.SignRecovery(found, nil, d.Rulers.Owner, signers[0]), kms.Denied},
		"another domain":           {survivor, d.Recovery(found, func(r *govern.Recovery) { r.Domain[0]++ }), kms.Denied},
		"another index":            {survivor, d.Recovery(found, func(r *govern.Recovery) { r.Head.Index++ }), kms.Denied},
		"another digest":           {survivor, d.Recovery(found, func(r *govern.Recovery) { r.Head.Digest[3] ^= 1 }), kms.Denied},
		"another term":             {survivor, d.Recovery(found, func(r *govern.Recovery) { r.Head.Term++ }), kms.Denied},
		"another policy":           {survivor, d.Recovery(found, func(r *govern.Recovery) { r.Head.PolicySerial++ }), kms.Denied},
		"the survivor not named":   {other, d.Recovery(found, nil), kms.Denied},
		"another amendment":        {survivor, d.Recovery(found, func(r *govern.Recovery) { r.Amendments = 1 }), kms.Stale},
		"an order in its place":    {survivor, d.Rulers.Sign(govern.OrderType, (&govern.Order{}).Canonical(), d.Rulers.Owner), kms.Invalid},
		"no document":              {survivor, nil, kms.Invalid},
		"of another node's survey": {survivor, d.Recovery(elsewhere, nil), kms.Denied},
	} {
		wantRefusal(t, name, tt.on.Recover(tt.doc), tt.kind)
	}
	doc := d.Recovery(found, nil)
	if err := survivor.Recover(doc); err != nil {
		t.Fatal(err)
	}
	sealed.opens(t, survivor)
	seal(t, app, survivor).opens(t, survivor)
	st := survivor.Server().Status()
	if st.Voters != 1 || len(st.Nodes) != 1 || st.Head.Term <= found.Request.Head.Term || st.Head.Index <= found.Request.Head.Index {
		t.Errorf("%d vote among %d, at %+v after %+v", st.Voters, len(st.Nodes), st.Head, found.Request.Head)
	}
	if l, err := survivor.Server().Nodes(ctx); err != nil || len(l.Departed) != 2 || l.Departed[0].Reason != kms.NodeLost {
		t.Errorf("departed: %+v, %v", l.Departed, err)
	}
	if err := other.StartWithin(2 * time.Second); err == nil {
		t.Error("a node whose part has ended serves")
	}
	survivor.Restart()
	sealed.opens(t, survivor)
	if err := survivor.Stop(); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, "a second time", survivor.Recover(doc), kms.Exists)
	survivor.MustStart()
	d.Nodes[0], d.Nodes[1] = survivor, d.Nodes[0] // who joins asks the first
	n := d.Grow()
	sealed.opens(t, n)
	d.AwaitVoters(2)
}

// TestRestore: a backup and two of three shares bring a domain back on a machine
// that was never of it, with all keys; nothing less does.
func TestRestore(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewRecoverable(t, 3)
	app := d.Nodes[0].Enrol()
	sealed := seal(t, app, d.Nodes[0])
	o := orderer{t, d.Nodes[1], d}
	o.rotate() // so that two generations have to come back
	newer := seal(t, app, d.Nodes[2])
	order := d.Nodes[1].BackupOrder()
	var out bytes.Buffer
	if err := d.Nodes[1].Server().BackupDomain(ctx, order, &out); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, "an order a second time", d.Nodes[2].Server().BackupDomain(ctx, order, &bytes.Buffer{}), kms.Exists)
	saved := out.Bytes()
	lost := seal(t, app, d.Nodes[0]) // behind the backup
	if st := d.Nodes[0].Server().Status(); !st.Recoverable || st.LastBackup.IsZero() || st.RecoveryShares != 3 || st.RecoveryThreshold != 2 {
		t.Errorf("recoverable: %t by %d of %d, last backup %v", st.Recoverable, st.RecoveryThreshold, st.RecoveryShares, st.LastBackup)
	}
	stopAll(d)

	machine, other := d.Machine(), d.Machine()
	c, err := machine.PrepareRestore(saved)
	if err != nil {
		t.Fatal(err)
	}
	again, err := machine.PrepareRestore(saved)
	if err != nil || again.Request.Node != c.Request.Node || !bytes.Equal(again.Request.Receiver, c.Request.Receiver) {
		t.Fatalf("other keys the second time: %v", err)
	}
	elsewhere, err := other.PrepareRestore(saved)
	if err != nil {
		t.Fatal(err)
	}
	var shares [][]byte
	for _, holder := range d.Rulers.Holders {
		shares = append(shares, d.Hand(saved, c, holder))
	}
	doc := d.Recovery(c, nil)
	flip := func(at int) []byte { b := bytes.Clone(saved); b[at] ^= 1; return b }
	strange := trustedtest.NewRecoverable(t, 1)
	otherSaved := strange.Nodes[0].Backup()
	for name, tt := range map[string]struct {
		from, doc []byte
		shares    [][]byte
		kind      kms.Kind
	}{
		"a share short":               {saved, doc, shares[:1], kms.Denied},
		"a share twice":               {saved, doc, [][]byte{shares[1], shares[1]}, kms.Denied},
		"no shares":                   {saved, doc, nil, kms.Denied},
		"a share for another node":    {saved, doc, [][]byte{shares[0], d.Hand(saved, elsewhere, d.Rulers.Holders[1])}, kms.Denied},
		"a signature short":           {saved, d.SignRecovery(c, nil, d.Rulers.Owner, d.Rulers.Signers[1]), shares, kms.Denied},
		"without the owner":           {saved, d.SignRecovery(c, nil, d.Rulers.Signers[:2]...), shares, kms.Denied},
		"for another node":            {saved, d.Recovery(elsewhere, nil), shares, kms.Denied},
		"another head":                {saved, d.Recovery(c, func(r *govern.Recovery) { r.Head.Index++ }), shares, kms.Denied},
		"a backup that is cut":        {saved[:len(saved)-1], doc, shares, kms.Damaged},
		"a backup cut in its header":  {saved[:40], doc, shares, kms.Invalid},
		"a bit flipped at the end":    {flip(len(saved) - 1), doc, shares, kms.Damaged},
		"something behind the backup": {append(bytes.Clone(saved), 0), doc, shares, kms.Damaged},
		"another domain's backup":     {otherSaved, doc, shares, kms.Denied},
	} {
		wantRefusal(t, name, machine.Restore(tt.from, tt.doc, tt.shares...), tt.kind)
	}
	if err := machine.Restore(saved, doc, shares[2], shares[0]); err != nil {
		t.Fatal(err)
	}
	sealed.opens(t, machine)
	newer.opens(t, machine)
	if _, err := app.On(machine).MustCaller().Decrypt(ctx, kms.DecryptRequest{Data: lost.data, Layout: kms.LayoutNative}); !errors.Is(err, kms.NotFound) && !errors.Is(err, kms.DecryptFailed) {
		t.Errorf("a key from behind the backup: %v", err)
	}
	st := machine.Server().Status()
	if st.DomainID != c.Request.Domain || st.Node != c.Request.Node || st.Voters != 1 || st.Generation != 1 || st.Head.Term <= c.Request.Head.Term {
		t.Errorf("status %+v", st)
	}
	machine.Restart()
	sealed.opens(t, machine)
	seal(t, app, machine).opens(t, machine)
	_ = machine.Stop()
	wantRefusal(t, "over a node that has gone on, with the same recovery", machine.Restore(saved, doc), kms.Exists)
}

// TestRestoreByRoot: a node that holds the master secrets restores its domain from
// a backup without shares, and only as owner and threshold say.
func TestRestoreByRoot(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 1)
	node := d.Nodes[0]
	app := node.Enrol()
	sealed := seal(t, app, node)
	saved := node.Backup()
	deleted := seal(t, app, node)
	_ = node.Stop()
	c, err := node.PrepareRestore(saved)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Request.Receiver) > 0 {
		t.Error("shares are wanted")
	}
	wantRefusal(t, "by an operator", node.Restore(saved, d.SignRecovery(c, nil, d.Rulers.Operator)), kms.Denied)
	if err := node.Restore(saved, d.Recovery(c, nil)); err != nil {
		t.Fatal(err)
	}
	sealed.opens(t, node)
	if _, err := app.On(node).MustCaller().Decrypt(ctx, kms.DecryptRequest{Data: deleted.data, Layout: kms.LayoutNative}); err == nil {
		t.Error("the state is not that of the backup")
	}
	node.Restart()
	sealed.opens(t, node)
}

// TestRecoveryDealtAnew: an amendment names others to hold recovery keys, and the
// recovery key is dealt to them; those who held shares open nothing that comes after.
func TestRecoveryDealtAnew(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 1)
	node := d.Nodes[0]
	app := node.Enrol()
	if st := node.Server().Status(); st.Recoverable {
		t.Error("recoverable without recovery keys")
	}
	var holders []*govern.PrivateKey
	a := d.Rulers.Founding.Standing.DraftAmendment(d.Rulers.Founding.Policy)
	for range 2 {
		k, err := govern.NewPrivateKey(govern.ECDSAP256)
		if err != nil {
			t.Fatal(err)
		}
		holders, a.RecoveryKeys = append(holders, k), append(a.RecoveryKeys, k.Public())
	}
	a.RecoveryThreshold = 2
	keys := append(append([]*govern.PrivateKey{d.Rulers.Owner}, d.Rulers.Signers[:2]...), holders...)
	if _, err := node.Core().Amend(ctx, d.Rulers.Sign(govern.AmendmentType, a.Canonical(), keys...)); err != nil {
		t.Fatal(err)
	}
	node.Server().MaintainGenerations()
	eventually(t, func() (bool, error) {
		if !node.Server().Status().Recoverable {
			return false, errors.New("not recoverable")
		}
		return true, nil
	})
	sealed := seal(t, app, node)
	saved := node.Backup()
	_ = node.Stop()
	machine := d.Machine()
	c, err := machine.PrepareRestore(saved)
	if err != nil {
		t.Fatal(err)
	}
	doc := d.Recovery(c, func(r *govern.Recovery) { r.Amendments = 1 })
	if err := machine.Restore(saved, doc, d.Hand(saved, c, holders[0]), d.Hand(saved, c, holders[1])); err != nil {
		t.Fatal(err)
	}
	sealed.opens(t, machine)
}

// TestSurvivorOfRejoin: where nodes that start join anew, one that finds nobody
// keeps what it has, and a recovery has it carry on.
func TestSurvivorOfRejoin(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	app := d.Nodes[0].Enrol()
	sealed := seal(t, app, d.Nodes[0])
	a := d.Rulers.Founding.Standing.DraftAmendment(d.Rulers.Founding.Policy)
	a.RestartMode = govern.Rejoin
	if _, err := d.Nodes[0].Core().Amend(ctx, d.Rulers.Sign(govern.AmendmentType, a.Canonical(), append([]*govern.PrivateKey{d.Rulers.Owner}, d.Rulers.Signers[:2]...)...)); err != nil {
		t.Fatal(err)
	}
	survivor := d.Nodes[2]
	eventually(t, func() (bool, error) { return true, survivor.Server().RulesWritten() })
	stopAll(d)
	if err := survivor.StartWithin(2 * time.Second); err == nil {
		t.Fatal("it serves an old state")
	}
	c, err := survivor.Survey()
	if err != nil {
		t.Fatal(err)
	}
	if err := survivor.Recover(d.Recovery(c, func(r *govern.Recovery) { r.Amendments = 1 })); err != nil {
		t.Fatal(err)
	}
	sealed.opens(t, survivor)
	// Alone it is not to be stopped: its log is old at once, and the recovery was for
	// another head.
	_ = survivor.Stop()
	err = survivor.StartWithin(2 * time.Second)
	if !errors.Is(err, kms.Unavailable) || !strings.Contains(fmt.Sprint(err), "served alone") || !strings.Contains(kms.HintOf(err), "recovery") {
		t.Fatalf("started alone: %v (%s)", err, kms.HintOf(err))
	}
	first := c
	if c, err = survivor.Survey(); err != nil {
		t.Fatal(err)
	}
	if err := survivor.Recover(d.Recovery(first, func(r *govern.Recovery) { r.Amendments = 1 })); err == nil {
		t.Fatal("it carries on by a recovery for another head")
	}
	if err := survivor.Recover(d.Recovery(c, func(r *govern.Recovery) { r.Amendments = 1 })); err != nil {
		t.Fatal(err)
	}
	sealed.opens(t, survivor)
	d.Nodes[0], d.Nodes[2] = survivor, d.Nodes[0]
	joined := d.Grow()
	sealed.opens(t, joined)
	d.AwaitVoters(2)
}

package server_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// compromiseOrder is one of the signers that holds a generation for known.
func (o orderer) compromiseOrder(generation uint32, grace time.Duration) []byte {
	return o.signed(o.order(govern.DeedCompromise, generation, func(d *govern.Order) {
		d.Grace = attest.Age(grace)
		rand.Read(d.Nonce[:])
	}), o.d.Rulers.Signers[:2]...)
}

// dealtWith waits until all is replaced that hung on a generation.
func (o orderer) dealtWith(generation uint32) kms.MasterSecrets {
	o.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		m := o.secrets()
		for _, c := range m.Compromises {
			if c.Generation == generation && !c.Finished.IsZero() {
				return m
			}
		}
		if time.Now().After(end) {
			o.t.Fatalf("generation %d is not dealt with: %+v", generation, m.Compromises)
		}
	}
}

func (o orderer) exposed(order []byte) (all []kms.Exposed) {
	o.t.Helper()
	for after := ""; ; {
		page, err := o.n.Server().ListExposed(ctx, order, after)
		if err != nil {
			o.t.Fatal(err)
		}
		if all = append(all, page.Items...); page.Next == "" {
			return all
		}
		after = page.Next
	}
}

// A master secret that others know: the newest. Everything of its time is replaced
// or refused or listed, what was encrypted opens until it is encrypted again, and
// all that survives the node's death in the middle.
func TestCompromise(t *testing.T) {
	t.Parallel()
	o := newOrderer(t)
	app := o.n.Enrol()
	var err error
	made := map[kms.Spec]kms.Key{}
	for _, spec := range []kms.Spec{kms.AES256GCM, kms.ECP256} {
		if made[spec], err = app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: spec, Origin: kms.Generated}); err != nil {
			t.Fatal(err)
		}
	}
	aes := kms.KeyRef{ID: made[kms.AES256GCM].ID}
	sealed, err := app.MustCaller().Encrypt(ctx, kms.EncryptRequest{Key: aes, Plaintext: []byte("before"), Layout: kms.LayoutNative})
	if err != nil {
		t.Fatal(err)
	}
	ca, order := o.n.Server().CA(), o.compromiseOrder(0, time.Hour)
	if _, err := o.n.Server().DeclareCompromise(ctx, order); err != nil {
		t.Fatal(err)
	}
	o.n.Restart()
	m := o.dealtWith(0)
	if len(m.Generations) != 2 || m.Generations[0].Retired.IsZero() {
		t.Errorf("generations after all was replaced: %+v", m.Generations)
	}
	if bytes.Equal(o.n.Server().CA(), ca) {
		t.Error("the certificate authority is the old one")
	}
	if _, err = app.Caller(); err != nil {
		t.Fatalf("within the grace: %v", err)
	}
	d, err := app.MustCaller().DescribeKey(ctx, aes.ID)
	if err != nil || d.Current != 2 {
		t.Errorf("the key is at version %d, %v", d.Current, err)
	}
	if out, err := app.MustCaller().Decrypt(ctx, kms.DecryptRequest{Data: sealed.Data, Layout: kms.LayoutNative}); err != nil || string(out.Data) != "before" {
		t.Errorf("what was encrypted before opens to %q, %v", out.Data, err)
	}
	o.wantExposed(order, made)
	o.n.Clock.Move(2 * time.Hour)
	if _, err := app.Caller(); kms.KindOf(err) != kms.Unauthenticated {
		t.Errorf("a credential after the grace: %v", err)
	}
	if _, err := o.n.Server().DeclareCompromise(ctx, o.compromiseOrder(0, 5*time.Hour)); err != nil { // the signers may let it in again
		t.Fatal(err)
	}
	if _, err := app.Caller(); err != nil {
		t.Errorf("with a longer grace: %v", err)
	}
}

func (o orderer) wantExposed(order []byte, made map[kms.Spec]kms.Key) {
	o.t.Helper()
	keys, credentials := map[kms.KeyID]kms.Exposed{}, 0
	for _, x := range o.exposed(order) {
		if x.Credential != (kms.CredentialID{}) {
			credentials++
			continue
		}
		keys[x.Key] = x
	}
	for spec, k := range made {
		x, ok := keys[k.ID]
		if !ok || len(x.Versions) != 1 || x.Versions[0] != 1 || x.Replaced != (spec == kms.AES256GCM) || x.Advice == "" {
			o.t.Errorf("%s is listed as %+v", spec, x)
		}
	}
	if len(keys) != len(made) || credentials != 1 {
		o.t.Errorf("%d keys and %d credentials are listed", len(keys), credentials)
	}
}

func TestCompromiseRefused(t *testing.T) {
	t.Parallel()
	o := newOrderer(t)
	s := o.n.Server()
	good := o.compromiseOrder(0, 0)
	for name, c := range map[string]struct {
		do   func() error
		want kms.Kind
	}{
		"by an operator": {func() error {
			_, err := s.DeclareCompromise(ctx, o.signed(o.order(govern.DeedCompromise, 0, nil), o.d.Rulers.Operator))
			return err
		}, kms.Denied},
		"by one signer": {func() error {
			_, err := s.DeclareCompromise(ctx, o.signed(o.order(govern.DeedCompromise, 0, nil), o.d.Rulers.Signers[0]))
			return err
		}, kms.Denied},
		"one that there is not": {func() error { _, err := s.DeclareCompromise(ctx, o.compromiseOrder(7, 0)); return err }, kms.NotFound},
		"an order to retire": {func() error {
			_, err := s.DeclareCompromise(ctx, o.signed(o.order(govern.DeedRetire, 0, nil), o.d.Rulers.Signers[:2]...))
			return err
		}, kms.Denied},
		"a list for nobody":          {func() error { _, err := s.ListExposed(ctx, nil, ""); return err }, kms.Invalid},
		"a list from nowhere":        {func() error { _, err := s.ListExposed(ctx, good, "x.00"); return err }, kms.Invalid},
		"an authority without leave": {func() error { _, err := s.ReplaceAuthority(ctx, nil); return err }, kms.Invalid},
		"an authority by a signer": {func() error {
			_, err := s.ReplaceAuthority(ctx, o.signed(o.order(govern.DeedReplaceCA, 0, nil), o.d.Rulers.Signers[:2]...))
			return err
		}, kms.Denied},
	} {
		if err := c.do(); kms.KindOf(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// Another certificate authority by an operator's order, once.
func TestReplaceAuthority(t *testing.T) {
	t.Parallel()
	o := newOrderer(t)
	before := o.n.Server().CA()
	order := o.signed(o.order(govern.DeedReplaceCA, 0, nil), o.d.Rulers.Operator)
	fresh, err := o.n.Server().ReplaceAuthority(ctx, order)
	if err != nil || bytes.Equal(fresh, before) || !bytes.Equal(fresh, o.n.Server().CA()) {
		t.Fatalf("replaced: %v", err)
	}
	if _, err := o.n.Server().ReplaceAuthority(ctx, order); kms.KindOf(err) != kms.Exists {
		t.Errorf("the same order again: %v", err)
	}
	o.n.Restart()
	if !bytes.Equal(fresh, o.n.Server().CA()) {
		t.Error("after a restart it is another one")
	}
}

// manyKeys is more than a few steps of the work on them.
const manyKeys = 300

// describedKeys are all keys of an app, those alone that others may know where it
// is asked for.
func describedKeys(t *testing.T, app *trustedtest.App, exposed bool) []kms.KeyDescription {
	t.Helper()
	page, err := app.MustCaller().DescribeKeys(ctx, kms.ListKeysRequest{Exposed: exposed})
	if err != nil || page.Next != (kms.KeyID{}) {
		t.Fatalf("listing: more behind %s, %v", page.Next, err)
	}
	return page.Keys
}

// replacedKeys is how many keys have another version than their first.
func replacedKeys(t *testing.T, app *trustedtest.App) (n int) {
	t.Helper()
	for _, k := range describedKeys(t, app, false) {
		if k.Current > 1 {
			n++
		}
	}
	return n
}

// Three nodes: a generation is declared compromised through one that does not lead,
// while another one is down; and the leader stops while keys get new versions, so
// that nothing goes on until one of them is back. Then the work is ended, by whoever
// leads, and the node that missed all of it has what the others have.
func TestCompromiseOverNodes(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	leader := d.Leader()
	var others []*trustedtest.Node
	for _, n := range d.Nodes {
		if n != leader {
			others = append(others, n)
		}
	}
	told, down := others[0], others[1]
	o := orderer{t, told, d}
	app := leader.Enrol()
	for range manyKeys {
		if _, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated}); err != nil {
			t.Fatal(err)
		}
	}
	first := describedKeys(t, app, false)[0].ID
	sealed, err := app.MustCaller().Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: first}, Plaintext: []byte("before"), Layout: kms.LayoutNative})
	if err != nil {
		t.Fatal(err)
	}
	if all := describedKeys(t, app, true); len(all) != 0 {
		t.Fatalf("%d keys are known to others before anything was said", len(all))
	}
	ca := told.Server().CA()
	_ = down.Stop()
	if _, err := told.Server().DeclareCompromise(ctx, o.compromiseOrder(0, time.Hour)); err != nil {
		t.Fatal(err)
	}
	comesTrue(t, "a key has a new version", func() bool { return replacedKeys(t, app) > 0 })
	_ = leader.Stop()
	leader.MustStart()
	if n := len(describedKeys(t, app.On(told), true)); n != manyKeys {
		t.Errorf("%d keys are listed in the middle of it", n)
	}
	m := o.dealtWith(0)
	if len(m.Generations) != 2 || m.Generations[0].Retired.IsZero() || m.Generations[1].Wrapped == 0 {
		t.Errorf("generations: %+v", m.Generations)
	}
	down.MustStart()
	d.AwaitVoters(3)
	for _, n := range d.Nodes {
		wantReplaced(t, app.On(n), first, sealed.Data)
		comesTrue(t, "the node has dropped the master secret that was retired", func() bool { return !n.Server().HoldsGeneration(0) })
		if now := n.Server().CA(); bytes.Equal(now, ca) || !bytes.Equal(now, told.Server().CA()) {
			t.Error("not the new certificate authority, or not the others'")
		}
	}
	d.RestartAll()
	wantReplaced(t, app.On(down), first, sealed.Data)
}

// wantReplaced: each key has two versions, of which others may know the first, and
// says so; and what that one encrypted opens.
func wantReplaced(t *testing.T, app *trustedtest.App, key kms.KeyID, sealed []byte) {
	t.Helper()
	all := describedKeys(t, app, true)
	if len(all) != manyKeys {
		t.Errorf("%d keys are listed as known to others", len(all))
	}
	for _, k := range all {
		if k.Current != 2 || len(k.Details) != 2 || !k.Details[0].Exposed || k.Details[1].Exposed || len(k.Warnings) != 1 || k.Warnings[0] != kms.WarnExposed {
			t.Fatalf("%+v", k)
		}
	}
	out, err := app.MustCaller().Decrypt(ctx, kms.DecryptRequest{Data: sealed, Layout: kms.LayoutNative})
	if err != nil || string(out.Data) != "before" || out.Key.ID != key {
		t.Errorf("what was encrypted before opens to %q, %v", out.Data, err)
	}
}

// accepted reports whether a client that trusts an authority alone takes a node for
// one of the domain.
func accepted(t *testing.T, n *trustedtest.Node, e *trustedtest.Endpoint, ca []byte) bool {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("no certificate")
	}
	c, err := tls.Dial("tcp", e.Addr, &tls.Config{RootCAs: roots, Time: n.Clock.Now})
	if err == nil {
		_ = c.Close()
		return true
	}
	if refused := (*tls.CertificateVerificationError)(nil); !errors.As(err, &refused) {
		t.Fatalf("not refused for its certificate: %v", err)
	}
	return false
}

// A certificate authority that is replaced is replaced on every node: each shows a
// certificate of the new one, and none of the old, soon after one of them was told;
// and so does a node that was down, once it serves.
func TestReplaceAuthorityOverNodes(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	_, follower := roles(d)
	o := orderer{t, follower, d}
	replaced := func(old []byte, nodes ...*trustedtest.Node) {
		t.Helper()
		for i, n := range nodes {
			e := n.Serve(listen.Config{}, nil)
			comesTrue(t, "the node has the new authority", func() bool { return accepted(t, n, e, follower.Server().CA()) })
			if accepted(t, n, e, old) {
				t.Errorf("node %d shows a certificate of the old authority", i)
			}
		}
	}
	before := follower.Server().CA()
	order := o.signed(o.order(govern.DeedReplaceCA, 0, nil), d.Rulers.Operator)
	down := d.Leader()
	_ = down.Stop()
	d.Leader()
	if _, err := follower.Server().ReplaceAuthority(ctx, order); err != nil {
		t.Fatal(err)
	}
	down.MustStart()
	replaced(before, d.Nodes...)
	for _, n := range d.Nodes {
		if _, err := n.Server().ReplaceAuthority(ctx, order); kms.KindOf(err) != kms.Exists {
			t.Errorf("the same order again, through another node: %v", err)
		}
	}
}

// A node that is removed for cause may have taken the authority's key along: it is
// replaced by itself, and no node shows a certificate of the old one. One that is
// removed otherwise leaves it as it was.
func TestRemoveForCause(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 4)
	leader := d.Leader()
	var gone []*trustedtest.Node
	for _, n := range d.Nodes {
		if n != leader && len(gone) < 2 {
			gone = append(gone, n)
		}
	}
	o := orderer{t, leader, d}
	remove := func(n *trustedtest.Node, cause bool) {
		t.Helper()
		id := n.Server().Status().Node
		order := o.signed(o.order(govern.DeedRemove, 0, func(d *govern.Order) { d.Node, d.ForCause = id, cause }), d.Rulers.Operator)
		if err := leader.Server().RemoveNode(ctx, id, order); err != nil {
			t.Fatal(err)
		}
	}
	before := leader.Server().CA()
	remove(gone[0], false)
	leader.Server().MaintainGenerations()
	comesTrue(t, "three vote", func() bool { return leader.Server().Status().Voters == 3 })
	if !bytes.Equal(before, leader.Server().CA()) {
		t.Fatal("the authority is replaced without a cause")
	}
	remove(gone[1], true)
	comesTrue(t, "the authority is replaced", func() bool { return !bytes.Equal(before, leader.Server().CA()) })
	for _, n := range d.Nodes {
		if n == gone[0] || n == gone[1] {
			continue
		}
		e := n.Serve(listen.Config{}, nil)
		comesTrue(t, "the node has the new authority", func() bool { return accepted(t, n, e, leader.Server().CA()) })
		if accepted(t, n, e, before) {
			t.Error("a node shows a certificate of the old authority")
		}
	}
}

// An older generation is declared compromised through a node that does not lead:
// the one that does begins at once, though nothing has to be made anew but keys,
// since the certificate authority was replaced meanwhile.
func TestCompromiseToldToAnother(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	leader, follower := roles(d)
	o := orderer{t, follower, d}
	app := leader.Enrol()
	k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		t.Fatal(err)
	}
	o.rotate()
	comesTrue(t, "all is wrapped under the newest generation", func() bool { m := o.secrets(); return len(m.Generations) == 2 && m.Left == 0 })
	if _, err := follower.Server().ReplaceAuthority(ctx, o.signed(o.order(govern.DeedReplaceCA, 0, nil), d.Rulers.Operator)); err != nil {
		t.Fatal(err)
	}
	if _, err := follower.Server().DeclareCompromise(ctx, o.compromiseOrder(0, time.Hour)); err != nil {
		t.Fatal(err)
	}
	comesTrue(t, "the key has a new version", func() bool {
		d, err := app.MustCaller().DescribeKey(ctx, k.ID)
		return err == nil && d.Current == 2 && d.Details[0].Exposed && !d.Details[1].Exposed
	})
	if m := o.dealtWith(0); len(m.Generations) != 2 || !m.Generations[1].Retired.IsZero() {
		t.Errorf("generations: %+v", m.Generations)
	}
}

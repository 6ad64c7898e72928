package server_test

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
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

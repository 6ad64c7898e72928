package core_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// TestUseCondition: an app with a valid API key and no evidence is refused; the
// workload that fits may use the key, with and without the app, and cannot
// export it.
func TestUseCondition(t *testing.T) {
	ctx, node := context.Background(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, other := node.Enrol(), node.Enrol()
	fits, unfit := newWorkload(t, node, "fits"), newWorkload(t, node, "does not fit")
	key, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated, Exportable: true,
		Condition: condition(kms.EncryptDecrypt, fits.identity())})
	if err != nil {
		t.Fatal(err)
	}
	free, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		t.Fatal(err)
	}
	encrypt := kms.EncryptRequest{Key: kms.KeyRef{ID: key.ID}, Plaintext: []byte("hello"), Layout: kms.LayoutNative}

	_, err = app.MustCaller().Encrypt(ctx, encrypt)
	wantKind(t, "a valid API key and no evidence", err, kms.Denied)
	_, err2 := unfit.mustWith(app, unfit.open()).Encrypt(ctx, encrypt)
	wantKind(t, "a program that does not fit", err2, kms.Denied)
	if err.Error() != err2.Error() {
		t.Errorf("no evidence: %q; evidence that does not fit: %q", err, err2)
	}

	ticket := fits.open()
	sealed, err := fits.mustWith(app, ticket).Encrypt(ctx, encrypt)
	if err != nil {
		t.Fatal(err)
	}
	open := kms.DecryptRequest{Data: sealed.Data, Layout: kms.LayoutNative}
	plain, err := fits.mustAlone(ticket).Decrypt(ctx, open)
	if err != nil || !bytes.Equal(plain.Data, encrypt.Plaintext) {
		t.Errorf("the workload alone: %q, %v", plain.Data, err)
	}
	_, err = unfit.mustAlone(unfit.open()).Decrypt(ctx, open)
	wantKind(t, "another workload alone", err, kms.Denied)
	_, err = fits.mustWith(other, ticket).Encrypt(ctx, encrypt)
	wantKind(t, "another app's credential beside the session", err, kms.Foreign)

	_, err = fits.mustWith(app, ticket).ExportKey(ctx, kms.KeyRef{ID: key.ID})
	wantKind(t, "export", err, kms.Denied)
	wantKind(t, "delete", fits.mustWith(app, ticket).DeleteKey(ctx, key.ID), kms.Denied)
	wantKind(t, "delete by the owner", app.MustCaller().DeleteKey(ctx, key.ID), kms.Denied)
	wantKind(t, "delete all", app.MustCaller().DeleteAllKeys(ctx), kms.Denied)

	// Without an app a workload uses the keys that name it, and does nothing else.
	encrypt.Key.ID = free.ID
	_, err = fits.mustAlone(ticket).Encrypt(ctx, encrypt)
	wantKind(t, "a key without a condition", err, kms.Denied)
	encrypt.Key.ID = kms.KeyID{1}
	_, err2 = fits.mustAlone(ticket).Encrypt(ctx, encrypt)
	wantKind(t, "no key", err2, kms.Denied)
	if err.Error() != err2.Error() {
		t.Errorf("a key that is not for it: %q; none: %q", err, err2)
	}
	_, err = fits.mustAlone(ticket).ListKeys(ctx, kms.ListKeysRequest{})
	wantKind(t, "list", err, kms.Denied)
	_, err = fits.mustAlone(ticket).CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	wantKind(t, "create", err, kms.Denied)
	wantKind(t, "disable", fits.mustAlone(ticket).SetKeyEnabled(ctx, key.ID, false), kms.Denied)
	wantKind(t, "delete", fits.mustAlone(ticket).DeleteKey(ctx, key.ID), kms.Denied)
	_, err = fits.mustAlone(ticket).GetCondition(ctx, key.ID)
	wantKind(t, "the condition", err, kms.Denied)
	_, err = fits.mustAlone(ticket).SetCondition(ctx, kms.SetConditionRequest{Key: key.ID})
	wantKind(t, "no condition", err, kms.Denied)

	// What is not use remains the owner's.
	if err := app.MustCaller().SetKeyEnabled(ctx, key.ID, false); err != nil {
		t.Error(err)
	}
	_, err = fits.mustAlone(ticket).Decrypt(ctx, open)
	wantKind(t, "a disabled key", err, kms.Disabled)
}

// TestPublicKeyOfConditioned: the owner sees the public half whatever the
// condition, a workload where it is named.
func TestPublicKeyOfConditioned(t *testing.T) {
	ctx, node := context.Background(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, fits, unfit := node.Enrol(), newWorkload(t, node, "fits"), newWorkload(t, node, "does not fit")
	key, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.ECP256, Origin: kms.Generated,
		Condition: condition(kms.Usages(kms.UseVerify), fits.identity())})
	if err != nil {
		t.Fatal(err)
	}
	ref := kms.KeyRef{ID: key.ID}
	if _, err := app.MustCaller().PublicKey(ctx, ref); err != nil {
		t.Errorf("the owner: %v", err)
	}
	if _, err := fits.mustAlone(fits.open()).PublicKey(ctx, ref); err != nil {
		t.Errorf("the workload: %v", err)
	}
	_, err = unfit.mustAlone(unfit.open()).PublicKey(ctx, ref)
	wantKind(t, "another workload", err, kms.Denied)
	_, err = fits.mustWith(app, fits.open()).Sign(ctx, kms.SignRequest{Key: ref, Input: kms.SigningInput{Message: []byte("m")}})
	wantKind(t, "an operation that no rule names", err, kms.Denied)
}

// TestCutOff: a change of policy and a change of the vendor's verdict end a
// workload's use at its next request.
func TestCutOff(t *testing.T) {
	ctx, domain := context.Background(), trustedtest.NewDomain(t, 1)
	node := domain.Nodes[0]
	w, colleague := newWorkload(t, node, "program"), newWorkload(t, node, "colleague")
	ticket := w.open()
	caller := w.mustAlone(ticket)
	if caller == nil {
		t.Fatal("no caller")
	}
	next := func(edit func(*govern.Policy)) {
		t.Helper()
		if _, err := node.Core().SubmitPolicy(ctx, domain.Rulers.Next(edit)); err != nil {
			t.Fatal(err)
		}
	}
	next(func(p *govern.Policy) { p.Attestation.SGX.MinEvaluationNumber = simtee.EvaluationNumber })
	w.mustAlone(ticket) // judged again, and it holds

	// The vendor announces a hole. Another machine's request brings the news.
	w.mustAlone(ticket)
	colleague.cfg.Misfortune.Recovery = simtee.Announced
	_, err := node.Core().OpenSession(ctx, colleague.request(attest.ForWorkload))
	wantKind(t, "the colleague", err, kms.Denied)
	if _, err := w.alone(ticket); err != nil {
		t.Errorf("another root's news: %v", err) // each machine here has a root of its own
	}
	w.cfg.Misfortune.Recovery = simtee.Announced
	_, err = node.Core().OpenSession(ctx, w.request(attest.ForWorkload))
	wantKind(t, "another session", err, kms.Denied)
	_, err = w.alone(ticket)
	wantKind(t, "after the TCB change", err, kms.Denied)
	_, err = w.with(node.Enrol(), ticket)
	wantKind(t, "after the TCB change, beside a signature", err, kms.Denied)

	next(func(p *govern.Policy) {
		p.Attestation.SGX.Statuses = []attest.TCBStatus{attest.UpToDate, attest.OutOfDate}
	})
	w.mustAlone(ticket)           // what was denied is judged again too
	next(func(p *govern.Policy) { // the node is of this kind of platform: it may stop, and the policy says so
		p.Halt, p.Attestation.SGX.DenyAdvisories = true, []string{simtee.Advisory}
	})
	_, err = w.alone(ticket)
	wantKind(t, "after the policy change", err, kms.Denied)
}

func TestSessionsRefused(t *testing.T) {
	ctx, node := context.Background(), trustedtest.NewDomain(t, 1).Nodes[0]
	elsewhere := trustedtest.NewDomain(t, 1).Nodes[0]
	app, w, thief := node.Enrol(), newWorkload(t, node, "program"), newWorkload(t, node, "thief")
	ticket := w.open()
	_, err := thief.alone(ticket)
	wantKind(t, "a stolen ticket", err, kms.Unauthenticated)
	_, err = thief.with(app, ticket)
	wantKind(t, "a stolen ticket beside a signature", err, kms.Unauthenticated)
	_, err = w.alone("")
	wantKind(t, "no ticket", err, kms.Unauthenticated)
	_, err = newWorkload(t, elsewhere, "program").alone(ticket)
	wantKind(t, "another domain's ticket", err, kms.Unauthenticated)
	for _, purpose := range []attest.Purpose{attest.ForService, attest.ForEnrolment, attest.ForNode} {
		_, err := node.Core().OpenSession(ctx, w.request(purpose))
		wantKind(t, "evidence made for "+string(purpose), err, kms.Denied)
	}
	r := w.request(attest.ForWorkload)
	node.Clock.Move(61 * time.Second)
	_, err = node.Core().OpenSession(ctx, r)
	wantKind(t, "an old challenge", err, kms.Stale)
	w.mustAlone(ticket)
	node.Clock.Move(time.Hour)
	_, err = w.alone(ticket)
	wantKind(t, "an expired ticket", err, kms.Stale)

	// A request in this scheme is nobody's, whatever else it carries.
	cred := app.Credential("signed")
	cred.Scheme = kms.SchemeSession
	_, err = node.Core().Authenticate(ctx, cred)
	wantKind(t, "a signature without its scheme", err, kms.Unauthenticated)
}

// TestSetCondition: the owner narrows; to widen takes a session that meets the
// present condition in everything, or an operator's document for just this.
func TestSetCondition(t *testing.T) {
	ctx, domain := context.Background(), trustedtest.NewDomain(t, 1)
	node := domain.Nodes[0]
	app, a, b := node.Enrol(), newWorkload(t, node, "a"), newWorkload(t, node, "b")
	key, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		t.Fatal(err)
	}
	both := condition(kms.EncryptDecrypt, a.identity(), b.identity())
	justA := condition(kms.EncryptDecrypt, a.identity())
	set := func(c caller, cond, order []byte) (uint64, error) {
		got, err := c.SetCondition(ctx, kms.SetConditionRequest{Key: key.ID, Condition: cond, Order: order})
		return got.Revision, err
	}
	if _, err := set(app.MustCaller(), both, nil); err != nil {
		t.Fatalf("a first condition: %v", err)
	}
	revision, err := set(app.MustCaller(), justA, nil)
	if err != nil {
		t.Fatalf("narrowing: %v", err)
	}
	_, err = set(app.MustCaller(), both, nil)
	wantKind(t, "widening without evidence", err, kms.Denied)
	_, err = set(app.MustCaller(), nil, nil)
	wantKind(t, "removing without evidence", err, kms.Denied)
	_, err = set(b.mustWith(app, b.open()), both, nil)
	wantKind(t, "widening by one that does not meet it", err, kms.Denied)
	_, err = set(node.Enrol().MustCaller(), justA, nil)
	wantKind(t, "another app", err, kms.Foreign)
	_, err = set(app.MustCaller(), []byte(`{"rules":[{"operations":["fly"],"programs":[]}]}`), nil)
	wantKind(t, "what is no condition", err, kms.Invalid)
	if revision, err = set(a.mustWith(app, a.open()), both, nil); err != nil {
		t.Fatalf("widening by one that meets it: %v", err)
	}
	got, err := app.MustCaller().GetCondition(ctx, key.ID)
	if err != nil || !bytes.Equal(got.Condition, both) || got.Revision != revision {
		t.Errorf("%s at %d, %v; want %s at %d", got.Condition, got.Revision, err, both, revision)
	}

	order := func(edit func(*govern.ConditionChange), by *govern.PrivateKey) []byte {
		change := &govern.ConditionChange{Version: govern.ConditionChangeVersion, Domain: domain.Rulers.Founding.Domain, Key: key.ID, Revision: revision, Remove: true}
		edit(change)
		return domain.Rulers.Sign(govern.ConditionChangeType, change.Canonical(), by)
	}
	same := func(*govern.ConditionChange) {}
	operator := domain.Rulers.Operator
	for name, tt := range map[string]struct {
		order []byte
		kind  kms.Kind
	}{
		"by the owner":            {order(same, domain.Rulers.Owner), kms.Denied},
		"by a signer":             {order(same, domain.Rulers.Signers[0]), kms.Denied},
		"for another revision":    {order(func(c *govern.ConditionChange) { c.Revision++ }, operator), kms.Conflict},
		"for another key":         {order(func(c *govern.ConditionChange) { c.Key[0] ^= 1 }, operator), kms.Denied},
		"for another domain":      {order(func(c *govern.ConditionChange) { c.Domain[0] ^= 1 }, operator), kms.Denied},
		"for nobody, not for all": {order(func(c *govern.ConditionChange) { c.Remove = false }, operator), kms.Denied},
		"that is none":            {[]byte("{}"), kms.Invalid},
	} {
		if _, err := set(app.MustCaller(), nil, tt.order); !errors.Is(err, tt.kind) {
			t.Errorf("an order %s: %v, want %v", name, err, tt.kind)
		}
	}
	good := order(same, operator)
	if _, err := set(app.MustCaller(), nil, good); err != nil {
		t.Fatalf("an operator's order: %v", err)
	}
	if _, err := set(app.MustCaller(), both, nil); err != nil {
		t.Fatal(err)
	}
	_, err = set(app.MustCaller(), nil, good)
	wantKind(t, "the order again", err, kms.Conflict)
}

// TestWidenNeedsAll: a program that may only encrypt cannot let itself decrypt.
func TestWidenNeedsAll(t *testing.T) {
	ctx, node := context.Background(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, writer, reader := node.Enrol(), newWorkload(t, node, "writer"), newWorkload(t, node, "reader")
	present := (&govern.Condition{Rules: []govern.ConditionRule{
		{Operations: kms.Usages(kms.UseEncrypt), Programs: []govern.Identity{writer.identity(), reader.identity()}},
		{Operations: kms.Usages(kms.UseDecrypt), Programs: []govern.Identity{reader.identity()}},
	}}).Canonical()
	key, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated, Condition: present})
	if err != nil {
		t.Fatal(err)
	}
	wider := condition(kms.EncryptDecrypt, writer.identity(), reader.identity())
	_, err = writer.mustWith(app, writer.open()).SetCondition(ctx, kms.SetConditionRequest{Key: key.ID, Condition: wider})
	wantKind(t, "by the writer", err, kms.Denied)
	if _, err = reader.mustWith(app, reader.open()).SetCondition(ctx, kms.SetConditionRequest{Key: key.ID, Condition: wider}); err != nil {
		t.Errorf("by the reader: %v", err)
	}
	// Nobody meets a condition that names nobody.
	nobody := (&govern.Condition{Rules: []govern.ConditionRule{}}).Canonical()
	if _, err = app.MustCaller().SetCondition(ctx, kms.SetConditionRequest{Key: key.ID, Condition: nobody}); err != nil {
		t.Fatal(err)
	}
	_, err = reader.mustWith(app, reader.open()).SetCondition(ctx, kms.SetConditionRequest{Key: key.ID})
	wantKind(t, "where nobody is named", err, kms.Denied)
}

// TestConditionSurvivesRestart, and so does a ticket.
func TestConditionSurvivesRestart(t *testing.T) {
	ctx, node := context.Background(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, w := node.Enrol(), newWorkload(t, node, "program")
	key, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated, Condition: condition(kms.EncryptDecrypt, w.identity())})
	if err != nil {
		t.Fatal(err)
	}
	ticket := w.open()
	node.Restart()
	r := kms.EncryptRequest{Key: kms.KeyRef{ID: key.ID}, Plaintext: []byte("hello"), Layout: kms.LayoutNative}
	_, err = app.MustCaller().Encrypt(ctx, r)
	wantKind(t, "without evidence", err, kms.Denied)
	if _, err := w.mustAlone(ticket).Encrypt(ctx, r); err != nil {
		t.Error(err)
	}
}

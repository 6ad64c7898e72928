package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// must returns v if there is no error.
func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func encrypts(t *testing.T, app *trustedtest.App, id kms.KeyID, l kms.Layout, text string) []byte {
	t.Helper()
	c, err := app.MustCaller().Encrypt(t.Context(), kms.EncryptRequest{Key: kms.KeyRef{ID: id}, Plaintext: []byte(text), Layout: l,
		Binding: kms.RawBinding([]byte("aad"))})
	return must(t, c, err).Data
}

func decrypts(app *trustedtest.App, id kms.KeyID, l kms.Layout, data []byte) (kms.Plaintext, error) {
	return app.MustCaller().Decrypt(context.Background(), kms.DecryptRequest{Key: kms.KeyRef{ID: id}, Data: data, Layout: l, Binding: kms.RawBinding([]byte("aad"))})
}

// TestRotation: ten versions, and what each of them encrypted opens, in both
// layouts, also after a restart; in eHSM's, what the newest sixteen did.
func TestRotation(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, other := node.Enrol(), node.Enrol()
	d, err := app.MustCaller().MakeKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated, Alias: "alias/main"})
	key := must(t, d, err)
	type sealed struct{ ehsm, native []byte }
	var old []sealed
	seal := func() {
		old = append(old, sealed{encrypts(t, app, key.ID, kms.LayoutEHSM, fmt.Sprint(len(old)+1)), encrypts(t, app, key.ID, kms.LayoutNative, fmt.Sprint(len(old)+1))})
	}
	check := func(from int) {
		t.Helper()
		for i, s := range old {
			p, err := decrypts(app, kms.KeyID{}, kms.LayoutNative, s.native)
			if err != nil || string(p.Data) != fmt.Sprint(i+1) || int(p.Key.Version) != i+1 {
				t.Errorf("native, version %d: %+v, %v", i+1, p.Key, err)
			}
			p, err = decrypts(app, key.ID, kms.LayoutEHSM, s.ehsm)
			if i+1 < from {
				wantKind(t, fmt.Sprintf("eHSM's layout, version %d", i+1), err, kms.DecryptFailed)
			} else if err != nil || string(p.Data) != fmt.Sprint(i+1) || int(p.Key.Version) != i+1 {
				t.Errorf("eHSM's layout, version %d: %+v, %v", i+1, p.Key, err)
			}
		}
	}
	seal()
	for n := 2; n <= 10; n++ {
		d, err := app.MustCaller().RotateKey(ctx, key.ID)
		if got := must(t, d, err); int(got.Current) != n || len(got.Versions) != n || got.Aliases[0] != "alias/main" {
			t.Fatalf("after rotation %d: %+v", n, got)
		}
		seal()
	}
	check(1)
	node.Restart()
	check(1)
	for range 8 {
		_, err := app.MustCaller().RotateKey(ctx, key.ID)
		must(t, 0, err)
	}
	check(3) // 18 versions, of which 16 are tried
	_, err = other.MustCaller().RotateKey(ctx, key.ID)
	wantKind(t, "another app", err, kms.Foreign)

	// Altered, it opens under none of the versions.
	bad := bytes.Clone(old[9].ehsm)
	bad[0] ^= 1
	_, err = decrypts(app, key.ID, kms.LayoutEHSM, bad)
	wantKind(t, "altered", err, kms.DecryptFailed)
	// A version that is named in front is what the ciphertext is bound to.
	bad = bytes.Clone(old[9].native)
	bad[20]--
	_, err = decrypts(app, kms.KeyID{}, kms.LayoutNative, bad)
	wantKind(t, "said to be of another version", err, kms.DecryptFailed)
}

// TestNotRotated: what cannot tell its versions apart says what to do instead.
func TestNotRotated(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	for _, spec := range []kms.Spec{kms.SM4CTR, kms.SM4CBC, kms.SM2, kms.ECP256, kms.Ed25519, kms.HMACSHA256} {
		k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: spec, Origin: kms.Generated})
		id := must(t, k, err).ID
		_, err = app.MustCaller().RotateKey(ctx, id)
		wantKind(t, spec.String(), err, kms.Misused)
		if hint := kms.HintOf(err); !strings.Contains(hint, "alias") {
			t.Errorf("%s: the hint is %q", spec, hint)
		}
	}
	k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Imported})
	_, err = app.MustCaller().RotateKey(ctx, must(t, k, err).ID)
	wantKind(t, "one that waits for material", err, kms.Misused)
	k, err = app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	id := must(t, k, err).ID
	must(t, 0, app.MustCaller().SetKeyEnabled(ctx, id, false))
	_, err = app.MustCaller().RotateKey(ctx, id)
	wantKind(t, "a disabled one", err, kms.Disabled)
}

// TestVersionStates: a disabled version opens nothing and says so, a destroyed
// one opens nothing, and neither keeps others from opening.
func TestVersionStates(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated, Exportable: true})
	id := must(t, k, err).ID
	native, ehsm := encrypts(t, app, id, kms.LayoutNative, "one"), encrypts(t, app, id, kms.LayoutEHSM, "one")
	_, err = app.MustCaller().RotateKey(ctx, id)
	must(t, 0, err)
	set := func(v kms.KeyVersion, s kms.VersionState) error {
		_, err := app.MustCaller().SetVersionState(ctx, kms.SetVersionStateRequest{Key: kms.KeyRef{ID: id, Version: v}, State: s})
		return err
	}
	second := encrypts(t, app, id, kms.LayoutEHSM, "two")
	opens := func(what string, wantNative, wantEHSM error) {
		t.Helper()
		_, err := decrypts(app, id, kms.LayoutNative, native)
		if !errors.Is(err, wantNative) {
			t.Errorf("%s, native: %v", what, err)
		}
		if _, err = decrypts(app, id, kms.LayoutEHSM, ehsm); !errors.Is(err, wantEHSM) {
			t.Errorf("%s, eHSM's: %v", what, err)
		}
		if p, err := decrypts(app, id, kms.LayoutEHSM, second); err != nil || string(p.Data) != "two" {
			t.Errorf("%s: the other version: %v", what, err)
		}
	}
	opens("enabled", nil, nil)
	wantKind(t, "the current one", set(2, kms.VersionDisabled), kms.Misused)
	wantKind(t, "the current one, unnamed", set(0, kms.VersionDisabled), kms.Invalid)
	wantKind(t, "one that is enabled", set(1, kms.VersionDestroyed), kms.Misused)
	wantKind(t, "one that is not there", set(3, kms.VersionDisabled), kms.NotFound)
	must(t, 0, set(1, kms.VersionDisabled))
	opens("disabled", kms.Disabled, kms.DecryptFailed)
	_, err = app.MustCaller().ExportKey(ctx, kms.KeyRef{ID: id, Version: 1})
	wantKind(t, "exporting a disabled one", err, kms.Disabled)
	must(t, 0, set(1, kms.VersionEnabled))
	opens("enabled again", nil, nil)
	must(t, 0, set(1, kms.VersionDisabled))
	must(t, 0, set(1, kms.VersionDestroyed))
	opens("destroyed", kms.DecryptFailed, kms.DecryptFailed)
	wantKind(t, "enabling a destroyed one", set(1, kms.VersionEnabled), kms.NotFound)
	node.Restart()
	opens("destroyed, after a restart", kms.DecryptFailed, kms.DecryptFailed)
}

// TestScheduledDeletion: nobody uses a key that is to go; until then it can be
// had back as it was, and when its time has come it cannot.
func TestScheduledDeletion(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, other := node.Enrol(), node.Enrol()
	d, err := app.MustCaller().MakeKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated, Alias: "alias/a", Description: "text"})
	key := must(t, d, err)
	sealed := encrypts(t, app, key.ID, kms.LayoutNative, "text")
	scheduled := func(days int) (kms.KeyDescription, error) {
		return app.MustCaller().ScheduleDeletion(ctx, kms.ScheduleDeletionRequest{Key: key.ID, Days: days})
	}
	for _, days := range []int{-1, 31, 1 << 40} {
		_, err := scheduled(days)
		wantKind(t, fmt.Sprintf("%d days", days), err, kms.Invalid)
	}
	_, err = other.MustCaller().ScheduleDeletion(ctx, kms.ScheduleDeletionRequest{Key: key.ID})
	wantKind(t, "by another app", err, kms.Foreign)
	_, err = other.MustCaller().CancelDeletion(ctx, key.ID)
	wantKind(t, "cancelled by another app", err, kms.Foreign)
	_, err = app.MustCaller().CancelDeletion(ctx, key.ID)
	wantKind(t, "cancelled where none is", err, kms.Misused)

	d, err = scheduled(2)
	if got := must(t, d, err); got.State != kms.PendingDeletion || got.Due.Sub(node.Clock.Now()).Round(time.Hour) != 2*kms.Day || got.Aliases == nil {
		t.Errorf("scheduled: %+v", got)
	}
	_, err = scheduled(2)
	wantKind(t, "twice", err, kms.Exists)
	_, err = decrypts(app, key.ID, kms.LayoutNative, sealed)
	wantKind(t, "used meanwhile", err, kms.Disabled)
	wantKind(t, "enabled meanwhile", app.MustCaller().SetKeyEnabled(ctx, key.ID, true), kms.Disabled)
	node.Clock.Move(2*kms.Day - time.Minute)
	node.Restart()
	d, err = app.MustCaller().CancelDeletion(ctx, key.ID)
	if got := must(t, d, err); got.State != kms.Enabled || !got.Due.IsZero() || got.Description != "text" {
		t.Errorf("cancelled: %+v", got)
	}
	p, err := decrypts(app, key.ID, kms.LayoutNative, sealed)
	if string(must(t, p, err).Data) != "text" {
		t.Errorf("opens to %q", p.Data)
	}

	d, err = scheduled(1)
	due := must(t, d, err).Due
	node.Clock.Move(due.Sub(node.Clock.Now()))
	_, err = app.MustCaller().CancelDeletion(ctx, key.ID)
	wantKind(t, "cancelled when it is due", err, kms.NotFound)
	_, err = app.MustCaller().DescribeKey(ctx, key.ID)
	wantKind(t, "described", err, kms.NotFound)
	_, err = app.MustCaller().FindKey(ctx, "alias/a")
	wantKind(t, "its alias", err, kms.NotFound)
	node.Restart()
	_, err = decrypts(app, key.ID, kms.LayoutNative, sealed)
	wantKind(t, "used after a restart", err, kms.NotFound)

	// Nobody has to do anything: time is enough.
	d, err = app.MustCaller().MakeKey(ctx, kms.CreateKeyRequest{Spec: kms.ECP256, Origin: kms.Generated})
	key = must(t, d, err)
	_, err = scheduled(1)
	must(t, 0, err)
	node.Clock.Move(kms.Day)
	must(t, 0, node.Core().Tick(ctx, nil))
	_, err = app.MustCaller().DescribeKey(ctx, key.ID)
	wantKind(t, "after a tick", err, kms.NotFound)
}

// TestReencrypt moves ciphertexts from key to key, and to no other tenant's.
func TestReencrypt(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, other := node.Enrol(), node.Enrol()
	create := func(a *trustedtest.App, spec kms.Spec, usages kms.Usages) kms.KeyID {
		k, err := a.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: spec, Usages: usages, Origin: kms.Generated})
		return must(t, k, err).ID
	}
	from, to, sm4, sm2, theirs := create(app, kms.AES128GCM, 0), create(app, kms.AES256GCM, 0), create(app, kms.SM4CBC, 0), create(app, kms.SM2, kms.EncryptDecrypt), create(other, kms.AES256GCM, 0)
	sealed := encrypts(t, app, from, kms.LayoutEHSM, "text")
	source := kms.DecryptRequest{Key: kms.KeyRef{ID: from}, Data: sealed, Layout: kms.LayoutEHSM, Binding: kms.RawBinding([]byte("aad"))}
	context := kms.ContextBinding(map[string]string{"to": "b", "a": ""})
	move := func(a *trustedtest.App, r kms.ReencryptRequest) (kms.Reencrypted, error) {
		return a.MustCaller().Reencrypt(ctx, r)
	}
	r, err := move(app, kms.ReencryptRequest{Source: source, Target: kms.EncryptRequest{Key: kms.KeyRef{ID: to}, Layout: kms.LayoutOwn, Binding: context}})
	moved := must(t, r, err)
	if moved.Key.ID != to || moved.Source != (kms.KeyRef{ID: from, Version: 1}) {
		t.Errorf("%+v", moved)
	}
	p, err := app.MustCaller().Decrypt(ctx, kms.DecryptRequest{Data: moved.Data, Layout: kms.LayoutOwn, Binding: context})
	if string(must(t, p, err).Data) != "text" {
		t.Errorf("opens to %q", p.Data)
	}
	_, err = app.MustCaller().Decrypt(ctx, kms.DecryptRequest{Data: moved.Data, Layout: kms.LayoutOwn, Binding: kms.ContextBinding(map[string]string{"to": "b"})})
	wantKind(t, "in another context", err, kms.DecryptFailed)
	for _, id := range []kms.KeyID{sm4, sm2, from} {
		r, err := move(app, kms.ReencryptRequest{Source: source, Target: kms.EncryptRequest{Key: kms.KeyRef{ID: id}, Layout: kms.LayoutOwn}})
		moved := must(t, r, err)
		p, err := app.MustCaller().Decrypt(ctx, kms.DecryptRequest{Key: kms.KeyRef{ID: id}, Data: moved.Data, Layout: kms.LayoutOwn})
		if string(must(t, p, err).Data) != "text" {
			t.Errorf("opens to %q", p.Data)
		}
	}
	_, err = move(app, kms.ReencryptRequest{Source: source, Target: kms.EncryptRequest{Key: kms.KeyRef{ID: sm4}, Layout: kms.LayoutOwn, Binding: context}})
	wantKind(t, "a binding that cannot be", err, kms.Invalid)
	_, err = move(app, kms.ReencryptRequest{Source: source, Target: kms.EncryptRequest{Key: kms.KeyRef{ID: theirs}, Layout: kms.LayoutOwn}})
	wantKind(t, "to another app's key", err, kms.Foreign)
	_, err = move(other, kms.ReencryptRequest{Source: source, Target: kms.EncryptRequest{Key: kms.KeyRef{ID: theirs}, Layout: kms.LayoutOwn}})
	wantKind(t, "from another app's key", err, kms.Foreign)
	wrong := source
	wrong.Binding = kms.Binding{}
	_, err = move(app, kms.ReencryptRequest{Source: wrong, Target: kms.EncryptRequest{Key: kms.KeyRef{ID: to}, Layout: kms.LayoutOwn}})
	wantKind(t, "bound to something else", err, kms.DecryptFailed)
}

// TestReencryptConditioned: what a condition protects moves to a new version of
// its key, by who meets it, and to no other key.
func TestReencryptConditioned(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, w := node.Enrol(), newWorkload(t, node, "program")
	k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated, Condition: condition(kms.EncryptDecrypt, w.identity())})
	held := kms.KeyRef{ID: must(t, k, err).ID}
	k, err = app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	free := kms.KeyRef{ID: must(t, k, err).ID}
	ticket := w.open()
	c, err := w.mustWith(app, ticket).Encrypt(ctx, kms.EncryptRequest{Key: held, Plaintext: []byte("text"), Layout: kms.LayoutNative})
	sealed := kms.DecryptRequest{Data: must(t, c, err).Data, Layout: kms.LayoutNative}
	_, err = app.MustCaller().RotateKey(ctx, held.ID)
	must(t, 0, err)
	to := func(ref kms.KeyRef) kms.ReencryptRequest {
		return kms.ReencryptRequest{Source: sealed, Target: kms.EncryptRequest{Key: ref, Layout: kms.LayoutNative}}
	}
	_, err = app.MustCaller().Reencrypt(ctx, to(held))
	wantKind(t, "without evidence", err, kms.Denied)
	_, err = w.mustWith(app, ticket).Reencrypt(ctx, to(free))
	wantKind(t, "to a key without the condition", err, kms.Denied)
	r, err := w.mustWith(app, ticket).Reencrypt(ctx, to(held))
	if must(t, r, err).Key.Version != 2 || r.Source.Version != 1 {
		t.Errorf("%+v", r)
	}
	_, err = w.mustAlone(ticket).FindKey(ctx, "alias/a")
	wantKind(t, "an alias for a workload without an app", err, kms.Denied)
	_, err = w.mustAlone(ticket).DescribeKey(ctx, held.ID)
	wantKind(t, "a description for it", err, kms.Denied)
	_, err = w.mustAlone(ticket).RotateKey(ctx, held.ID)
	wantKind(t, "a rotation by it", err, kms.Denied)
	_, err = w.mustAlone(ticket).Random(ctx, 8)
	wantKind(t, "random bytes for it", err, kms.Denied)
}

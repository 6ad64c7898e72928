package core_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// lowered founds a domain of n nodes whose keys encrypt so often with a version.
func lowered(t *testing.T, n int, limit uint64) *trustedtest.Domain {
	t.Helper()
	d := trustedtest.NewDomain(t, n)
	for _, node := range d.Nodes {
		node.Edit = func(c *server.Config) { c.MaxInvocations = limit; c.SnapshotEvery = snapshotEvery }
		node.Restart()
	}
	return d
}

// A tally counts what was encrypted under each version of a key.
type tally struct {
	mu   sync.Mutex
	done map[kms.KeyVersion]uint64
}

func (c *tally) encrypt(t *testing.T, app *trustedtest.App, id kms.KeyID, l kms.Layout) []byte {
	got, err := app.MustCaller().Encrypt(context.Background(), kms.EncryptRequest{Key: kms.KeyRef{ID: id}, Plaintext: []byte("x"), Layout: l})
	if err != nil {
		t.Error(err)
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done[got.Key.Version]++
	return got.Data
}

// TestInvocationLimit: no version of a key encrypts more often than it may, on all
// nodes together and over kills, and the key is rotated by itself before that.
func TestInvocationLimit(t *testing.T) {
	const limit, nodes, workers, each, rounds = 64, 1, 4, 20, 5
	ctx, d := t.Context(), lowered(t, nodes, limit)
	app := d.Nodes[0].Enrol()
	apps := []*trustedtest.App{app}
	for _, node := range d.Nodes[1:] {
		apps = append(apps, node.App(app.ID, app.APIKey))
	}
	k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	id := must(t, k, err).ID
	counts := &tally{done: map[kms.KeyVersion]uint64{}}
	var opens [][]byte
	for round := range rounds {
		var all sync.WaitGroup
		for w := range workers {
			all.Go(func() {
				for range each {
					counts.encrypt(t, apps[w%len(apps)], id, kms.LayoutNative)
				}
			})
		}
		all.Wait()
		opens = append(opens, counts.encrypt(t, app, id, kms.LayoutNative))
		d.Nodes[round%len(d.Nodes)].Restart() // what it had set aside is lost
	}
	desc, err := app.MustCaller().DescribeKey(ctx, id)
	must(t, desc, err)
	for _, v := range desc.Details {
		if v.Invocations > limit || counts.done[v.Number] > v.Invocations {
			t.Errorf("version %d: %d encryptions, %d set aside, at most %d", v.Number, counts.done[v.Number], v.Invocations, limit)
		}
	}
	if least := rounds * workers * each / limit; int(desc.Current) <= least {
		t.Errorf("at version %d after %d encryptions", desc.Current, rounds*workers*each)
	}
	for _, data := range opens {
		if _, err := app.MustCaller().Decrypt(ctx, kms.DecryptRequest{Data: data, Layout: kms.LayoutNative}); err != nil {
			t.Error(err)
		}
	}
}

// TestInvocationLimitRefuses: a key that cannot be rotated encrypts as often as it
// may and then says what to do, also after a restart; it opens what it encrypted.
func TestInvocationLimitRefuses(t *testing.T) {
	const limit = 8
	ctx, d := t.Context(), lowered(t, 1, limit)
	app := d.Nodes[0].Enrol()
	id := importAES(t, app)
	var last []byte
	for range limit {
		got, err := app.MustCaller().Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: id}, Plaintext: []byte("x"), Layout: kms.LayoutNative})
		last = must(t, got, err).Data
	}
	for range 2 {
		_, err := app.MustCaller().Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: id}, Plaintext: []byte("x"), Layout: kms.LayoutNative})
		wantKind(t, "one more", err, kms.Exhausted)
		if kms.HintOf(err) == "" {
			t.Error("no advice")
		}
		_, err = app.MustCaller().GenerateDataKey(ctx, kms.DataKeyRequest{Key: kms.KeyRef{ID: id}, Length: 16, Layout: kms.LayoutNative})
		if err == nil {
			t.Error("a data key was sealed")
		}
		_, err = app.MustCaller().Decrypt(ctx, kms.DecryptRequest{Data: last, Layout: kms.LayoutNative})
		must(t, 0, err)
		d.Nodes[0].Restart()
	}
}

// importAES makes a key of material that was brought.
func importAES(t *testing.T, app *trustedtest.App) kms.KeyID {
	t.Helper()
	ctx := t.Context()
	k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Imported})
	id := must(t, k, err).ID
	p, err := app.MustCaller().ImportParameters(ctx, kms.ImportParametersRequest{Key: id, Spec: kms.RSA2048})
	must(t, p, err)
	k, err = app.MustCaller().ImportKey(ctx, kms.ImportRequest{Key: id, Token: p.Token, Wrapping: kms.WrapOAEP, Material: wrapFor(t, p.PublicKey, make([]byte, 32))})
	must(t, k, err)
	return id
}

// TestRotationByInterval: a key gets a version each time its period has passed,
// whether or not anybody asks; what it encrypted before opens.
func TestRotationByInterval(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	d, err := app.MustCaller().MakeKey(ctx, kms.CreateKeyRequest{Spec: kms.AES128GCM, Origin: kms.Generated, RotationPeriod: 30 * kms.Day})
	key := must(t, d, err)
	if key.RotationPeriod != 30*kms.Day || !key.NextRotation.Equal(key.Created.Add(30*kms.Day)) {
		t.Fatalf("%+v", key)
	}
	old := encrypts(t, app, key.ID, kms.LayoutEHSM, "1")
	turn := func(by time.Duration, want kms.KeyVersion) {
		t.Helper()
		node.Clock.Move(by)
		if _, err := node.Core().RotateWorn(ctx); err != nil {
			t.Fatal(err)
		}
		d, err := app.MustCaller().DescribeKey(ctx, key.ID)
		if got := must(t, d, err); got.Current != want {
			t.Fatalf("at version %d, want %d; next at %v", got.Current, want, got.NextRotation)
		}
	}
	turn(29*kms.Day, 1)
	turn(2*kms.Day, 2)
	turn(0, 2)
	// By hand it counts from there.
	d, err = app.MustCaller().RotateKey(ctx, key.ID)
	must(t, d, err)
	turn(29*kms.Day, 3)
	node.Restart()
	turn(2*kms.Day, 4)
	if p, err := decrypts(app, key.ID, kms.LayoutEHSM, old); err != nil || p.Key.Version != 1 {
		t.Errorf("opened by %+v, %v", p.Key, err)
	}
	// A disabled key waits, and one that is not to be rotated any more stays.
	must(t, 0, app.MustCaller().SetKeyEnabled(ctx, key.ID, false))
	turn(31*kms.Day, 4)
	must(t, 0, app.MustCaller().SetKeyEnabled(ctx, key.ID, true))
	turn(0, 5)
	d, err = app.MustCaller().SetRotation(ctx, kms.SetRotationRequest{Key: key.ID})
	if got := must(t, d, err); got.RotationPeriod != 0 || !got.NextRotation.IsZero() {
		t.Errorf("%+v", got)
	}
	turn(31*kms.Day, 5)
}

// TestRotationRefusals: what cannot be rotated by an interval says what to do.
func TestRotationRefusals(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, other := node.Enrol(), node.Enrol()
	k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	id := must(t, k, err).ID
	for _, period := range []time.Duration{-kms.Day, time.Hour, kms.Day + 1, 3651 * kms.Day} {
		_, err := app.MustCaller().SetRotation(ctx, kms.SetRotationRequest{Key: id, Period: period})
		wantKind(t, period.String(), err, kms.Invalid)
		_, err = app.MustCaller().MakeKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated, RotationPeriod: period})
		wantKind(t, period.String(), err, kms.Invalid)
	}
	_, err = other.MustCaller().SetRotation(ctx, kms.SetRotationRequest{Key: id, Period: kms.Day})
	wantKind(t, "another app", err, kms.Foreign)
	for _, spec := range []kms.Spec{kms.SM4CTR, kms.ECP256, kms.MLDSA44} {
		k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: spec, Origin: kms.Generated})
		_, err = app.MustCaller().SetRotation(ctx, kms.SetRotationRequest{Key: must(t, k, err).ID, Period: kms.Day})
		wantKind(t, spec.String(), err, kms.Misused)
	}
}

// TestWarnings: from the seventeenth version on the oldest is out of reach of
// eHSM's layout, and the key says so; naming the version reaches it.
func TestWarnings(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	id := must(t, k, err).ID
	old := encrypts(t, app, id, kms.LayoutEHSM, "old")
	for n := 2; n <= 17; n++ {
		d, err := app.MustCaller().RotateKey(ctx, id)
		if got := must(t, d, err); (len(got.Warnings) > 0) != (n == 17) {
			t.Errorf("version %d: %q", n, got.Warnings)
		}
	}
	_, err = decrypts(app, id, kms.LayoutEHSM, old)
	wantKind(t, "not tried", err, kms.DecryptFailed)
	p, err := app.MustCaller().Decrypt(ctx, kms.DecryptRequest{Key: kms.KeyRef{ID: id, Version: 1}, Data: old, Layout: kms.LayoutEHSM, Binding: kms.RawBinding([]byte("aad"))})
	if string(must(t, p, err).Data) != "old" {
		t.Errorf("opened to %q", p.Data)
	}
}

// TestLastUsed: a use is told at once, at the grain of an epoch, outlives the node
// once it is noted, and showing a key is none.
func TestLastUsed(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	var ids []kms.KeyID
	for _, spec := range []kms.Spec{kms.AES256GCM, kms.ECP256} {
		k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: spec, Origin: kms.Generated})
		ids = append(ids, must(t, k, err).ID)
	}
	used := func(id kms.KeyID) time.Time {
		t.Helper()
		d, err := app.MustCaller().DescribeKey(ctx, id)
		return must(t, d, err).LastUsed
	}
	_, err := app.MustCaller().PublicKey(ctx, kms.KeyRef{ID: ids[1]})
	must(t, 0, err)
	if at := used(ids[1]); !at.IsZero() || !used(ids[0]).IsZero() {
		t.Errorf("used before: %v", at)
	}
	node.Core().Reckon()
	encrypts(t, app, ids[0], kms.LayoutNative, "x")
	first := used(ids[0])
	if now := node.Clock.Now(); first.IsZero() || first.After(now) || now.Sub(first) > 2*time.Hour {
		t.Errorf("used at %v, now it is %v", first, now)
	}
	must(t, 0, node.Core().NoteUse(ctx))
	node.Restart()
	if at := used(ids[0]); !at.Equal(first) || !used(ids[1]).IsZero() {
		t.Errorf("after a restart %v, want %v", at, first)
	}
	node.Clock.Move(24 * time.Hour)
	node.Core().Reckon()
	encrypts(t, app, ids[0], kms.LayoutNative, "x")
	if at := used(ids[0]); at.Sub(first) < 22*time.Hour {
		t.Errorf("a day later %v, before %v", at, first)
	}
}

// TestAgreement: two keys have the same secret, and a peer outside derives it too;
// as it is it is told by a key that was made for that only.
func TestAgreement(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	make := func(s kms.Spec, u kms.Usages) (kms.KeyID, []byte) {
		t.Helper()
		k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: s, Usages: u, Origin: kms.Generated})
		id := must(t, k, err).ID
		p, err := app.MustCaller().PublicKey(ctx, kms.KeyRef{ID: id})
		return id, must(t, p, err).DER
	}
	agree := func(id kms.KeyID, peer []byte, peerID kms.KeyID, d kms.Derivation) (kms.SharedSecret, error) {
		return app.MustCaller().Agree(ctx, kms.AgreeRequest{Key: kms.KeyRef{ID: id}, Peer: peer, PeerKey: peerID, Derivation: d})
	}
	for _, s := range []kms.Spec{kms.ECP256, kms.ECP384, kms.ECP521, kms.X25519} {
		a, aPublic := make(s, kms.KeyAgreement)
		b, bPublic := make(s, kms.KeyAgreement|kms.Usages(kms.UseRaw))
		d := kms.Derivation{Info: []byte("test"), Length: 40}
		one, err1 := agree(a, bPublic, b, d)
		two, err2 := agree(b, aPublic, a, d)
		if err1 != nil || err2 != nil || string(one.Secret) != string(two.Secret) || len(one.Secret) != 40 {
			t.Errorf("%s: %x and %x, %v, %v", s, one.Secret, two.Secret, err1, err2)
		}
		seen := map[string]bool{string(one.Secret): true}
		for _, other := range []kms.Derivation{{Info: []byte("tesT"), Length: 40}, {Length: 40}} {
			got, err := agree(a, bPublic, b, other)
			if must(t, got, err); seen[string(got.Secret)] {
				t.Errorf("%s: %+v gives the same", s, other)
			}
			seen[string(got.Secret)] = true
		}
		got, err := agree(a, bPublic, kms.KeyID{}, d)
		if must(t, got, err); seen[string(got.Secret)] {
			t.Errorf("%s: the peer's id is not bound", s)
		}
		raw, err := agree(b, aPublic, kms.KeyID{}, kms.Derivation{Raw: true})
		if must(t, raw, err); len(raw.Secret) < 32 || seen[string(raw.Secret)] {
			t.Errorf("%s: raw %x", s, raw.Secret)
		}
		_, err = agree(a, bPublic, kms.KeyID{}, kms.Derivation{Raw: true})
		wantKind(t, "raw of a key that is not for it", err, kms.Misused)
		_, err = agree(b, []byte("peer"), kms.KeyID{}, d)
		wantKind(t, "no public key", err, kms.Invalid)
		_, err = app.MustCaller().Sign(ctx, kms.SignRequest{Key: kms.KeyRef{ID: a}, Input: kms.SigningInput{Message: []byte("x")}})
		wantKind(t, "signing with it", err, kms.Misused)
	}
	signs, public := make(kms.ECP256, kms.SignVerify)
	_, err := agree(signs, public, kms.KeyID{}, kms.Derivation{})
	wantKind(t, "agreeing with a key that signs", err, kms.Misused)
}

// TestEncapsulation: the secret comes out again, bound to what was said of it.
func TestEncapsulation(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	for _, s := range []kms.Spec{kms.MLKEM768, kms.MLKEM1024} {
		k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: s, Origin: kms.Generated})
		ref := kms.KeyRef{ID: must(t, k, err).ID}
		made, err := app.MustCaller().Encapsulate(ctx, kms.EncapsulateRequest{Key: ref, Derivation: kms.Derivation{Info: []byte("a")}})
		must(t, made, err)
		for info, same := range map[string]bool{"a": true, "b": false} {
			got, err := app.MustCaller().Decapsulate(ctx, kms.DecapsulateRequest{Key: ref, Ciphertext: made.Ciphertext, Derivation: kms.Derivation{Info: []byte(info)}})
			if must(t, got, err); (string(got.Secret) == string(made.Secret)) != same || len(got.Secret) != kms.DefaultDerived {
				t.Errorf("%s, %s: %x and %x", s, info, got.Secret, made.Secret)
			}
		}
		_, err = app.MustCaller().Decapsulate(ctx, kms.DecapsulateRequest{Key: ref, Ciphertext: made.Ciphertext[1:]})
		wantKind(t, "a cut ciphertext", err, kms.DecryptFailed)
		_, err = app.MustCaller().Decapsulate(ctx, kms.DecapsulateRequest{Key: ref, Ciphertext: made.Ciphertext, Derivation: kms.Derivation{Raw: true}})
		wantKind(t, "raw", err, kms.Misused)
		for _, d := range []kms.Derivation{{Length: -1}, {Length: kms.MaxDataKey + 1}, {Raw: true, Length: 3}} {
			_, err = app.MustCaller().Encapsulate(ctx, kms.EncapsulateRequest{Key: ref, Derivation: d})
			wantKind(t, fmt.Sprintf("%+v", d), err, kms.Invalid)
		}
	}
}

// wrapFor wraps material with OAEP.
func wrapFor(t *testing.T, spki, material []byte) []byte {
	t.Helper()
	parsed, err := x509.ParsePKIXPublicKey(spki)
	wrapped, err2 := rsa.EncryptOAEP(sha256.New(), rand.Reader, must(t, parsed, err).(*rsa.PublicKey), material, nil)
	return must(t, wrapped, err2)
}

package server_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

func createExternal(t *testing.T, a *trustedtest.App, s kms.Spec) kms.KeyID {
	t.Helper()
	k, err := a.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: s, Origin: kms.Imported})
	if err != nil || k.State != kms.PendingImport {
		t.Fatalf("%+v, %v", k, err)
	}
	return k.ID
}

func parameters(t *testing.T, a *trustedtest.App, id kms.KeyID) (kms.ImportParameters, *rsa.PublicKey) {
	t.Helper()
	p, err := a.MustCaller().ImportParameters(ctx, kms.ImportParametersRequest{Key: id, Spec: kms.RSA2048})
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.ParsePKIXPublicKey(p.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return p, public.(*rsa.PublicKey)
}

func wrapOAEP(t *testing.T, to *rsa.PublicKey, material []byte) []byte {
	t.Helper()
	b, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, to, material, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func importKey(a *trustedtest.App, id kms.KeyID, token, wrapped []byte) error {
	c, err := a.Caller()
	if err == nil {
		_, err = c.ImportKey(ctx, kms.ImportRequest{Key: id, Token: token, Wrapping: kms.WrapOAEP, Material: wrapped})
	}
	return err
}

// The material that a tenant brings is the key, and an import can neither be
// repeated nor take a key away (eHSM's could do both, and crash).
func TestImport(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	a := n.Enrol()
	id := createExternal(t, a, kms.AES256GCM)
	if _, err := encrypt(a, id, "p", kms.LayoutEHSM); !errors.Is(err, kms.Misused) {
		t.Errorf("use before the import: got %v, want Misused", err)
	}
	material := bytes.Repeat([]byte{0xa7, 0x3e, 0x91}, 11)[:32]
	d.Log.Plant(material)
	first, firstKey := parameters(t, a, id)
	second, secondKey := parameters(t, a, id) // asked for again: the first stays good
	_ = second
	if err := importKey(a, id, first.Token, wrapOAEP(t, secondKey, material)); !errors.Is(err, kms.DecryptFailed) {
		t.Errorf("wrapped to another key: got %v, want DecryptFailed", err)
	}
	if err := importKey(a, id, first.Token, wrapOAEP(t, firstKey, material[:31])); !errors.Is(err, kms.DecryptFailed) {
		t.Errorf("31 bytes: got %v, want DecryptFailed", err)
	}
	n.Restart() // the token outlives a restart
	if err := importKey(a, id, first.Token, wrapOAEP(t, firstKey, material)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := importKey(a, id, second.Token, wrapOAEP(t, secondKey, make([]byte, 32))); !errors.Is(err, kms.Misused) {
			t.Errorf("a second import: got %v, want Misused", err)
		}
		if _, err := a.MustCaller().ImportParameters(ctx, kms.ImportParametersRequest{Key: id, Spec: kms.RSA2048}); !errors.Is(err, kms.Misused) {
			t.Errorf("parameters after the import: got %v, want Misused", err)
		}
	}
	sealed, err := encrypt(a, id, "p", kms.LayoutEHSM)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := aes.NewCipher(material)
	gcm, _ := cipher.NewGCM(block)
	at := len(sealed) - 28
	if got, err := gcm.Open(nil, sealed[at:at+12], append(bytes.Clone(sealed[:at]), sealed[at+12:]...), nil); err != nil || string(got) != "p" {
		t.Errorf("the tenant's own copy of the key does not open it: %v", err)
	}
}

func TestImportTokens(t *testing.T) {
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	a, b := n.Enrol(), n.Enrol()
	id, other, foreign := createExternal(t, a, kms.AES128GCM), createExternal(t, a, kms.AES128GCM), createExternal(t, b, kms.AES128GCM)
	p, to := parameters(t, a, id)
	wrapped := wrapOAEP(t, to, make([]byte, 16))
	for name, c := range map[string]struct {
		app   *trustedtest.App
		key   kms.KeyID
		token []byte
		want  error
	}{
		"of another key":  {a, other, p.Token, kms.Unauthenticated},
		"of another app":  {b, foreign, p.Token, kms.Unauthenticated},
		"another's key":   {b, id, p.Token, kms.Foreign},
		"made up":         {a, id, bytes.Repeat([]byte{1}, 1300), kms.Unauthenticated},
		"empty":           {a, id, nil, kms.Unauthenticated},
		"cut":             {a, id, p.Token[:20], kms.Unauthenticated},
		"expiry moved":    {a, id, flip(p.Token, 6), kms.Unauthenticated},
		"spec exchanged":  {a, id, flip(p.Token, 1), kms.Unauthenticated},
		"one bit altered": {a, id, flip(p.Token, len(p.Token)-1), kms.Unauthenticated},
	} {
		if err := importKey(c.app, c.key, c.token, wrapped); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	n.Clock.Move(25 * time.Hour)
	if err := importKey(a, id, p.Token, wrapped); !errors.Is(err, kms.Expired) {
		t.Errorf("a day later: got %v, want Expired", err)
	}
	if err := importKey(a, id, func() []byte { p, to = parameters(t, a, id); return p.Token }(), wrapOAEP(t, to, make([]byte, 16))); err != nil {
		t.Errorf("new parameters: %v", err)
	}
}

func TestExport(t *testing.T) {
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	a, b := n.Enrol(), n.Enrol()
	kept := createKey(t, a, kms.AES256GCM)
	k, err := a.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.ECP256, Origin: kms.Generated, Exportable: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.MustCaller().ExportKey(ctx, kms.KeyRef{ID: kept}); !errors.Is(err, kms.Misused) {
		t.Errorf("not exportable: got %v, want Misused", err)
	}
	if _, err := b.MustCaller().ExportKey(ctx, kms.KeyRef{ID: k.ID}); !errors.Is(err, kms.Foreign) {
		t.Errorf("another's: got %v, want Foreign", err)
	}
	out, err := a.MustCaller().ExportKey(ctx, kms.KeyRef{ID: k.ID})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParsePKCS8PrivateKey(out.Material); err != nil {
		t.Error(err)
	}
	if err := a.MustCaller().SetKeyEnabled(ctx, k.ID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := a.MustCaller().ExportKey(ctx, kms.KeyRef{ID: k.ID}); !errors.Is(err, kms.Disabled) {
		t.Errorf("disabled: got %v, want Disabled", err)
	}
}

// A data key goes to an asymmetric key without anybody seeing it.
func TestRewrap(t *testing.T) {
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	a, b := n.Enrol(), n.Enrol()
	source := createKey(t, a, kms.AES256GCM)
	target := func(app *trustedtest.App, u kms.Usages) kms.KeyID {
		k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.RSA2048, Usages: u, Origin: kms.Generated})
		if err != nil {
			t.Fatal(err)
		}
		return k.ID
	}
	opens, signs, foreign := target(a, kms.EncryptDecrypt), target(a, kms.SignVerify), target(b, kms.EncryptDecrypt)
	dk, err := a.MustCaller().GenerateDataKey(ctx, kms.DataKeyRequest{Key: kms.KeyRef{ID: source}, Length: 32, Layout: kms.LayoutEHSM, Binding: kms.RawBinding([]byte("aad"))})
	if err != nil {
		t.Fatal(err)
	}
	rewrap := func(to kms.KeyID, aad string) (kms.Ciphertext, error) {
		return a.MustCaller().Rewrap(ctx, kms.RewrapRequest{Key: kms.KeyRef{ID: source}, Data: dk.Wrapped, Layout: kms.LayoutEHSM,
			Binding: kms.RawBinding([]byte(aad)), Target: kms.KeyRef{ID: to}, Padding: kms.PaddingOAEP})
	}
	out, err := rewrap(opens, "aad")
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.MustCaller().Decrypt(ctx, kms.DecryptRequest{Key: kms.KeyRef{ID: opens}, Data: out.Data, Layout: kms.LayoutEHSM, Padding: kms.PaddingOAEP})
	if err != nil || !bytes.Equal(got.Data, dk.Plaintext) {
		t.Errorf("another data key came out: %v", err)
	}
	for name, c := range map[string]struct {
		to   kms.KeyID
		aad  string
		want error
	}{
		"wrong aad": {opens, "other", kms.DecryptFailed}, "signing key": {signs, "aad", kms.Misused},
		"symmetric target": {source, "aad", kms.Misused}, "another's key": {foreign, "aad", kms.Foreign},
	} {
		if _, err := rewrap(c.to, c.aad); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestMAC(t *testing.T) {
	a := trustedtest.NewDomain(t, 1).Nodes[0].Enrol()
	id := createKey(t, a, kms.HMACSHA256)
	out, err := a.MustCaller().MAC(ctx, kms.MACRequest{Key: kms.KeyRef{ID: id}, Message: []byte("m")})
	if err != nil || len(out.Data) != 32 {
		t.Fatalf("%x, %v", out.Data, err)
	}
	for _, c := range []struct {
		message string
		mac     []byte
		want    bool
	}{{"m", out.Data, true}, {"n", out.Data, false}, {"m", out.Data[:16], false}, {"m", nil, false}, {"m", flip(out.Data, 31), false}} {
		v, err := a.MustCaller().VerifyMAC(ctx, kms.VerifyMACRequest{Key: kms.KeyRef{ID: id}, Message: []byte(c.message), MAC: c.mac})
		if err != nil || v.Valid != c.want {
			t.Errorf("%q, %d bytes: %+v, %v", c.message, len(c.mac), v, err)
		}
	}
	if _, err := a.MustCaller().Sign(ctx, kms.SignRequest{Key: kms.KeyRef{ID: id}, Input: kms.SigningInput{Message: []byte("m")}}); !errors.Is(err, kms.Misused) {
		t.Errorf("sign with a MAC key: %v", err)
	}
}

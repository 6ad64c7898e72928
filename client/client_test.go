package client_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/client/clienttest"
	"github.com/holdfast-kms/holdfast/kms"
)

func newClient(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// must returns v if there is no error.
func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func createKey(t *testing.T, c *client.Client, s kms.Spec) kms.KeyID {
	t.Helper()
	id, err := c.CreateKey(t.Context(), kms.CreateKeyRequest{Spec: s})
	return must(t, id, err)
}

func TestEncryptDecrypt(t *testing.T) {
	c := newClient(t, clienttest.NewServer(t).Enroll())
	longest := bytes.Repeat([]byte{0, 0xff, '&', '='}, kms.MaxPlaintext/4)
	tests := []struct {
		name       string
		plain, aad []byte
	}{
		{"one byte", []byte{0}, nil},
		{"with aad", []byte("plain"), []byte("a=1&b=2 \"é")},
		{"longest", longest, longest},
	}
	for _, spec := range []kms.Spec{kms.AES128GCM, kms.AES192GCM, kms.AES256GCM} {
		id := createKey(t, c, spec)
		for _, tt := range tests {
			t.Run(spec.String()+"/"+tt.name, func(t *testing.T) {
				ct, err := c.Encrypt(t.Context(), id, tt.plain, tt.aad)
				ok(t, err)
				if len(ct) != len(tt.plain)+28 {
					t.Errorf("ciphertext has %d bytes, want %d", len(ct), len(tt.plain)+28)
				}
				got, err := c.Decrypt(t.Context(), id, ct, tt.aad)
				if diff := cmp.Diff(tt.plain, must(t, got, err)); diff != "" {
					t.Errorf("(-sealed +opened):\n%s", diff)
				}
				_, err = c.Decrypt(t.Context(), id, ct, append([]byte("x"), tt.aad[:min(len(tt.aad), 9)]...))
				if !errors.Is(err, kms.DecryptFailed) {
					t.Errorf("other aad: %v, want %v", err, kms.DecryptFailed)
				}
			})
		}
	}
}

func TestDataKey(t *testing.T) {
	c := newClient(t, clienttest.NewServer(t).Enroll())
	id := createKey(t, c, kms.AES256GCM)
	for _, n := range []int{1, 32, kms.MaxDataKey} {
		dk, err := c.GenerateDataKey(t.Context(), id, n, []byte("aad"))
		ok(t, err)
		if len(dk.Plaintext) != n {
			t.Fatalf("%d bytes, want %d", len(dk.Plaintext), n)
		}
		opened, err := c.Decrypt(t.Context(), id, dk.Wrapped, []byte("aad"))
		if !bytes.Equal(must(t, opened, err), dk.Plaintext) {
			t.Error("the wrapped data key opens to something else")
		}
		wrapped, err := c.GenerateDataKeyWithoutPlaintext(t.Context(), id, n, nil)
		opened, err2 := c.Decrypt(t.Context(), id, must(t, wrapped, err), nil)
		if len(must(t, opened, err2)) != n {
			t.Errorf("%d bytes, want %d", len(opened), n)
		}
	}
}

func TestSignVerify(t *testing.T) {
	c := newClient(t, clienttest.NewServer(t).Enroll())
	id := createKey(t, c, kms.ECP256)
	message := kms.SigningInput{Message: []byte("message")}
	sig, err := c.Sign(t.Context(), id, message)
	ok(t, err)

	digest := sha256.Sum256(message.Message)
	pub, err := c.PublicKey(t.Context(), id)
	ok(t, err)
	parsed, err := x509.ParsePKIXPublicKey(pub.DER)
	if !ecdsa.VerifyASN1(must(t, parsed, err).(*ecdsa.PublicKey), digest[:], sig) {
		t.Error("the public key does not verify the signature")
	}
	if pub.Spec != kms.ECP256 || pub.Key.ID != id {
		t.Errorf("public key says %v of %v", pub.Spec, pub.Key.ID)
	}

	tests := []struct {
		name  string
		input kms.SigningInput
		want  bool
	}{
		{"message", message, true},
		{"digest", kms.SigningInput{Message: digest[:], Prehashed: true}, true},
		{"other message", kms.SigningInput{Message: []byte("massage")}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := c.Verify(t.Context(), id, tt.input, sig)
			if must(t, got, err) != tt.want {
				t.Errorf("valid is %v, want %v", got, tt.want)
			}
		})
	}
}

func TestKeyLifeCycle(t *testing.T) {
	c := newClient(t, clienttest.NewServer(t).Enroll())
	ctx := t.Context()
	id, other := createKey(t, c, kms.AES256GCM), createKey(t, c, kms.ECP256)

	keys, err := c.ListKeys(ctx)
	if len(must(t, keys, err)) != 2 {
		t.Fatalf("%d keys, want 2", len(keys))
	}
	for _, k := range keys {
		if k.State != kms.Enabled || !k.Expires.IsZero() || time.Since(k.Created).Abs() > time.Minute {
			t.Errorf("unexpected: %+v", k)
		}
	}
	ok(t, c.DisableKey(ctx, id))
	if _, err := c.Encrypt(ctx, id, []byte("x"), nil); !errors.Is(err, kms.Disabled) {
		t.Errorf("with a disabled key: %v", err)
	}
	ok(t, c.EnableKey(ctx, id))
	_, err = c.Encrypt(ctx, id, []byte("x"), nil)
	ok(t, err)
	ok(t, c.DeleteKey(ctx, id))
	if _, err := c.Encrypt(ctx, id, []byte("x"), nil); !errors.Is(err, kms.NotFound) {
		t.Errorf("with a deleted key: %v", err)
	}
	if err := c.EnableKey(ctx, id); !errors.Is(err, kms.NotFound) {
		t.Errorf("enabling a deleted key: %v", err)
	}
	ok(t, c.DeleteAllKeys(ctx))
	if _, err := c.PublicKey(ctx, other); !errors.Is(err, kms.NotFound) {
		t.Errorf("after deleting all: %v", err)
	}
	keys, err = c.ListKeys(ctx)
	if len(must(t, keys, err)) != 0 {
		t.Errorf("%d keys left", len(keys))
	}
}

func TestAnonymousCalls(t *testing.T) {
	s := clienttest.NewServer(t)
	cfg := client.Config{URL: s.URL() + "/ehsm/", CA: s.CA()}
	anonymous := newClient(t, cfg)
	cred, err := anonymous.Enroll(t.Context())
	ok(t, err)
	v, err := anonymous.Version(t.Context())
	if must(t, v, err).GitSHA != "0123456" {
		t.Errorf("version %+v", v)
	}
	st, err := anonymous.Status(t.Context())
	want := kms.Status{Domain: "test", DomainID: kms.DomainID{1}, Node: kms.NodeID{2}, Ready: true, Apps: 1}
	if diff := cmp.Diff(want, must(t, st, err)); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if _, err := anonymous.ListKeys(t.Context()); !errors.Is(err, kms.Unauthenticated) {
		t.Errorf("without a credential: %v", err)
	}
	if n := s.Calls("ListKey"); n != 0 {
		t.Errorf("%d requests were sent without a credential", n)
	}
	cfg.AppID, cfg.APIKey = cred.AppID, cred.APIKey
	createKey(t, newClient(t, cfg), kms.AES256GCM)
}

func TestConcurrentRequestsDiffer(t *testing.T) {
	s := clienttest.NewServer(t)
	cfg := s.Enroll()
	at := time.Now()
	cfg.Now = func() time.Time { return at } // all in one millisecond
	conns := map[string]bool{}
	var mu sync.Mutex
	s.Fault(func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		conns[r.RemoteAddr] = true
		return false
	})
	c := newClient(t, cfg)
	id := createKey(t, c, kms.AES256GCM)
	var wg sync.WaitGroup
	const callers, calls = 8, 25
	for range callers {
		wg.Go(func() {
			for range calls {
				if _, err := c.Encrypt(t.Context(), id, []byte("x"), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(conns) > 2*callers {
		t.Errorf("%d connections for %d callers: they are not used again", len(conns), callers)
	}
}

func TestLimitsAreCheckedBeforeSending(t *testing.T) {
	s := clienttest.NewServer(t)
	cfg := s.Enroll()
	c := newClient(t, cfg)
	cfg.SignatureV1 = true
	v1 := newClient(t, cfg)
	long := make([]byte, 10_000)
	ctx, id := t.Context(), kms.KeyID{}
	tests := []struct {
		name string
		call func() error
		want kms.Kind
	}{
		{"empty plaintext", func() error { _, err := c.Encrypt(ctx, id, nil, nil); return err }, kms.Invalid},
		{"long plaintext", func() error { _, err := c.Encrypt(ctx, id, long, nil); return err }, kms.TooLarge},
		{"long aad", func() error { _, err := c.Encrypt(ctx, id, long[:1], long); return err }, kms.TooLarge},
		{"long ciphertext", func() error { _, err := c.Decrypt(ctx, id, long, nil); return err }, kms.TooLarge},
		{"no data key", func() error { _, err := c.GenerateDataKey(ctx, id, 0, nil); return err }, kms.Invalid},
		{"long data key", func() error { _, err := c.GenerateDataKeyWithoutPlaintext(ctx, id, 1025, nil); return err }, kms.Invalid},
		{"data key with long aad", func() error { _, err := c.GenerateDataKey(ctx, id, 1, long); return err }, kms.TooLarge},
		{"long message", func() error { _, err := c.Sign(ctx, id, kms.SigningInput{Message: long}); return err }, kms.TooLarge},
		{"short digest", func() error {
			_, err := c.Sign(ctx, id, kms.SigningInput{Message: long[:20], Prehashed: true})
			return err
		}, kms.Invalid},
		{"unknown digest", func() error {
			_, err := c.Sign(ctx, id, kms.SigningInput{Message: long[:20], Digest: 99})
			return err
		}, kms.Invalid},
		{"no signature", func() error {
			_, err := c.Verify(ctx, id, kms.SigningInput{Message: long[:20]}, nil)
			return err
		}, kms.Invalid},
		{"unknown spec", func() error { _, err := c.CreateKey(ctx, kms.CreateKeyRequest{}); return err }, kms.Invalid},
		{"exportable, signed as eHSM does", func() error {
			_, err := v1.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.ECP256, Exportable: true})
			return err
		}, kms.Invalid},
		{"export, signed as eHSM does", func() error { _, err := v1.ExportKey(ctx, id); return err }, kms.Invalid},
		{"short default digest", func() error {
			_, err := c.Sign(ctx, id, kms.SigningInput{Message: long[:48], Prehashed: true})
			return err
		}, kms.Invalid},
		{"empty plaintext for RSA", func() error { _, err := c.AsymmetricEncrypt(ctx, id, nil, 0); return err }, kms.Invalid},
		{"long plaintext for RSA", func() error { _, err := c.AsymmetricEncrypt(ctx, id, long[:502], 0); return err }, kms.TooLarge},
		{"unknown padding", func() error { _, err := c.AsymmetricEncrypt(ctx, id, long[:1], 9); return err }, kms.Invalid},
		{"long ciphertext for RSA", func() error { _, err := c.AsymmetricDecrypt(ctx, id, long, 0); return err }, kms.TooLarge},
		{"unknown padding of a ciphertext", func() error { _, err := c.AsymmetricDecrypt(ctx, id, long[:9], 9); return err }, kms.Invalid},
		{"long data key", func() error { _, err := c.Rewrap(ctx, id, long, nil, id); return err }, kms.TooLarge},
		{"empty message to MAC", func() error { _, err := c.MAC(ctx, id, nil); return err }, kms.Invalid},
		{"long message to MAC", func() error { _, err := c.MAC(ctx, id, long); return err }, kms.TooLarge},
		{"long MAC", func() error { _, err := c.VerifyMAC(ctx, id, long[:1], long[:65]); return err }, kms.Invalid},
		{"no MAC", func() error { _, err := c.VerifyMAC(ctx, id, long[:1], nil); return err }, kms.Invalid},
		{"unknown wrapping spec", func() error { _, err := c.ImportParameters(ctx, id, 99); return err }, kms.Invalid},
		{"unknown wrapping", func() error { return c.ImportKeyMaterial(ctx, kms.ImportRequest{Material: long[:9]}) }, kms.Invalid},
		{"long material", func() error {
			return c.ImportKeyMaterial(ctx, kms.ImportRequest{Wrapping: kms.WrapOAEPAES, Material: long})
		}, kms.Invalid},
		{"usages without a name", func() error {
			_, err := c.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES128GCM, Usages: kms.Usages(kms.UseEncrypt)})
			return err
		}, kms.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.call(); !errors.Is(err, tt.want) || kms.KindOf(err) != tt.want {
				t.Errorf("%v, want kind %q", err, tt.want)
			}
		})
	}
	for _, a := range []string{"Encrypt", "Decrypt", "GenerateDataKey", "Sign", "CreateKey", "AsymmetricEncrypt", "AsymmetricDecrypt",
		"ExportDataKey", "GenerateMac", "VerifyMac", "GetParametersForImport", "ImportKeyMaterial", "ExportKey"} {
		if n := s.Calls(a); n != 0 {
			t.Errorf("%d requests of %s were sent", n, a)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := func() client.Config {
		return client.Config{URL: "https://localhost:9000", AppID: kms.AppID{1}, APIKey: client.NewAPIKey("k")}
	}
	tests := map[string]func(*client.Config){
		"no address":       func(c *client.Config) { c.URL = "" },
		"plain HTTP":       func(c *client.Config) { c.URL = "http://localhost:9000" },
		"another path":     func(c *client.Config) { c.URL = "https://localhost/vault" },
		"a query":          func(c *client.Config) { c.URL = "https://localhost/?x" },
		"AppID alone":      func(c *client.Config) { c.APIKey = client.APIKey{} },
		"APIKey alone":     func(c *client.Config) { c.AppID = kms.AppID{} },
		"line feed in key": func(c *client.Config) { c.APIKey = client.NewAPIKey("key\n") },
		"no PEM":           func(c *client.Config) { c.CA = []byte("?") },
		"two trusts":       func(c *client.Config) { c.CA, c.HTTPClient = []byte("x"), http.DefaultClient },
	}
	if _, err := client.New(good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := good()
			spoil(&cfg)
			if _, err := client.New(cfg); !errors.Is(err, kms.Invalid) || kms.HintOf(err) == "" {
				t.Errorf("%v with hint %q, want an Invalid with a hint", err, kms.HintOf(err))
			}
		})
	}
}

func TestServerMustBeTrusted(t *testing.T) {
	s := clienttest.NewServer(t)
	cfg := s.Enroll()
	cfg.CA = nil
	_, err := newClient(t, cfg).ListKeys(t.Context())
	if !errors.Is(err, kms.Denied) || s.Calls("ListKey") != 0 {
		t.Errorf("%v after %d requests, want %v and none", err, s.Calls("ListKey"), kms.Denied)
	}
	cfg.InsecureTrustAnyServer = true
	_, err = newClient(t, cfg).ListKeys(t.Context())
	ok(t, err)
}

func TestNothingListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	addr := must(t, l, err).Addr().String()
	l.Close()
	c := newClient(t, client.Config{URL: "https://" + addr, AppID: kms.AppID{1}, APIKey: client.NewAPIKey("the-key"), Retries: -1})
	_, err = c.ListKeys(t.Context())
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Kind != kms.Unavailable || refused.Hint == "" {
		t.Errorf("%#v, want Unavailable with a hint", err)
	}
	if strings.Contains(err.Error(), "the-key") {
		t.Error("the error tells the API key")
	}
}

func TestCancelledCall(t *testing.T) {
	s := clienttest.NewServer(t)
	arrived := make(chan struct{}, 1)
	s.Fault(func(_ http.ResponseWriter, r *http.Request) bool {
		io.Copy(io.Discard, r.Body) // so that the server notices the client go
		arrived <- struct{}{}
		<-r.Context().Done()
		return true
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	_, err := newClient(t, s.Enroll()).ListKeys(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	if n := s.Calls("ListKey"); n != 1 {
		t.Errorf("sent %d times, want once", n)
	}
}

func TestTimeout(t *testing.T) {
	s := clienttest.NewServer(t)
	s.Fault(func(_ http.ResponseWriter, r *http.Request) bool {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		return true
	})
	cfg := s.Enroll()
	cfg.Timeout = 50 * time.Millisecond
	err := newClient(t, cfg).DeleteAllKeys(t.Context())
	var refused *client.Error
	if !errors.As(err, &refused) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(refused.Hint, "may have happened") {
		t.Errorf("%#v, want a deadline and a warning", err)
	}
}

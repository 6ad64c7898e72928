package server_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

var ctx = context.Background()

func createKey(t testing.TB, a *trustedtest.App, s kms.Spec) kms.KeyID {
	t.Helper()
	k, err := a.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: s, Origin: kms.Generated})
	if err != nil {
		t.Fatal(err)
	}
	return k.ID
}

func encrypt(a *trustedtest.App, id kms.KeyID, plain string, l kms.Layout) ([]byte, error) {
	c, err := a.Caller()
	if err != nil {
		return nil, err
	}
	out, err := c.Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: id}, Plaintext: []byte(plain), Layout: l})
	return out.Data, err
}

func decrypt(a *trustedtest.App, id kms.KeyID, data []byte, l kms.Layout) (string, error) {
	c, err := a.Caller()
	if err != nil {
		return "", err
	}
	out, err := c.Decrypt(ctx, kms.DecryptRequest{Key: kms.KeyRef{ID: id}, Data: data, Layout: l})
	return string(out.Data), err
}

func TestKeysSurviveARestart(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	a := n.Enrol()
	const plain = "a plaintext that is never logged"
	d.Log.Plant([]byte(plain))
	id := createKey(t, a, kms.AES256GCM)
	sealed, err := encrypt(a, id, plain, kms.LayoutEHSM)
	if err != nil {
		t.Fatal(err)
	}
	signer := createKey(t, a, kms.ECP256)
	sig, err := a.MustCaller().Sign(ctx, kms.SignRequest{Key: kms.KeyRef{ID: signer}, Input: kms.SigningInput{Message: []byte("m")}})
	if err != nil {
		t.Fatal(err)
	}
	before := n.Server().CA()
	for range 3 {
		n.Restart()
		if got, err := decrypt(a, id, sealed, kms.LayoutEHSM); err != nil || got != plain {
			t.Fatalf("got %q, %v", got, err)
		}
		v, err := a.MustCaller().Verify(ctx, kms.VerifyRequest{Key: kms.KeyRef{ID: signer}, Input: kms.SigningInput{Message: []byte("m")}, Signature: sig.Data})
		if err != nil || !v.Valid {
			t.Fatalf("signature: %+v, %v", v, err)
		}
	}
	if !bytes.Equal(before, n.Server().CA()) {
		t.Error("another CA after a restart")
	}
}

// The native layout names its key, so no other key id is needed; it binds
// typed data, so a context and equal raw bytes are different things.
func TestNativeLayout(t *testing.T) {
	a := trustedtest.NewDomain(t, 1).Nodes[0].Enrol()
	id, other := createKey(t, a, kms.AES256GCM), createKey(t, a, kms.AES256GCM)
	context1 := kms.ContextBinding(map[string]string{"a": "b", "c": "d"})
	out, err := a.MustCaller().Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: id}, Plaintext: []byte("p"), Layout: kms.LayoutNative, Binding: context1})
	if err != nil {
		t.Fatal(err)
	}
	open := func(key kms.KeyID, data []byte, b kms.Binding) error {
		got, err := a.MustCaller().Decrypt(ctx, kms.DecryptRequest{Key: kms.KeyRef{ID: key}, Data: data, Layout: kms.LayoutNative, Binding: b})
		if err == nil && (string(got.Data) != "p" || got.Key != out.Key) {
			t.Errorf("got %q under %v", got.Data, got.Key)
		}
		return err
	}
	if err := open(kms.KeyID{}, out.Data, context1); err != nil {
		t.Errorf("without a key id: %v", err)
	}
	if err := open(id, out.Data, kms.ContextBinding(map[string]string{"c": "d", "a": "b"})); err != nil {
		t.Errorf("with its key id: %v", err)
	}
	for name, c := range map[string]struct {
		key  kms.KeyID
		data []byte
		b    kms.Binding
	}{
		"another key id":     {other, out.Data, context1},
		"no binding":         {id, out.Data, kms.Binding{}},
		"another context":    {id, out.Data, kms.ContextBinding(map[string]string{"a": "b"})},
		"split otherwise":    {id, out.Data, kms.ContextBinding(map[string]string{"ab": "", "c": "d"})},
		"its bytes as raw":   {id, out.Data, kms.RawBinding(context1.AppendTo(nil)[1:])},
		"other format":       {id, append([]byte{2}, out.Data[1:]...), context1},
		"other version":      {id, flip(out.Data, 20), context1},
		"cut to its header":  {id, out.Data[:21], context1},
		"cut in its header":  {id, out.Data[:20], context1},
		"nothing":            {id, nil, context1},
		"one bit of the tag": {id, flip(out.Data, len(out.Data)-1), context1},
	} {
		if err := open(c.key, c.data, c.b); !errors.Is(err, kms.DecryptFailed) {
			t.Errorf("%s: got %v, want DecryptFailed", name, err)
		}
	}
}

func flip(b []byte, i int) []byte {
	c := bytes.Clone(b)
	c[i] ^= 1
	return c
}

func TestTenantsAreApart(t *testing.T) {
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	a, b := n.Enrol(), n.Enrol()
	id, signer := createKey(t, a, kms.AES256GCM), createKey(t, a, kms.ECP256)
	sealed, err := encrypt(a, id, "p", kms.LayoutEHSM)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"encrypt":  second(encrypt(b, id, "p", kms.LayoutEHSM)),
		"decrypt":  second(decrypt(b, id, sealed, kms.LayoutEHSM)),
		"data key": second(b.MustCaller().GenerateDataKey(ctx, kms.DataKeyRequest{Key: kms.KeyRef{ID: id}, Length: 16, Layout: kms.LayoutEHSM})),
		"sign":     second(b.MustCaller().Sign(ctx, kms.SignRequest{Key: kms.KeyRef{ID: signer}, Input: kms.SigningInput{Message: []byte("m")}})),
		"verify":   second(b.MustCaller().Verify(ctx, kms.VerifyRequest{Key: kms.KeyRef{ID: signer}, Input: kms.SigningInput{Message: []byte("m")}})),
		"public":   second(b.MustCaller().PublicKey(ctx, kms.KeyRef{ID: signer})),
		"disable":  b.MustCaller().SetKeyEnabled(ctx, id, false),
	} {
		if !errors.Is(err, kms.Foreign) {
			t.Errorf("%s: got %v, want Foreign", name, err)
		}
	}
	if err := b.MustCaller().DeleteKey(ctx, id); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := b.MustCaller().DeleteAllKeys(ctx); err != nil {
		t.Errorf("delete all: %v", err)
	}
	if page, err := b.MustCaller().ListKeys(ctx, kms.ListKeysRequest{}); err != nil || len(page.Keys) != 0 {
		t.Errorf("list: %v, %v", page, err)
	}
	if got, err := decrypt(a, id, sealed, kms.LayoutEHSM); err != nil || got != "p" {
		t.Errorf("the owner's key after all that: %q, %v", got, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestLifeCycle(t *testing.T) {
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	a := n.Enrol()
	id := createKey(t, a, kms.AES128GCM)
	sealed, err := encrypt(a, id, "p", kms.LayoutEHSM)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func() error
		want error
	}{
		{"disable", func() error { return a.MustCaller().SetKeyEnabled(ctx, id, false) }, kms.Disabled},
		{"disable again", func() error { return a.MustCaller().SetKeyEnabled(ctx, id, false) }, kms.Disabled},
		{"enable", func() error { return a.MustCaller().SetKeyEnabled(ctx, id, true) }, nil},
		{"disable", func() error { return a.MustCaller().SetKeyEnabled(ctx, id, false) }, kms.Disabled},
		{"restart", func() error { n.Restart(); return nil }, kms.Disabled},
		{"enable", func() error { return a.MustCaller().SetKeyEnabled(ctx, id, true) }, nil},
		{"delete", func() error { return a.MustCaller().DeleteKey(ctx, id) }, kms.NotFound},
		{"delete again", func() error { return a.MustCaller().DeleteKey(ctx, id) }, kms.NotFound},
		{"restart", func() error { n.Restart(); return nil }, kms.NotFound},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if _, err := decrypt(a, id, sealed, kms.LayoutEHSM); !errors.Is(err, step.want) || (step.want == nil) != (err == nil) {
			t.Fatalf("after %s: got %v, want %v", step.name, err, step.want)
		}
	}
	if err := a.MustCaller().SetKeyEnabled(ctx, id, true); !errors.Is(err, kms.NotFound) {
		t.Errorf("enable a deleted key: %v", err)
	}
}

func TestRefusedRequests(t *testing.T) {
	a := trustedtest.NewDomain(t, 1).Nodes[0].Enrol()
	aes, ec := createKey(t, a, kms.AES256GCM), createKey(t, a, kms.ECP256)
	c := a.MustCaller
	for name, x := range map[string]struct {
		err  error
		want error
	}{
		"sign with AES":          {second(c().Sign(ctx, kms.SignRequest{Key: kms.KeyRef{ID: aes}, Input: kms.SigningInput{Message: []byte("m")}})), kms.Misused},
		"public half of AES":     {second(c().PublicKey(ctx, kms.KeyRef{ID: aes})), kms.Misused},
		"encrypt with EC":        {second(encrypt(a, ec, "p", kms.LayoutEHSM)), kms.Misused},
		"data key of EC":         {second(c().GenerateDataKey(ctx, kms.DataKeyRequest{Key: kms.KeyRef{ID: ec}, Length: 16, Layout: kms.LayoutEHSM})), kms.Misused},
		"AES to sign":            {second(c().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Usages: kms.SignVerify, Origin: kms.Generated})), kms.Misused},
		"AES to do everything":   {second(c().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Usages: 0xffff, Origin: kms.Generated})), kms.Misused},
		"unknown spec":           {second(c().CreateKey(ctx, kms.CreateKeyRequest{Spec: 99, Origin: kms.Generated})), kms.Invalid},
		"no origin":              {second(c().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM})), kms.Invalid},
		"empty plaintext":        {second(encrypt(a, aes, "", kms.LayoutEHSM)), kms.Invalid},
		"plaintext too long":     {second(encrypt(a, aes, string(make([]byte, kms.MaxPlaintext+1)), kms.LayoutEHSM)), kms.TooLarge},
		"no layout":              {second(encrypt(a, aes, "p", 0)), kms.Invalid},
		"data key of no bytes":   {second(c().GenerateDataKey(ctx, kms.DataKeyRequest{Key: kms.KeyRef{ID: aes}, Layout: kms.LayoutEHSM})), kms.Invalid},
		"data key too long":      {second(c().GenerateDataKey(ctx, kms.DataKeyRequest{Key: kms.KeyRef{ID: aes}, Length: 1025, Layout: kms.LayoutEHSM})), kms.TooLarge},
		"digest of wrong size":   {second(c().Sign(ctx, kms.SignRequest{Key: kms.KeyRef{ID: ec}, Input: kms.SigningInput{Message: []byte("m"), Prehashed: true}})), kms.Misused},
		"version there is none":  {second(c().Verify(ctx, kms.VerifyRequest{Key: kms.KeyRef{ID: ec, Version: 7}, Input: kms.SigningInput{Message: []byte("m")}})), kms.NotFound},
		"unknown key":            {second(encrypt(a, kms.KeyID{1}, "p", kms.LayoutEHSM)), kms.NotFound},
		"context in raw layout":  {second(c().Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: aes}, Plaintext: []byte("p"), Layout: kms.LayoutEHSM, Binding: kms.ContextBinding(map[string]string{"a": "b"})})), kms.Invalid},
		"garbage for ciphertext": {second(decrypt(a, aes, []byte("short"), kms.LayoutEHSM)), kms.DecryptFailed},
	} {
		if !errors.Is(x.err, x.want) {
			t.Errorf("%s: got %v, want %v", name, x.err, x.want)
		}
	}
}

// A request is good once: as itself, and after a restart not at all.
func TestReplay(t *testing.T) {
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	a := n.Enrol()
	id := createKey(t, a, kms.AES256GCM)
	cred := a.Credential("DisableKey " + id.String())
	c, err := n.Core().Authenticate(ctx, cred)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetKeyEnabled(ctx, id, false); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Core().Authenticate(ctx, cred); !errors.Is(err, kms.Replayed) {
		t.Errorf("again: got %v, want Replayed", err)
	}
	// The same caller doing a second change: its request is in the log already.
	if err := c.SetKeyEnabled(ctx, id, true); !errors.Is(err, kms.Replayed) {
		t.Errorf("a second change by one request: got %v, want Replayed", err)
	}
	n.Restart()
	if _, err := n.Core().Authenticate(ctx, cred); !errors.Is(err, kms.Stale) {
		t.Errorf("after a restart: got %v, want Stale", err)
	}
}

// Concurrent changes of one key end in one of the states that were asked for,
// and none of them is lost to a conflict.
func TestConcurrentChanges(t *testing.T) {
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	a := n.Enrol()
	id := createKey(t, a, kms.AES256GCM)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				if err := a.MustCaller().SetKeyEnabled(ctx, id, i%2 == 0); err != nil && !errors.Is(err, kms.Conflict) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := a.MustCaller().SetKeyEnabled(ctx, id, true); err != nil {
		t.Fatal(err)
	}
	if _, err := encrypt(a, id, "p", kms.LayoutEHSM); err != nil {
		t.Error(err)
	}
}

// A host that sets its clock back does not make domain time go back.
func TestClockSetBack(t *testing.T) {
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	a := n.Enrol()
	createKey(t, a, kms.AES256GCM)
	before := n.Server().Status().DomainTime
	n.Clock.Move(-time.Hour)
	if after := n.Server().Status().DomainTime; after.Before(before) {
		t.Errorf("domain time went back from %v to %v", before, after)
	}
	if _, err := a.Caller(); !errors.Is(err, kms.Stale) { // dated by the wrong clock
		t.Errorf("got %v, want Stale", err)
	}
}

func TestEnrolment(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	enrolment := func(m govern.EnrolmentMode) {
		t.Helper()
		envelope := d.Rulers.Next(func(p *govern.Policy) { p.Enrolment.Mode = m })
		if _, err := n.Core().SubmitPolicy(ctx, envelope); err != nil {
			t.Fatal(err)
		}
	}
	enrolment(govern.EnrolClosed)
	if _, err := n.Core().Enrol(ctx); !errors.Is(err, kms.Denied) {
		t.Errorf("closed: got %v, want Denied", err)
	}
	enrolment(govern.EnrolOpen)
	n.Edit = func(c *server.Config) { c.MaxApps = 2 }
	n.Restart()
	n.Enrol()
	n.Enrol()
	if _, err := n.Core().Enrol(ctx); !errors.Is(err, kms.Exhausted) {
		t.Errorf("full: got %v, want Exhausted", err)
	}
}

// Missing or foreign state beside a charter is an error that names the file,
// and never a new domain.
func TestMissingState(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	id := createKey(t, n.Enrol(), kms.AES256GCM)
	_ = id
	_ = n.Stop()
	other := d.NewNode()
	for _, name := range []string{"identity", "root"} {
		path := filepath.Join(n.Dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := os.ReadFile(filepath.Join(other.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		refused := func(how string) {
			t.Helper()
			err := n.Start()
			if !errors.Is(err, kms.Damaged) {
				t.Fatalf("%s %s: got %v, want Damaged", name, how, err)
			}
			var e *kms.Error
			if errors.As(err, &e); e.File != name || kms.HintOf(err) == "" {
				t.Errorf("%s %s: error names %q, hint %q", name, how, e.File, kms.HintOf(err))
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		refused("missing")
		for i := 0; i < len(good); i += 7 {
			write(t, path, flip(good, i))
			refused("altered")
			write(t, path, good[:i])
			refused("cut")
		}
		write(t, path, foreign)
		refused("of another node")
		write(t, path, good)
	}
	n.MustStart()
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFoundRefusesAFullFolder(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	_ = n.Stop()
	if err := n.TryFound(); !errors.Is(err, kms.Exists) {
		t.Errorf("got %v, want Exists", err)
	}
	n.MustStart()
}

func TestAnotherCharter(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	other := trustedtest.NewDomain(t, 1).Charter
	_ = n.Stop()
	n.Edit = func(c *server.Config) { c.Charter = other }
	if err := n.Start(); !errors.Is(err, kms.Damaged) {
		t.Errorf("got %v, want Damaged", err)
	}
	n.Edit = nil
	n.MustStart()
}

func TestStatus(t *testing.T) {
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	createKey(t, n.Enrol(), kms.AES256GCM)
	s := n.Server().Status()
	if !s.Ready || s.Secure || s.Protected || s.Time != "host" || s.RestartMode != "sealed" || s.Apps != 1 || s.Keys != 1 || s.Feature != 1 {
		t.Errorf("%+v", s)
	}
	_ = n.Server().Close()
	if s := n.Server().Status(); s.Ready || s.Reason == "" {
		t.Errorf("closed: %+v", s)
	}
}

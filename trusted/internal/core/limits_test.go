package core_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// limited is a domain whose policy has these limits.
func limited(t *testing.T, limits func(*govern.Limits)) (*trustedtest.Domain, *trustedtest.Node) {
	t.Helper()
	d := trustedtest.NewDomain(t, 1)
	limit(t, d, limits)
	return d, d.Nodes[0]
}

func limit(t *testing.T, d *trustedtest.Domain, limits func(*govern.Limits)) {
	t.Helper()
	envelope := d.Rulers.Next(func(p *govern.Policy) { p.Limits = govern.Limits{}; limits(&p.Limits) })
	if _, err := d.Nodes[0].Core().SubmitPolicy(t.Context(), envelope); err != nil {
		t.Fatal(err)
	}
}

// slowest is a rate under which no token comes back while a test runs.
func slowest(burst uint32) govern.Rate { return govern.Rate{PerSecond: 1, Burst: burst} }

func newKey(t *testing.T, app *trustedtest.App, spec kms.Spec) kms.KeyRef {
	t.Helper()
	k, err := app.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: spec, Origin: kms.Generated})
	return kms.KeyRef{ID: must(t, k, err).ID}
}

// Each operation pays in the class of the key that it uses, whatever it is called,
// and classes and apps do not pay for each other.
func TestRatesByClass(t *testing.T) {
	d, node := limited(t, func(*govern.Limits) {})
	app, other := node.Enrol(), node.Enrol()
	aes, ec, others := newKey(t, app, kms.AES256GCM), newKey(t, app, kms.ECP256), newKey(t, other, kms.AES256GCM)
	limit(t, d, func(l *govern.Limits) {
		l.Symmetric, l.Asymmetric, l.Management = slowest(20), slowest(10), slowest(5)
	})
	encrypt := func(a *trustedtest.App, k kms.KeyRef) func() error {
		return func() error {
			_, err := a.MustCaller().Encrypt(t.Context(), kms.EncryptRequest{Key: k, Plaintext: []byte("m"), Layout: kms.LayoutNative})
			return err
		}
	}
	for _, tc := range []struct {
		name string
		do   func() error
		want int // of 30, at least; a token more for each second that the test takes
	}{
		{"encrypt", encrypt(app, aes), 20},
		{"sign", func() error {
			_, err := app.MustCaller().Sign(t.Context(), kms.SignRequest{Key: ec, Input: kms.SigningInput{Message: []byte("m")}})
			return err
		}, 10},
		{"list", func() error { _, err := app.MustCaller().ListKeys(t.Context(), kms.ListKeysRequest{}); return err }, 5},
		{"change, of what was spent on listing", func() error { return app.MustCaller().SetKeyEnabled(t.Context(), aes.ID, true) }, 0},
		{"another app", encrypt(other, others), 20},
	} {
		got := 0
		for range 30 {
			err := tc.do()
			if err == nil {
				got++
			} else if !errors.Is(err, kms.Exhausted) || kms.RetryAfter(err) <= 0 || kms.RetryAfter(err) > time.Second {
				t.Fatalf("%s: %v, retry after %s", tc.name, err, kms.RetryAfter(err))
			}
		}
		if got < tc.want || got > tc.want+5 {
			t.Errorf("%s: %d of 30 let through, want %d", tc.name, got, tc.want)
		}
	}
	node.Clock.Move(time.Minute)
	if err := encrypt(app, aes)(); err != nil {
		t.Errorf("a minute later: %v", err)
	}
	if got := node.Core().Limited(kms.SymmetricWork); got < 10 {
		t.Errorf("%d refusals counted", got)
	}
}

// A request pays once, whatever it takes to do it.
func TestAnOperationPaysOnce(t *testing.T) {
	d, node := limited(t, func(*govern.Limits) {})
	app := node.Enrol()
	from, to := newKey(t, app, kms.AES256GCM), newKey(t, app, kms.AES256GCM)
	c, err := app.MustCaller().Encrypt(t.Context(), kms.EncryptRequest{Key: from, Plaintext: []byte("m"), Layout: kms.LayoutNative})
	sealed := must(t, c, err).Data
	limit(t, d, func(l *govern.Limits) { l.Symmetric = slowest(3) })
	for i := range 3 {
		if _, err := app.MustCaller().Reencrypt(t.Context(), kms.ReencryptRequest{Source: kms.DecryptRequest{Data: sealed, Layout: kms.LayoutNative},
			Target: kms.EncryptRequest{Key: to, Layout: kms.LayoutNative}}); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// The number of keys is bounded for each app, in Apply too, and what is deleted
// makes room; an app's own limits stand in place of everybody's.
func TestKeysPerApp(t *testing.T) {
	d, node := limited(t, func(l *govern.Limits) { l.Keys = 3 })
	app, large := node.Enrol(), node.Enrol()
	create := func(a *trustedtest.App) (kms.Key, error) {
		return a.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	}
	var last kms.Key
	for range 3 {
		k, err := create(app)
		last = must(t, k, err)
	}
	if _, err := create(app); !errors.Is(err, kms.Exhausted) || kms.HintOf(err) == "" {
		t.Fatalf("a fourth key: %v", err)
	}
	limit(t, d, func(l *govern.Limits) {
		l.Keys, l.Apps = 3, []govern.OwnLimits{{App: large.ID, AppLimits: govern.AppLimits{Keys: 5}}}
	})
	for range 5 {
		if _, err := create(large); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := create(large); !errors.Is(err, kms.Exhausted) {
		t.Errorf("a sixth key of an app that may have five: %v", err)
	}
	node.Restart() // the counts follow from the log
	if _, err := create(app); !errors.Is(err, kms.Exhausted) {
		t.Errorf("after a restart: %v", err)
	}
	if err := app.MustCaller().DeleteKey(t.Context(), last.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := create(app); err != nil {
		t.Errorf("after one was deleted: %v", err)
	}
	if err := app.MustCaller().DeleteAllKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := create(app); err != nil {
			t.Errorf("after all were deleted: %v", err)
		}
	}
}

// What is limited is counted, and no label or field says whose it was.
func TestNodeMetrics(t *testing.T) {
	d, node := limited(t, func(*govern.Limits) {})
	app := node.Enrol()
	key := newKey(t, app, kms.AES256GCM)
	limit(t, d, func(l *govern.Limits) { l.Symmetric = slowest(1) })
	for range 5 {
		_, _ = app.MustCaller().Encrypt(t.Context(), kms.EncryptRequest{Key: key, Plaintext: []byte("m"), Layout: kms.LayoutNative})
	}
	again := app.Credential("twice")
	_, _ = node.Core().Authenticate(t.Context(), again)
	_, _ = node.Core().Authenticate(t.Context(), again)
	m := node.Server().Metrics()
	if !m.Ready || !m.Running || m.Secure || m.Apps != 1 || m.Keys != 1 || m.PolicySerial != 3 || m.Limited[kms.SymmetricWork] < 3 || m.Replayed != 1 {
		t.Errorf("%+v", m)
	}
	if !m.Raft.Leader || !m.Raft.HasLead || m.Raft.Voters != 1 || m.Raft.Applied == 0 || m.Raft.Commit < m.Raft.Applied || m.Raft.Term == 0 {
		t.Errorf("%+v", m.Raft)
	}
	server := node.Server()
	if r := server.Readiness(); !r.Ready || len(r.Reasons) != 0 {
		t.Errorf("%+v", r)
	}
	_ = node.Stop()
	if m := server.Metrics(); m.Ready || m.Running {
		t.Errorf("of a node that has stopped: %+v", m)
	}
	if r := server.Readiness(); r.Ready || len(r.Reasons) != 1 {
		t.Errorf("of a node that has stopped: %+v", r)
	}
}

package core_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A tenant is an app with its first credential, on a node that is real.
type tenant struct {
	*trustedtest.App
	t    *testing.T
	node *trustedtest.Node
}

func newTenant(t *testing.T) *tenant {
	t.Helper()
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	return &tenant{App: n.Enrol(), t: t, node: n}
}

// as is the tenant with another of its credentials.
func (x *tenant) as(c kms.NewCredential) *tenant {
	return &tenant{App: x.node.App(kms.AppID(c.ID), c.APIKey), t: x.t, node: x.node}
}

func (x *tenant) create(p kms.Permissions, life time.Duration) kms.NewCredential {
	x.t.Helper()
	r := kms.CreateCredentialRequest{Name: "another", Permissions: p}
	if life != 0 {
		r.Expires = x.node.Clock.Now().Add(life)
	}
	c, err := x.MustCaller().CreateCredential(x.t.Context(), r)
	if err != nil {
		x.t.Fatal(err)
	}
	return c
}

func (x *tenant) list() map[kms.CredentialID]kms.Permissions {
	x.t.Helper()
	all, err := x.MustCaller().ListCredentials(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	out := map[kms.CredentialID]kms.Permissions{}
	for _, c := range all {
		out[c.ID] = c.Permissions
	}
	return out
}

// works fails the test unless the credential is taken, or is not, as good says.
func (x *tenant) works(what string, good bool) {
	x.t.Helper()
	_, err := x.Caller()
	if (err == nil) != good || err != nil && !errors.Is(err, kms.Unauthenticated) {
		x.t.Errorf("%s: %v", what, err)
	}
}

func want(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) && (err != nil || kind != nil) {
		t.Errorf("%s: %v, want %v", what, err, kind)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	first := kms.CredentialID(x.ID)
	second := x.create(kms.PermUse|kms.PermRead, 0)
	if second.App != x.ID || second.Name != "another" || !second.Expires.IsZero() || len(second.APIKey) != 32 || second.APIKey == x.APIKey {
		t.Errorf("%+v", second.CredentialInfo)
	}
	if diff := cmp.Diff(map[kms.CredentialID]kms.Permissions{first: kms.PermAll, second.ID: kms.PermUse | kms.PermRead}, x.list()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	y := x.as(second)
	if diff := cmp.Diff(x.list(), y.list()); diff != "" {
		t.Errorf("two credentials of one app see different ones:\n%s", diff)
	}
	// They are one tenant: what one makes the other may use.
	key, err := x.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	want(t, "creating a key", err, nil)
	_, err = y.MustCaller().Encrypt(t.Context(), kms.EncryptRequest{Key: kms.KeyRef{ID: key.ID}, Plaintext: []byte("x"), Layout: kms.LayoutNative})
	want(t, "using it", err, nil)

	x.node.Restart()
	y.works("after a restart", true)
	want(t, "revoking", x.MustCaller().RevokeCredential(t.Context(), second.ID), nil)
	y.works("revoked", false)
	want(t, "revoking again", x.MustCaller().RevokeCredential(t.Context(), second.ID), kms.NotFound)
	want(t, "revoking the last", x.MustCaller().RevokeCredential(t.Context(), first), kms.Misused)
}

// TestPermissions goes through what there is and asks each kind of credential
// for it.
func TestPermissions(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	ctx := t.Context()
	key, err := x.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated, Exportable: true})
	if err != nil {
		t.Fatal(err)
	}
	ref := kms.KeyRef{ID: key.ID}
	do := map[string]struct {
		needs kms.Permissions
		do    func(*server.Caller) error
	}{
		"list keys": {kms.PermRead, func(c *server.Caller) error { _, err := c.ListKeys(ctx, kms.ListKeysRequest{}); return err }},
		"encrypt": {kms.PermUse, func(c *server.Caller) error {
			_, err := c.Encrypt(ctx, kms.EncryptRequest{Key: ref, Plaintext: []byte("x"), Layout: kms.LayoutNative})
			return err
		}},
		"data key": {kms.PermUse, func(c *server.Caller) error {
			_, err := c.GenerateDataKey(ctx, kms.DataKeyRequest{Key: ref, Length: 32, Layout: kms.LayoutNative})
			return err
		}},
		"create a key": {kms.PermManage, func(c *server.Caller) error {
			_, err := c.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
			return err
		}},
		"enable": {kms.PermManage, func(c *server.Caller) error { return c.SetKeyEnabled(ctx, key.ID, true) }},
		"delete": {kms.PermManage, func(c *server.Caller) error { return c.DeleteKey(ctx, kms.KeyID{1}) }},
		"export": {kms.PermManage | kms.PermUse, func(c *server.Caller) error { _, err := c.ExportKey(ctx, ref); return err }},
		"list credentials": {kms.PermRead, func(c *server.Caller) error {
			_, err := c.ListCredentials(ctx)
			return err
		}},
		"revoke": {kms.PermManage, func(c *server.Caller) error {
			err := c.RevokeCredential(ctx, kms.CredentialID{1})
			if errors.Is(err, kms.NotFound) {
				return nil
			}
			return err
		}},
	}
	for p := kms.Permissions(1); p <= kms.PermAll; p++ {
		made := x.create(p, 0)
		y := x.as(made)
		for what, op := range do {
			err := op.do(y.MustCaller())
			if allowed := p.Has(op.needs); allowed && err != nil || !allowed && !errors.Is(err, kms.Denied) {
				t.Errorf("%s with %q: %v", what, p, err)
			}
		}
		for q := kms.Permissions(1); q <= kms.PermAll; q++ { // none gives away what it has not
			_, err := y.MustCaller().CreateCredential(ctx, kms.CreateCredentialRequest{Permissions: q})
			if allowed := p.Has(kms.PermManage | q); !allowed && !errors.Is(err, kms.Denied) || allowed && err != nil && !errors.Is(err, kms.Exhausted) {
				t.Errorf("%q gives %q: %v", p, q, err)
			}
		}
		_, err := y.MustCaller().RotateCredential(ctx, kms.RotateCredentialRequest{ID: kms.CredentialID(x.ID), Grace: time.Hour})
		if p != kms.PermAll && !errors.Is(err, kms.Denied) {
			t.Errorf("%q rotates a credential with all: %v", p, err)
		}
		x.clean()
	}
}

// clean revokes all of the tenant's credentials but this one.
func (x *tenant) clean() {
	x.t.Helper()
	for id := range x.list() {
		if id != kms.CredentialID(x.ID) {
			want(x.t, "revoking", x.MustCaller().RevokeCredential(x.t.Context(), id), nil)
		}
	}
}

func TestCredentialRequests(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	now := x.node.Clock.Now()
	for _, c := range []struct {
		name string
		r    kms.CreateCredentialRequest
		want error
	}{
		{"no permissions", kms.CreateCredentialRequest{}, kms.Invalid},
		{"unknown permissions", kms.CreateCredentialRequest{Permissions: 128}, kms.Invalid},
		{"a long name", kms.CreateCredentialRequest{Permissions: kms.PermUse, Name: string(make([]byte, 65))}, kms.Invalid},
		{"a name with a line feed", kms.CreateCredentialRequest{Permissions: kms.PermUse, Name: "a\nb"}, kms.Invalid},
		{"over already", kms.CreateCredentialRequest{Permissions: kms.PermUse, Expires: now}, kms.Invalid},
		{"in 1970", kms.CreateCredentialRequest{Permissions: kms.PermUse, Expires: time.Unix(0, 0)}, kms.Invalid},
		{"in the year 9999", kms.CreateCredentialRequest{Permissions: kms.PermUse, Expires: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, kms.Invalid},
		{"good", kms.CreateCredentialRequest{Permissions: kms.PermUse, Expires: now.Add(time.Hour)}, nil},
	} {
		_, err := x.MustCaller().CreateCredential(t.Context(), c.r)
		want(t, c.name, err, c.want)
	}
	for grace, kind := range map[time.Duration]error{-time.Second: kms.Invalid, kms.MaxGrace + 1: kms.Invalid} {
		_, err := x.MustCaller().RotateCredential(t.Context(), kms.RotateCredentialRequest{ID: kms.CredentialID(x.ID), Grace: grace})
		want(t, grace.String(), err, kind)
	}
}

// Time limits hold: of a credential, of its grace time, and of what it hands out.
func TestCredentialTimes(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	short := x.create(kms.PermAll, time.Hour)
	y := x.as(short)
	_, err := y.MustCaller().CreateCredential(t.Context(), kms.CreateCredentialRequest{Permissions: kms.PermUse})
	want(t, "one that ends makes one that does not", err, kms.Denied)
	_, err = y.MustCaller().CreateCredential(t.Context(), kms.CreateCredentialRequest{Permissions: kms.PermUse, Expires: short.Expires.Add(1)})
	want(t, "one that ends makes one that ends later", err, kms.Denied)
	_, err = y.MustCaller().RotateCredential(t.Context(), kms.RotateCredentialRequest{ID: kms.CredentialID(x.ID)})
	want(t, "one that ends takes over one that does not", err, kms.Denied)
	_, err = y.MustCaller().CreateCredential(t.Context(), kms.CreateCredentialRequest{Permissions: kms.PermUse, Expires: short.Expires})
	want(t, "one that ends makes one that ends then", err, nil)

	next, err := y.MustCaller().RotateCredential(t.Context(), kms.RotateCredentialRequest{ID: short.ID, Grace: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	z := x.as(next)
	if !next.Expires.Equal(short.Expires) || next.Permissions != kms.PermAll || next.Name != short.Name || next.ID == short.ID {
		t.Errorf("%+v after %+v", next.CredentialInfo, short.CredentialInfo)
	}
	y.works("in its grace time", true)
	z.works("the successor", true)
	x.node.Clock.Move(10*time.Minute - time.Second)
	y.works("at the end of its grace time", true)
	x.node.Clock.Move(time.Second)
	y.works("after its grace time", false)
	z.works("the successor", true)
	if _, listed := x.list()[short.ID]; listed {
		t.Error("a credential that is over is listed")
	}
	x.node.Restart()
	y.works("after a restart", false)
	x.node.Clock.Move(time.Hour)
	z.works("after its time", false)
	x.node.Clock.Move(-10 * time.Hour)
	z.works("with the clock set back", false)
	x.node.Clock.Move(10 * time.Hour)
	x.works("the first one", true)
}

// A tenant can rotate the credential that it calls with, also without a grace
// time, and its only one.
func TestRotateSelf(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	old := x.MustCaller() // was authenticated before
	next, err := x.MustCaller().RotateCredential(t.Context(), kms.RotateCredentialRequest{ID: kms.CredentialID(x.ID)})
	if err != nil {
		t.Fatal(err)
	}
	x.works("the old one", false)
	y := x.as(next)
	y.works("the new one", true)
	_, err = old.CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	want(t, "a change under way when the credential ended", err, kms.Unauthenticated)
	if diff := cmp.Diff(map[kms.CredentialID]kms.Permissions{next.ID: kms.PermAll}, y.list()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOtherTenantsCredentials(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	y := &tenant{App: x.node.Enrol(), t: t, node: x.node}
	c := x.create(kms.PermUse, 0)
	_, err := y.MustCaller().RotateCredential(t.Context(), kms.RotateCredentialRequest{ID: c.ID})
	want(t, "rotating another's", err, kms.Foreign)
	want(t, "revoking another's", y.MustCaller().RevokeCredential(t.Context(), c.ID), kms.Foreign)
	want(t, "revoking another's first", y.MustCaller().RevokeCredential(t.Context(), kms.CredentialID(x.ID)), kms.Foreign)
	x.as(c).works("all the same", true)
	if len(y.list()) != 1 {
		t.Error("another tenant's credentials are listed")
	}
}

// Many at once make no more than there may be, and no two secrets alike.
func TestCredentialsAtOnce(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	var mu sync.Mutex
	var wg sync.WaitGroup
	keys := map[string]bool{}
	for range 2 * kms.MaxCredentials {
		c := x.MustCaller()
		wg.Go(func() {
			made, err := c.CreateCredential(context.Background(), kms.CreateCredentialRequest{Permissions: kms.PermUse})
			mu.Lock()
			defer mu.Unlock()
			if err != nil && !errors.Is(err, kms.Exhausted) {
				t.Error(err)
			}
			if err == nil {
				keys[made.APIKey] = true
			}
		})
	}
	wg.Wait()
	if len(keys) != kms.MaxCredentials-1 || len(x.list()) != kms.MaxCredentials {
		t.Errorf("%d were made, %d are there", len(keys), len(x.list()))
	}
}

package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

func createSecret(t *testing.T, app *trustedtest.App, name kms.SecretName, value string, key kms.KeyID) kms.SecretInfo {
	t.Helper()
	i, err := app.MustCaller().CreateSecret(t.Context(), kms.CreateSecretRequest{Name: name, Value: []byte(value), Key: key})
	return must(t, i, err)
}

func putSecret(app *trustedtest.App, name kms.SecretName, value string) (kms.SecretVersionInfo, error) {
	return app.MustCaller().PutSecret(context.Background(), kms.PutSecretRequest{Name: name, Value: []byte(value)})
}

func getSecret(app *trustedtest.App, name kms.SecretName, n kms.SecretVersion) (string, error) {
	v, err := app.MustCaller().GetSecret(context.Background(), kms.GetSecretRequest{Name: name, Version: n})
	return string(v.Data), err
}

func wantSecret(t *testing.T, app *trustedtest.App, name kms.SecretName, n kms.SecretVersion, want string) {
	t.Helper()
	if got, err := getSecret(app, name, n); err != nil || got != want {
		t.Errorf("%q, version %d: %q, %v; want %q", name, n, got, err, want)
	}
}

func deleteSecret(app *trustedtest.App, name kms.SecretName, days int) (kms.SecretInfo, error) {
	return app.MustCaller().DeleteSecret(context.Background(), kms.DeleteSecretRequest{Name: name, Days: days, Force: days == 0})
}

func secretsKey(t *testing.T, app *trustedtest.App, spec kms.Spec) kms.KeyID {
	t.Helper()
	k, err := app.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: spec, Origin: kms.Generated})
	return must(t, k, err).ID
}

// TestSecretsRoundTrip: values and names of any bytes that text has, up to the
// limits, under each kind of protection, and after a restart; none is logged.
func TestSecretsRoundTrip(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	node := d.Nodes[0]
	app, other := node.Enrol(), node.Enrol()
	control := ""
	for c := range 32 {
		control += string(rune(c))
	}
	printable := "printable and planted: !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	d.Log.Plant([]byte(printable))
	values := map[kms.SecretName]string{
		"printable": printable, "control\x00\n\x7f\u2028": control + "\x7f", "ключ": "значение 値 🔑", "&secretName=x": "a&b=c",
		kms.SecretName(strings.Repeat("é", 64)): strings.Repeat("\xff\x00", kms.MaxSecretValue/2), "x": "x",
	}
	keys := []kms.KeyID{{}, secretsKey(t, app, kms.AES256GCM), secretsKey(t, app, kms.SM4CTR), secretsKey(t, app, kms.SM4CBC)}
	n := 0
	for name, value := range values {
		createSecret(t, app, name, value, keys[n%len(keys)])
		n++
		_, err := app.MustCaller().CreateSecret(t.Context(), kms.CreateSecretRequest{Name: name, Value: []byte("y")})
		wantKind(t, "the name again", err, kms.Exists)
	}
	for range 2 {
		for name, value := range values {
			wantSecret(t, app, name, 0, value)
			_, err := getSecret(other, name, 0)
			wantKind(t, "another app", err, kms.NotFound)
		}
		node.Restart()
	}
	page, err := app.MustCaller().ListSecrets(t.Context(), kms.ListSecretsRequest{Limit: 4})
	if err != nil || len(page.Secrets) != 4 || page.Next == "" {
		t.Errorf("%d, %q, %v", len(page.Secrets), page.Next, err)
	}
	page, err = app.MustCaller().ListSecrets(t.Context(), kms.ListSecretsRequest{After: page.Next})
	if err != nil || len(page.Secrets) != 2 || page.Next != "" {
		t.Errorf("%d, %q, %v", len(page.Secrets), page.Next, err)
	}
	if page, err = other.MustCaller().ListSecrets(t.Context(), kms.ListSecretsRequest{}); err != nil || len(page.Secrets) != 0 {
		t.Errorf("another app sees %v, %v", page, err)
	}
	for _, r := range []kms.CreateSecretRequest{{Name: "", Value: []byte("x")}, {Name: "n"}, {Name: kms.SecretName(strings.Repeat("é", 65)), Value: []byte("x")},
		{Name: "a\xff", Value: []byte("x")}, {Name: "n", Value: []byte("x"), Rotation: "5h"}, {Name: "n", Value: []byte("x"), Rotation: "x"}} {
		_, err := app.MustCaller().CreateSecret(t.Context(), r)
		wantKind(t, fmt.Sprintf("%+v", r), err, kms.Invalid)
	}
	_, err = app.MustCaller().CreateSecret(t.Context(), kms.CreateSecretRequest{Name: "n", Value: make([]byte, kms.MaxSecretValue+1)})
	wantKind(t, "a long value", err, kms.TooLarge)
}

// TestConcurrentPuts: each put gets a version of its own, and none is lost (D10);
// of concurrent creations one wins.
func TestConcurrentPuts(t *testing.T) {
	const puts = 24
	node := trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	var group sync.WaitGroup
	var mu sync.Mutex
	made, got := 0, map[kms.SecretVersion]string{}
	for i := range puts {
		group.Go(func() {
			_, err := app.MustCaller().CreateSecret(context.Background(), kms.CreateSecretRequest{Name: "s", Value: []byte("first")})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
			} else if !errors.Is(err, kms.Exists) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	group.Wait()
	for i := range puts {
		group.Go(func() {
			v, err := putSecret(app, "s", fmt.Sprint(i))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			got[v.Number] = fmt.Sprint(i)
		})
	}
	group.Wait()
	if made != 1 || len(got) != puts {
		t.Errorf("%d were made, and %d versions put", made, len(got))
	}
	for n, value := range got {
		wantSecret(t, app, "s", n, value)
	}
	wantSecret(t, app, "s", puts+1, got[puts+1])
	wantSecret(t, app, "s", 0, got[puts+1])
}

// TestThousandVersions: a forced deletion leaves none, and the name is another
// secret's then (D6).
func TestThousandVersions(t *testing.T) {
	node := trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	createSecret(t, app, "s", "1", kms.KeyID{})
	for n := 2; n <= 1000; n++ {
		if _, err := putSecret(app, "s", fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
	wantSecret(t, app, "s", 400, "400")
	page, err := app.MustCaller().ListSecretVersions(t.Context(), kms.ListSecretVersionsRequest{Name: "s", After: 990, Limit: 7})
	if err != nil || page.Total != 1000 || len(page.Versions) != 7 || page.Next != 997 {
		t.Errorf("%d of %d, next %d, %v", len(page.Versions), page.Total, page.Next, err)
	}
	_, err = deleteSecret(app, "s", 0)
	must(t, 0, err)
	createSecret(t, app, "s", "new", kms.KeyID{})
	for _, n := range []kms.SecretVersion{2, 400, 1000} {
		_, err := getSecret(app, "s", n)
		wantKind(t, fmt.Sprint("version ", n), err, kms.NotFound)
	}
	wantSecret(t, app, "s", 1, "new")
	node.Restart()
	_, err = getSecret(app, "s", 2)
	wantKind(t, "after a restart", err, kms.NotFound)
	wantSecret(t, app, "s", 0, "new")
}

// TestRestoreWins: a secret that was restored stays, whatever was scheduled, also
// over restarts (D3); one that was not goes, with its name.
func TestRestoreWins(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	for _, name := range []kms.SecretName{"kept", "lost"} {
		createSecret(t, app, name, "v", kms.KeyID{})
		i, err := deleteSecret(app, name, 7)
		if must(t, i, err); i.Due.IsZero() {
			t.Error("no due time")
		}
		_, err = getSecret(app, name, 0)
		wantKind(t, "read while it is scheduled", err, kms.Disabled)
		_, err = putSecret(app, name, "w")
		wantKind(t, "put while it is scheduled", err, kms.Disabled)
		_, err = app.MustCaller().CreateSecret(ctx, kms.CreateSecretRequest{Name: name, Value: []byte("w")})
		wantKind(t, "created while it is scheduled", err, kms.Exists)
	}
	node.Restart()
	node.Clock.Move(7*kms.Day - time.Hour)
	_, err := app.MustCaller().RestoreSecret(ctx, "kept")
	must(t, 0, err)
	node.Clock.Move(2 * time.Hour)
	must(t, 0, node.Core().Tick(ctx, nil))
	wantSecret(t, app, "kept", 0, "v")
	_, err = app.MustCaller().RestoreSecret(ctx, "lost")
	wantKind(t, "restored too late", err, kms.NotFound)
	node.Clock.Move(400 * kms.Day)
	node.Server().Examine(ctx) // its evidence is as old by now
	must(t, 0, node.Core().Tick(ctx, nil))
	wantSecret(t, app, "kept", 0, "v")
	createSecret(t, app, "lost", "again", kms.KeyID{})
	wantSecret(t, app, "lost", 0, "again")
}

// TestSecretsFollowTheirKey: secrets move to a key's new version by themselves, the
// key stays while it protects one, and moving them away lets it go.
func TestSecretsFollowTheirKey(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, other := node.Enrol(), node.Enrol()
	key, foreign := secretsKey(t, app, kms.AES256GCM), secretsKey(t, other, kms.AES256GCM)
	createSecret(t, app, "a", "1", key)
	_, err := putSecret(app, "a", "2")
	must(t, 0, err)
	createSecret(t, app, "b", "1", key)
	for name, k := range map[kms.SecretName]kms.KeyID{"foreign": foreign, "unknown": {1}, "signing": secretsKey(t, app, kms.ECP256)} {
		_, err := app.MustCaller().CreateSecret(ctx, kms.CreateSecretRequest{Name: name, Value: []byte("x"), Key: k})
		var e *kms.Error
		if err == nil || !errors.As(err, &e) || e.Field != "key" {
			t.Errorf("under a %s key: %v", name, err)
		}
	}
	versions := func() (all []kms.KeyVersion) {
		page, err := app.MustCaller().ListSecretVersions(ctx, kms.ListSecretVersionsRequest{Name: "a"})
		for _, v := range must(t, page, err).Versions {
			all = append(all, v.Key.Version)
		}
		return all
	}
	_, err = app.MustCaller().RotateKey(ctx, key)
	must(t, 0, err)
	_, err = putSecret(app, "a", "3")
	must(t, 0, err)
	node.Server().KeepSecrets(ctx)
	if got := versions(); fmt.Sprint(got) != "[2 2 2]" {
		t.Errorf("after the rotation the versions are under %v", got)
	}
	for _, to := range []kms.VersionState{kms.VersionDisabled, kms.VersionDestroyed} {
		_, err = app.MustCaller().SetVersionState(ctx, kms.SetVersionStateRequest{Key: kms.KeyRef{ID: key, Version: 1}, State: to})
		must(t, 0, err)
	}
	for n, want := range []string{"1", "2", "3"} {
		wantSecret(t, app, "a", kms.SecretVersion(n+1), want)
	}
	held := func(what string, err error) {
		t.Helper()
		wantKind(t, what, err, kms.Misused)
		var list *kms.KeyHeldError
		if !errors.As(err, &list) || fmt.Sprint(list.Secrets) != "[a b]" {
			t.Errorf("%s: %v", what, err)
		}
	}
	held("deleted", app.MustCaller().DeleteKey(ctx, key))
	held("all deleted", app.MustCaller().DeleteAllKeys(ctx))
	_, err = app.MustCaller().ScheduleDeletion(ctx, kms.ScheduleDeletionRequest{Key: key})
	held("scheduled", err)

	must(t, 0, app.MustCaller().SetKeyEnabled(ctx, key, false))
	_, err = getSecret(app, "a", 0)
	wantKind(t, "the key is disabled", err, kms.Disabled)
	must(t, 0, app.MustCaller().SetKeyEnabled(ctx, key, true))
	next := secretsKey(t, app, kms.AES128GCM)
	i, err := app.MustCaller().SetSecretKey(ctx, kms.SetSecretKeyRequest{Name: "a", Key: next})
	must(t, i, err)
	i, err = app.MustCaller().SetSecretKey(ctx, kms.SetSecretKeyRequest{Name: "b"})
	if must(t, i, err); i.Key != (kms.KeyID{}) {
		t.Errorf("%+v", i)
	}
	must(t, 0, app.MustCaller().DeleteKey(ctx, key))
	wantSecret(t, app, "a", 2, "2")
	wantSecret(t, app, "b", 0, "1")
}

// TestSecretUnderCondition: the condition of a key holds for the secrets that it
// protects: reading takes a program that may decrypt, changing one that may encrypt.
func TestSecretUnderCondition(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	fits := newWorkload(t, node, "fits")
	k, err := app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated, Condition: condition(kms.EncryptDecrypt, fits.identity())})
	key := must(t, k, err).ID
	create := kms.CreateSecretRequest{Name: "s", Value: []byte("v"), Key: key}
	_, err = app.MustCaller().CreateSecret(ctx, create)
	wantKind(t, "created without evidence", err, kms.Denied)
	ticket := fits.open()
	_, err = fits.mustWith(app, ticket).CreateSecret(ctx, create)
	must(t, 0, err)
	_, err = getSecret(app, "s", 0)
	wantKind(t, "read without evidence", err, kms.Denied)
	v, err := fits.mustWith(app, ticket).GetSecret(ctx, kms.GetSecretRequest{Name: "s"})
	if must(t, v, err); string(v.Data) != "v" {
		t.Errorf("read %q", v.Data)
	}
	_, err = putSecret(app, "s", "w")
	wantKind(t, "put without evidence", err, kms.Denied)
	_, err = deleteSecret(app, "s", 0)
	wantKind(t, "deleted without evidence", err, kms.Denied)
	_, err = app.MustCaller().LabelSecret(ctx, kms.LabelSecretRequest{Name: "s", Label: "x", Version: 1})
	wantKind(t, "labelled without evidence", err, kms.Denied)
	for what, c := range map[string]kms.KeyID{"to the domain's": {}, "to another key": secretsKey(t, app, kms.AES256GCM)} {
		_, err = fits.mustWith(app, ticket).SetSecretKey(ctx, kms.SetSecretKeyRequest{Name: "s", Key: c})
		wantKind(t, "moved "+what, err, kms.Denied)
	}
	_, err = fits.mustWith(app, ticket).PutSecret(ctx, kms.PutSecretRequest{Name: "s", Value: []byte("w")})
	must(t, 0, err)
	_, err = fits.mustAlone(ticket).GetSecret(ctx, kms.GetSecretRequest{Name: "s"})
	wantKind(t, "read without an app", err, kms.Denied)
}

// TestSecretPermissions: each permission is good for its own and no more.
func TestSecretPermissions(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	createSecret(t, app, "s", "v", kms.KeyID{})
	for _, c := range []struct {
		p                 kms.Permissions
		read, look, write bool
	}{
		{kms.PermSecrets, true, true, true}, {kms.PermValues, true, false, false}, {kms.PermRead, false, true, false}, {kms.PermUse | kms.PermManage, false, false, false},
	} {
		made, err := app.MustCaller().CreateCredential(ctx, kms.CreateCredentialRequest{Permissions: c.p})
		must(t, made, err)
		as := *node.App(app.ID, made.APIKey)
		caller := func() interface {
			GetSecret(context.Context, kms.GetSecretRequest) (kms.SecretValue, error)
			DescribeSecret(context.Context, kms.SecretName) (kms.SecretInfo, error)
			PutSecret(context.Context, kms.PutSecretRequest) (kms.SecretVersionInfo, error)
		} {
			cred := as.Credential(fmt.Sprint(c.p, time.Now().UnixNano()))
			cred.ID = made.ID
			got, err := node.Core().Authenticate(ctx, cred)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		_, get := caller().GetSecret(ctx, kms.GetSecretRequest{Name: "s"})
		_, describe := caller().DescribeSecret(ctx, "s")
		_, put := caller().PutSecret(ctx, kms.PutSecretRequest{Name: "s", Value: []byte("w")})
		for what, r := range map[string]struct {
			err error
			may bool
		}{"read": {get, c.read}, "look": {describe, c.look}, "write": {put, c.write}} {
			if (r.err == nil) != r.may || r.err != nil && !errors.Is(r.err, kms.Denied) {
				t.Errorf("%v may %s: %v", c.p, what, r.err)
			}
		}
	}
}

// TestSecretLabels: pending values, promotion, and going back.
func TestSecretLabels(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	createSecret(t, app, "s", "old", kms.KeyID{})
	v, err := app.MustCaller().PutSecret(ctx, kms.PutSecretRequest{Name: "s", Value: []byte("new"), Pending: true, Labels: []string{"next"}})
	if must(t, v, err); fmt.Sprint(v.Labels) != "[next]" {
		t.Errorf("%+v", v)
	}
	wantSecret(t, app, "s", 0, "old")
	by := func(label, want string) {
		t.Helper()
		v, err := app.MustCaller().GetSecret(ctx, kms.GetSecretRequest{Name: "s", Label: label})
		if err != nil || !bytes.Equal(v.Data, []byte(want)) {
			t.Errorf("%s: %q, %v", label, v.Data, err)
		}
	}
	by("next", "new")
	promote := func(n kms.SecretVersion) {
		_, err := app.MustCaller().LabelSecret(ctx, kms.LabelSecretRequest{Name: "s", Label: kms.LabelCurrent, Version: n})
		must(t, 0, err)
	}
	promote(2)
	by(kms.LabelCurrent, "new")
	by(kms.LabelPrevious, "old")
	promote(1)
	by(kms.LabelCurrent, "old")
	by(kms.LabelPrevious, "new")
	_, err = app.MustCaller().GetSecret(ctx, kms.GetSecretRequest{Name: "s", Label: "none"})
	wantKind(t, "a label that is not", err, kms.NotFound)
	_, err = app.MustCaller().GetSecret(ctx, kms.GetSecretRequest{Name: "s", Label: "next", Version: 1})
	wantKind(t, "both", err, kms.Invalid)
}

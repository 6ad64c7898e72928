package native_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// TestSecretsSDK lives through a secret with the SDK, on a real node.
func TestSecretsSDK(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c, _ := n.enrol()
	stranger, _ := n.enrol()
	ctx, secrets := t.Context(), c.Secrets()
	value := bytes.Repeat([]byte{0, 0xff, '\n'}, kms.MaxSecretValue/3)
	n.domain.Log.Plant(value[:64])
	key := ok(c.Keys().Create(ctx, kms.CreateKeyRequest{Alias: "alias/secrets"}))
	i := ok(secrets.Create(ctx, client.NewSecret{Name: "a\x00b", Value: value, Key: "alias/secrets", Description: "text", Rotation: "30d"}))
	if i.Name != "a\x00b" || i.Key != key.ID || i.Description != "text" || i.Rotation != "30d" || i.Current != 1 || !i.Rotated.IsZero() || i.NextRotated.Sub(i.Created) != 30*kms.Day {
		t.Errorf("%+v", i)
	}
	_, err := secrets.Create(ctx, client.NewSecret{Name: "a\x00b", Value: value})
	kind(t, "the name again", err, kms.Exists)
	v := ok(secrets.Put(ctx, kms.PutSecretRequest{Name: "a\x00b", Value: []byte("two"), Pending: true, Labels: []string{"next"}}))
	if v.Number != 2 || v.Key != (kms.KeyRef{ID: key.ID, Version: 1}) || len(v.Labels) != 1 {
		t.Errorf("%+v", v)
	}
	if got := ok(secrets.Get(ctx, kms.GetSecretRequest{Name: "a\x00b"})); !bytes.Equal(got.Data, value) || got.Number != 1 {
		t.Errorf("%d bytes of version %d", len(got.Data), got.Number)
	}
	if got := ok(secrets.Get(ctx, kms.GetSecretRequest{Name: "a\x00b", Label: "next"})); string(got.Data) != "two" {
		t.Errorf("%q", got.Data)
	}
	if i = ok(secrets.Promote(ctx, "a\x00b", 2)); i.Current != 2 || i.Rotated.IsZero() {
		t.Errorf("%+v", i)
	}
	i = ok(secrets.Label(ctx, kms.LabelSecretRequest{Name: "a\x00b", Label: "next"}))
	if i = ok(secrets.DestroyVersion(ctx, "a\x00b", 1)); i.Versions != 1 || len(i.Labels) != 1 {
		t.Errorf("%+v", i)
	}
	none, text := kms.RotationInterval(""), "other"
	if i = ok(secrets.Update(ctx, kms.UpdateSecretRequest{Name: "a\x00b", Description: &text, Rotation: &none})); i.Description != text || !i.NextRotated.IsZero() {
		t.Errorf("%+v", i)
	}
	err = c.Keys().Delete(ctx, "alias/secrets")
	kind(t, "the key deleted", err, kms.Misused)
	if err == nil || !strings.Contains(err.Error(), `"a\x00b"`) {
		t.Errorf("%v", err)
	}
	ok(secrets.SetKey(ctx, "a\x00b", ""))
	kind(t, "the key deleted", c.Keys().Delete(ctx, "alias/secrets"), nil)

	for _, name := range []kms.SecretName{"x", "y", "z"} {
		ok(secrets.Create(ctx, client.NewSecret{Name: name, Value: []byte("v")}))
	}
	var names []kms.SecretName
	f := client.SecretFilter{PageSize: 2}
	for {
		page := ok(secrets.List(ctx, f))
		for _, s := range page.Secrets {
			names = append(names, s.Name)
		}
		if f.Page = page.Next; f.Page == "" {
			break
		}
	}
	if len(names) != 4 || names[3] != "z" || len(ok(secrets.Versions(ctx, "a\x00b"))) != 1 {
		t.Errorf("%q", names)
	}
	if page := ok(stranger.Secrets().List(ctx, client.SecretFilter{})); len(page.Secrets) != 0 {
		t.Errorf("another app sees %+v", page.Secrets)
	}
	_, err = stranger.Secrets().Get(ctx, kms.GetSecretRequest{Name: "x"})
	kind(t, "another app's", err, kms.NotFound)
	if i = ok(secrets.Delete(ctx, kms.DeleteSecretRequest{Name: "x", Days: 7})); i.Due.IsZero() {
		t.Errorf("%+v", i)
	}
	_, err = secrets.Get(ctx, kms.GetSecretRequest{Name: "x"})
	kind(t, "while it is scheduled", err, kms.Disabled)
	ok(secrets.Restore(ctx, "x"))
	ok(secrets.Delete(ctx, kms.DeleteSecretRequest{Name: "x", Force: true}))
	_, err = secrets.Describe(ctx, "x")
	kind(t, "deleted", err, kms.NotFound)
	_, err = secrets.Create(ctx, client.NewSecret{Name: "w", Value: make([]byte, kms.MaxSecretValue+1)})
	kind(t, "a long value", err, kms.TooLarge)
	_, err = secrets.List(ctx, client.SecretFilter{Page: "!"})
	kind(t, "no page token", err, kms.Invalid)
}

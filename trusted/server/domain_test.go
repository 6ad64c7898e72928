package server_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// used encrypts on one node and decrypts on another.
func used(t *testing.T, app *trustedtest.App, key kms.KeyID, on, other *trustedtest.Node) {
	t.Helper()
	ctx := context.Background()
	plain := []byte("what one node sealed")
	c, err := app.On(on).MustCaller().Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: key}, Plaintext: plain, Layout: kms.LayoutNative})
	if err != nil {
		t.Fatal(err)
	}
	p, err := app.On(other).MustCaller().Decrypt(ctx, kms.DecryptRequest{Data: c.Data, Layout: kms.LayoutNative})
	if err != nil || !bytes.Equal(p.Data, plain) {
		t.Fatalf("got %q, %v", p.Data, err)
	}
}

func aesKey(t *testing.T, app *trustedtest.App) kms.KeyID {
	t.Helper()
	key, err := app.MustCaller().CreateKey(context.Background(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		t.Fatal(err)
	}
	return key.ID
}

// TestAnyNodeServes: what one node made or changed every other one knows at
// once, also after all of them were stopped and started again, together.
func TestAnyNodeServes(t *testing.T) {
	d := trustedtest.NewDomain(t, 3)
	app := d.Nodes[0].Enrol()
	for i, n := range d.Nodes {
		key := aesKey(t, app.On(n))
		other := d.Nodes[(i+1)%3]
		used(t, app, key, n, other)
		if err := app.On(other).MustCaller().SetKeyEnabled(context.Background(), key, false); err != nil {
			t.Fatal(err)
		}
		for j, n := range d.Nodes {
			_, err := app.On(n).MustCaller().Encrypt(context.Background(), kms.EncryptRequest{Key: kms.KeyRef{ID: key}, Plaintext: []byte("x"), Layout: kms.LayoutNative})
			if !errors.Is(err, kms.Disabled) {
				t.Errorf("node %d: a key that node %d disabled: %v", j, (i+1)%3, err)
			}
		}
	}
	key := aesKey(t, app)
	d.RestartAll()
	used(t, app, key, d.Nodes[0], d.Nodes[1])
	used(t, app, key, d.Nodes[2], d.Nodes[0])
}

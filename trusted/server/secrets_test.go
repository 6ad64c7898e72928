package server_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

func putSecret(app *trustedtest.App, value string) error {
	c, err := app.Caller()
	if err == nil {
		_, err = c.PutSecret(ctx, kms.PutSecretRequest{Name: "s", Value: []byte(value)})
	}
	return err
}

func wantSecret(t *testing.T, app *trustedtest.App, n kms.SecretVersion, want string) {
	t.Helper()
	v, err := app.MustCaller().GetSecret(ctx, kms.GetSecretRequest{Name: "s", Version: n})
	if err != nil || string(v.Data) != want {
		t.Errorf("version %d: %q, %v; want %q", n, v.Data, err, want)
	}
}

// TestSecretsMoveWithTheMasterSecret: after a rotation nothing of them is left under
// the old generation, which can be retired.
func TestSecretsMoveWithTheMasterSecret(t *testing.T) {
	o := newOrderer(t)
	app := o.n.Enrol()
	_, err := app.MustCaller().CreateSecret(ctx, kms.CreateSecretRequest{Name: "s", Value: []byte("1")})
	if err != nil {
		t.Fatal(err)
	}
	for n := 2; n <= 80; n++ {
		if err := putSecret(app, fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
	o.rotate()
	if m := o.settled(); m.Generations[0].Wrapped != 0 || m.Generations[1].Wrapped < 80 {
		t.Errorf("%d and %d are wrapped", m.Generations[0].Wrapped, m.Generations[1].Wrapped)
	}
	if _, err := o.retire(0); err != nil {
		t.Fatal(err)
	}
	o.n.Restart()
	for _, n := range []kms.SecretVersion{1, 40, 80} {
		wantSecret(t, app, n, fmt.Sprint(n))
	}
}

// TestPutIsOneStep: a node that dies at any write of a put has the old current
// version afterwards or the new one, and never none (D5).
func TestPutIsOneStep(t *testing.T) {
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	app := n.Enrol()
	if _, err := app.MustCaller().CreateSecret(ctx, kms.CreateSecretRequest{Name: "s", Value: []byte("value 1")}); err != nil {
		t.Fatal(err)
	}
	last, done, refused := 1, 0, 0
	for writes := range 6 {
		_ = n.Stop()
		var faulty *faultdisk.Faulty
		n.Wrap = func(d server.Disk) server.Disk {
			faulty = faultdisk.New(d)
			return faulty
		}
		n.MustStart()
		faulty.KillAfter(writes)
		next := fmt.Sprint("value ", last+1)
		acknowledged := putSecret(app, next) == nil
		faulty.Kill()
		_ = n.Stop()
		n.Wrap = nil
		n.MustStart()
		v, err := app.MustCaller().GetSecret(ctx, kms.GetSecretRequest{Name: "s"})
		switch {
		case err != nil:
			t.Fatalf("dies after %d writes: %v", writes, err)
		case string(v.Data) == next && int(v.Number) == last+1:
			last, done = last+1, done+1
		case acknowledged || string(v.Data) != fmt.Sprint("value ", last) || int(v.Number) != last:
			t.Errorf("dies after %d writes: %q, version %d; acknowledged: %t", writes, v.Data, v.Number, acknowledged)
		default:
			refused++
		}
	}
	if done == 0 || refused == 0 {
		t.Errorf("%d puts were done and %d not: every case should come", done, refused)
	}
	if err := putSecret(app, "after all"); err != nil {
		t.Error(err)
	}
}

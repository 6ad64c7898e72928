package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
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
	t.Parallel()
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

// TestRotationOnAllNodes: a rotation that any node was ordered to make is in use
// everywhere when it returns, a node that was away takes it over before it serves,
// and what is retired is retired everywhere.
func TestRotationOnAllNodes(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	app := d.Nodes[0].Enrol()
	key := aesKey(t, app)
	o := orderer{t, d.Nodes[1], d}
	o.rotate()
	for i, n := range d.Nodes {
		used(t, app, key, n, d.Nodes[(i+1)%3])
		newer := aesKey(t, app.On(n))
		used(t, app, newer, d.Nodes[(i+1)%3], n)
	}
	away := d.Nodes[2]
	if err := away.Stop(); err != nil {
		t.Fatal(err)
	}
	o.rotate()
	o.settled()
	for _, g := range []uint32{0, 1} {
		if _, err := o.retire(g); err != nil {
			t.Fatal(err)
		}
	}
	away.MustStart()
	used(t, app, key, away, d.Nodes[0])
	if s := away.Server().Status(); s.Generation != 2 || !s.Ready {
		t.Errorf("the node that was away: generation %d, ready: %t (%s)", s.Generation, s.Ready, s.Reason)
	}
	d.RestartAll()
	used(t, app, key, d.Nodes[1], away)
}

// TestJoinRefused: who may not hold the master secret never becomes a member, and
// both sides say why.
func TestJoinRefused(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	other := trustedtest.NewDomain(t, 1)
	tests := []struct {
		name string
		edit func(n *trustedtest.Node)
		want string
	}{
		{"another program", func(n *trustedtest.Node) { n.TEE.Measurement = [32]byte{1} }, "not a program"},
		{"a debug enclave", func(n *trustedtest.Node) { n.TEE.Misfortune.Debug = true }, "debug"},
		{"another domain's charter", func(n *trustedtest.Node) {
			n.Edit = func(c *server.Config) { c.Charter = other.Charter }
		}, "charter"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := d.Machine()
			tt.edit(n)
			err := n.Join(nil)
			if !errors.Is(err, kms.Denied) && !errors.Is(err, kms.Invalid) || !strings.Contains(err.Error(), tt.want) || kms.HintOf(err) == "" {
				t.Errorf("got %v (hint %q), want a refusal that says %q", err, kms.HintOf(err), tt.want)
			}
			if s := d.Nodes[0].Server().Status(); len(s.Nodes) != 2 {
				t.Errorf("there are %d nodes", len(s.Nodes))
			}
		})
	}
}

// TestRemovedNode: when the order to remove a node has been obeyed that node
// serves nobody, nobody speaks with it, and it never comes back.
func TestRemovedNode(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	app := d.Nodes[0].Enrol()
	key := aesKey(t, app)
	gone := d.Nodes[2]
	id := gone.Server().Status().Node
	o := orderer{t, d.Nodes[0], d}
	order := o.signed(o.order(govern.DeedRemove, 0, func(x *govern.Order) { x.Node = id }), d.Rulers.Operator)
	if err := d.Nodes[1].Server().RemoveNode(ctx, id, order); err != nil {
		t.Fatal(err)
	}
	if _, err := app.On(gone).Caller(); err == nil {
		t.Error("a removed node serves")
	}
	used(t, app, key, d.Nodes[0], d.Nodes[1])
	_ = gone.Stop()
	d.AwaitVoters(2)
	if err := gone.StartWithin(3 * time.Second); err == nil {
		t.Error("a removed node serves again")
	}
	d.Grow()
	d.AwaitVoters(3)
}

// TestLeaderLost: the others go on when the leader is gone, and it catches up.
func TestLeaderLost(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	app := d.Nodes[0].Enrol()
	leader := d.Leader()
	d.Network.Isolate(leader)
	var others []*trustedtest.Node
	for _, n := range d.Nodes {
		if n != leader {
			others = append(others, n)
		}
	}
	key := eventually(t, func() (kms.KeyID, error) {
		c, err := app.On(others[0]).Caller()
		if err != nil {
			return kms.KeyID{}, err
		}
		k, err := c.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
		return k.ID, err
	})
	used(t, app, key, others[0], others[1])
	if _, err := app.On(leader).Caller(); err == nil {
		t.Error("a leader that is cut off serves")
	}
	d.Network.Heal()
	eventually(t, func() (*server.Caller, error) { return app.On(leader).Caller() })
	used(t, app, key, leader, others[0])
}

// eventually tries until it succeeds, for half a minute.
func eventually[T any](t *testing.T, try func() (T, error)) T {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		v, err := try()
		if err == nil {
			return v
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// TestRejoin: in restart mode "rejoin" a node that was started again takes nothing
// from its folder but who it was: it joins anew in its own place, and one that
// does not is refused by the others.
func TestRejoin(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	app := d.Nodes[0].Enrol()
	key := aesKey(t, app)
	r := d.Rulers
	a := r.Founding.Standing.DraftAmendment(r.Founding.Policy)
	a.RestartMode = govern.Rejoin
	if _, err := d.Nodes[0].Core().Amend(ctx, r.Sign(govern.AmendmentType, a.Canonical(), append(r.Signers[:2], r.Owner)...)); err != nil {
		t.Fatal(err)
	}
	for _, n := range d.Nodes[1:] {
		eventually(t, func() (bool, error) { return true, knowsMode(n, "rejoin") })
		before := n.Server().Status().Node
		n.Restart()
		after := n.Server().Status().Node
		if before == after {
			t.Fatal("the node came back as what it was")
		}
		used(t, app, key, n, d.Nodes[0])
		d.AwaitVoters(3)
		list, err := d.Nodes[0].Server().Nodes(ctx)
		if err != nil || len(list.Nodes) != 3 {
			t.Fatalf("got %+v, %v", list, err)
		}
		for _, gone := range list.Departed {
			if gone.Reason != kms.NodeReplaced {
				t.Errorf("node %s is gone: %s", gone.ID, gone.Reason)
			}
		}
	}
	for _, n := range d.Nodes {
		_ = n.Stop()
	}
	if err := d.Nodes[1].StartWithin(3 * time.Second); err == nil {
		t.Error("a domain that lost all its nodes came back from a disk")
	}
}

// knowsMode asks that a node has written down a restart mode, for its next start.
func knowsMode(n *trustedtest.Node, mode string) error {
	if s := n.Server().Status(); s.RestartMode != mode {
		return fmt.Errorf("mode %s", s.RestartMode)
	}
	return n.Server().RulesWritten()
}

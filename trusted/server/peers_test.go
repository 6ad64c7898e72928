package server_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// TestMovedBehind: of two nodes one comes back at another address and lacks
// entries that the other has. It cannot be elected, and the state, which names its
// old address, changes only once somebody is; so the other has to reach it where
// it says that it listens.
func TestMovedBehind(t *testing.T) {
	d := trustedtest.NewDomain(t, 2)
	ahead := d.Leader()
	moved := d.Nodes[0]
	if moved == ahead {
		moved = d.Nodes[1]
	}
	app := ahead.Enrol()
	d.Network.Cut(moved, ahead)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	err := ahead.Server().Append(ctx) // to its own log alone
	cancel()
	if !errors.Is(err, kms.Unavailable) {
		t.Fatalf("half of the domain has taken an entry: %v", err)
	}
	_ = moved.Stop()
	d.Network.Move(moved)
	d.Network.Heal()
	moved.MustStart()
	for _, n := range d.Nodes {
		if _, err := app.On(n).Caller(); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
	}
}

package server_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

func drawn(t *testing.T, n *trustedtest.Node) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	b, err := n.Server().Draw(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestNextSecretOfTheExpelled: what a node was handed as the next master secret, in a
// rotation that did not come to an end, does not become one once it is expelled.
func TestNextSecretOfTheExpelled(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	leader := d.Leader()
	var gone, other *trustedtest.Node
	for _, n := range d.Nodes {
		if n != leader {
			gone, other = n, gone
		}
	}
	known := drawn(t, leader)
	if !bytes.Equal(drawn(t, leader), known) {
		t.Error("an attempt that is made again makes another secret")
	}
	if held := gone.Server().Candidates(); held != 1 {
		t.Fatalf("it was handed %d", held)
	}
	if bytes.Equal(drawn(t, other), known) {
		t.Error("a node rotates to what another one made")
	}
	o, id := orderer{t, leader, d}, gone.Server().Status().Node
	o.expel(id)
	held := gone.Server().Candidates()
	if bytes.Equal(drawn(t, leader), known) {
		t.Error("what the node was handed is taken after it was expelled")
	}
	if now := gone.Server().Candidates(); now != held {
		t.Error("it was handed another one")
	}
	o.rotate() // as the domain is now
}

// TestNothingIsHandedBehindTheOthers: a node that its host has cut off from most others
// hands no master secret to one whom they may have expelled.
func TestNothingIsHandedBehindTheOthers(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	leader := d.Leader()
	var lags, gone *trustedtest.Node
	for _, n := range d.Nodes {
		if n != leader {
			gone, lags = n, gone
		}
	}
	var handed atomic.Int32
	gone.Server().TellOffers(func(uint32) { handed.Add(1) })
	d.Network.Cut(lags, gone) // who calls again meets that
	d.Network.Heal()
	d.Network.Cut(lags, leader)
	o, id := orderer{t, leader, d}, gone.Server().Status().Node
	o.expel(id)
	drawn(t, lags)
	if n := handed.Load(); n != 0 {
		t.Errorf("it was handed %d", n)
	}
}

// TestCandidatesThatNothingNames: rotations that never come to an end leave what can
// be named no more, and that is dropped when there is no room.
func TestCandidatesThatNothingNames(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 1)
	n, app := d.Nodes[0].Server(), d.Nodes[0].Enrol()
	offered := func(i byte) error {
		b := bytes.Repeat([]byte{i}, 32)
		return n.Offered(1, b, n.Follows(1, b, 0))
	}
	room := byte(0)
	for ; offered(room) == nil && room < 100; room++ {
	}
	if err := offered(room); !errors.Is(err, kms.Exhausted) || n.Candidates() != int(room) {
		t.Fatalf("%d are kept: %v", n.Candidates(), err)
	}
	n.CandidatesLast(3)
	for range 4 {
		aesKey(t, app)
	}
	if err := offered(room); err != nil || n.Candidates() != 1 {
		t.Errorf("%d are kept: %v", n.Candidates(), err)
	}
}

package examples_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/examples/auction"
	"github.com/holdfast-kms/holdfast/examples/notary"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// TestAuction: bids that strangers seal are opened by the auction alone.
func TestAuction(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	house, thief := w.start("auction"), w.start("thief")
	w.rule(map[string][]*program{"auction": {house}, "notary": {thief}})

	var bids [][]byte
	for _, b := range []auction.Bid{{Bidder: "ann", Amount: 10}, {Bidder: "bob", Amount: 30}, {Bidder: "cid", Amount: 20}} {
		sealed, err := auction.Seal(ctx, w.anyone(), "clock", b)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(sealed, []byte(b.Bidder)) {
			t.Error("a sealed bid can be read")
		}
		bids = append(bids, sealed)
	}
	forged := bytes.Clone(bids[1])
	forged[len(forged)-1] ^= 1
	best, err := auction.House{Client: house.dial()}.Winner(ctx, "clock", append(bids, forged, []byte("no bid")))
	if err != nil || best != (auction.Bid{Bidder: "bob", Amount: 30}) {
		t.Errorf("%+v, %v", best, err)
	}
	if _, err := (auction.House{Client: thief.dial()}).Winner(ctx, "clock", bids); !errors.Is(err, kms.Denied) {
		t.Errorf("another runtime opens bids: %v, want Denied", err)
	}
	if best, err := (auction.House{Client: house.dial()}).Winner(ctx, "chair", bids); err != nil || best != (auction.Bid{}) {
		t.Errorf("bids for another lot: %+v, %v", best, err)
	}
}

// TestNotary: stamps and deposits, whose keys never leave the domain.
func TestNotary(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	p := w.start("notary")
	w.rule(map[string][]*program{"notary": {p}})
	n := notary.Notary{Client: p.dial()}
	stamp, err := n.Stamp(ctx, []byte("a will"))
	if err != nil {
		t.Fatal(err)
	}
	w.restart()
	n = notary.Notary{Client: p.dial()}
	for document, want := range map[string]bool{"a will": true, "another will": false} {
		if got, err := n.Check(ctx, []byte(document), stamp); err != nil || got != want {
			t.Errorf("%s: %v, %v", document, got, err)
		}
	}
	deposit, err := notary.Deposit(ctx, w.anyone(), []byte("a secret"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := n.Accept(ctx, deposit); err != nil || string(got) != "a secret" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestRuntimesGetTheirKeys: each its own, the same after a restart, under the
// policy of the moment.
func TestRuntimesGetTheirKeys(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	a, n, next := w.start("auction"), w.start("notary"), w.start("auction, version 2")
	w.rule(map[string][]*program{"auction": {a}, "notary": {n}})
	keys := func(c *client.Client, r kms.RuntimeKeyRequest) kms.RuntimeKeys {
		t.Helper()
		k, err := c.RuntimeKeys(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	want := func(what string, c *client.Client, r kms.RuntimeKeyRequest, kind error) {
		t.Helper()
		if _, err := c.RuntimeKeys(ctx, r); !errors.Is(err, kind) {
			t.Errorf("%s: %v, want %v", what, err, kind)
		}
	}
	auctions, notaries := keys(a.dial(), longTerm("auction", 0)), keys(n.dial(), longTerm("notary", 0))
	if bytes.Equal(auctions.Private, notaries.Private) || bytes.Equal(auctions.State, notaries.State) || auctions.Public == notaries.Public {
		t.Error("two runtimes share keys under one key id")
	}

	w.restart()
	if diff := cmp.Diff(auctions, keys(a.dial(), longTerm("auction", 0))); diff != "" {
		t.Errorf("the auction's keys changed by a restart:\n%s", diff)
	}
	if diff := cmp.Diff(notaries, keys(n.dial(), longTerm("notary", 0))); diff != "" {
		t.Errorf("the notary's keys changed by a restart:\n%s", diff)
	}

	session := next.dial()
	want("a measurement that is not listed", session, longTerm("auction", 0), kms.Denied)
	want("another runtime's", n.dial(), longTerm("auction", 0), kms.Denied)
	want("a runtime that there is not", n.dial(), longTerm("lottery", 0), kms.Denied)
	want("nobody in particular", w.anyone(), longTerm("auction", 0), kms.Unauthenticated)

	w.rule(map[string][]*program{"auction": {a, next}, "notary": {n}})
	if diff := cmp.Diff(auctions, keys(session, longTerm("auction", 0))); diff != "" {
		t.Errorf("a program that was added gets other keys:\n%s", diff)
	}
	w.rule(map[string][]*program{"auction": {a}, "notary": {n}})
	want("at the next request after it was removed", session, longTerm("auction", 0), kms.Denied)
	w.rule(map[string][]*program{"notary": {n}})
	want("the runtime was removed", a.dial(), longTerm("auction", 0), kms.Denied)
	if _, err := w.anyone().RuntimePublicKey(ctx, longTerm("auction", 0)); !errors.Is(err, kms.NotFound) {
		t.Errorf("the public key of a runtime that was removed: %v, want NotFound", err)
	}
	w.rule(map[string][]*program{"auction": {a}, "notary": {n}})
	if diff := cmp.Diff(auctions, keys(a.dial(), longTerm("auction", 0))); diff != "" {
		t.Errorf("a runtime that comes back gets other keys:\n%s", diff)
	}

	for what, c := range map[string]struct {
		r    kms.RuntimeKeyRequest
		kind error
	}{
		"a generation that there is not yet": {longTerm("auction", 1), kms.NotFound},
		"no generation at all":               {longTerm("auction", 1<<32-1), kms.NotFound},
		"no name":                            {longTerm("", 0), kms.Denied},
	} {
		want(what, a.dial(), c.r, c.kind)
		if what == "no name" {
			c.kind = kms.NotFound
		}
		if _, err := w.anyone().RuntimePublicKey(ctx, c.r); !errors.Is(err, c.kind) {
			t.Errorf("public key: %s: %v, want %v", what, err, c.kind)
		}
	}
}

// TestOutsider: what anyone seals to a runtime, that runtime opens and no other,
// inside and outside the node.
func TestOutsider(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	a, n := w.start("auction"), w.start("notary")
	w.rule(map[string][]*program{"auction": {a}, "notary": {n}})
	for name, r := range map[string]kms.RuntimeKeyRequest{"long-term": longTerm("auction", 0), "ephemeral": thisEpoch("auction")} {
		t.Run(name, func(t *testing.T) {
			public, err := w.anyone().RuntimePublicKey(ctx, r)
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := client.SealToRuntime(&public, []byte("hello"))
			if err != nil {
				t.Fatal(err)
			}
			own, err := a.dial().RuntimeKeys(ctx, r)
			if err != nil {
				t.Fatal(err)
			}
			if own.Public != public.Public {
				t.Error("the runtime has another public key than the world")
			}
			if got, err := client.OpenAsRuntime(&own, sealed); err != nil || string(got) != "hello" {
				t.Errorf("with the private key: %q, %v", got, err)
			}
			if got, err := a.dial().RuntimeDecrypt(ctx, "auction", sealed); err != nil || string(got) != "hello" {
				t.Errorf("inside the node: %q, %v", got, err)
			}
			if _, err := n.dial().RuntimeDecrypt(ctx, "auction", sealed); !errors.Is(err, kms.Denied) {
				t.Errorf("by another runtime: %v, want Denied", err)
			}
			if _, err := n.dial().RuntimeDecrypt(ctx, "notary", sealed); !errors.Is(err, kms.DecryptFailed) {
				t.Errorf("as another runtime's: %v, want DecryptFailed", err)
			}
			if _, err := w.anyone().RuntimeDecrypt(ctx, "auction", sealed); !errors.Is(err, kms.Unauthenticated) {
				t.Errorf("by nobody: %v, want Unauthenticated", err)
			}
		})
	}
}

// TestEpochs: ephemeral keys rotate, old ones open until their age and not after.
func TestEpochs(t *testing.T) {
	const length, age = time.Hour, 150 * time.Minute
	w, ctx := newWorld(t), t.Context()
	a := w.start("auction")
	now := w.node.Clock.Now()
	w.node.Clock.Move(now.Truncate(length).Add(length + time.Minute).Sub(now)) // a minute into the next epoch
	w.rule(map[string][]*program{"auction": {a}})
	w.change(func(p *govern.Policy) { p.EphemeralAge = attest.Age(age) })
	first, err := w.anyone().RuntimePublicKey(ctx, thisEpoch("auction"))
	if err != nil {
		t.Fatal(err)
	}
	if left := first.Expires.Sub(w.node.Clock.Now()); left <= age || left > age+length {
		t.Errorf("it expires %s from now", left)
	}
	sealed, err := client.SealToRuntime(&first, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	open := func() error {
		got, err := a.dial().RuntimeDecrypt(ctx, "auction", sealed)
		if err == nil && string(got) != "hello" {
			t.Errorf("got %q", got)
		}
		return err
	}
	if _, err := a.dial().RuntimeKeys(ctx, epoch("auction", first.Period-1)); !errors.Is(err, kms.NotFound) {
		t.Errorf("keys of an epoch that had no secret: %v, want NotFound", err)
	}
	seen := map[[32]byte]uint64{}
	for range 3 { // until age has almost passed since its epoch ended
		now, err := w.anyone().RuntimePublicKey(ctx, thisEpoch("auction"))
		if err != nil {
			t.Fatal(err)
		}
		if e, dup := seen[now.Public]; dup {
			t.Errorf("epochs %d and %d have one key", e, now.Period)
		}
		seen[now.Public] = now.Period
		if err := open(); err != nil {
			t.Errorf("in epoch %d, of epoch %d: %v", now.Period, first.Period, err)
		}
		w.later(length)
	}

	for what, c := range map[string]struct {
		r    kms.RuntimeKeyRequest
		kind error
	}{
		"an epoch that has not begun":      {epoch("auction", first.Period+4), kms.Invalid},
		"the last epoch that there can be": {epoch("auction", 1<<64-1), kms.Invalid},
		"an epoch of long ago":             {epoch("auction", 7), kms.Expired},
		"an epoch whose age has passed":    {epoch("auction", first.Period-1), kms.Expired},
	} {
		if _, err := a.dial().RuntimeKeys(ctx, c.r); !errors.Is(err, c.kind) {
			t.Errorf("keys of %s: %v, want %v", what, err, c.kind)
		}
		if _, err := w.anyone().RuntimePublicKey(ctx, c.r); !errors.Is(err, c.kind) {
			t.Errorf("public key of %s: %v, want %v", what, err, c.kind)
		}
	}

	w.later(first.Expires.Sub(w.node.Clock.Now()) - 5*time.Second)
	if err := open(); err != nil {
		t.Errorf("five seconds before its age has passed: %v", err)
	}
	// The clock moves, and the node has not cleared anything yet.
	w.node.Clock.Move(5 * time.Second)
	if err := open(); !errors.Is(err, kms.Expired) {
		t.Errorf("when its age has passed: %v, want Expired", err)
	}
	w.turn()
	if err := open(); !errors.Is(err, kms.Expired) {
		t.Errorf("after that: %v, want Expired", err)
	}
	w.node.Clock.Move(-3 * time.Hour) // the host sets its clock back
	if err := open(); err == nil {
		t.Error("it opens again when the clock is set back")
	}
}

// TestEpochLost: after a restart the secrets of epochs are gone for good, and the
// next epoch has a new one.
func TestEpochLost(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	a := w.start("auction")
	w.rule(map[string][]*program{"auction": {a}})
	public, err := w.anyone().RuntimePublicKey(ctx, thisEpoch("auction"))
	if err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.turn()
	if _, err := a.dial().RuntimeKeys(ctx, epoch("auction", public.Period)); !errors.Is(err, kms.NotFound) {
		t.Errorf("the lost epoch's: %v, want NotFound", err)
	}
	w.later(2 * time.Hour) // the next one may have been made before the restart
	again, err := w.anyone().RuntimePublicKey(ctx, thisEpoch("auction"))
	if err != nil {
		t.Fatal(err)
	}
	if again.Public == public.Public || again.Period < public.Period+1 {
		t.Errorf("the same key as before")
	}
}

package runtimes_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"sync"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/runtimes"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

func newKeys(master, domain byte) *runtimes.Keys {
	d := kms.DomainID{domain}
	return runtimes.New(root.New(root.NewSet(secret.New(bytes.Repeat([]byte{master}, 32))), d, root.HoldfastLabels), d)
}

func longTerm(generation uint64) kms.RuntimeKey {
	return kms.RuntimeKey{Runtime: "ledger", ID: kms.RuntimeKeyID{1}, Period: generation}
}

func epoch(e uint64) kms.RuntimeKey {
	return kms.RuntimeKey{Runtime: "ledger", ID: kms.RuntimeKeyID{1}, Ephemeral: true, Period: e}
}

// propose makes the secret of an epoch, published.
func propose(t *testing.T, k *runtimes.Keys, e uint64) [32]byte {
	t.Helper()
	sum, err := k.Propose(e)
	if err != nil {
		t.Fatal(err)
	}
	k.Settle(e, sum)
	return sum
}

func TestLongTerm(t *testing.T) {
	p, err := newKeys(1, 1).LongTerm(longTerm(0))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := newKeys(1, 1).LongTerm(longTerm(0)); err != nil || again.Public != p.Public {
		t.Errorf("after a restart it is another pair: %v", err)
	}
	for what, k := range map[string]*runtimes.Keys{"another master secret": newKeys(2, 1), "another domain": newKeys(1, 2)} {
		if other, err := k.LongTerm(longTerm(0)); err != nil || other.Public == p.Public {
			t.Errorf("%s gives the same pair: %v", what, err)
		}
	}
	for what, c := range map[string]struct {
		key  kms.RuntimeKey
		kind error
	}{
		"a generation that is not held": {longTerm(1), kms.NotFound},
		"a generation of 33 bits":       {longTerm(1 << 32), kms.Invalid},
		"an epoch":                      {epoch(0), kms.Invalid},
		"no name":                       {kms.RuntimeKey{}, kms.Invalid},
		"a name that is too long":       {kms.RuntimeKey{Runtime: string(make([]byte, 65))}, kms.Invalid},
	} {
		if _, err := newKeys(1, 1).LongTerm(c.key); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", what, err, c.kind)
		}
	}
}

// The life of an epoch's secret, with what must go wrong at each step.
func TestEpochSecrets(t *testing.T) {
	k := newKeys(1, 1)
	sum, err := k.Propose(7)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := k.Propose(7); err != nil || again != sum {
		t.Errorf("proposed again it is another one: %v", err)
	}
	refused := func(what string, e uint64, sum [32]byte) {
		t.Helper()
		if _, err := k.Ephemeral(epoch(e), sum); !errors.Is(err, kms.NotFound) {
			t.Errorf("%s: %v, want NotFound", what, err)
		}
	}
	refused("before it was published", 7, sum)
	k.Settle(7, sum)
	p, err := k.Ephemeral(epoch(7), sum)
	if err != nil || !k.Held(7) {
		t.Fatal(err)
	}
	wrong := sum
	wrong[31] ^= 1
	refused("under another checksum", 7, wrong)
	refused("of another epoch", 8, sum)

	other := newKeys(1, 1) // another member of the same domain
	s, err := k.Secret(7, sum)
	if err != nil {
		t.Fatal(err)
	}
	handed := func() secret.Bytes {
		var c secret.Bytes
		if err := s.Use(func(b []byte) error { c = secret.Copy(b); return nil }); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for what, c := range map[string]struct {
		epoch  uint64
		secret secret.Bytes
		sum    [32]byte
	}{
		"an altered checksum":      {7, handed(), wrong},
		"another secret":           {7, secret.Random(32), sum},
		"for another epoch":        {8, handed(), sum},
		"a secret that is shorter": {7, secret.Random(31), sum},
		"no secret":                {7, secret.Bytes{}, sum},
	} {
		if err := other.Receive(c.epoch, c.secret, c.sum); err == nil || other.Held(c.epoch) || c.secret.Len() != 0 {
			t.Errorf("%s was taken, or is still there: %v", what, err)
		}
	}
	if err := newKeys(1, 2).Receive(7, handed(), sum); !errors.Is(err, kms.Damaged) {
		t.Errorf("the secret of another domain: %v, want Damaged", err)
	}
	if err := other.Receive(7, handed(), sum); err != nil {
		t.Fatal(err)
	}
	if q, err := other.Ephemeral(epoch(7), sum); err != nil || q.Public != p.Public {
		t.Errorf("two members derive other pairs: %v", err)
	}

	propose(t, k, 8)
	k.Keep(func(e uint64) bool { return e > 7 })
	refused("when its time was over", 7, sum)
	if s.Len() != 0 {
		t.Error("its bytes were not cleared")
	}
	if !k.Held(8) {
		t.Error("the next one was dropped too")
	}
	if again, err := k.Propose(7); err != nil || again == sum {
		t.Errorf("it came back: %v", err)
	}
}

// A proposal that came second is cleared, and nothing is derived from it.
func TestFirstPublishedWins(t *testing.T) {
	k := newKeys(1, 1)
	mine, err := k.Propose(7)
	if err != nil {
		t.Fatal(err)
	}
	theirs := mine
	theirs[0] ^= 1
	k.Settle(7, theirs)
	for _, sum := range [][32]byte{mine, theirs} {
		if _, err := k.Ephemeral(epoch(7), sum); !errors.Is(err, kms.NotFound) {
			t.Errorf("%v, want NotFound", err)
		}
	}
	if _, err := k.Ephemeral(longTerm(0), mine); !errors.Is(err, kms.Invalid) {
		t.Errorf("a long-term pair from an epoch's secret: %v, want Invalid", err)
	}
}

func TestSign(t *testing.T) {
	k := newKeys(1, 1)
	seed, err := root.New(root.NewSet(secret.New(bytes.Repeat([]byte{1}, 32))), kms.DomainID{1}, root.HoldfastLabels).SigningKey(0)
	if err != nil {
		t.Fatal(err)
	}
	p := kms.RuntimePublicKey{RuntimeKey: longTerm(0), Public: [32]byte{9}}
	if err := k.Sign(&p); err != nil {
		t.Fatal(err)
	}
	if p.Domain != (kms.DomainID{1}) || !ed25519.Verify(seed, p.Signed(), p.Signature) {
		t.Error("the signature is not of the generation's signing key")
	}
	p.Generation = 1
	if err := k.Sign(&p); !errors.Is(err, kms.NotFound) {
		t.Errorf("a generation that is not held: %v, want NotFound", err)
	}
}

func TestOpenAndMAC(t *testing.T) {
	k := newKeys(1, 1)
	p, err := k.LongTerm(longTerm(0))
	if err != nil {
		t.Fatal(err)
	}
	point, err := ecdh.X25519().NewPublicKey(p.Public[:])
	if err != nil {
		t.Fatal(err)
	}
	to, err := hpke.NewDHKEMPublicKey(point)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("info"), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Open([]byte("info"), sealed); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	other, err := k.LongTerm(kms.RuntimeKey{Runtime: "other", ID: kms.RuntimeKeyID{1}})
	if err != nil {
		t.Fatal(err)
	}
	for what, open := range map[string]func() ([]byte, error){
		"other info":   func() ([]byte, error) { return p.Open([]byte("Info"), sealed) },
		"another pair": func() ([]byte, error) { return other.Open([]byte("info"), sealed) },
		"cut short":    func() ([]byte, error) { return p.Open([]byte("info"), sealed[:31]) },
		"nothing":      func() ([]byte, error) { return p.Open([]byte("info"), nil) },
		"a low point":  func() ([]byte, error) { return p.Open([]byte("info"), make([]byte, 64)) },
	} {
		if _, err := open(); !errors.Is(err, kms.DecryptFailed) {
			t.Errorf("%s: %v, want DecryptFailed", what, err)
		}
	}
	a, err := p.MAC([]byte("message"))
	if err != nil || len(a) != 32 {
		t.Fatal(err)
	}
	_, state := keysOf(t, p)
	if want := root.KMAC256(state, 32, "holdfast/v1/runtime/mac", []byte("message")); !bytes.Equal(a, want) {
		t.Errorf("the MAC is %x", a)
	}
	if b, err := p.MAC([]byte("massage")); err != nil || bytes.Equal(a, b) {
		t.Errorf("two messages have one MAC: %v", err)
	}
	p.Wipe()
	if _, err := p.MAC(nil); err == nil {
		t.Error("a wiped pair makes a MAC")
	}
	if _, err := p.Open([]byte("info"), sealed); err == nil {
		t.Error("a wiped pair opens")
	}
}

// Requests go on while secrets come and go.
func TestEpochsAtOnce(t *testing.T) {
	k := newKeys(1, 1)
	sums := [8][32]byte{}
	for e := range sums {
		sums[e] = propose(t, k, uint64(e))
	}
	var work sync.WaitGroup
	for e := range sums {
		work.Go(func() {
			for range 50 {
				if _, err := k.Ephemeral(epoch(uint64(e)), sums[e]); err != nil && !errors.Is(err, kms.NotFound) {
					t.Error(err)
				}
			}
		})
		work.Go(func() { k.Keep(func(f uint64) bool { return f > uint64(e) }) })
	}
	work.Wait()
}

// FuzzOpen: what strangers seal opens, or fails alike.
func FuzzOpen(f *testing.F) {
	p, err := newKeys(1, 1).LongTerm(longTerm(0))
	if err != nil {
		f.Fatal(err)
	}
	noise := make([]byte, 100)
	rand.Read(noise)
	f.Add([]byte("info"), noise)
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, info, sealed []byte) {
		if _, err := p.Open(info, sealed); !errors.Is(err, kms.DecryptFailed) {
			t.Errorf("%v", err)
		}
	})
}

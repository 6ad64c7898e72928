package secp256k1

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// Multiplication in constant time agrees with the library's, at the edges and
// for random numbers.
func TestBaseMult(t *testing.T) {
	order := secp256k1.Params().N
	numbers := []*big.Int{}
	for _, n := range []int64{1, 2, 3, 15, 16, 17, 255, 256} {
		numbers = append(numbers, big.NewInt(n), new(big.Int).Sub(order, big.NewInt(n)))
	}
	for bit := range uint(256) {
		n := new(big.Int).Lsh(big.NewInt(1), bit)
		if n.Cmp(order) < 0 {
			numbers = append(numbers, n)
		}
	}
	for range 500 {
		n, err := rand.Int(rand.Reader, order)
		if err != nil || n.Sign() == 0 {
			t.Fatal(n, err)
		}
		numbers = append(numbers, n)
	}
	for _, n := range numbers {
		var k secp256k1.ModNScalar
		k.SetByteSlice(n.Bytes())
		var want secp256k1.JacobianPoint
		secp256k1.ScalarBaseMultNonConst(&k, &want)
		want.ToAffine()
		x, y := baseMult(&k)
		if !x.Equals(&want.X) || !y.Equals(&want.Y) {
			t.Errorf("%x·G is wrong", n)
		}
	}
}

// The addition is complete: the neutral point, doubling and opposites are no
// special cases.
func TestAddIsComplete(t *testing.T) {
	one := func(k int) point {
		e := table()[0][k]
		var p point
		e.decode(&p)
		return p
	}
	neutral := one(0)
	affine := func(p point) (x, y [32]byte) {
		p.z.Inverse()
		p.x.Mul(&p.z).Normalize()
		p.y.Mul(&p.z).Normalize()
		return *p.x.Bytes(), *p.y.Bytes()
	}
	same := func(what string, got, want point) {
		gx, gy := affine(got)
		wx, wy := affine(want)
		if gx != wx || gy != wy {
			t.Errorf("%s is wrong", what)
		}
	}
	sum := one(1)
	sum.add(&neutral)
	same("G + 0", sum, one(1))
	sum = one(0)
	g := one(1)
	sum.add(&g)
	same("0 + G", sum, g)
	sum = g
	sum.add(&g)
	same("G + G", sum, one(2))
	opposite := g
	opposite.y.Negate(1).Normalize()
	sum.add(&opposite)
	same("2G − G", sum, g)
	sum.add(&opposite)
	if !sum.z.Normalize().IsZero() || sum.y.Normalize().IsZero() {
		t.Error("G − G is not the neutral point")
	}
	sum.add(&neutral)
	if !sum.z.Normalize().IsZero() {
		t.Error("0 + 0 is not the neutral point")
	}
}

// Known signatures, made by RFC 6979 with SHA-256 over secp256k1, as wallets of
// cryptocurrencies test themselves with. Ours have other nonces, so they are verified.
func TestKnownSignatures(t *testing.T) {
	for _, c := range []struct{ d, message, r, s string }{
		{"0000000000000000000000000000000000000000000000000000000000000001", "Satoshi Nakamoto",
			"934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8",
			"2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"},
		{"0000000000000000000000000000000000000000000000000000000000000001", "All those moments will be lost in time, like tears in rain. Time to die...",
			"8600dbd41e348fe5c9465ab92d23e3db8b98b873beecd930736488696438cb6b",
			"547fe64427496db33bf66019dacbf0039c04199abb0122918601db38a72cfc21"},
		{"fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140", "Satoshi Nakamoto",
			"fd567d121db66e382991534ada77a6bd3106f0a1098c231e47993447cd6af2d0",
			"6b39cd0eb1bc8603e159ef5c20a5c8ad685a45b06ce9bebed3f153d10d93bed5"},
	} {
		k, err := Parse(unhex(c.d))
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256([]byte(c.message))
		var r, s secp256k1.ModNScalar
		r.SetByteSlice(unhex(c.r))
		s.SetByteSlice(unhex(c.s))
		if !k.Verify(digest[:], ecdsa.NewSignature(&r, &s).Serialize()) {
			t.Errorf("%q does not verify", c.message)
		}
		s.Negate()
		high := ecdsa.NewSignature(&r, &s).Serialize()
		if !k.Verify(digest[:], high) {
			t.Errorf("%q with the greater s does not verify", c.message)
		}
	}
}

func TestSign(t *testing.T) {
	k, err := Parse(Generate())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, n := range []int{0, 1, 20, 28, 31, 32, 33, 48, 64} {
		digest := bytes.Repeat([]byte{0xa5}, n)
		for range 4 {
			sig := k.Sign(digest)
			parsed, err := ecdsa.ParseDERSignature(sig)
			if err != nil || !k.Verify(digest, sig) {
				t.Fatalf("%d bytes: %v", n, err)
			}
			if s := parsed.S(); s.IsOverHalfOrder() {
				t.Error("s is not the smaller one")
			}
			if seen[string(sig)] {
				t.Error("a signature came twice")
			}
			seen[string(sig)] = true
			// The library reads a digest as we do: the leftmost 256 bits.
			if n >= 32 && !parsed.Verify(digest[:32], k.point) {
				t.Errorf("%d bytes: the library does not verify it", n)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	order := secp256k1.Params().N.Bytes()
	for _, b := range [][]byte{nil, make([]byte, 32), order, bytes.Repeat([]byte{0xff}, 32), {1}, bytes.Repeat([]byte{1}, 33)} {
		if _, err := Parse(b); err != ErrScalar {
			t.Errorf("%x: %v", b, err)
		}
	}
}

func TestInvert(t *testing.T) {
	for range 50 {
		var a secp256k1.ModNScalar
		randomScalar(&a)
		inverse := invert(&a)
		if one := new(secp256k1.ModNScalar).Mul2(&a, &inverse); !one.Equals(new(secp256k1.ModNScalar).SetInt(1)) {
			t.Fatal("a · 1/a is not 1")
		}
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func BenchmarkSign(b *testing.B) {
	k, err := Parse(Generate())
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256(nil)
	b.Run("constant time", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			k.Sign(digest[:])
		}
	})
	b.Run("library", func(b *testing.B) {
		priv := secp256k1.NewPrivateKey(&k.d)
		for b.Loop() {
			ecdsa.Sign(priv, digest[:])
		}
	})
}

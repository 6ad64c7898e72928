// Package secp256k1 is ECDSA over the curve secp256k1 (SEC 2, section 2.4.1),
// in time that does not depend on the private key.
//
// The library that computes the field and the scalars multiplies points in time
// and memory accesses that depend on the number, and says so in the names of
// its functions. A host that watches an enclave's page faults or cache reads a
// nonce off such a table, and a few hundred signatures give away the key. So
// multiplication by a secret is done here, and the library's is left to
// verification, where nothing is secret.
package secp256k1

import (
	"crypto/rand"
	"errors"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// ScalarSize is the length of a private number in bytes.
const ScalarSize = 32

// ErrScalar is what Parse returns for a number outside 1…n−1, ErrPoint what
// ParsePublic returns for what is no point of the curve.
var (
	ErrScalar = errors.New("secp256k1: not a private number")
	ErrPoint  = errors.New("secp256k1: not a public point")
)

// A PublicKey verifies. It is safe for concurrent use.
type PublicKey struct{ point *secp256k1.PublicKey }

// A PrivateKey signs as well. It is safe for concurrent use.
type PrivateKey struct {
	PublicKey
	d secp256k1.ModNScalar
}

// Generate makes a private number, 32 bytes, big-endian.
func Generate() []byte {
	var d secp256k1.ModNScalar
	randomScalar(&d)
	b := d.Bytes()
	return b[:]
}

// Parse makes a key of a private number.
func Parse(scalar []byte) (*PrivateKey, error) {
	k := new(PrivateKey)
	if len(scalar) != ScalarSize || k.d.SetByteSlice(scalar) || k.d.IsZero() {
		return nil, ErrScalar
	}
	x, y := baseMult(&k.d)
	k.point = secp256k1.NewPublicKey(x, y)
	return k, nil
}

// ParsePublic makes a key of a public point, uncompressed: 4 ‖ x ‖ y.
func ParsePublic(point []byte) (*PublicKey, error) {
	if len(point) != secp256k1.PubKeyBytesLenUncompressed || point[0] != secp256k1.PubKeyFormatUncompressed {
		return nil, ErrPoint
	}
	parsed, err := secp256k1.ParsePubKey(point)
	if err != nil {
		return nil, ErrPoint
	}
	return &PublicKey{parsed}, nil
}

// Public is the public point, uncompressed: 4 ‖ x ‖ y.
func (k *PublicKey) Public() []byte { return k.point.SerializeUncompressed() }

// Sign signs a digest, of which it takes the leftmost 256 bits. The signature
// is ASN.1 DER, with the smaller of the two values that s may have.
func (k *PrivateKey) Sign(digest []byte) []byte {
	d := k.d.Bytes()
	defer clear(d[:])
	// The nonce comes of key, digest and 32 random bytes (RFC 6979, section 3.6): a
	// repeated random number repeats no nonce, and a fault that is provoked
	// twice does not hit the same one.
	var fresh [32]byte
	rand.Read(fresh[:])
	hash := leftmost(digest)
	for round := uint32(0); ; round++ {
		nonce := secp256k1.NonceRFC6979(d[:], hash[:], fresh[:], nil, round)
		sig, ok := k.sign(hash, nonce)
		nonce.Zero()
		if ok {
			return sig
		}
	}
}

// leftmost takes 256 bits of a digest and fills up a shorter one in front, as
// numbers are.
func leftmost(digest []byte) (out [32]byte) {
	digest = digest[:min(len(digest), len(out))]
	copy(out[len(out)-len(digest):], digest)
	return out
}

// sign fails for a nonce that gives zero, which happens once in 2²⁵⁶.
func (k *PrivateKey) sign(hash [32]byte, nonce *secp256k1.ModNScalar) ([]byte, bool) {
	x, _ := baseMult(nonce)
	var r, s, e secp256k1.ModNScalar
	r.SetBytes(x.Bytes()) // reduces
	e.SetBytes(&hash)
	inverse := invert(nonce)
	s.Mul2(&k.d, &r).Add(&e).Mul(&inverse)
	inverse.Zero()
	if r.IsZero() || s.IsZero() {
		return nil, false
	}
	// This branch tells an observer which s was computed. Signatures that are not
	// made canonical publish it.
	if s.IsOverHalfOrder() {
		s.Negate()
	}
	return ecdsa.NewSignature(&r, &s).Serialize(), true
}

// Verify reports whether sig, ASN.1 DER, is a signature over digest. Both
// values of s are good.
func (k *PublicKey) Verify(digest, sig []byte) bool {
	parsed, err := ecdsa.ParseDERSignature(sig)
	if err != nil {
		return false
	}
	hash := leftmost(digest)
	return parsed.Verify(hash[:], k.point)
}

// randomScalar draws a number of 1…n−1.
func randomScalar(s *secp256k1.ModNScalar) {
	var b [32]byte
	defer clear(b[:])
	for {
		rand.Read(b[:])
		if s.SetBytes(&b) == 0 && !s.IsZero() {
			return
		}
	}
}

// invert is 1/a. The library's inversion depends on its input, so it gets a
// times a random number, which says nothing of a.
func invert(a *secp256k1.ModNScalar) (out secp256k1.ModNScalar) {
	var blind secp256k1.ModNScalar
	randomScalar(&blind)
	out.Mul2(a, &blind).InverseNonConst().Mul(&blind)
	return out
}

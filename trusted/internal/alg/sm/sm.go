// Package sm is the algorithms of the Chinese standards: SM2 (GB/T 32918), SM3
// (GB/T 32905) and SM4 (GB/T 32907). It is the only package that imports the
// library that computes them.
//
// The library's curve arithmetic takes the same time for every key on all
// processors; its SM4 does so on processors with AES or SM4 instructions, which
// every processor with a supported TEE has.
package sm

import (
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"slices"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/sm4"
)

// Sizes in bytes.
const (
	ScalarSize = 32 // of a private number of SM2
	BlockSize  = sm4.BlockSize
	KeySize    = 16 // of SM4
)

const (
	uncompressed = 4    // the first byte of a point
	derSequence  = 0x30 // the first byte of a ciphertext
)

// Err is what every operation that fails returns; nothing more is told.
var Err = errors.New("SM2 operation failed")

// SM3 is the digest of b.
func SM3(b []byte) [sm3.Size]byte { return sm3.Sum(b) }

// NewSM4 makes a block cipher of a 16-byte key.
func NewSM4(key []byte) (cipher.Block, error) { return sm4.NewCipher(key) }

// A PublicKey verifies and encrypts. It is safe for concurrent use.
type PublicKey struct {
	pub   *ecdsa.PublicKey
	point []byte
	z     [sm3.Size]byte // the digest of the signer's id, the curve and the public key
}

// A PrivateKey signs and decrypts as well. It is safe for concurrent use.
type PrivateKey struct {
	*PublicKey
	priv *sm2.PrivateKey
}

// Generate makes a private number, 32 bytes, big-endian.
func Generate() []byte {
	scalar := make([]byte, ScalarSize)
	for {
		rand.Read(scalar)
		if _, err := Parse(scalar); err == nil { // all but one in 2³² are in range
			return scalar
		}
	}
}

// Parse makes a key of a private number, which must be in 1…n−2.
func Parse(scalar []byte) (*PrivateKey, error) {
	if len(scalar) != ScalarSize {
		return nil, Err
	}
	priv, err := sm2.NewPrivateKey(scalar)
	if err != nil {
		return nil, Err
	}
	pub, err := newPublic(&priv.PublicKey)
	return &PrivateKey{pub, priv}, err
}

// ParsePublic makes a key of a public point, uncompressed: 4 ‖ x ‖ y.
func ParsePublic(point []byte) (*PublicKey, error) {
	if len(point) != 1+2*ScalarSize || point[0] != uncompressed {
		return nil, Err
	}
	pub, err := sm2.NewPublicKey(point)
	if err != nil {
		return nil, Err
	}
	return newPublic(pub)
}

func newPublic(pub *ecdsa.PublicKey) (*PublicKey, error) {
	// The library takes no id to mean 1234567812345678, the standard's own.
	z, err := sm2.CalculateZA(pub, nil)
	if err != nil {
		return nil, Err
	}
	point := make([]byte, 1+2*ScalarSize)
	point[0] = uncompressed
	//lint:ignore SA1019 crypto/ecdsa encodes its own curves only, and the library has no encoder
	pub.X.FillBytes(point[1 : 1+ScalarSize])
	//lint:ignore SA1019 as above
	pub.Y.FillBytes(point[1+ScalarSize:])
	return &PublicKey{pub, point, [sm3.Size]byte(z)}, nil
}

// Public is the public point, uncompressed: 4 ‖ x ‖ y.
func (k *PublicKey) Public() []byte { return slices.Clone(k.point) }

// Hash is what a signature of message is made over: SM3 of the digest of the
// signer's id 1234567812345678 and key, and the message (GB/T 32918.2, 5.5 and 6.1).
func (k *PublicKey) Hash(message []byte) []byte {
	h := sm3.New()
	h.Write(k.z[:])
	h.Write(message)
	return h.Sum(nil)
}

// Sign signs what Hash returned. The signature is ASN.1 DER.
func (k *PrivateKey) Sign(hash []byte) ([]byte, error) {
	sig, err := sm2.SignASN1(rand.Reader, k.priv, hash, nil)
	if err != nil {
		return nil, Err
	}
	return sig, nil
}

// Verify reports whether sig, ASN.1 DER, is a signature over hash.
func (k *PublicKey) Verify(hash, sig []byte) bool {
	return sm2.VerifyASN1(k.pub, hash, sig)
}

// Encrypt encrypts a plaintext that is not empty, to ASN.1 DER: x, y, digest,
// ciphertext (GM/T 0009).
func (k *PublicKey) Encrypt(plaintext []byte) ([]byte, error) {
	if len(plaintext) == 0 {
		return nil, Err
	}
	for {
		var random draws
		out, err := sm2.EncryptASN1(&random, k.pub, plaintext)
		if err != nil {
			return nil, Err
		}
		if random == 1 {
			return out, nil
		}
	}
}

// draws is a source of randomness that counts how often it was read. Where a key
// stream is all zeros, which is once in 256 for a plaintext of one byte, the
// library (v0.44.1) draws again, but goes on with the point that it computed
// from the first draw instead of the public key, and what it makes of that nobody
// can open. So a second draw is thrown away, and encryption begun anew.
type draws int

func (d *draws) Read(b []byte) (int, error) {
	*d++
	return rand.Read(b)
}

// Decrypt opens what Encrypt made. The library would take other encodings too,
// and tell them apart by their first byte; one ciphertext has one encoding here.
func (k *PrivateKey) Decrypt(ciphertext []byte) ([]byte, error) {
	if len(ciphertext) == 0 || ciphertext[0] != derSequence {
		return nil, Err
	}
	out, err := sm2.Decrypt(k.priv, ciphertext)
	if err != nil {
		return nil, Err
	}
	return out, nil
}

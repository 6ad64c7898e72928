package govern

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"

	"github.com/holdfast-kms/holdfast/kms"
)

// An Algorithm is what a key signs with.
type Algorithm string

// The algorithms.
const (
	Ed25519   Algorithm = "ed25519"    // RFC 8032
	ECDSAP256 Algorithm = "ecdsa-p256" // FIPS 186-5, over SHA-256
)

// A PrivateKey signs documents. Its only way out is EncodePEM: it never prints
// or marshals itself, whatever it is put into, for a reflecting printer finds
// the addresses of functions in it. The zero value signs nothing.
type PrivateKey struct {
	public PublicKey
	signer func(message []byte) ([]byte, error)
	der    func() ([]byte, error)                    // PKCS #8
	unseal func(info, sealed []byte) ([]byte, error) // nil: nothing is sealed to such a key
}

// NewPrivateKey makes a key. The error is Invalid.
func NewPrivateKey(a Algorithm) (*PrivateKey, error) {
	switch a {
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		return newPrivateKey(key)
	case ECDSAP256:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return newPrivateKey(key)
	}
	return nil, kms.Errorf(kms.Invalid, "private key: algorithm %q is neither %q nor %q", string(a), Ed25519, ECDSAP256).WithField("algorithm")
}

// newPrivateKey takes an ed25519.PrivateKey or an *ecdsa.PrivateKey on P-256.
func newPrivateKey(key any) (*PrivateKey, error) {
	k := &PrivateKey{der: func() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(key) }}
	var public crypto.PublicKey
	switch key := key.(type) {
	case ed25519.PrivateKey:
		public = key.Public()
		k.signer = func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }
	case *ecdsa.PrivateKey:
		public = key.Public()
		k.signer = func(m []byte) ([]byte, error) {
			sum := sha256.Sum256(m)
			return ecdsa.SignASN1(rand.Reader, key, sum[:])
		}
		k.unseal = unsealer(key)
	}
	var err error
	if k.public, err = NewPublicKey(public); err != nil {
		return nil, kms.Errorf(kms.Invalid, "private key: neither an Ed25519 nor an ECDSA P-256 key")
	}
	return k, nil
}

// Public is the key that others know.
func (k *PrivateKey) Public() PublicKey {
	if k == nil {
		return PublicKey{}
	}
	return k.public
}

func (k *PrivateKey) sign(message []byte) ([]byte, error) {
	if k == nil || k.signer == nil {
		return nil, kms.Errorf(kms.Invalid, "private key: none")
	}
	return k.signer(message)
}

// errMarshal is what every attempt to encode a PrivateKey returns.
var errMarshal = errors.New("a private key is written with EncodePEM only")

// Every way out says the same thing.

func (k PrivateKey) String() string               { return "[private key of " + k.public.ID() + "]" }
func (k PrivateKey) GoString() string             { return k.String() }
func (k PrivateKey) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(k.String())) }
func (k PrivateKey) LogValue() slog.Value         { return slog.StringValue(k.String()) }
func (k PrivateKey) MarshalText() ([]byte, error) { return nil, errMarshal }
func (k PrivateKey) MarshalJSON() ([]byte, error) { return nil, errMarshal }
func (k PrivateKey) GobEncode() ([]byte, error)   { return nil, errMarshal }

// MarshalBinary fails.
func (k PrivateKey) MarshalBinary() ([]byte, error) { return nil, errMarshal }

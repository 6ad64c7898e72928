package govern

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"

	"github.com/holdfast-kms/holdfast/kms"
)

// A PublicKey is an Ed25519 or ECDSA P-256 key that signs documents. It is
// comparable; the zero value is no key.
type PublicKey struct {
	der string // SubjectPublicKeyInfo, the one encoding that x509 prints
}

// NewPublicKey takes an ed25519.PublicKey or an *ecdsa.PublicKey on P-256. The
// error is Invalid.
func NewPublicKey(key crypto.PublicKey) (PublicKey, error) {
	if err := checkKey(key); err != nil {
		return PublicKey{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, kms.Errorf(kms.Invalid, "public key: %w", err)
	}
	return PublicKey{string(der)}, nil
}

// ParsePublicKey reads a DER SubjectPublicKeyInfo (RFC 5280, section 4.1) in
// the encoding that NewPublicKey prints, and no other. The error is Invalid.
func ParsePublicKey(der []byte) (PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return PublicKey{}, kms.Errorf(kms.Invalid, "public key: %w", err)
	}
	k, err := NewPublicKey(key)
	if err == nil && k.der != string(der) {
		return PublicKey{}, kms.Errorf(kms.Invalid, "public key: not in its shortest encoding")
	}
	return k, err
}

func checkKey(key crypto.PublicKey) error {
	switch key := key.(type) {
	case ed25519.PublicKey:
		if len(key) == ed25519.PublicKeySize && !bytes.Equal(key, make([]byte, ed25519.PublicKeySize)) {
			return nil
		}
	case *ecdsa.PublicKey:
		if key != nil && key.Curve == elliptic.P256() {
			return nil
		}
	}
	return kms.Errorf(kms.Invalid, "public key: neither an Ed25519 nor an ECDSA P-256 key")
}

// IsZero reports whether k is no key.
func (k PublicKey) IsZero() bool { return k.der == "" }

// DER returns the SubjectPublicKeyInfo, nil for the zero value.
func (k PublicKey) DER() []byte {
	if k.IsZero() {
		return nil
	}
	return []byte(k.der)
}

// Key returns an ed25519.PublicKey or an *ecdsa.PublicKey, nil for the zero
// value.
func (k PublicKey) Key() crypto.PublicKey {
	key, err := x509.ParsePKIXPublicKey([]byte(k.der))
	if err != nil {
		return nil
	}
	return key
}

// String is the base64 of DER.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString([]byte(k.der)) }

// MarshalText prints the key as String does.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

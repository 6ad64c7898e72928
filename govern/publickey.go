package govern

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"slices"

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
		if len(key) == ed25519.PublicKeySize && !smallOrder(key) {
			return nil
		}
	case *ecdsa.PublicKey:
		if key != nil && key.Curve == elliptic.P256() {
			return nil
		}
	}
	return kms.Errorf(kms.Invalid, "public key: neither an Ed25519 nor an ECDSA P-256 key")
}

// weakPoints are the encodings, sign bit cleared, of the points whose order
// divides 8. Under such a key anyone signs anything, so possession of it proves
// nothing.
var weakPoints = [...]string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

func smallOrder(key ed25519.PublicKey) bool {
	point := bytes.Clone(key)
	point[len(point)-1] &= 0x7f
	return slices.Contains(weakPoints[:], hex.EncodeToString(point))
}

// ID names the key in an envelope: the SHA-256 of DER, as 64 lower-case
// hexadecimal digits.
func (k PublicKey) ID() string {
	sum := sha256.Sum256([]byte(k.der))
	return hex.EncodeToString(sum[:])
}

// Verify reports whether sig is k's signature of message: Ed25519 (RFC 8032),
// or ECDSA over SHA-256 in ASN.1 DER. No key verifies nothing.
func (k PublicKey) Verify(message, sig []byte) bool {
	switch key := k.Key().(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return ecdsa.VerifyASN1(key, sum[:], sig)
	}
	return false
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

// UnmarshalText reads what MarshalText prints. The error is Invalid.
func (k *PublicKey) UnmarshalText(text []byte) error {
	der, err := decodeBase64(string(text))
	if err != nil {
		return kms.Errorf(kms.Invalid, "public key: %w", err)
	}
	*k, err = ParsePublicKey(der)
	return err
}

package kms

import "time"

// MACRequest asks for the MAC of a message under the key's current version.
type MACRequest struct {
	Key     KeyRef
	Message []byte // 1 to MaxPlaintext bytes
}

// MessageMAC is a MAC, with the key and version that made it.
type MessageMAC struct {
	Key  KeyRef
	Data []byte
}

// VerifyMACRequest asks whether MAC, whole, is that of Message under the key.
// The answer is a Verification.
type VerifyMACRequest struct {
	Key     KeyRef
	Message []byte
	MAC     []byte
}

// RewrapRequest asks to open what is sealed under Key and to encrypt it anew to
// the asymmetric key Target: a data key leaves the domain that way, without
// anyone seeing it on the way.
type RewrapRequest struct {
	Key     KeyRef
	Data    []byte
	Binding Binding
	Layout  Layout
	Target  KeyRef
	Padding Padding // of Target, as in EncryptRequest
}

// A Wrapping is how key material is wrapped to the domain for import.
type Wrapping uint8

// The wrappings. All but WrapSM2 are to a key of one of the RSA specs; to one of
// SM2 material is encrypted with SM2, whatever wrapping is named.
const (
	// WrapPKCS1 is RSAES-PKCS1-v1_5 (RFC 8017) of the material.
	WrapPKCS1 Wrapping = iota + 1
	// WrapOAEP is RSAES-OAEP with SHA-256, MGF1 with SHA-256 and no label.
	WrapOAEP
	// WrapOAEPAES is RSA-AES key wrap (PKCS #11, CKM_RSA_AES_KEY_WRAP): WrapOAEP of a
	// fresh AES key ‖ the material under that key by AES-KWP (RFC 5649).
	WrapOAEPAES
	// WrapSM2 is SM2 encryption (GB/T 32918.4) of the material, in ASN.1 DER (GM/T
	// 0009). It holds material of any length.
	WrapSM2
)

// ImportParametersRequest asks for a public key to wrap the material of Key to,
// which waits for it.
type ImportParametersRequest struct {
	Key  KeyID
	Spec Spec // of the wrapping key: an RSA spec or SM2
}

// ImportParameters is what a tenant needs to import a key's material.
type ImportParameters struct {
	Key       KeyRef
	PublicKey []byte // SubjectPublicKeyInfo, DER
	Token     []byte // opaque; ImportRequest gives it back
	Expires   time.Time
}

// ImportRequest brings the material of a key. In clear it is: for symmetric and
// MAC keys the raw key; for RSA PKCS #8 or PKCS #1; for EC and SM2 PKCS #8, SEC 1
// or the raw private number; for Ed25519 PKCS #8 or the raw seed (RFC 8032).
type ImportRequest struct {
	Key      KeyID
	Token    []byte
	Wrapping Wrapping
	Material []byte // wrapped
}

// ExportedKey is the private half or secret of an exportable key: PKCS #8 DER of
// asymmetric keys, the raw key of others.
type ExportedKey struct {
	Key      KeyRef
	Spec     Spec
	Material []byte
}

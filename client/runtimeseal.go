package client

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// A RuntimeStatement is what a runtime's public key is expected to say, and who
// may have said it.
type RuntimeStatement struct {
	Key         kms.RuntimeKey
	Domain      kms.DomainID
	SigningKeys []kms.RuntimeSigningKey // of the domain, from a node that has proved itself
	At          time.Time               // now
}

// Verify checks that p says what is expected, that it has not expired and that
// the domain signed it. It is pure. The error is Denied, or Expired for an
// ephemeral key past its time: what is sealed to that opens nowhere.
func (s RuntimeStatement) Verify(p *kms.RuntimePublicKey) error {
	if err := p.Validate(); err != nil {
		return kms.Errorf(kms.Denied, "runtime public key: %w", err)
	}
	switch {
	case p.RuntimeKey != s.Key:
		return kms.Errorf(kms.Denied, "the public key is of another runtime, key id, generation or epoch")
	case p.Domain != s.Domain:
		return kms.Errorf(kms.Denied, "the public key is of another domain, %s", p.Domain)
	case p.Ephemeral == p.Expires.IsZero():
		return kms.Errorf(kms.Denied, "an ephemeral public key expires, and a long-term one does not")
	case !p.Ephemeral && p.Period != uint64(p.Generation):
		return kms.Errorf(kms.Denied, "the public key is signed by another generation than its own")
	}
	if err := s.signed(p); err != nil {
		return err
	}
	if p.Ephemeral && !s.At.Before(p.Expires) {
		return kms.Errorf(kms.Expired, "the public key was good until %s", p.Expires.UTC().Format(time.RFC3339)).WithHint("ask for the key of the present epoch")
	}
	return nil
}

// signed checks the signature by the one key that may have made it.
func (s RuntimeStatement) signed(p *kms.RuntimePublicKey) error {
	for _, k := range s.SigningKeys {
		if k.Generation != p.Generation {
			continue
		}
		if !p.Ephemeral && p.Checksum != k.Checksum {
			return kms.Errorf(kms.Denied, "the public key is of another master secret than generation %d", k.Generation)
		}
		if len(p.Signature) != ed25519.SignatureSize || !ed25519.Verify(k.Public[:], p.Signed(), p.Signature) {
			return kms.Errorf(kms.Denied, "the public key's signature is not valid")
		}
		return nil
	}
	return kms.Errorf(kms.Denied, "generation %d, which signed the public key, is not known", p.Generation).
		WithHint("ask a node of the domain for its signing keys again")
}

// SealToRuntime seals up to kms.MaxRuntimeMessage bytes to a runtime, which alone
// opens it (RuntimeDecrypt, or OpenAsRuntime with its keys): HPKE (RFC 9180) with
// X25519, HKDF-SHA256 and AES-256-GCM, bound to domain, runtime and key. It does
// not say who sealed it. The public key must have been verified. The errors are
// TooLarge, and Invalid for a public key that is none.
func SealToRuntime(p *kms.RuntimePublicKey, plaintext []byte) ([]byte, error) {
	if len(plaintext) > kms.MaxRuntimeMessage {
		return nil, kms.Errorf(kms.TooLarge, "%d bytes, at most %d", len(plaintext), kms.MaxRuntimeMessage).
			WithHint("seal a key to the runtime, and the rest under that key")
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	point, err := ecdh.X25519().NewPublicKey(p.Public[:])
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "the runtime's public key: %w", err)
	}
	to, err := hpke.NewDHKEMPublicKey(point)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "the runtime's public key: %w", err)
	}
	sealed, err := hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), p.SealedInfo(p.Domain), plaintext)
	if err != nil { // a point of low order
		return nil, kms.Errorf(kms.Invalid, "the runtime's public key: %w", err)
	}
	return append(p.SealedHeader(), sealed...), nil
}

// OpenAsRuntime opens what was sealed to a runtime, with its keys. The errors are
// Invalid for what is not sealed, or sealed to another key than k, and
// DecryptFailed.
func OpenAsRuntime(k *kms.RuntimeKeys, sealed []byte) ([]byte, error) {
	key, body, err := kms.ParseRuntimeSealed(sealed)
	if err != nil {
		return nil, err
	}
	key.Runtime = k.Runtime
	if key != k.RuntimeKey {
		return nil, kms.Errorf(kms.Invalid, "it is sealed to another key: %s", key)
	}
	private, err := ecdh.X25519().NewPrivateKey(k.Private)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "the private key has not 32 bytes")
	}
	opener, err := hpke.NewDHKEMPrivateKey(private)
	if err == nil {
		body, err = hpke.Open(opener, hpke.HKDFSHA256(), hpke.AES256GCM(), key.SealedInfo(k.Domain), body)
	}
	if err != nil {
		return nil, kms.Errorf(kms.DecryptFailed, "it does not open with this key")
	}
	return body, nil
}

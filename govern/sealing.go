package govern

import (
	"crypto/ecdsa"
	"crypto/hpke"

	"github.com/holdfast-kms/holdfast/kms"
)

// Seals reports whether something can be sealed to k: it is an ECDSA P-256 key.
// An Ed25519 key signs and does nothing else.
func (k PublicKey) Seals() bool {
	_, ok := k.Key().(*ecdsa.PublicKey)
	return ok
}

// SealedOverhead is how much longer what Seal makes is than what it holds.
const SealedOverhead = 65 + 16

// Seal seals plaintext to the holder of k, so that it opens with the same info
// alone: HPKE (RFC 9180) in base mode with DHKEM(P-256, HKDF-SHA256),
// HKDF-SHA256 and AES-256-GCM; the encapsulated key stands in front. The error
// is Invalid for a key that cannot be sealed to.
func (k PublicKey) Seal(info, plaintext []byte) ([]byte, error) {
	key, ok := k.Key().(*ecdsa.PublicKey)
	if !ok {
		return nil, kms.Errorf(kms.Invalid, "public key: nothing can be sealed to a key that is not an ECDSA P-256 one").
			WithHint("a recovery key is made with `holdfast recovery key new`")
	}
	point, err := key.ECDH()
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "public key: %w", err)
	}
	to, err := hpke.NewDHKEMPublicKey(point)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "public key: %w", err)
	}
	return hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), info, plaintext)
}

// Unseal opens what was sealed to k with the same info. The errors are Invalid
// for a key that nothing can be sealed to, and DecryptFailed, whatever the cause.
func (k *PrivateKey) Unseal(info, sealed []byte) ([]byte, error) {
	if k == nil || k.unseal == nil {
		return nil, kms.Errorf(kms.Invalid, "private key: nothing can be sealed to it").WithHint("it takes an ECDSA P-256 key")
	}
	plain, err := k.unseal(info, sealed)
	if err != nil {
		return nil, kms.Errorf(kms.DecryptFailed, "it does not open with this key")
	}
	return plain, nil
}

func unsealer(key *ecdsa.PrivateKey) func(info, sealed []byte) ([]byte, error) {
	return func(info, sealed []byte) ([]byte, error) {
		scalar, err := key.ECDH()
		if err != nil {
			return nil, err
		}
		from, err := hpke.NewDHKEMPrivateKey(scalar)
		if err != nil {
			return nil, err
		}
		return hpke.Open(from, hpke.HKDFSHA256(), hpke.AES256GCM(), info, sealed)
	}
}

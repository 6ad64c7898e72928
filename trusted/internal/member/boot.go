package member

import (
	"crypto/hpke"

	"github.com/holdfast-kms/holdfast/kms"
)

// BootSize is the length in bytes of a boot key's public half: an encapsulation
// key of ML-KEM-768 and a point of X25519 (draft-ietf-hpke-pq, MLKEM768-X25519).
const BootSize = 1184 + 32

// A Boot is the HPKE key of one start of a node. It lives in memory and is never
// stored, so what was sealed for one start opens in no other.
type Boot struct {
	public []byte
	// open holds the private half. A closure is the one thing that no print verb
	// and no encoder looks into.
	open func(info, sealed []byte) ([]byte, error)
}

// NewBoot makes the key of a start.
func NewBoot() (*Boot, error) {
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "making a boot key: %w", err)
	}
	return &Boot{
		public: key.PublicKey().Bytes(),
		open: func(info, sealed []byte) ([]byte, error) {
			return hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), info, sealed)
		},
	}, nil
}

// Public is the public half, BootSize bytes. The caller does not change it.
func (b *Boot) Public() []byte { return b.public }

// Open opens what was sealed to this start with the same info (RFC 9180, base
// mode, MLKEM768-X25519, HKDF-SHA256, AES-256-GCM): the encapsulated key and the
// ciphertext. The error is DecryptFailed, whatever the cause.
func (b *Boot) Open(info, sealed []byte) ([]byte, error) {
	plain, err := b.open(info, sealed)
	if err != nil {
		return nil, kms.Errorf(kms.DecryptFailed, "it does not open with this start's key")
	}
	return plain, nil
}

// Seal seals plaintext to the start that public is of, so that it opens with the
// same info alone. The error is Invalid where public is no key.
func Seal(public, info, plaintext []byte) ([]byte, error) {
	key, err := hpke.MLKEM768X25519().NewPublicKey(public)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "not the key of a node's start").WithField("boot")
	}
	sealed, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), info, plaintext)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "sealing to a node's start: %w", err)
	}
	return sealed, nil
}

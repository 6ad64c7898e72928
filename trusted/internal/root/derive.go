package root

import (
	"crypto/ed25519"
	"crypto/sha3"

	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// SigningSeed is the Ed25519 seed (32 bytes) of a generation's runtime signing
// key. The caller wipes it. The error is that of a generation that is not held,
// as in everything here.
func (r *Root) SigningSeed(generation uint32) (secret.Bytes, error) {
	return r.derive(generation, ed25519.SeedSize, r.labels.Signing, r.domain[:])
}

// SigningKey is the public half of a generation's runtime signing key.
func (r *Root) SigningKey(generation uint32) (public ed25519.PublicKey, err error) {
	seed, err := r.SigningSeed(generation)
	if err != nil {
		return nil, err
	}
	defer seed.Wipe()
	err = seed.Use(func(b []byte) error {
		private := ed25519.NewKeyFromSeed(b)
		public = append(public, private[ed25519.SeedSize:]...) // a copy, that the wiping leaves
		clear(private)
		return nil
	})
	return public, err
}

// BackupKey is the 32 bytes that backups made under a generation are encrypted
// under. The caller wipes it.
func (r *Root) BackupKey(generation uint32) (secret.Bytes, error) {
	return r.derive(generation, SecretSize, r.labels.Backup, r.domain[:])
}

// RuntimeRoot is what runtimes' long-term keys of a generation are derived from.
// The caller wipes it.
func (r *Root) RuntimeRoot(generation uint32) (secret.Bytes, error) {
	return r.derive(generation, SecretSize, r.labels.Runtime, r.domain[:])
}

// PairLabels are the two of a runtime's pair: for the secret that is derived
// first, and for the bytes that it is stretched to.
type PairLabels struct {
	Secret  string
	Stretch string
}

// A Pair is a runtime's keys: 32 bytes for a symmetric key that its state is
// encrypted under, 32 for a private key of X25519 (RFC 7748, not clamped yet).
type Pair struct {
	State   secret.Bytes
	Private secret.Bytes
}

// Wipe wipes both.
func (p Pair) Wipe() { p.State.Wipe(); p.Private.Wipe() }

// DerivePair derives a pair from a secret of 32 bytes. The parts of context are
// hashed as if they were one string, so each must have a fixed length:
//
//	k = KMAC256(from, context, 32 bytes, labels.Secret)
//	state ‖ private = cSHAKE256(k, 64 bytes, labels.Stretch)
func DerivePair(from secret.Bytes, labels PairLabels, context ...[]byte) (p Pair, err error) {
	err = from.Use(func(b []byte) error {
		k := KMAC256(b, SecretSize, labels.Secret, context...)
		defer clear(k)
		xof := sha3.NewCSHAKE256(nil, []byte(labels.Stretch))
		xof.Write(k)
		var out [2 * SecretSize]byte
		xof.Read(out[:])
		p = Pair{State: secret.New(out[:SecretSize]), Private: secret.New(out[SecretSize:])}
		return nil
	})
	return p, err
}

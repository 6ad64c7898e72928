// Package runtimes derives the keys of attested runtimes and keeps the secrets
// of epochs.
//
//	S_g ──→ runtime derivations_g ──KMAC, XOF→ long-term pair (runtime, key id, g)
//	S_g ──→ runtime signing key_g ──Ed25519──→ signatures of public keys
//	E_e (random, memory only) ──────KMAC, XOF→ ephemeral pair (runtime, key id, e)
//
// What is guaranteed: the two kinds of pairs, any two runtimes, key ids, generations
// and epochs share nothing. No secret of an epoch is written anywhere; one that
// was received is used only if it has the checksum that the domain published.
// When an epoch's secret is dropped its bytes are cleared, and what was sealed
// under it opens nowhere.
//
// Who may ask for what is decided by the caller.
package runtimes

import (
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/binary"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// Size is the length in bytes of every secret, key, id and checksum here.
const Size = 32

// Labels separate the derivations. One deployment uses one set; that of Oasis
// reproduces Oasis' vectors.
type Labels struct {
	LongTerm, Ephemeral root.PairLabels
	EphemeralChecksum   string
}

// HoldfastLabels are ours: none is used twice.
var HoldfastLabels = Labels{
	LongTerm:          root.PairLabels{Secret: "holdfast/v1/runtime/long-term", Stretch: "holdfast/v1/runtime/long-term-keys"},
	Ephemeral:         root.PairLabels{Secret: "holdfast/v1/runtime/ephemeral", Stretch: "holdfast/v1/runtime/ephemeral-keys"},
	EphemeralChecksum: "holdfast/v1/ephemeral-secret-checksum",
}

// macLabel is for MACs under a state key.
const macLabel = "holdfast/v1/runtime/mac"

// RuntimeID is what a runtime's name enters derivations as, bound to the domain.
func RuntimeID(domain kms.DomainID, runtime string) [Size]byte {
	h := sha256.New()
	h.Write([]byte("holdfast/v1/runtime-id\x00"))
	h.Write(domain[:])
	h.Write([]byte(runtime)) // last, so that its end is the end
	return [Size]byte(h.Sum(nil))
}

// LongTermPair derives the pair of a runtime and key id from a generation's
// secret: k = KMAC256(secret, runtime ‖ id), and from cSHAKE256(k) the state key
// and then the X25519 private key, 32 bytes each.
func (l Labels) LongTermPair(from secret.Bytes, runtime [Size]byte, id kms.RuntimeKeyID) (*Pair, error) {
	return pairOf(root.DerivePair(from, l.LongTerm, runtime[:], id[:]))
}

// EphemeralPair is LongTermPair for an epoch, from its secret: the epoch, in 8
// bytes big-endian, follows the key id.
func (l Labels) EphemeralPair(from secret.Bytes, runtime [Size]byte, id kms.RuntimeKeyID, epoch uint64) (*Pair, error) {
	return pairOf(root.DerivePair(from, l.Ephemeral, runtime[:], id[:], binary.BigEndian.AppendUint64(nil, epoch)))
}

// Checksum names an epoch's secret: KMAC256(secret, domain ‖ epoch in 8 bytes
// little-endian, as Oasis has it).
func (l Labels) Checksum(of secret.Bytes, domain kms.DomainID, epoch uint64) (sum [Size]byte, err error) {
	err = of.Use(func(b []byte) error {
		copy(sum[:], root.KMAC256(b, Size, l.EphemeralChecksum, domain[:], binary.LittleEndian.AppendUint64(nil, epoch)))
		return nil
	})
	return sum, err
}

// pairOf adds the public key.
func pairOf(keys root.Pair, err error) (*Pair, error) {
	if err != nil {
		return nil, err
	}
	p := &Pair{keys: keys}
	err = keys.Private.Use(func(b []byte) error {
		private, err := ecdh.X25519().NewPrivateKey(b)
		if err == nil {
			p.Public = [Size]byte(private.PublicKey().Bytes())
		}
		return err
	})
	return p, err
}

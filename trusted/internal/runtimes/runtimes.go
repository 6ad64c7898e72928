package runtimes

import (
	"crypto/ed25519"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// Keys derives the keys of one domain's runtimes. It is safe for concurrent use.
type Keys struct {
	root   *root.Root
	domain kms.DomainID
	epochs epochs
}

// New makes the Keys of a domain. It holds no secret of an epoch yet.
func New(r *root.Root, domain kms.DomainID) *Keys {
	return &Keys{root: r, domain: domain, epochs: epochs{held: map[uint64]*held{}}}
}

// Newest is the newest generation.
func (k *Keys) Newest() uint32 { return k.root.Current() }

// LongTerm derives a long-term pair. The errors are Invalid, and NotFound for a
// generation that this node does not hold.
func (k *Keys) LongTerm(key kms.RuntimeKey) (*Pair, error) {
	if err := key.Validate(); err != nil || key.Ephemeral {
		return nil, misnamed(err)
	}
	if key.Period > uint64(k.root.Current()) {
		return nil, kms.Errorf(kms.NotFound, "there is no generation %d yet", key.Period).WithField("generation")
	}
	from, err := k.root.Derive(uint32(key.Period), root.RuntimeDerivations, Size)
	if err != nil {
		return nil, err
	}
	defer from.Wipe()
	return HoldfastLabels.LongTermPair(from, RuntimeID(k.domain, key.Runtime), key.ID)
}

// Ephemeral derives an ephemeral pair, from the epoch's secret that has the
// published checksum. The errors are Invalid, and Unavailable where this node
// does not have that secret.
func (k *Keys) Ephemeral(key kms.RuntimeKey, checksum [Size]byte) (*Pair, error) {
	if err := key.Validate(); err != nil || !key.Ephemeral {
		return nil, misnamed(err)
	}
	from, err := k.epochs.get(key.Period, checksum)
	if err != nil {
		return nil, err
	}
	return HoldfastLabels.EphemeralPair(from, RuntimeID(k.domain, key.Runtime), key.ID, key.Period)
}

func misnamed(err error) error {
	if err != nil {
		return err
	}
	return kms.Errorf(kms.Invalid, "the key is of the other kind")
}

// SigningKey is the public half of a generation's signing key. The error is
// NotFound.
func (k *Keys) SigningKey(generation uint32) (public [Size]byte, err error) {
	err = k.signing(generation, func(key ed25519.PrivateKey) {
		copy(public[:], key[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
	})
	return public, err
}

// Sign completes a public key with its domain and its signature by the key of its
// generation. The error is NotFound.
func (k *Keys) Sign(p *kms.RuntimePublicKey) error {
	p.Domain = k.domain
	return k.signing(p.Generation, func(key ed25519.PrivateKey) {
		p.Signature = ed25519.Sign(key, p.Signed())
	})
}

func (k *Keys) signing(generation uint32, use func(ed25519.PrivateKey)) error {
	seed, err := k.root.Derive(generation, root.RuntimeSigning, ed25519.SeedSize)
	if err != nil {
		return err
	}
	defer seed.Wipe()
	return seed.Use(func(b []byte) error {
		key := ed25519.NewKeyFromSeed(b)
		defer clear(key)
		use(key)
		return nil
	})
}

// newSecret makes an epoch's secret.
var newSecret = func() secret.Bytes { return secret.Random(Size) }

package runtimes

import (
	"crypto/ed25519"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
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

// LongTerm derives a long-term pair. The errors are Invalid, and NotFound for a
// generation that this node does not hold.
func (k *Keys) LongTerm(key kms.RuntimeKey) (*Pair, error) {
	if err := key.Validate(); err != nil || key.Ephemeral {
		return nil, misnamed(err)
	}
	if key.Period > uint64(k.root.Current()) {
		return nil, kms.Errorf(kms.NotFound, "there is no generation %d yet", key.Period).WithField("generation")
	}
	from, err := k.root.RuntimeRoot(uint32(key.Period))
	if err != nil {
		return nil, err
	}
	defer from.Wipe()
	return HoldfastLabels.LongTermPair(from, RuntimeID(k.domain, key.Runtime), key.ID)
}

// Ephemeral derives an ephemeral pair, from the epoch's secret that has the
// published checksum. The errors are Invalid, and NotFound where this node does
// not have that secret.
func (k *Keys) Ephemeral(key kms.RuntimeKey, checksum [Size]byte) (*Pair, error) {
	if err := key.Validate(); err != nil || !key.Ephemeral {
		return nil, misnamed(err)
	}
	from, err := k.Secret(key.Period, checksum)
	if err != nil {
		return nil, err
	}
	pair, err := HoldfastLabels.EphemeralPair(from, RuntimeID(k.domain, key.Runtime), key.ID, key.Period)
	if err != nil { // its time came meanwhile
		return nil, errGone(key.Period)
	}
	return pair, nil
}

func misnamed(err error) error {
	if err != nil {
		return err
	}
	return kms.Errorf(kms.Invalid, "the key is of the other kind")
}

// Sign completes a public key with its domain and its signature by the signing
// key of its generation. The error is NotFound.
func (k *Keys) Sign(p *kms.RuntimePublicKey) error {
	p.Domain = k.domain
	seed, err := k.root.SigningSeed(p.Generation)
	if err != nil {
		return err
	}
	defer seed.Wipe()
	return seed.Use(func(b []byte) error {
		key := ed25519.NewKeyFromSeed(b)
		defer clear(key)
		p.Signature = ed25519.Sign(key, p.Signed())
		return nil
	})
}

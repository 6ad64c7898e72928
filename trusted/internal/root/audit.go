package root

import (
	"crypto/ed25519"

	"github.com/holdfast-kms/holdfast/audit"
)

// SignAuditHead signs a head of a node's audit log under the current generation.
func (r *Root) SignAuditHead(h *audit.Head) error {
	h.Generation = r.Current()
	return r.withAuditKey(h.Generation, func(private ed25519.PrivateKey) error {
		copy(h.Signature[:], ed25519.Sign(private, h.Text(r.domain)))
		return nil
	})
}

// AuditKey is the public half of the key that signs heads of audit logs, with the
// word of the generation's runtime signing key for it.
func (r *Root) AuditKey(generation uint32) (k audit.Key, err error) {
	k.Generation = generation
	err = r.withAuditKey(generation, func(private ed25519.PrivateKey) error {
		copy(k.Public[:], private[ed25519.SeedSize:])
		return nil
	})
	if err != nil {
		return k, err
	}
	seed, err := r.SigningSeed(generation)
	if err != nil {
		return k, err
	}
	defer seed.Wipe()
	return k, seed.Use(func(b []byte) error {
		private := ed25519.NewKeyFromSeed(b)
		defer clear(private)
		copy(k.Voucher[:], ed25519.Sign(private, k.Text(r.domain)))
		return nil
	})
}

func (r *Root) withAuditKey(generation uint32, use func(ed25519.PrivateKey) error) error {
	seed, err := r.derive(generation, ed25519.SeedSize, r.labels.Audit, r.domain[:])
	if err != nil {
		return err
	}
	defer seed.Wipe()
	return seed.Use(func(b []byte) error {
		private := ed25519.NewKeyFromSeed(b)
		defer clear(private)
		return use(private)
	})
}

package core

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Agree makes the secret that a key and a peer's public key have in common, and
// derives from it what was asked for. The errors are those of using a key,
// Invalid (the peer's key, the derivation) and TooLarge.
func (c *Caller) Agree(ctx context.Context, r kms.AgreeRequest) (kms.SharedSecret, error) {
	rec, err := c.sharingKey(r.Key, kms.UseAgree, &r.Derivation)
	if err != nil {
		return kms.SharedSecret{}, err
	}
	out := kms.SharedSecret{Key: refOf(rec, 0)}
	err = c.lendPrivate(ctx, rec, rec.Current, func(k alg.Key) error {
		own, err := k.Public()
		if err != nil {
			return err
		}
		shared, err := k.Agree(r.Peer)
		if err != nil {
			return err
		}
		defer clear(shared)
		out.Secret, err = derive(shared, r.Derivation, func() []byte {
			return r.Derivation.AgreementInfo(kms.Party{Key: rec.ID, Public: own}, kms.Party{Key: r.PeerKey, Public: r.Peer})
		})
		return err
	})
	return out, err
}

// Encapsulate makes a secret, and the ciphertext that Decapsulate makes the same
// of. The errors are those of using a key, Invalid and TooLarge.
func (c *Caller) Encapsulate(_ context.Context, r kms.EncapsulateRequest) (kms.SharedSecret, error) {
	rec, err := c.sharingKey(r.Key, kms.UseWrap, &r.Derivation)
	if err != nil {
		return kms.SharedSecret{}, err
	}
	out := kms.SharedSecret{Key: refOf(rec, 0)}
	err = c.core.cfg.Keyring.Lend(rec, rec.Current, func(k alg.Key) error {
		shared, ciphertext, err := k.Encapsulate()
		if err != nil {
			return err
		}
		defer clear(shared)
		out.Ciphertext = ciphertext
		out.Secret, err = deriveEncapsulated(rec, k, shared, ciphertext, r.Derivation)
		return err
	})
	return out, err
}

// Decapsulate makes the secret of a ciphertext. One that was made for another
// key gives another secret and no error; one that cannot be of this spec is
// DecryptFailed. The other errors are those of Encapsulate.
func (c *Caller) Decapsulate(ctx context.Context, r kms.DecapsulateRequest) (kms.SharedSecret, error) {
	rec, err := c.sharingKey(r.Key, kms.UseUnwrap, &r.Derivation)
	if err != nil {
		return kms.SharedSecret{}, err
	}
	out := kms.SharedSecret{Key: refOf(rec, 0)}
	err = c.lendPrivate(ctx, rec, rec.Current, func(k alg.Key) error {
		shared, err := k.Decapsulate(r.Ciphertext)
		if err != nil {
			return err
		}
		defer clear(shared)
		out.Secret, err = deriveEncapsulated(rec, k, shared, r.Ciphertext, r.Derivation)
		return err
	})
	return out, err
}

// sharingKey finds a key that is to share a secret. As it is, a secret is handed
// out only where that is one of the key's usages.
func (c *Caller) sharingKey(ref kms.KeyRef, u kms.Usage, d *kms.Derivation) (*state.Key, error) {
	rec, err := c.useKey(ref, u)
	if err != nil {
		return nil, err
	}
	if err := authz.Version(rec, ref.Version); err != nil {
		return nil, err
	}
	if err := d.Check(); err != nil || !d.Raw {
		return rec, err
	}
	if !rec.Usages.Has(kms.UseRaw) {
		return nil, kms.Errorf(kms.Misused, "the key does not hand out secrets as they are").
			WithHint("take what is derived, or make a key with the usage raw")
	}
	return rec, c.meets(rec, kms.UseRaw)
}

func deriveEncapsulated(rec *state.Key, k alg.Key, shared, ciphertext []byte, d kms.Derivation) ([]byte, error) {
	own, err := k.Public()
	if err != nil {
		return nil, err
	}
	return derive(shared, d, func() []byte { return d.EncapsulationInfo(kms.Party{Key: rec.ID, Public: own}, ciphertext) })
}

// derive is the two-step key derivation of NIST SP 800-56C revision 2, section 5,
// with HMAC-SHA-256 and the default salt, which is HKDF (RFC 5869) without one.
func derive(shared []byte, d kms.Derivation, info func() []byte) ([]byte, error) {
	if d.Raw {
		return append([]byte(nil), shared...), nil
	}
	return hkdf.Key(sha256.New, shared, nil, string(info()), d.Length)
}

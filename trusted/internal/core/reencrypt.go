package core

import (
	"context"
	"crypto/rand"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Reencrypt opens a ciphertext and encrypts what is in it under the current
// version of another key, or of the same; the plaintext does not leave. From a
// key with a condition, or to one, nothing moves but to the same key. The errors
// are those of Decrypt and Encrypt.
func (c *Caller) Reencrypt(ctx context.Context, r kms.ReencryptRequest) (out kms.Reencrypted, err error) {
	source, from, err := c.sourceKey(r.Source)
	if err != nil {
		return out, err
	}
	target, err := c.useKey(r.Target.Key, kms.UseEncrypt)
	if err != nil {
		return out, err
	}
	if source.ID != target.ID {
		for _, rec := range []*state.Key{source, target} {
			if err := authz.Deeds(rec, authz.Transfer); err != nil {
				return out, err
			}
		}
	}
	plain, err := c.open(ctx, source, from)
	if err != nil {
		return out, err
	}
	defer clear(plain.Data)
	if err := checkSize("plaintext", len(plain.Data), kms.MaxPlaintext); err != nil {
		return out, err
	}
	r.Target.Plaintext = plain.Data
	sealed, err := c.seal(ctx, target, r.Target)
	return kms.Reencrypted{Ciphertext: sealed, Source: plain.Key}, err
}

// Random returns random bytes. The errors are Denied, Invalid and TooLarge.
func (c *Caller) Random(_ context.Context, n int) ([]byte, error) {
	if err := c.mayDo(kms.SymmetricWork); err != nil {
		return nil, err
	}
	if err := checkSize("length", n, kms.MaxRandom); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	rand.Read(b)
	return b, nil
}

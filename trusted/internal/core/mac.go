package core

import (
	"context"
	"crypto/subtle"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// MAC makes the MAC of a message under the key's current version. The errors
// are those of using a key, Invalid and TooLarge.
func (c *Caller) MAC(_ context.Context, r kms.MACRequest) (kms.MessageMAC, error) {
	rec, err := c.useKey(r.Key, kms.UseMAC)
	if err != nil {
		return kms.MessageMAC{}, err
	}
	data, err := c.macOf(rec, rec.Current, r.Message)
	return kms.MessageMAC{Key: refOf(rec, 0), Data: data}, err
}

// VerifyMAC reports whether a MAC, whole, is that of a message. The errors are
// those of MAC.
func (c *Caller) VerifyMAC(_ context.Context, r kms.VerifyMACRequest) (kms.Verification, error) {
	rec, err := c.useKey(r.Key, kms.UseVerify)
	if err != nil {
		return kms.Verification{}, err
	}
	if err := authz.Version(rec, r.Key.Version); err != nil {
		return kms.Verification{}, err
	}
	ref := refOf(rec, r.Key.Version)
	want, err := c.macOf(rec, ref.Version, r.Message)
	if err != nil {
		return kms.Verification{}, err
	}
	return kms.Verification{Key: ref, Valid: subtle.ConstantTimeCompare(want, r.MAC) == 1}, nil
}

func (c *Caller) macOf(rec *state.Key, n kms.KeyVersion, message []byte) (out []byte, err error) {
	if err := checkSize("message", len(message), kms.MaxPlaintext); err != nil {
		return nil, err
	}
	err = c.core.cfg.Keyring.Lend(rec, n, func(k alg.Key) error {
		out, err = k.MAC(message)
		return err
	})
	return out, err
}

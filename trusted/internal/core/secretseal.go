package core

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A version's value is sealed with AES-256-GCM under a data key of its own:
//
//	format (1 byte) ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//
// The data key is wrapped under the master secret, or under the secret's key. Both
// layers are bound to the place that they are for: domain, app, the secret's id and
// name, and the version's number. So nothing opens in another place, and rotating
// a key moves 32 bytes a version, never a value.
const (
	secretFormat  = 1
	secretNonce   = 12
	secretDataKey = 32

	secretValueLabel = "holdfast/v1/secret/value"
	secretKeyLabel   = "holdfast/v1/secret/data-key"
)

// secretPlace is what a layer is bound to. All but the name have fixed lengths.
func secretPlace(label string, domain kms.DomainID, s *state.Secret, n kms.SecretVersion) []byte {
	b := append([]byte(label), 0)
	b = append(b, domain[:]...)
	b = append(b, s.App[:]...)
	b = append(b, s.ID[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return append(b, s.Name...)
}

func (c *Caller) secretPlace(label string, s *state.Secret, n kms.SecretVersion) []byte {
	return secretPlace(label, c.view.Founding().Domain, s, n)
}

// secretSlot is the place of a data key that the master secret wraps.
func secretSlot(s *state.Secret, n kms.SecretVersion, generation uint32) root.Slot {
	return root.Slot{Purpose: root.WrapSecret, Generation: generation, ID: s.ID[:], Version: uint32(n), Facts: append(s.App[:len(s.App):len(s.App)], s.Name...)}
}

// sealSecret seals a value as a version of a secret, under the key that protects
// it; nil: the master secret.
func (c *Caller) sealSecret(ctx context.Context, s *state.Secret, key *state.Key, n kms.SecretVersion, value []byte) (*state.SecretVersion, error) {
	data := secret.Random(secretDataKey)
	defer data.Wipe()
	v := &state.SecretVersion{Number: n}
	aead, err := secretAEAD(data)
	if err != nil {
		return nil, err
	}
	v.Sealed = make([]byte, 1+secretNonce, 1+secretNonce+len(value)+aead.Overhead())
	v.Sealed[0] = secretFormat
	rand.Read(v.Sealed[1:])
	v.Sealed = aead.Seal(v.Sealed, v.Sealed[1:], value, c.secretPlace(secretValueLabel, s, n))
	v.Under, v.Wrapped, err = c.wrapSecret(ctx, s, key, n, data)
	return v, err
}

func secretAEAD(data secret.Bytes) (aead cipher.AEAD, err error) {
	err = data.Use(func(k []byte) error {
		block, err := aes.NewCipher(k)
		if err != nil {
			return err
		}
		aead, err = cipher.NewGCM(block)
		return err
	})
	return aead, err
}

// openSecret opens a version of a secret. The errors are those of its key, and
// Damaged: stored state is the only place that sealed values come from.
func (c *Caller) openSecret(ctx context.Context, s *state.Secret, key *state.Key, v *state.SecretVersion) ([]byte, error) {
	if len(v.Sealed) < 1+secretNonce || v.Sealed[0] != secretFormat {
		return nil, errSecretDamaged
	}
	data, err := c.unwrapSecret(ctx, s, key, v)
	if err != nil {
		return nil, err
	}
	defer data.Wipe()
	aead, err := secretAEAD(data)
	if err != nil {
		return nil, err
	}
	value, err := aead.Open(nil, v.Sealed[1:1+secretNonce], v.Sealed[1+secretNonce:], c.secretPlace(secretValueLabel, s, v.Number))
	if err != nil {
		return nil, errSecretDamaged
	}
	return value, nil
}

var errSecretDamaged = kms.Errorf(kms.Damaged, "a secret does not open in its place")

// wrapSecret wraps a data key for its place, and says under which generation or
// version of the key.
func (c *Caller) wrapSecret(ctx context.Context, s *state.Secret, key *state.Key, n kms.SecretVersion, data secret.Bytes) (under uint32, wrapped []byte, err error) {
	if key == nil {
		under = c.core.cfg.Root.Current()
		wrapped, err = c.core.cfg.Root.Wrap(secretSlot(s, n, under), data)
		return under, wrapped, err
	}
	var made kms.Ciphertext
	err = data.Use(func(b []byte) error {
		made, err = c.seal(ctx, key, kms.EncryptRequest{Plaintext: b, Binding: c.wrapBinding(s, key, n), Layout: kms.LayoutOwn})
		return err
	})
	return uint32(made.Key.Version), made.Data, ofKey(err)
}

// unwrapSecret opens a data key in its place.
func (c *Caller) unwrapSecret(ctx context.Context, s *state.Secret, key *state.Key, v *state.SecretVersion) (secret.Bytes, error) {
	if key == nil {
		return c.core.cfg.Root.Unwrap(secretSlot(s, v.Number, v.Under), v.Wrapped)
	}
	plain, err := c.open(ctx, key, kms.DecryptRequest{Key: kms.KeyRef{ID: key.ID, Version: kms.KeyVersion(v.Under)}, Data: v.Wrapped,
		Binding: c.wrapBinding(s, key, v.Number), Layout: kms.LayoutOwn})
	switch {
	case errors.Is(err, kms.DecryptFailed):
		return secret.Bytes{}, errSecretDamaged
	case err != nil:
		return secret.Bytes{}, ofKey(err)
	}
	return secret.New(plain.Data), nil
}

// wrapBinding is what a data key under a key is bound to. Ciphertexts of some specs
// (SM4) are bound to nothing: there the value alone is, which no other data key
// opens.
func (c *Caller) wrapBinding(s *state.Secret, key *state.Key, n kms.SecretVersion) kms.Binding {
	if row, ok := key.Spec.Capability(); !ok || !row.Binds {
		return kms.Binding{}
	}
	return kms.RawBinding(c.secretPlace(secretKeyLabel, s, n))
}

// rewrapVersion wraps a version's data key anew, for the same place.
func (c *Caller) rewrapVersion(ctx context.Context, s *state.Secret, from *state.Key, v *state.SecretVersion, moved *state.Secret, to *state.Key) (*command.SecretWrap, error) {
	data, err := c.unwrapSecret(ctx, s, from, v)
	if err != nil {
		return nil, err
	}
	defer data.Wipe()
	under, wrapped, err := c.wrapSecret(ctx, moved, to, v.Number, data)
	if err != nil {
		return nil, err
	}
	return &command.SecretWrap{Number: uint32(v.Number), From: v.Under, To: under, Wrapped: wrapped}, nil
}

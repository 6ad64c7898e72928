package client

import (
	"context"

	"github.com/holdfast-kms/holdfast/kms"
)

// MaxCiphertext is the longest ciphertext that Decrypt takes, in bytes: the
// longest plaintext, a 12-byte nonce and a 16-byte tag.
const MaxCiphertext = kms.MaxPlaintext + 12 + 16

// hintEnvelope is how to encrypt what is too long for one call.
const hintEnvelope = "for more, seal it: envelope encryption under a data key, of any length"

// Encrypt encrypts 1 to kms.MaxPlaintext bytes under a symmetric key. The
// result is ciphertext ‖ 12-byte nonce ‖ 16-byte tag (AES-GCM, SP 800-38D). aad
// is authenticated, not stored: Decrypt needs the same; empty is none. SM4 keys
// bind to nothing and give no integrity; they are there for eHSM's users.
// Errors: TooLarge, NotFound, Foreign, Disabled, Misused for a key of another sort.
func (c *Client) Encrypt(ctx context.Context, id kms.KeyID, plaintext, aad []byte) ([]byte, error) {
	if err := checkSizes(actEncrypt, "plaintext", plaintext, kms.MaxPlaintext, aad); err != nil {
		return nil, err
	}
	r, err := call[ciphertextResult](ctx, c, actEncrypt, struct {
		keyPayload
		Plaintext []byte `json:"plaintext"`
		AAD       []byte `json:"aad,omitempty"`
	}{keyPayload{id}, plaintext, aad})
	return r.Ciphertext, orMissing(actEncrypt, err, r.Ciphertext)
}

// Decrypt opens what Encrypt or GenerateDataKey made under the key with the
// same aad. Errors: DecryptFailed, whatever of key, aad and ciphertext does
// not fit; those of Encrypt.
func (c *Client) Decrypt(ctx context.Context, id kms.KeyID, ciphertext, aad []byte) ([]byte, error) {
	if err := checkSizes(actDecrypt, "ciphertext", ciphertext, MaxCiphertext, aad); err != nil {
		return nil, err
	}
	r, err := call[struct {
		Plaintext []byte `json:"plaintext"`
	}](ctx, c, actDecrypt, struct {
		keyPayload
		Ciphertext []byte `json:"ciphertext"`
		AAD        []byte `json:"aad,omitempty"`
	}{keyPayload{id}, ciphertext, aad})
	return r.Plaintext, orMissing(actDecrypt, err, r.Plaintext)
}

// A DataKey is a key for use outside the domain, in clear and wrapped.
// Wrapped opens with Decrypt under the same key and aad.
type DataKey struct {
	Plaintext []byte
	Wrapped   []byte
}

// GenerateDataKey makes length random bytes, 1 to kms.MaxDataKey, and wraps
// them under a symmetric key. Errors: those of Encrypt.
func (c *Client) GenerateDataKey(ctx context.Context, id kms.KeyID, length int, aad []byte) (DataKey, error) {
	if err := checkDataKey(actDataKey, length, aad); err != nil {
		return DataKey{}, err
	}
	r, err := call[struct {
		Plaintext []byte `json:"plaintext"`
		ciphertextResult
	}](ctx, c, actDataKey, dataKeyPayload{keyPayload{id}, length, aad})
	if err == nil && len(r.Plaintext) != length {
		return DataKey{}, garbled(actDataKey, 0, nil) // a short key would be used without a thought
	}
	return DataKey{r.Plaintext, r.Ciphertext}, orMissing(actDataKey, err, r.Plaintext, r.Ciphertext)
}

// GenerateDataKeyWithoutPlaintext is GenerateDataKey for a party that stores
// wrapped keys and must not see them; it returns the wrapped key alone.
func (c *Client) GenerateDataKeyWithoutPlaintext(ctx context.Context, id kms.KeyID, length int, aad []byte) ([]byte, error) {
	if err := checkDataKey(actWrappedOnly, length, aad); err != nil {
		return nil, err
	}
	r, err := call[ciphertextResult](ctx, c, actWrappedOnly, dataKeyPayload{keyPayload{id}, length, aad})
	return r.Ciphertext, orMissing(actWrappedOnly, err, r.Ciphertext)
}

// Rewrap encrypts a data key, which GenerateDataKey wrapped under the key id
// with aad, to the public half of the asymmetric key target: RSA (OAEP with
// SHA-256) or SM2. Nobody sees it on the way. AsymmetricDecrypt opens it, and so
// does whoever has the private half. Errors: DecryptFailed; those of Encrypt.
func (c *Client) Rewrap(ctx context.Context, id kms.KeyID, wrapped, aad []byte, target kms.KeyID) ([]byte, error) {
	if err := checkSizes(actRewrap, "wrapped data key", wrapped, MaxCiphertext, aad); err != nil {
		return nil, err
	}
	r, err := call[struct {
		DataKey []byte `json:"newdatakey"`
	}](ctx, c, actRewrap, struct {
		keyPayload
		Target  kms.KeyID `json:"ukeyid"`
		Wrapped []byte    `json:"olddatakey_base"`
		AAD     []byte    `json:"aad,omitempty"`
	}{keyPayload{id}, target, wrapped, aad})
	return r.DataKey, orMissing(actRewrap, err, r.DataKey)
}

type ciphertextResult struct {
	Ciphertext []byte `json:"ciphertext"`
}

type dataKeyPayload struct {
	keyPayload
	Length int    `json:"keylen"`
	AAD    []byte `json:"aad,omitempty"`
}

// orMissing turns a success without its fields into an error.
func orMissing(a action, err error, fields ...[]byte) error {
	if err != nil {
		return err
	}
	for _, f := range fields {
		if len(f) == 0 {
			return garbled(a, 0, nil)
		}
	}
	return nil
}

func checkSizes(a action, what string, data []byte, limit int, aad []byte) error {
	switch {
	case len(data) == 0:
		return misuse(a, kms.Invalid, "", "the %s is empty", what)
	case len(data) > limit:
		return misuse(a, kms.TooLarge, hintEnvelope, "the %s has more than %d bytes", what, limit)
	case len(aad) > kms.MaxBinding:
		return misuse(a, kms.TooLarge, "", "the additional data has more than %d bytes", kms.MaxBinding)
	}
	return nil
}

func checkDataKey(a action, length int, aad []byte) error {
	if length < 1 || length > kms.MaxDataKey {
		return misuse(a, kms.Invalid, "", "a data key has 1 to %d bytes, not %d", kms.MaxDataKey, length)
	}
	if len(aad) > kms.MaxBinding {
		return misuse(a, kms.TooLarge, "", "the additional data has more than %d bytes", kms.MaxBinding)
	}
	return nil
}

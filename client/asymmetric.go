package client

import (
	"context"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// maxAsymmetric is the most that one asymmetric encryption takes under any
// spec, in bytes; the node knows the limit of each.
var maxAsymmetric = func() (most int) {
	for _, c := range kms.Capabilities() {
		most = max(most, c.MaxPlaintext)
	}
	return most
}()

// maxAsymmetricCiphertext is more than any spec makes of that: RSA-4096 makes
// 512 bytes, SM2 about 110 more than the plaintext.
const maxAsymmetricCiphertext = 1024

// hintAsymmetric is how to encrypt what is too long for an asymmetric key.
const hintAsymmetric = "for more, encrypt a data key with it (Rewrap), and the data with that"

// AsymmetricEncrypt encrypts to the public half of an RSA or SM2 key that was
// created to encrypt and decrypt. A zero padding is OAEP with SHA-256 and no
// label (RFC 8017); PaddingPKCS1 is there for those who must have it; SM2 has
// none and ignores it. The result is as long as the modulus, or for SM2 ASN.1
// DER (GM/T 0009). At most: RSA-2048 190 bytes, RSA-3072 318, RSA-4096 446 with
// OAEP; SM2 255.
// Errors: TooLarge, NotFound, Foreign, Disabled, Misused for a key of another sort.
func (c *Client) AsymmetricEncrypt(ctx context.Context, id kms.KeyID, plaintext []byte, padding kms.Padding) ([]byte, error) {
	switch n := len(plaintext); {
	case n == 0:
		return nil, misuse(actAsymEncrypt, kms.Invalid, "", "the plaintext is empty")
	case n > maxAsymmetric:
		return nil, misuse(actAsymEncrypt, kms.TooLarge, hintAsymmetric, "the plaintext has more than %d bytes", maxAsymmetric)
	}
	mode, err := encryptPadding(actAsymEncrypt, padding)
	if err != nil {
		return nil, err
	}
	r, err := call[ciphertextResult](ctx, c, actAsymEncrypt, struct {
		keyPayload
		Plaintext   []byte `json:"plaintext"`
		PaddingMode string `json:"padding_mode"`
	}{keyPayload{id}, plaintext, mode})
	return r.Ciphertext, orMissing(actAsymEncrypt, err, r.Ciphertext)
}

// AsymmetricDecrypt opens what AsymmetricEncrypt or Rewrap made, or anyone with
// the public half, under the same padding. Errors: DecryptFailed; those of
// AsymmetricEncrypt. With PaddingPKCS1 a ciphertext that is wrongly padded opens
// to random bytes instead, so that nobody can learn from the difference: check
// what comes out.
func (c *Client) AsymmetricDecrypt(ctx context.Context, id kms.KeyID, ciphertext []byte, padding kms.Padding) ([]byte, error) {
	if err := checkSizes(actAsymDecrypt, "ciphertext", ciphertext, maxAsymmetricCiphertext, nil); err != nil {
		return nil, err
	}
	mode, err := encryptPadding(actAsymDecrypt, padding)
	if err != nil {
		return nil, err
	}
	r, err := call[struct {
		// A plaintext can be empty: others than Holdfast encrypt such.
		Plaintext *[]byte `json:"plaintext"`
	}](ctx, c, actAsymDecrypt, struct {
		keyPayload
		Ciphertext  []byte `json:"ciphertext"`
		PaddingMode string `json:"padding_mode"`
	}{keyPayload{id}, ciphertext, mode})
	if err != nil {
		return nil, err
	}
	if r.Plaintext == nil {
		return nil, garbled(actAsymDecrypt, 0, nil)
	}
	return *r.Plaintext, nil
}

// encryptPadding is the protocol's name of a padding.
func encryptPadding(a action, p kms.Padding) (string, error) {
	if p == 0 {
		p = kms.PaddingOAEP
	}
	name, ok := wire.PaddingName(p)
	if !ok {
		return "", misuse(a, kms.Invalid, "", "unknown padding")
	}
	return name, nil
}

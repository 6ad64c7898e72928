package client

import (
	"context"
	"errors"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// maxSignature is the longest signature that Verify takes, in bytes (ML-DSA-87).
const maxSignature = 4627

// Sign signs with an asymmetric key: a message of 1 to kms.MaxPlaintext bytes
// or, with Prehashed, a digest. A zero Digest is the spec's own: SHA-256, SM3 for
// SM2, none for Ed25519 and ML-DSA, which sign the message itself. A zero Padding is PSS,
// with a salt as long as the digest (RFC 8017), and means something for RSA only.
// ECDSA and SM2 signatures are ASN.1 DER SEQUENCE(r, s) (RFC 3279, 2.2.3).
// SM2 signs as 1234567812345678; this protocol has no digests of SM2: with
// Prehashed too, the bytes are hashed with the signer's Z. With SignatureV1 a zero
// Digest is SHA-256, but for specs that sign the message itself.
// Errors: TooLarge, NotFound, Foreign, Disabled, Misused for a key of another sort.
func (c *Client) Sign(ctx context.Context, id kms.KeyID, in kms.SigningInput) ([]byte, error) {
	payload, err := c.newSignPayload(actSign, id, in)
	if err != nil {
		return nil, err
	}
	var r struct {
		Signature []byte `json:"signature"`
	}
	err = c.signing(in, &payload, func() (err error) {
		r, err = call[struct {
			Signature []byte `json:"signature"`
		}](ctx, c, actSign, payload)
		return err
	})
	return r.Signature, orMissing(actSign, err, r.Signature)
}

// signing makes a call whose digest was left to the spec. eHSM demands that one
// is named, so SignatureV1 names SHA-256; a key of a spec that signs the message
// itself refuses that, and is asked again without.
func (c *Client) signing(in kms.SigningInput, p *signPayload, do func() error) error {
	err := do()
	if !c.v1 || in.Digest != 0 || in.Prehashed || !errors.Is(err, kms.Misused) {
		return err
	}
	p.DigestMode = ""
	return do()
}

// Verify reports whether signature is one of in under the key. One that is not
// valid is false, not an error. Errors: those of Sign.
func (c *Client) Verify(ctx context.Context, id kms.KeyID, in kms.SigningInput, signature []byte) (bool, error) {
	payload, err := c.newSignPayload(actVerify, id, in)
	if err != nil {
		return false, err
	}
	if len(signature) == 0 || len(signature) > maxSignature {
		return false, misuse(actVerify, kms.Invalid, "", "a signature has 1 to %d bytes, not %d", maxSignature, len(signature))
	}
	var valid bool
	err = c.signing(in, &payload, func() (err error) {
		valid, err = c.judge(ctx, actVerify, struct {
			signPayload
			Signature []byte `json:"signature"`
		}{payload, signature})
		return err
	})
	return valid, err
}

// judge makes a call whose result is yes or no.
func (c *Client) judge(ctx context.Context, a action, payload any) (bool, error) {
	r, err := call[struct {
		Yes *bool `json:"result"`
	}](ctx, c, a, payload)
	if err != nil {
		return false, err
	}
	if r.Yes == nil {
		return false, garbled(a, 0, nil)
	}
	return *r.Yes, nil
}

// signPayload is what Sign and Verify are both about.
type signPayload struct {
	keyPayload
	Message     []byte `json:"message"`
	MessageType string `json:"message_type"`
	PaddingMode string `json:"padding_mode"`
	DigestMode  string `json:"digest_mode,omitempty"`
}

func (c *Client) newSignPayload(a action, id kms.KeyID, in kms.SigningInput) (signPayload, error) {
	if in.Digest == 0 && c.v1 {
		in.Digest = kms.SHA256 // eHSM demands one
	}
	if in.Padding == 0 {
		in.Padding = kms.PaddingPSS
	}
	if err := checkMessage(a, in); err != nil {
		return signPayload{}, err
	}
	kind := wire.Raw
	if in.Prehashed {
		kind = wire.Digest
	}
	p := signPayload{keyPayload: keyPayload{id}, Message: in.Message}
	var known [3]bool
	p.MessageType, known[0] = wire.MessageTypeName(kind)
	p.PaddingMode, known[1] = wire.PaddingName(in.Padding)
	p.DigestMode, known[2] = wire.DigestName(in.Digest)
	known[2] = known[2] || in.Digest == 0
	if known != [3]bool{true, true, true} {
		return p, misuse(a, kms.Invalid, "", "digest or padding unknown")
	}
	return p, nil
}

// defaultDigestSize is how long the digest is that specs sign over where none
// is named: SHA-256 and SM3.
const defaultDigestSize = 32

func checkMessage(a action, in kms.SigningInput) error {
	size, name := in.Digest.Size(), in.Digest.String()
	if in.Digest == 0 {
		size, name = defaultDigestSize, "default"
	}
	switch n := len(in.Message); {
	case n == 0:
		return misuse(a, kms.Invalid, "", "the message is empty")
	case in.Prehashed && n != size:
		return misuse(a, kms.Invalid, "", "a %s digest has %d bytes, not %d", name, size, n)
	case n > kms.MaxPlaintext:
		return misuse(a, kms.TooLarge, "sign the digest of the message instead", "the message has more than %d bytes", kms.MaxPlaintext)
	}
	return nil
}

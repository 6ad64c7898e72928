package client

import (
	"context"

	"github.com/holdfast-kms/holdfast/kms"
)

// maxMAC is the longest MAC that VerifyMAC takes, in bytes (HMAC-SHA-512).
const maxMAC = 64

type macPayload struct {
	keyPayload
	Message []byte `json:"message"`
}

// MAC authenticates a message of 1 to kms.MaxPlaintext bytes with a key of an
// HMAC spec (RFC 2104, FIPS 198-1). The result is as long as the spec's digest.
// Errors: TooLarge, NotFound, Foreign, Disabled, Misused for a key of another sort.
func (c *Client) MAC(ctx context.Context, id kms.KeyID, message []byte) ([]byte, error) {
	if err := checkMACMessage(actMAC, message); err != nil {
		return nil, err
	}
	r, err := call[struct {
		MAC []byte `json:"mac"`
	}](ctx, c, actMAC, macPayload{keyPayload{id}, message})
	return r.MAC, orMissing(actMAC, err, r.MAC)
}

// VerifyMAC reports whether mac is that of message under the key, whole. One
// that is not is false, not an error. Errors: those of MAC.
func (c *Client) VerifyMAC(ctx context.Context, id kms.KeyID, message, mac []byte) (bool, error) {
	if err := checkMACMessage(actVerifyMAC, message); err != nil {
		return false, err
	}
	if len(mac) == 0 || len(mac) > maxMAC {
		return false, misuse(actVerifyMAC, kms.Invalid, "", "a MAC has 1 to %d bytes, not %d", maxMAC, len(mac))
	}
	return c.judge(ctx, actVerifyMAC, struct {
		macPayload
		MAC []byte `json:"mac"`
	}{macPayload{keyPayload{id}, message}, mac})
}

func checkMACMessage(a action, message []byte) error {
	switch n := len(message); {
	case n == 0:
		return misuse(a, kms.Invalid, "", "the message is empty")
	case n > kms.MaxPlaintext:
		return misuse(a, kms.TooLarge, "authenticate the digest of the message instead", "the message has more than %d bytes", kms.MaxPlaintext)
	}
	return nil
}

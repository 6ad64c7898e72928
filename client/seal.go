package client

import (
	"context"
	"crypto/rand"
	"errors"
	"io"

	"github.com/holdfast-kms/holdfast/client/seal"
	"github.com/holdfast-kms/holdfast/kms"
)

// Seal returns a writer that encrypts what is written to it, of any length, to
// dst. The data stays here: the node makes a data key for this one file and
// wraps it under the symmetric key id; that is what Open asks it to unwrap. The
// result is whole only once Close has succeeded. Errors: those of
// GenerateDataKey, and dst's.
func (c *Client) Seal(ctx context.Context, id kms.KeyID, dst io.Writer) (*seal.Writer, error) {
	h := seal.NewHeader(id)
	dk, err := c.newDataKey(ctx, h)
	if err != nil {
		return nil, err
	}
	defer clear(dk.Plaintext)
	h.Wrapped = dk.Wrapped
	return seal.NewWriter(dst, h, dk.Plaintext)
}

// newDataKey makes the data key of a file. The protocol makes none under an
// imported key, as eHSM does not; to encrypt one that was made here comes to the
// same.
func (c *Client) newDataKey(ctx context.Context, h *seal.Header) (DataKey, error) {
	dk, err := c.GenerateDataKey(ctx, h.Key, seal.DataKeySize, h.Binding())
	if !errors.Is(err, kms.Misused) {
		return dk, err
	}
	dk.Plaintext = make([]byte, seal.DataKeySize)
	rand.Read(dk.Plaintext)
	dk.Wrapped, err = c.Encrypt(ctx, h.Key, dk.Plaintext, h.Binding())
	return dk, err
}

// Open returns a reader of what was sealed in src. It hands out verified data
// only: what has been read is genuine, and all there is once it says io.EOF. An
// error of kind DecryptFailed, at once or later, says that the rest is not.
// Errors: seal.ErrNotSealed, those of Decrypt, and src's.
func (c *Client) Open(ctx context.Context, src io.Reader) (*seal.Reader, error) {
	h, err := seal.ReadHeader(src)
	if err != nil {
		return nil, err
	}
	dataKey, err := c.Decrypt(ctx, h.Key, h.Wrapped, h.Binding())
	if err != nil {
		return nil, err
	}
	defer clear(dataKey)
	return seal.NewReader(src, h, dataKey)
}

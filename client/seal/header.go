package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"io"

	"github.com/holdfast-kms/holdfast/kms"
)

const (
	magic   = "HFSEALED"
	version = 1
	label   = "holdfast sealed file v1"

	fileIDSize = 16
	checkSize  = 32
	prefixSize = 7

	// fixedSize is up to, and with, the length of the wrapped data key.
	fixedSize = len(magic) + 1 + 16 + fileIDSize + 2
)

// DataKeySize is the length of a data key in bytes.
const DataKeySize = 32

// MaxWrapped is the longest wrapped data key, in bytes: room for more than any
// key spec adds.
const MaxWrapped = 1024

// A Header says which key a file is sealed under.
type Header struct {
	Key     kms.KeyID
	File    [fileIDSize]byte // random; binds the data key to this file
	Wrapped []byte           // the data key, wrapped under Key and bound to Binding

	check [checkSize]byte // proves data key and header to belong together
}

// NewHeader makes the header of a new file; Wrapped is still to be set.
func NewHeader(key kms.KeyID) *Header {
	h := &Header{Key: key}
	rand.Read(h.File[:])
	return h
}

// Binding is the additional data that the data key is wrapped with.
func (h *Header) Binding() []byte {
	return append([]byte(label+"\x00"), h.File[:]...)
}

// unchecked is the header but for its check: magic ‖ version ‖ key id ‖ file id ‖
// length of the wrapped data key, 2 bytes big-endian ‖ wrapped data key.
func (h *Header) unchecked() []byte {
	b := append([]byte(magic), version)
	b = append(b, h.Key[:]...)
	b = append(b, h.File[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.Wrapped)))
	return append(b, h.Wrapped...)
}

// ErrNotSealed is the error of a file that is something else.
var ErrNotSealed = kms.Errorf(kms.Invalid, "not a sealed file")

// ReadHeader reads a header and nothing beyond it. That it is genuine shows only
// when it is used with its data key. The error is ErrNotSealed, Invalid for one
// of another version, DecryptFailed for one that is cut short, or r's own.
func ReadHeader(r io.Reader) (*Header, error) {
	var b [fixedSize]byte
	if n, err := io.ReadFull(r, b[:]); err != nil {
		if !bytes.HasPrefix([]byte(magic), b[:min(n, len(magic))]) || n == 0 {
			return nil, orEnd(err, ErrNotSealed)
		}
		return nil, orEnd(err, errCutHeader)
	}
	rest, ok := bytes.CutPrefix(b[:], []byte(magic))
	if !ok {
		return nil, ErrNotSealed
	}
	if rest[0] != version {
		return nil, kms.Errorf(kms.Invalid, "sealed in format %d, which this program does not know", rest[0]).WithHint("a newer holdfast opens it")
	}
	h := &Header{Key: kms.KeyID(rest[1:17]), File: [fileIDSize]byte(rest[17:33])}
	size := int(binary.BigEndian.Uint16(rest[33:]))
	if size == 0 || size > MaxWrapped {
		return nil, errAltered
	}
	h.Wrapped = make([]byte, size)
	if _, err := io.ReadFull(r, h.Wrapped); err != nil {
		return nil, orEnd(err, errCutHeader)
	}
	if _, err := io.ReadFull(r, h.check[:]); err != nil {
		return nil, orEnd(err, errCutHeader)
	}
	return h, nil
}

// orEnd is atEnd where err says that there was no more to read, else err.
func orEnd(err, atEnd error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return atEnd
	}
	return err
}

// stream derives from a data key what the chunks are encrypted with, and the
// header's check: HKDF-SHA-256 (RFC 5869), salted with the header's digest.
func (h *Header) stream(dataKey []byte) (s *stream, check []byte, err error) {
	if len(dataKey) != DataKeySize {
		return nil, nil, kms.Errorf(kms.Invalid, "a data key has %d bytes, not %d", DataKeySize, len(dataKey))
	}
	salt := sha256.Sum256(h.unchecked())
	out, err := hkdf.Key(sha256.New, dataKey, salt[:], label, 32+prefixSize+checkSize)
	if err != nil {
		return nil, nil, err
	}
	defer clear(out[:32])
	block, err := aes.NewCipher(out[:32])
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, err
	}
	s = &stream{aead: aead}
	copy(s.nonce[:], out[32:][:prefixSize])
	return s, out[32+prefixSize:], nil
}

// opens is stream for a header that was read: it must be genuine.
func (h *Header) opens(dataKey []byte) (*stream, error) {
	s, check, err := h.stream(dataKey)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(check, h.check[:]) != 1 {
		return nil, errAltered
	}
	return s, nil
}

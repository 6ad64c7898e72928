// Package kwp is AES key wrap with padding, RFC 5649 (NIST SP 800-38F, KWP): a
// key of any length encrypted under another, with integrity and without a nonce.
package kwp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

const (
	half   = 8 // bytes that are moved at a time
	rounds = 6
	magic  = 0xa65959a6 // section 3

	// MaxLen is the longest key that is wrapped here, far above an RSA-4096 key.
	MaxLen = 1 << 14
)

// Errors. Every cause for which wrapped text does not open looks alike.
var (
	ErrLength = errors.New("key wrap: the key is empty or too long")
	ErrUnwrap = errors.New("key wrap: it does not open")
)

// Wrap encrypts key under kek, 16, 24 or 32 bytes.
func Wrap(kek, key []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	if len(key) == 0 || len(key) > MaxLen {
		return nil, ErrLength
	}
	out := make([]byte, half+(len(key)+half-1)/half*half)
	binary.BigEndian.PutUint32(out, magic)
	binary.BigEndian.PutUint32(out[4:], uint32(len(key)))
	copy(out[half:], key)
	if len(out) == aes.BlockSize {
		block.Encrypt(out, out)
		return out, nil
	}
	wrap(block, out)
	return out, nil
}

// wrap is W of SP 800-38F in place: what is to be checked, then the halves.
func wrap(block cipher.Block, b []byte) {
	var a [aes.BlockSize]byte
	copy(a[:half], b)
	n := len(b)/half - 1
	for step := 1; step <= rounds*n; step++ {
		r := b[half*(1+(step-1)%n):][:half]
		copy(a[half:], r)
		block.Encrypt(a[:], a[:])
		copy(r, a[half:])
		binary.BigEndian.PutUint64(a[:], binary.BigEndian.Uint64(a[:])^uint64(step))
	}
	copy(b, a[:half])
}

// Unwrap opens what Wrap made. The error is ErrUnwrap.
func Unwrap(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil || len(wrapped)%half != 0 || len(wrapped) < 2*half || len(wrapped) > half+MaxLen {
		return nil, ErrUnwrap
	}
	out := append([]byte(nil), wrapped...)
	if len(out) == aes.BlockSize {
		block.Decrypt(out, out)
	} else {
		unwrap(block, out)
	}
	size, body := binary.BigEndian.Uint32(out[4:]), out[half:]
	if binary.BigEndian.Uint32(out) != magic || size == 0 || uint32(len(body))-size >= half {
		return nil, ErrUnwrap
	}
	var zeros [half]byte
	if padding := body[size:]; subtle.ConstantTimeCompare(padding, zeros[:len(padding)]) != 1 {
		return nil, ErrUnwrap
	}
	return body[:size], nil
}

func unwrap(block cipher.Block, b []byte) {
	var a [aes.BlockSize]byte
	copy(a[:half], b)
	n := len(b)/half - 1
	for step := rounds * n; step > 0; step-- {
		r := b[half*(1+(step-1)%n):][:half]
		binary.BigEndian.PutUint64(a[:], binary.BigEndian.Uint64(a[:])^uint64(step))
		copy(a[half:], r)
		block.Decrypt(a[:], a[:])
		copy(r, a[half:])
	}
	copy(b, a[:half])
}

// Package kwp opens what AES key wrap with padding wrapped: RFC 5649, NIST SP
// 800-38F. Keys come into the domain that way; none leaves so.
package kwp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// ErrUnwrap is what Unwrap returns, whatever is wrong.
var ErrUnwrap = errors.New("wrapped key does not open")

const (
	half   = 8                  // bytes that the algorithm moves at a time
	rounds = 6                  // times that it goes over them
	magic  = "\xa6\x59\x59\xa6" // RFC 5649, section 3

	// MaxWrapped is the longest that Unwrap opens, in bytes: far above an RSA-4096
	// key, and low enough that nobody keeps a processor busy with it.
	MaxWrapped = 1 << 14
)

// Unwrap opens wrapped with an AES key of 16, 24 or 32 bytes. The result is the
// caller's to clear.
func Unwrap(key, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil || len(wrapped)%half != 0 || len(wrapped) < 2*half || len(wrapped) > MaxWrapped {
		return nil, ErrUnwrap
	}
	plain := open(block, wrapped)
	size := binary.BigEndian.Uint32(plain[len(magic):])
	body := plain[half:]
	good := subtle.ConstantTimeCompare(plain[:len(magic)], []byte(magic))
	// The length leaves less than one half of zeros, and is not zero.
	spare := uint32(len(body)) - size
	good &= subtle.ConstantTimeLessOrEq(int(spare/half), 0) & (1 ^ subtle.ConstantTimeEq(int32(size), 0))
	for i := range half {
		isPadding := subtle.ConstantTimeLessOrEq(i+1, int(spare%half))
		good &= 1 ^ isPadding&(1^subtle.ConstantTimeByteEq(body[len(body)-1-i], 0))
	}
	if good != 1 {
		clear(plain)
		return nil, ErrUnwrap
	}
	return body[:size], nil
}

// open undoes the encryption: the first half is the check value and the length,
// the others are what was wrapped, padded.
func open(block cipher.Block, wrapped []byte) []byte {
	plain := append([]byte(nil), wrapped...)
	if len(plain) == aes.BlockSize {
		block.Decrypt(plain, plain)
		return plain
	}
	var a [aes.BlockSize]byte
	defer clear(a[:])
	halves := len(plain)/half - 1
	copy(a[:half], plain)
	for step := rounds * halves; step > 0; step-- {
		r := plain[half*(1+(step-1)%halves):][:half]
		binary.BigEndian.PutUint64(a[:], binary.BigEndian.Uint64(a[:])^uint64(step))
		copy(a[half:], r)
		block.Decrypt(a[:], a[:])
		copy(r, a[half:])
	}
	copy(plain, a[:half])
	return plain
}

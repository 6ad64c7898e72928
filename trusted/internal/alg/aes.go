package alg

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"slices"
)

const (
	gcmNonce = 12
	gcmTag   = 16
)

// parseGCM is AES in Galois/Counter Mode, NIST SP 800-38D, with random 96-bit
// nonces. The material is the raw key.
func parseGCM(material []byte) (Key, error) {
	block, err := aes.NewCipher(material)
	if err != nil {
		return Key{}, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return Key{}, err
	}
	return Key{
		encrypt: func(dst, plaintext, aad []byte) ([]byte, error) { return sealGCM(aead, dst, plaintext, aad), nil },
		decrypt: func(dst, body, aad []byte) ([]byte, error) { return openGCM(aead, dst, body, aad) },
	}, nil
}

// sealGCM lays out ciphertext ‖ nonce ‖ tag. The library leaves the tag right
// behind the ciphertext, so the tag is moved up to make room for the nonce.
func sealGCM(aead cipher.AEAD, dst, plaintext, aad []byte) []byte {
	var nonce [gcmNonce]byte
	rand.Read(nonce[:])
	dst = slices.Grow(dst, len(plaintext)+gcmNonce+gcmTag)
	dst = aead.Seal(dst, nonce[:], plaintext, aad)
	tagAt := len(dst) - gcmTag
	dst = append(dst, nonce[:]...)
	copy(dst[tagAt+gcmNonce:], dst[tagAt:tagAt+gcmTag])
	copy(dst[tagAt:], nonce[:])
	return dst
}

// openGCM puts ciphertext and tag side by side again, in a copy: body belongs
// to the caller.
func openGCM(aead cipher.AEAD, dst, body, aad []byte) ([]byte, error) {
	n := len(body) - gcmNonce - gcmTag
	if n < 0 {
		return nil, errDecrypt
	}
	nonce := body[n : n+gcmNonce]
	joined := make([]byte, 0, n+gcmTag)
	joined = append(append(joined, body[:n]...), body[n+gcmNonce:]...)
	if dst == nil {
		dst = joined[:0] // in place: the library allows exactly this overlap
	}
	out, err := aead.Open(dst, nonce, joined, aad)
	if err != nil {
		return nil, errDecrypt
	}
	return out, nil
}

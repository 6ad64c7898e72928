package authn

import (
	"crypto/rand"

	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// apiKeySize is the length of an API key in characters; with 58 of them that
// is 187 bits.
const apiKeySize = 32

// alphabet is eHSM's: digits and letters without I, O, l and o.
const alphabet = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz"

// NewAPIKey makes an API key of characters drawn evenly from eHSM's alphabet:
// random bytes at or above the largest multiple of its length are drawn again.
func NewAPIKey() secret.Bytes {
	const even = 256 - 256%len(alphabet)
	key := make([]byte, 0, apiKeySize)
	var b [2 * apiKeySize]byte
	for len(key) < apiKeySize {
		rand.Read(b[:])
		for _, c := range b {
			if int(c) < even && len(key) < apiKeySize {
				key = append(key, alphabet[int(c)%len(alphabet)])
			}
		}
	}
	clear(b[:])
	return secret.New(key)
}

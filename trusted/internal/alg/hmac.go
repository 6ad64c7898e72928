package alg

import (
	"crypto/hmac"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// Sizes of HMAC keys in bytes. Below 112 bits a key is no key (NIST SP 800-131A);
// above one block of the hash it is hashed first, so more is of no use.
const (
	minHMACKey = 14
	maxHMACKey = 256
)

// hmacKey is HMAC (FIPS 198-1, RFC 2104), untruncated. The material is the raw
// key; a generated one is as long as the digest.
func hmacKey(d kms.Digest) algorithm {
	return raw(d.Size(), minHMACKey, maxHMACKey, func(material []byte) (Key, error) {
		key := secret.Copy(material)
		return Key{mac: func(message []byte) (out []byte, err error) {
			err = key.Use(func(b []byte) error {
				h := hmac.New(sha2[d].new, b)
				h.Write(message)
				out = h.Sum(nil)
				return nil
			})
			return out, err
		}}, nil
	})
}

// VerifyMAC reports whether mac is that of message, whole, in constant time.
func (k Key) VerifyMAC(message, mac []byte) (bool, error) {
	want, err := k.MAC(message)
	if err != nil {
		return false, err
	}
	return hmac.Equal(want, mac), nil
}

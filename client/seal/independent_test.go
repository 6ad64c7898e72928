package seal_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/holdfast-kms/holdfast/client/seal"
)

func digest(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

// expand is HKDF-SHA-256 (RFC 5869) as it is written there.
func expand(secret, salt []byte, info string, n int) []byte {
	mac := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	prk := mac(salt, secret)
	var out, t []byte
	for i := byte(1); len(out) < n; i++ {
		t = mac(prk, t, []byte(info), []byte{i})
		out = append(out, t...)
	}
	return out[:n]
}

// sealedByTheBook is the format as docs/seal.md describes it, and nothing of
// the package.
func sealedByTheBook(t *testing.T, plain []byte) []byte {
	h := header()
	out := append([]byte("HFSEALED\x01"), h.Key[:]...)
	out = append(out, h.File[:]...)
	out = append(out, 0, byte(len(h.Wrapped)))
	out = append(out, h.Wrapped...)
	salt := sha256.Sum256(out)
	derived := expand(dataKey(), salt[:], "holdfast sealed file v1", 32+7+32)
	out = append(out, derived[39:]...)

	block, err := aes.NewCipher(derived[:32])
	ok(t, err)
	gcm, err := cipher.NewGCM(block)
	ok(t, err)
	for i := uint32(0); ; i++ {
		n := min(len(plain), 65536)
		last := n == len(plain)
		nonce := binary.BigEndian.AppendUint32(bytes.Clone(derived[32:39]), i)
		if last {
			nonce = append(nonce, 1)
		} else {
			nonce = append(nonce, 0)
		}
		out = append(out, gcm.Seal(nil, nonce, plain[:n], nil)...)
		if plain = plain[n:]; last {
			return out
		}
	}
}

func TestFormatIsAsDescribed(t *testing.T) {
	for _, n := range sizes {
		if want := sealedByTheBook(t, content(n)); !bytes.Equal(sealed(t, content(n)), want) {
			t.Errorf("%d bytes: another result than by the description", n)
		}
	}
	want := append([]byte("holdfast sealed file v1\x00"), header().File[:]...)
	if got := header().Binding(); !bytes.Equal(got, want) {
		t.Errorf("binding %x, want %x", got, want)
	}
	if seal.ChunkSize != 65536 {
		t.Error(seal.ChunkSize)
	}
}

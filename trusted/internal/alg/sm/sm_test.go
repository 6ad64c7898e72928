package sm_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/trusted/internal/alg/sm"
)

func newKey(t *testing.T) *sm.PrivateKey {
	t.Helper()
	k, err := sm.Parse(sm.Generate())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// One byte is encrypted with a key stream of one byte, which is zero once in
// 256: then the library alone makes a ciphertext that does not open.
func TestShortPlaintexts(t *testing.T) {
	k := newKey(t)
	for i := range 2500 {
		plain := []byte{byte(i)}
		body, err := k.Encrypt(plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Decrypt(body); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("encryption %d: %x opens to %x, %v", i, body, got, err)
		}
	}
}

func TestKeysAreChecked(t *testing.T) {
	for _, scalar := range [][]byte{nil, make([]byte, 32), bytes.Repeat([]byte{0xff}, 32), make([]byte, 31), bytes.Repeat([]byte{1}, 33)} {
		if _, err := sm.Parse(scalar); !errors.Is(err, sm.Err) {
			t.Errorf("%x: %v", scalar, err)
		}
	}
	point := newKey(t).Public()
	if _, err := sm.ParsePublic(point); err != nil {
		t.Error(err)
	}
	off := bytes.Clone(point)
	off[64] ^= 1
	for _, bad := range [][]byte{nil, {0}, make([]byte, 65), point[:64], append(bytes.Clone(point), 0), off, append([]byte{2}, point[1:33]...)} {
		if _, err := sm.ParsePublic(bad); !errors.Is(err, sm.Err) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

// Public keys of the two halves are the same key.
func TestPublicHalf(t *testing.T) {
	k := newKey(t)
	pub, err := sm.ParsePublic(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	hash := pub.Hash([]byte("message"))
	if !bytes.Equal(hash, k.Hash([]byte("message"))) {
		t.Error("two digests of one key and message")
	}
	sig, err := k.Sign(hash)
	if err != nil || !pub.Verify(hash, sig) {
		t.Errorf("signature does not verify: %v", err)
	}
	plain := make([]byte, 100)
	rand.Read(plain)
	body, err := pub.Encrypt(plain)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Decrypt(body); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opens to %x, %v", got, err)
	}
	if _, err := pub.Encrypt(nil); !errors.Is(err, sm.Err) {
		t.Errorf("nothing was encrypted: %v", err)
	}
}

package alg_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// Case 4 of McGrew and Viega's GCM specification, and 16 for 256-bit keys, in
// eHSM's layout: the known ciphertext opens, nonce and tag at the end.
func TestGCMKnownAnswers(t *testing.T) {
	const (
		iv    = "cafebabefacedbaddecaf888"
		plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
		aad   = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
	)
	for _, c := range []struct {
		spec         kms.Spec
		key, ct, tag string
	}{
		{kms.AES128GCM, "feffe9928665731c6d6a8f9467308308",
			"42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
			"5bc94fbc3221a5db94fae95ae7121a47"},
		{kms.AES192GCM, "feffe9928665731c6d6a8f9467308308feffe9928665731c",
			"3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710",
			"2519498e80f1478f37ba55bd6d27618c"},
		{kms.AES256GCM, "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
			"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
			"76fc6ece0f4e1768cddf8853bb2d551b"},
	} {
		k, err := alg.Parse(c.spec, secret.New(unhex(c.key)))
		if err != nil {
			t.Fatal(err)
		}
		body := unhex(c.ct + iv + c.tag)
		got, err := k.Decrypt(nil, body, unhex(aad))
		if err != nil || hex.EncodeToString(got) != plain {
			t.Errorf("%s: %x, %v", c.spec, got, err)
		}
	}
}

// What Encrypt lays out, the plain library opens.
func TestGCMLayout(t *testing.T) {
	material := secret.Copy(bytes.Repeat([]byte{7}, 32))
	k, _ := alg.Parse(kms.AES256GCM, material)
	for _, n := range []int{0, 1, 15, 16, 17, 1024, kms.MaxPlaintext} {
		plain := bytes.Repeat([]byte{byte(n)}, n)
		out, err := k.Encrypt([]byte("prefix"), plain, []byte("aad"))
		if err != nil || !bytes.HasPrefix(out, []byte("prefix")) || len(out) != 6+n+28 {
			t.Fatalf("%d bytes: %d, %v", n, len(out), err)
		}
		out = out[6:]
		block, _ := aes.NewCipher(bytes.Repeat([]byte{7}, 32))
		gcm, _ := cipher.NewGCM(block)
		joined := append(bytes.Clone(out[:n]), out[n+12:]...)
		if got, err := gcm.Open(nil, out[n:n+12], joined, []byte("aad")); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: the library does not open it: %v", n, err)
		}
		kept := bytes.Clone(out)
		if got, err := k.Decrypt(nil, out, []byte("aad")); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: does not open: %v", n, err)
		}
		if !bytes.Equal(kept, out) {
			t.Errorf("%d bytes: Decrypt changed the caller's ciphertext", n)
		}
	}
}

func TestGCMFailuresLookAlike(t *testing.T) {
	k := keyOf(t, kms.AES256GCM)
	out, _ := k.Encrypt(nil, []byte("plaintext"), []byte("aad"))
	var seen []string
	try := func(body, aad []byte) {
		got, err := k.Decrypt(nil, body, aad)
		if !errors.Is(err, kms.DecryptFailed) || got != nil {
			t.Fatalf("got %x, %v", got, err)
		}
		seen = append(seen, err.Error())
	}
	for i := range out {
		bad := bytes.Clone(out)
		bad[i] ^= 0x80
		try(bad, []byte("aad"))
		try(out[:i], []byte("aad"))
	}
	try(out, []byte("aae"))
	try(out, nil)
	try(nil, nil)
	for _, s := range seen {
		if s != seen[0] {
			t.Errorf("%q and %q", s, seen[0])
		}
	}
}

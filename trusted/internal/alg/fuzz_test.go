package alg_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// Whatever is imported parses, and comes back as it was stored.
func FuzzImport(f *testing.F) {
	for _, row := range kms.Capabilities() {
		if row.Bits > 3000 {
			continue // as RSA-2048, and slow
		}
		out, err := alg.Export(row.Spec, materials()[row.Spec])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(row.Spec), reveal(f, out))
		f.Add(byte(row.Spec), reveal(f, materials()[row.Spec]))
	}
	f.Fuzz(func(t *testing.T, spec byte, data []byte) {
		s := kms.Spec(spec)
		stored, err := alg.Import(s, secret.Copy(data))
		if err != nil {
			if !errors.Is(err, kms.Invalid) && !errors.Is(err, kms.Misused) {
				t.Errorf("%s: %v", s, err)
			}
			return
		}
		out, err := alg.Export(s, stored)
		if err != nil {
			t.Fatalf("%s: imported and not exported: %v", s, err)
		}
		again, err := alg.Import(s, out)
		if err != nil || !again.Equal(reveal(t, stored)) {
			t.Errorf("%s: comes back as something else: %v", s, err)
		}
	})
}

// What is taken for a public key is printed as it was read.
func FuzzParsePublic(f *testing.F) {
	for _, row := range kms.Capabilities() {
		if row.Family == kms.Asymmetric {
			spki, err := keyOf(f, row.Spec).Public()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(row.Spec), spki)
		}
	}
	f.Fuzz(func(t *testing.T, spec byte, data []byte) {
		k, err := alg.ParsePublic(kms.Spec(spec), data)
		if err != nil {
			if !errors.Is(err, kms.Invalid) {
				t.Error(err)
			}
			return
		}
		if got, err := k.Public(); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%x is printed as %x, %v", data, got, err)
		}
	})
}

// No signature, ciphertext or wrapped key that anyone makes up does more than
// fail; PKCS #1 v1.5 and SM4 open anything that has the right length.
func FuzzHostileInput(f *testing.F) {
	keys := map[kms.Spec]alg.Key{}
	for _, row := range kms.Capabilities() {
		k := keyOf(f, row.Spec)
		if row.Bits > 3000 {
			continue // as RSA-2048, and slow
		}
		keys[row.Spec] = k
		in := kms.SigningInput{Message: []byte("message")}
		if len(row.Digests) > 0 {
			in = inputs(row, in.Message)[0]
		}
		sig, _ := k.Sign(in)
		body, _ := k.Encrypt(nil, []byte("plaintext"), nil)
		to, _ := k.AsymmetricEncrypt([]byte("plaintext"), kms.PaddingOAEP)
		for _, seed := range [][]byte{sig, body, to} {
			f.Add(byte(row.Spec), seed)
		}
	}
	f.Fuzz(func(t *testing.T, spec byte, data []byte) {
		s := kms.Spec(spec)
		row, ok := s.Capability()
		k, has := keys[s]
		if !ok || !has {
			return
		}
		if row.Serves(kms.UseSign) {
			for _, in := range inputs(*row, []byte("another message")) {
				if ok, err := k.Verify(in, data); ok || err != nil {
					t.Errorf("%s: %t, %v", s, ok, err)
				}
			}
		}
		if row.Family == kms.Symmetric {
			out, err := k.Decrypt(nil, data, []byte("other data"))
			if err == nil && row.Integrity || err != nil && !errors.Is(err, kms.DecryptFailed) {
				t.Errorf("%s: %x, %v", s, out, err)
			}
		}
		if row.MaxPlaintext > 0 {
			for _, p := range []kms.Padding{kms.PaddingOAEP, kms.PaddingPKCS1} {
				if out, err := k.AsymmetricDecrypt(data, p); err != nil && !errors.Is(err, kms.DecryptFailed) || len(out) > row.MaxPlaintext {
					t.Errorf("%s: %x, %v", s, out, err)
				}
			}
		}
		if row.Slow {
			for _, w := range []kms.Wrapping{kms.WrapPKCS1, kms.WrapOAEP, kms.WrapOAEPAES} {
				if _, err := k.Unwrap(kms.HMACSHA256, data, w); err != nil && !errors.Is(err, kms.DecryptFailed) {
					t.Errorf("%s: %v", s, err)
				}
			}
		}
	})
}

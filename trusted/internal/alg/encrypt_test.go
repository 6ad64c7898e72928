package alg_test

import (
	"bytes"
	"crypto/rand"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

func encrypters() (rows []kms.Capability) {
	for _, row := range kms.Capabilities() {
		if row.Family == kms.Asymmetric && row.Serves(kms.UseEncrypt) {
			rows = append(rows, row)
		}
	}
	return rows
}

func paddingsOf(row kms.Capability) []kms.Padding {
	if len(row.EncryptPaddings) > 0 {
		return row.EncryptPaddings
	}
	return []kms.Padding{0, kms.PaddingNone, kms.PaddingPKCS1, kms.PaddingOAEP} // SM2: means nothing
}

// longest is the longest plaintext that a padding leaves room for.
func longest(row kms.Capability, p kms.Padding) int {
	if row.Slow && p == kms.PaddingOAEP {
		return row.Bits/8 - 66
	}
	return row.MaxPlaintext
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestAsymmetricRoundTrip(t *testing.T) {
	for _, row := range encrypters() {
		k := keyOf(t, row.Spec)
		for _, p := range paddingsOf(row) {
			limit := longest(row, p)
			for _, n := range []int{1, 2, 16, 32, limit - 1, limit} {
				plain := random(n)
				first, err := k.AsymmetricEncrypt(plain, p)
				if err != nil {
					t.Fatalf("%s, %s, %d bytes: %v", row.Name, p, n, err)
				}
				second, _ := k.AsymmetricEncrypt(plain, p)
				if bytes.Equal(first, second) {
					t.Errorf("%s, %s: encryption is not randomised", row.Name, p)
				}
				if got, err := k.AsymmetricDecrypt(first, p); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s, %s, %d bytes: %x, %v", row.Name, p, n, got, err)
				}
				if row.Slow && len(first) != row.Bits/8 {
					t.Errorf("%s: ciphertext has %d bytes", row.Name, len(first))
				}
			}
			if _, err := k.AsymmetricEncrypt(random(limit+1), p); !errors.Is(err, kms.TooLarge) {
				t.Errorf("%s, %s, %d bytes: %v", row.Name, p, limit+1, err)
			}
		}
	}
	if _, err := keyOf(t, kms.SM2).AsymmetricEncrypt(nil, 0); !errors.Is(err, kms.Misused) {
		t.Errorf("SM2 of nothing: %v", err)
	}
}

func TestAsymmetricPaddingRefused(t *testing.T) {
	k := keyOf(t, kms.RSA2048)
	for _, p := range []kms.Padding{0, kms.PaddingNone, kms.PaddingPSS, 9} {
		if out, err := k.AsymmetricEncrypt([]byte("x"), p); !errors.Is(err, kms.Misused) || out != nil {
			t.Errorf("%s: %x, %v", p, out, err)
		}
		if out, err := k.AsymmetricDecrypt(make([]byte, 256), p); !errors.Is(err, kms.Misused) || out != nil {
			t.Errorf("%s: %x, %v", p, out, err)
		}
	}
}

// failures collects errors that must be one and the same.
type failures struct{ seen map[string]bool }

func (f *failures) add(t *testing.T, what string, out []byte, err error) {
	t.Helper()
	if !errors.Is(err, kms.DecryptFailed) || out != nil {
		t.Errorf("%s: %x, %v", what, out, err)
		return
	}
	if f.seen == nil {
		f.seen = map[string]bool{}
	}
	f.seen[fmt.Sprintf("%+v", err)] = true
}

func (f *failures) check(t *testing.T) {
	t.Helper()
	if len(f.seen) != 1 {
		t.Errorf("failures can be told apart: %v", f.seen)
	}
}

// S8 and S23: a ciphertext that does not open is an error that says nothing
// more, and never a plaintext made of what happened to be in memory.
func TestDecryptFailuresLookAlike(t *testing.T) {
	var all failures
	for _, row := range encrypters() {
		k := keyOf(t, row.Spec)
		p := kms.PaddingOAEP
		body, err := k.AsymmetricEncrypt([]byte("plaintext"), p)
		if err != nil {
			t.Fatal(err)
		}
		try := func(what string, bad []byte) {
			out, err := k.AsymmetricDecrypt(bad, p)
			all.add(t, row.Name+": "+what, out, err)
		}
		for i := 0; i < len(body); i += max(1, len(body)/64) {
			bad := bytes.Clone(body)
			bad[i] ^= 0x40
			try("altered", bad)
			try("cut", body[:i])
		}
		try("lengthened", append(bytes.Clone(body), 0))
		try("lengthened in front", append([]byte{0}, body...))
		try("zeros", make([]byte, len(body)))
		try("ones", bytes.Repeat([]byte{0xff}, len(body)))
		if row.Slow { // well padded, but otherwise
			other, err := k.AsymmetricEncrypt([]byte("plaintext"), kms.PaddingPKCS1)
			if err != nil {
				t.Fatal(err)
			}
			try("another padding", other)
		}
	}
	for _, row := range kms.Capabilities() {
		if row.Family == kms.Symmetric {
			out, err := keyOf(t, row.Spec).Decrypt(nil, make([]byte, 15), nil)
			all.add(t, row.Name, out, err)
		}
	}
	all.check(t)
}

// SM2 ciphertexts are DER. The library takes other encodings, told apart by
// their first byte; here they are refused.
func TestSM2TakesDEROnly(t *testing.T) {
	k := keyOf(t, kms.SM2)
	body, err := k.AsymmetricEncrypt([]byte("plaintext"), 0)
	if err != nil {
		t.Fatal(err)
	}
	var parts struct {
		X, Y      *big.Int
		Hash, Out []byte
	}
	if rest, err := asn1.Unmarshal(body, &parts); err != nil || len(rest) > 0 || len(parts.Hash) != 32 || len(parts.Out) != 9 {
		t.Fatalf("%x is no SM2 ciphertext: %v", body, err)
	}
	point := append(parts.X.FillBytes(make([]byte, 32)), parts.Y.FillBytes(make([]byte, 32))...)
	compressed := append([]byte{2 | byte(parts.Y.Bit(0))}, point[:32]...)
	var all failures
	for name, bad := range map[string][]byte{
		"C1C3C2":     bytes.Join([][]byte{{4}, point, parts.Hash, parts.Out}, nil),
		"C1C2C3":     bytes.Join([][]byte{{4}, point, parts.Out, parts.Hash}, nil),
		"compressed": bytes.Join([][]byte{compressed, parts.Hash, parts.Out}, nil),
	} {
		out, err := k.AsymmetricDecrypt(bad, 0)
		all.add(t, name, out, err)
	}
	all.check(t)
}

// PKCS #1 v1.5 does not fail for what a ciphertext of the right size holds:
// what it gives is the same each time, of another length for each, and never
// what was encrypted.
func TestImplicitRejection(t *testing.T) {
	for _, spec := range []kms.Spec{kms.RSA2048, kms.RSA3072, kms.RSA4096} {
		row, _ := spec.Capability()
		k := keyOf(t, spec)
		plain := []byte("plaintext")
		body, err := k.AsymmetricEncrypt(plain, kms.PaddingPKCS1)
		if err != nil {
			t.Fatal(err)
		}
		lengths := map[int]bool{}
		for i := len(body) - 16; i < len(body); i++ {
			bad := bytes.Clone(body)
			bad[i] ^= 1
			first, err := k.AsymmetricDecrypt(bad, kms.PaddingPKCS1)
			if err != nil {
				t.Fatalf("%s: %v", row.Name, err)
			}
			second, _ := k.AsymmetricDecrypt(bad, kms.PaddingPKCS1)
			if !bytes.Equal(first, second) {
				t.Errorf("%s: two answers to one ciphertext", row.Name)
			}
			if bytes.Equal(first, plain) || len(first) > row.MaxPlaintext {
				t.Errorf("%s: an altered ciphertext opens to %d bytes", row.Name, len(first))
			}
			lengths[len(first)] = true
		}
		if len(lengths) < 4 {
			t.Errorf("%s: rejected ciphertexts have lengths %v", row.Name, lengths)
		}
		var all failures // what anyone can see is no ciphertext of this key
		for _, bad := range [][]byte{nil, body[:len(body)-1], append(bytes.Clone(body), 0), append([]byte{0}, body...), bytes.Repeat([]byte{0xff}, len(body))} {
			out, err := k.AsymmetricDecrypt(bad, kms.PaddingPKCS1)
			all.add(t, row.Name, out, err)
		}
		all.check(t)
	}
}

// A key made with the same numbers rejects alike; another one does not.
func TestImplicitRejectionIsOfTheKey(t *testing.T) {
	bad := make([]byte, 256)
	bad[255] = 3
	reject := func(material secret.Bytes) []byte {
		k, err := alg.Parse(kms.RSA2048, material)
		if err != nil {
			t.Fatal(err)
		}
		out, err := k.AsymmetricDecrypt(bad, kms.PaddingPKCS1)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	material := materials()[kms.RSA2048]
	other, err := alg.Generate(kms.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(reject(material), reject(material)) {
		t.Error("the same key rejects in two ways")
	}
	if bytes.Equal(reject(material), reject(other)) {
		t.Error("two keys reject in the same way")
	}
}

func TestSM4Layout(t *testing.T) {
	for _, spec := range []kms.Spec{kms.SM4CTR, kms.SM4CBC} {
		row, _ := spec.Capability()
		k := keyOf(t, spec)
		for _, n := range []int{0, 1, 15, 16, 17, 31, 32, 33, 1024, kms.MaxPlaintext} {
			plain := random(n)
			out, err := k.Encrypt([]byte("prefix"), plain, []byte("aad"))
			want := 6 + n + 16
			if spec == kms.SM4CBC {
				want = 6 + (n/16+1)*16 + 16
			}
			if err != nil || !bytes.HasPrefix(out, []byte("prefix")) || len(out) != want || len(out)-6-n > row.Overhead {
				t.Fatalf("%s, %d bytes: %d, %v", row.Name, n, len(out), err)
			}
			body := out[6:]
			kept := bytes.Clone(body)
			got, err := k.Decrypt([]byte("prefix"), body, []byte("ignored, as eHSM does"))
			if err != nil || !bytes.Equal(got, append([]byte("prefix"), plain...)) {
				t.Errorf("%s, %d bytes: does not open: %v", row.Name, n, err)
			}
			if !bytes.Equal(kept, body) {
				t.Errorf("%s, %d bytes: Decrypt changed the caller's ciphertext", row.Name, n)
			}
			if again, _ := k.Encrypt(nil, plain, nil); bytes.Equal(again, kept) {
				t.Errorf("%s, %d bytes: no random vector", row.Name, n)
			}
		}
	}
}

// Every last byte of a padding that is wrong, and every length that is none.
func TestSM4CBCPadding(t *testing.T) {
	k := keyOf(t, kms.SM4CBC)
	body, err := k.Encrypt(nil, bytes.Repeat([]byte{0xee}, 20), nil) // ends in twelve bytes 12
	if err != nil {
		t.Fatal(err)
	}
	var all failures
	for n := range len(body) {
		if n%16 != 0 || n <= 16 {
			out, err := k.Decrypt(nil, body[:n], nil)
			all.add(t, fmt.Sprint(n, " bytes"), out, err)
		}
	}
	before := len(body) - 32 - 16 // the block that the last one is chained to
	for last := range 256 {
		if last == 12 || last == 1 {
			continue // well padded
		}
		bad := bytes.Clone(body)
		bad[before+15] ^= 12 ^ byte(last)
		out, err := k.Decrypt(nil, bad, nil)
		all.add(t, fmt.Sprint("padding of ", last), out, err)
	}
	for i := 4; i < 15; i++ { // a byte of the padding that is not 12
		bad := bytes.Clone(body)
		bad[before+i] ^= 1
		out, err := k.Decrypt(nil, bad, nil)
		all.add(t, fmt.Sprint("byte ", i, " of the last block"), out, err)
	}
	all.check(t)
}

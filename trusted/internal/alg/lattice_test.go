package alg_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// counted is 00 01 02 …, the seed of the examples of both RFCs.
func counted(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// TestLatticeExamples: from the seeds of RFC 9881, appendix C, and RFC 9935,
// appendix C, come their private keys, which are shown here as they are written
// there, and their public keys, of which the digests are.
func TestLatticeExamples(t *testing.T) {
	for s, want := range map[kms.Spec]struct{ pkcs8, spki string }{
		kms.MLDSA44:   {"3034020100300b0609608648016503040311", "837832708c5236d951581f1fddf2b79991b3424a0486d16da1ddad0fd69701be"},
		kms.MLDSA65:   {"3034020100300b0609608648016503040312", "b8b62131bfbe84433efb2273d7f5b87f7a22854a2cfd366fc2aead86d837c52d"},
		kms.MLDSA87:   {"3034020100300b0609608648016503040313", "07e57c4f14dbad1267f621ec3777b4e2e6c4fbc4c22fbb87510ff8e0b3c6a642"},
		kms.MLKEM768:  {"3054020100300b0609608648016503040402", "c23e23dd3d485a9256cda09358a4a286e00b373db10761eadf99f710649ca31c"},
		kms.MLKEM1024: {"3054020100300b0609608648016503040403", "d2b7480ae006a14b37c1e8a8e45ea39022e32a9b1a7b90d594c84d869c6ac420"},
	} {
		seed := counted(materials()[s].Len())
		prefix := []byte{0x04, byte(len(seed) + 2), 0x80, byte(len(seed))} // OCTET STRING { [0] seed }
		der := bytes.Join([][]byte{unhex(want.pkcs8), prefix, seed}, nil)
		out, err := alg.Export(s, secret.Copy(seed))
		if err != nil || !out.Equal(der) {
			t.Errorf("%s: exported as %x, %v", s, reveal(t, out), err)
		}
		spki, err := imported(t, s, der).Public()
		if err != nil {
			t.Fatal(err)
		}
		if got := sha256.Sum256(spki); hex.EncodeToString(got[:]) != want.spki {
			t.Errorf("%s: the public key's digest is %x", s, got)
		}
	}
}

// expanded is an expanded key with all that Import checks of it: its end (ML-KEM)
// or its beginning (ML-DSA).
func expanded(s kms.Spec, seed, public []byte) []byte {
	rest := map[kms.Spec]int{kms.MLKEM768: 1152, kms.MLKEM1024: 1536, kms.MLDSA44: 2432, kms.MLDSA65: 3904, kms.MLDSA87: 4768}[s]
	if s == kms.MLKEM768 || s == kms.MLKEM1024 {
		digest := sha3.Sum256(public)
		return bytes.Join([][]byte{make([]byte, rest), public, digest[:], seed[32:]}, nil)
	}
	shape := map[kms.Spec][]byte{kms.MLDSA44: {4, 4}, kms.MLDSA65: {6, 5}, kms.MLDSA87: {8, 7}}[s]
	drawn := sha3.SumSHAKE256(append(bytes.Clone(seed), shape...), 128)
	return bytes.Join([][]byte{drawn[:32], drawn[96:], sha3.SumSHAKE256(public, 64), make([]byte, rest)}, nil)
}

// TestLatticeBothForms: a key with its seed and expanded, as OpenSSL writes it, is
// taken for its seed; not if they do not belong together, nor without the seed.
func TestLatticeBothForms(t *testing.T) {
	type info struct {
		Version int
		ID      struct{ Algorithm asn1.ObjectIdentifier }
		Key     []byte
	}
	type both struct{ Seed, Expanded []byte }
	for _, s := range []kms.Spec{kms.MLKEM768, kms.MLKEM1024, kms.MLDSA44, kms.MLDSA65, kms.MLDSA87} {
		t.Run(s.String(), func(t *testing.T) {
			seed := reveal(t, materials()[s])
			spki, err := keyOf(t, s).Public()
			if err != nil {
				t.Fatal(err)
			}
			var public struct {
				ID  struct{ Algorithm asn1.ObjectIdentifier }
				Key asn1.BitString
			}
			if _, err := asn1.Unmarshal(spki, &public); err != nil {
				t.Fatal(err)
			}
			full := expanded(s, seed, public.Key.RightAlign())
			der := func(inner any) []byte {
				t.Helper()
				key, err := asn1.Marshal(inner)
				if err != nil {
					t.Fatal(err)
				}
				out, err := asn1.Marshal(info{0, public.ID, key})
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			if got, err := alg.Import(s, secret.New(der(both{seed, full}))); err != nil || !got.Equal(seed) {
				t.Errorf("both forms: %v", err)
			}
			at := 0 // of rho
			if s == kms.MLKEM768 || s == kms.MLKEM1024 {
				at = len(full) - 1 // of z
			}
			other := bytes.Clone(full)
			other[at] ^= 1
			for what, inner := range map[string]any{"of another seed": both{seed, other}, "cut": both{seed, full[:len(full)-1]},
				"empty": both{seed, nil}, "seed cut": both{seed[1:], full}, "no seed": full} {
				if _, err := alg.Import(s, secret.New(der(inner))); !errors.Is(err, kms.Invalid) {
					t.Errorf("%s: got %v, want Invalid", what, err)
				}
			}
		})
	}
}

// TestEncapsulation: both halves have the same secret; an altered ciphertext gives
// another one, the same each time; one of another length is none.
func TestEncapsulation(t *testing.T) {
	for _, s := range []kms.Spec{kms.MLKEM768, kms.MLKEM1024} {
		k := keyOf(t, s)
		spki, _ := k.Public()
		public, err := alg.ParsePublic(s, spki)
		if err != nil {
			t.Fatal(err)
		}
		shared, ciphertext, err := public.Encapsulate()
		if err != nil || len(shared) != 32 {
			t.Fatalf("%s: %d bytes, %v", s, len(shared), err)
		}
		if got, err := k.Decapsulate(ciphertext); err != nil || !bytes.Equal(got, shared) {
			t.Errorf("%s: %x, want %x, %v", s, got, shared, err)
		}
		flips(ciphertext, func(bad []byte) {
			one, err1 := k.Decapsulate(bad)
			two, err2 := k.Decapsulate(bad)
			if err1 != nil || err2 != nil || bytes.Equal(one, shared) || !bytes.Equal(one, two) {
				t.Errorf("%s, altered: %x and %x, %v, %v", s, one, two, err1, err2)
			}
		})
		for _, bad := range [][]byte{nil, ciphertext[1:], append(bytes.Clone(ciphertext), 0)} {
			if _, err := k.Decapsulate(bad); !errors.Is(err, kms.DecryptFailed) {
				t.Errorf("%s, %d bytes: got %v, want DecryptFailed", s, len(bad), err)
			}
		}
	}
}

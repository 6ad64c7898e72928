package alg_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg/sm"
)

func hashed(d kms.Digest, message []byte) []byte {
	switch d {
	case kms.SHA224:
		h := sha256.Sum224(message)
		return h[:]
	case kms.SHA256:
		h := sha256.Sum256(message)
		return h[:]
	case kms.SHA384:
		h := sha512.Sum384(message)
		return h[:]
	case kms.SHA512:
		h := sha512.Sum512(message)
		return h[:]
	case kms.SM3:
		h := sm.SM3(message)
		return h[:]
	}
	panic(d)
}

// inputs is a message in every way in which keys of the row sign it. A spec with
// paddings or digests has one input for each.
func inputs(row kms.Capability, message []byte) []kms.SigningInput {
	paddings, digests := row.SignPaddings, row.Digests
	if len(paddings) == 0 {
		paddings = []kms.Padding{0}
	}
	if len(digests) == 0 {
		digests = []kms.Digest{0}
	}
	var all []kms.SigningInput
	for _, p := range paddings {
		for _, d := range digests {
			all = append(all, kms.SigningInput{Message: message, Digest: d, Padding: p})
		}
	}
	return all
}

func signers() (rows []kms.Capability) {
	for _, row := range kms.Capabilities() {
		if row.Serves(kms.UseSign) {
			rows = append(rows, row)
		}
	}
	return rows
}

// Every spec, padding and digest: a signature verifies, for the message and for
// its digest; altered, cut or lengthened it does not, nor under another input.
func TestSignAndVerify(t *testing.T) {
	message := []byte("message")
	for _, row := range signers() {
		k := keyOf(t, row.Spec)
		for _, in := range inputs(row, message) {
			t.Run(fmt.Sprintf("%s/%s/%s", row.Name, in.Padding, in.Digest), func(t *testing.T) {
				sig, err := k.Sign(in)
				if err != nil {
					t.Fatal(err)
				}
				expect := func(what string, want bool, in kms.SigningInput, sig []byte) {
					t.Helper()
					if ok, err := k.Verify(in, sig); ok != want || err != nil {
						t.Errorf("%s: %t, %v", what, ok, err)
					}
				}
				expect("itself", true, in, sig)
				flips(sig, func(bad []byte) { expect("altered", false, in, bad) })
				for i := 0; i < len(sig); i += 1 + len(sig)/16 {
					expect("cut", false, in, sig[:i])
				}
				expect("lengthened", false, in, append(bytes.Clone(sig), 0))
				expect("lengthened in front", false, in, append([]byte{0}, sig...))
				other := in
				other.Message = []byte("massage")
				expect("another message", false, other, sig)
				for _, other := range inputs(row, message) {
					if other.Digest != in.Digest || other.Padding != in.Padding {
						expect("another digest or padding", false, other, sig)
					}
				}
			})
		}
	}
}

// Signing the digest is signing the message.
func TestPrehashed(t *testing.T) {
	message := []byte("message")
	for _, row := range signers() {
		if len(row.Digests) == 0 || row.Spec == kms.SM2 {
			continue // the one signs no digest, the other another one; see below
		}
		k := keyOf(t, row.Spec)
		for _, in := range inputs(row, message) {
			digest := in
			digest.Prehashed, digest.Message = true, hashed(in.Digest, message)
			for _, c := range []struct{ sign, verify kms.SigningInput }{{in, digest}, {digest, in}} {
				sig, err := k.Sign(c.sign)
				if err != nil {
					t.Fatal(err)
				}
				if ok, err := k.Verify(c.verify, sig); !ok || err != nil {
					t.Errorf("%s, %s, %s: %t, %v", row.Name, in.Padding, in.Digest, ok, err)
				}
			}
			for _, n := range []int{0, 1, in.Digest.Size() - 1, in.Digest.Size() + 1} {
				digest.Message = make([]byte, n)
				if _, err := k.Sign(digest); !errors.Is(err, kms.Misused) {
					t.Errorf("%s: digest of %d bytes for %s: %v", row.Name, n, in.Digest, err)
				}
				if _, err := k.Verify(digest, nil); !errors.Is(err, kms.Misused) {
					t.Errorf("%s: digest of %d bytes for %s: %v", row.Name, n, in.Digest, err)
				}
			}
		}
	}
}

// What the table does not allow is Misused, and not a signature over something else.
func TestSignRefuses(t *testing.T) {
	for _, row := range signers() {
		k := keyOf(t, row.Spec)
		good := inputs(row, []byte("message"))[0]
		var bad []kms.SigningInput
		for d := kms.Digest(0); d <= 9; d++ {
			if len(row.Digests) == 0 && d == 0 || row.HasDigest(d) {
				continue
			}
			in := good
			in.Digest = d
			bad = append(bad, in)
		}
		if len(row.SignPaddings) > 0 {
			for _, p := range []kms.Padding{0, kms.PaddingNone, kms.PaddingOAEP, 9} {
				in := good
				in.Padding = p
				bad = append(bad, in)
			}
		}
		if len(row.Digests) == 0 {
			bad = append(bad, kms.SigningInput{Message: make([]byte, 64), Prehashed: true})
		}
		for _, in := range bad {
			if sig, err := k.Sign(in); !errors.Is(err, kms.Misused) || sig != nil {
				t.Errorf("%s: %+v: %x, %v", row.Name, in, sig, err)
			}
			if ok, err := k.Verify(in, nil); !errors.Is(err, kms.Misused) || ok {
				t.Errorf("%s: %+v: %t, %v", row.Name, in, ok, err)
			}
		}
	}
}

// A signature has one encoding. Numbers out of range and every other way to
// write DER are no signatures, and no errors.
func TestMalformedSignatures(t *testing.T) {
	type sequence struct{ R, S *big.Int }
	der := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, row := range signers() {
		if row.Slow || len(row.Digests) == 0 {
			continue
		}
		k := keyOf(t, row.Spec)
		in := kms.SigningInput{Message: []byte("message"), Digest: row.Digests[0]}
		sig, err := k.Sign(in)
		if err != nil {
			t.Fatal(err)
		}
		var good sequence
		if _, err := asn1.Unmarshal(sig, &good); err != nil || !bytes.Equal(der(good), sig) {
			t.Fatalf("%s: %x is no DER: %v", row.Name, sig, err)
		}
		zero, huge := new(big.Int), new(big.Int).Lsh(big.NewInt(1), 4096)
		content := sig[2:]
		if row.Bits > 500 {
			content = sig[3:]
		}
		for name, bad := range map[string][]byte{
			"r is zero": der(sequence{zero, good.S}), "s is zero": der(sequence{good.R, zero}), "both are zero": der(sequence{zero, zero}),
			"r is negative": der(sequence{new(big.Int).Neg(good.R), good.S}), "s is negative": der(sequence{good.R, new(big.Int).Neg(good.S)}),
			"r is huge": der(sequence{huge, good.S}), "s is huge": der(sequence{good.R, huge}), "swapped": der(sequence{good.S, good.R}),
			"one more number":  der(struct{ R, S, T *big.Int }{good.R, good.S, good.S}),
			"one number":       der(struct{ R *big.Int }{good.R}),
			"strings":          der(struct{ R, S []byte }{good.R.Bytes(), good.S.Bytes()}),
			"no sequence":      content,
			"long length":      append([]byte{0x30, 0x82, byte(len(content) >> 8), byte(len(content))}, content...),
			"indefinite":       append(append([]byte{0x30, 0x80}, content...), 0, 0),
			"bare numbers":     append(good.R.Bytes(), good.S.Bytes()...),
			"set for sequence": append([]byte{0x31}, sig[1:]...),
		} {
			if ok, err := k.Verify(in, bad); ok || err != nil {
				t.Errorf("%s: %s: %t, %v", row.Name, name, ok, err)
			}
		}
	}
}

// SM2 signs the digest of Z and the message: the caller's digest of that is the
// same signature, and the digest of the message alone is not.
func TestSM2Prehashed(t *testing.T) {
	k := keyOf(t, kms.SM2)
	var hash []byte
	if err := materials()[kms.SM2].Use(func(b []byte) error {
		priv, err := sm.Parse(b)
		hash = priv.Hash([]byte("message"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	sig, err := k.Sign(kms.SigningInput{Message: hash, Digest: kms.SM3, Prehashed: true})
	if err != nil {
		t.Fatal(err)
	}
	if ok, _ := k.Verify(kms.SigningInput{Message: []byte("message"), Digest: kms.SM3}, sig); !ok {
		t.Error("digest of Z and message does not verify as the message")
	}
	alone := kms.SigningInput{Message: hashed(kms.SM3, []byte("message")), Digest: kms.SM3, Prehashed: true}
	if ok, _ := k.Verify(alone, sig); ok {
		t.Error("digest without Z verifies")
	}
}

func TestMAC(t *testing.T) {
	for _, row := range kms.Capabilities() {
		if row.Family != kms.MAC {
			continue
		}
		k := keyOf(t, row.Spec)
		mac, err := k.MAC([]byte("message"))
		if err != nil || len(mac) != row.Bits/8 {
			t.Fatalf("%s: %d bytes, %v", row.Name, len(mac), err)
		}
		expect := func(what string, want bool, message string, mac []byte) {
			if ok, err := k.VerifyMAC([]byte(message), mac); ok != want || err != nil {
				t.Errorf("%s: %s: %t, %v", row.Name, what, ok, err)
			}
		}
		expect("itself", true, "message", mac)
		expect("another message", false, "massage", mac)
		expect("empty", false, "message", nil)
		flips(mac, func(bad []byte) { expect("altered", false, "message", bad) })
		for i := range mac {
			expect("cut", false, "message", mac[:i])
		}
		expect("lengthened", false, "message", append(bytes.Clone(mac), 0))
	}
}

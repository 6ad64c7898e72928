package keyring_test

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/keyring"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

const (
	now     = int64(1_000_000)
	expires = now + 1000
)

// An intake is a keyring and a key that waits for its material.
type intake struct {
	*testing.T
	ring *keyring.Keyring
	rec  *state.Key
}

func newIntake(t *testing.T, spec kms.Spec) *intake {
	t.Helper()
	r := root.New(root.NewSet(secret.New(bytes.Repeat([]byte{7}, 32))), kms.DomainID{1}, root.HoldfastLabels)
	ring, err := keyring.New(r, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &intake{t, ring, &state.Key{ID: kms.KeyID{1}, Spec: spec, Origin: kms.Imported, State: kms.PendingImport, Revision: 5}}
}

// parameters makes a wrapping key.
func (x *intake) parameters(spec kms.Spec) (to alg.Key, token []byte) {
	x.Helper()
	public, token, err := x.ring.NewIntake(x.rec, spec, expires)
	if err != nil {
		x.Fatal(err)
	}
	if to, err = alg.ParsePublic(spec, public); err != nil {
		x.Fatal(err)
	}
	return to, token
}

func (x *intake) seal(to alg.Key, material []byte) []byte {
	x.Helper()
	sealed, err := to.AsymmetricEncrypt(material, kms.PaddingOAEP)
	if err != nil {
		x.Fatal(err)
	}
	return sealed
}

func (x *intake) bring(token, material []byte, w kms.Wrapping) (state.Version, error) {
	return x.ring.Import(x.rec, kms.ImportRequest{Key: x.rec.ID, Token: token, Wrapping: w, Material: material}, now)
}

// Material that is encrypted with SM2 becomes the key, under every name of a
// wrapping: of eHSM's there is none for SM2.
func TestImportBySM2(t *testing.T) {
	p256, err := alg.Generate(kms.ECP256)
	if err != nil {
		t.Fatal(err)
	}
	for spec, material := range map[kms.Spec][]byte{
		kms.AES256GCM: bytes.Repeat([]byte{1, 2}, 16), kms.SM4CBC: bytes.Repeat([]byte{3}, 16), kms.HMACSHA512: bytes.Repeat([]byte{4}, 64),
		kms.ECP256: exported(t, kms.ECP256, p256),
	} {
		t.Run(spec.String(), func(t *testing.T) {
			x := newIntake(t, spec)
			to, token := x.parameters(kms.SM2)
			sealed := x.seal(to, material)
			for _, w := range []kms.Wrapping{kms.WrapSM2, kms.WrapOAEP, kms.WrapPKCS1, 0} {
				v, err := x.bring(token, sealed, w)
				if err != nil {
					t.Fatalf("wrapping %d: %v", w, err)
				}
				rec := *x.rec
				rec.Current, rec.Versions = v.Number, []state.Version{v}
				out, err := x.ring.Export(&rec, v.Number)
				if err != nil || !out.Equal(material) {
					t.Errorf("wrapping %d: it is another key, or none: %v", w, err)
				}
			}
		})
	}
}

func exported(t *testing.T, spec kms.Spec, material secret.Bytes) (out []byte) {
	t.Helper()
	s, err := alg.Export(spec, material)
	if err == nil {
		err = s.Use(func(b []byte) error { out = bytes.Clone(b); return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sm2Ciphertext is GM/T 0009, section 7.2.
type sm2Ciphertext struct {
	X, Y       *big.Int
	Hash, Data []byte
}

// Whatever is wrong with the material, the answer is the same.
func TestImportBySM2Refused(t *testing.T) {
	x := newIntake(t, kms.AES128GCM)
	to, token := x.parameters(kms.SM2)
	other, _ := x.parameters(kms.SM2)
	toRSA, tokenRSA := x.parameters(kms.RSA2048)
	good := x.seal(to, make([]byte, 16))
	edit := func(change func(*sm2Ciphertext)) []byte {
		var c sm2Ciphertext
		if rest, err := asn1.Unmarshal(good, &c); err != nil || len(rest) > 0 {
			t.Fatal(err)
		}
		change(&c)
		b, err := asn1.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, material := range map[string][]byte{
		"nothing":               nil,
		"not encrypted":         make([]byte, 16),
		"to another key":        x.seal(other, make([]byte, 16)),
		"to an RSA key":         x.seal(toRSA, make([]byte, 16)),
		"too short a key":       x.seal(to, make([]byte, 15)),
		"too long a key":        x.seal(to, make([]byte, 17)),
		"cut":                   good[:len(good)-1],
		"with something behind": append(bytes.Clone(good), 0),
		"only its head":         good[:1],
		"a point off the curve": edit(func(c *sm2Ciphertext) { c.Y.Add(c.Y, big.NewInt(1)) }),
		"the point at infinity": edit(func(c *sm2Ciphertext) { c.X, c.Y = new(big.Int), new(big.Int) }),
		"a negative coordinate": edit(func(c *sm2Ciphertext) { c.X.Neg(c.X) }),
		"a huge coordinate":     edit(func(c *sm2Ciphertext) { c.X.Lsh(big.NewInt(1), 40_000) }),
		"another digest":        edit(func(c *sm2Ciphertext) { c.Hash[0] ^= 1 }),
		"a short digest":        edit(func(c *sm2Ciphertext) { c.Hash = c.Hash[:31] }),
		"other data":            edit(func(c *sm2Ciphertext) { c.Data[3] ^= 1 }),
		"no data":               edit(func(c *sm2Ciphertext) { c.Data = nil }),
	} {
		v, err := x.bring(token, material, kms.WrapSM2)
		if !errors.Is(err, kms.DecryptFailed) || err.Error() != "decryption failed: ciphertext does not open" || v.Wrapped != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x41
		if _, err := x.bring(token, bad, kms.WrapSM2); !errors.Is(err, kms.DecryptFailed) {
			t.Errorf("byte %d altered: %v", i, err)
		}
	}
	if _, err := x.bring(tokenRSA, x.seal(toRSA, make([]byte, 16)), kms.WrapSM2); !errors.Is(err, kms.Misused) {
		t.Errorf("an RSA key and SM2's wrapping: %v", err)
	}
	if _, err := x.bring(token, good, kms.WrapSM2); err != nil {
		t.Errorf("after all that the token is worth nothing: %v", err)
	}
}

// A token says which spec its key is of: it is good for no other.
func TestImportTokenBySM2(t *testing.T) {
	x := newIntake(t, kms.AES128GCM)
	to, token := x.parameters(kms.SM2)
	good := x.seal(to, make([]byte, 16))
	for i := range token {
		bad := bytes.Clone(token)
		bad[i] ^= 1
		if _, err := x.bring(bad, good, kms.WrapSM2); !errors.Is(err, kms.Unauthenticated) {
			t.Errorf("byte %d altered: %v", i, err)
		}
	}
	for _, spec := range []kms.Spec{kms.RSA2048, kms.ECP256, kms.AES128GCM, 0, 99} {
		bad := bytes.Clone(token)
		bad[1] = byte(spec)
		if _, err := x.bring(bad, good, kms.WrapOAEP); !errors.Is(err, kms.Unauthenticated) {
			t.Errorf("as one for %s: %v", spec, err)
		}
	}
	if _, err := x.ring.Import(x.rec, kms.ImportRequest{Token: token, Material: good}, expires); !errors.Is(err, kms.Expired) {
		t.Errorf("late: %v", err)
	}
	x.rec.Revision++
	if _, err := x.bring(token, good, kms.WrapSM2); !errors.Is(err, kms.Unauthenticated) {
		t.Errorf("once the key is another: %v", err)
	}
}

package alg_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

var agreers = []kms.Spec{kms.ECP256, kms.ECP384, kms.ECP521, kms.X25519}

func another(t *testing.T, s kms.Spec) (k alg.Key, spki []byte) {
	t.Helper()
	material, err := alg.Generate(s)
	if err != nil {
		t.Fatal(err)
	}
	if k, err = alg.Parse(s, material); err != nil {
		t.Fatal(err)
	}
	if spki, err = k.Public(); err != nil {
		t.Fatal(err)
	}
	return k, spki
}

// TestAgree: two sides have the same secret, and nobody else does.
func TestAgree(t *testing.T) {
	sizes := map[kms.Spec]int{kms.ECP256: 32, kms.ECP384: 48, kms.ECP521: 66, kms.X25519: 32}
	for _, s := range agreers {
		a, aPublic := another(t, s)
		b, bPublic := another(t, s)
		_, other := another(t, s)
		one, err1 := a.Agree(bPublic)
		two, err2 := b.Agree(aPublic)
		if err1 != nil || err2 != nil || !bytes.Equal(one, two) || len(one) != sizes[s] {
			t.Errorf("%s: %x and %x, %v, %v", s, one, two, err1, err2)
		}
		if third, err := a.Agree(other); err != nil || bytes.Equal(third, one) {
			t.Errorf("%s: a third side has the same: %v", s, err)
		}
	}
}

// TestAgreeRFC5903 is the exchange of RFC 5903, section 8.1, over P-256.
func TestAgreeRFC5903(t *testing.T) {
	const (
		private = "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433"
		public  = "3059301306072a8648ce3d020106082a8648ce3d03010703420004" + // the other side's
			"d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63" + "56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab"
		want = "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"
	)
	k, err := alg.Parse(kms.ECP256, secret.New(unhex(private)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Agree(unhex(public)); err != nil || hex.EncodeToString(got) != want {
		t.Errorf("%x, %v", got, err)
	}
}

// TestAgreeRefuses: keys of another curve, malformed ones, and those that nothing
// can be agreed on with.
func TestAgreeRefuses(t *testing.T) {
	for _, s := range agreers {
		k, own := another(t, s)
		bad := map[string][]byte{"none": nil, "cut": own[:len(own)-1], "longer": append(bytes.Clone(own), 0), "no DER": []byte("peer")}
		for _, other := range kms.Capabilities() {
			if other.Family == kms.Asymmetric && other.Spec != s {
				spki, err := keyOf(t, other.Spec).Public()
				if err != nil {
					t.Fatal(err)
				}
				bad[other.Name] = spki
			}
		}
		if s == kms.X25519 { // points of small order (RFC 7748, section 6.1): 0, 1 and p-1
			head := own[:len(own)-32]
			bad["zero"] = append(bytes.Clone(head), make([]byte, 32)...)
			bad["one"] = append(bytes.Clone(head), append([]byte{1}, make([]byte, 31)...)...)
			bad["minus one"] = append(bytes.Clone(head), append(append([]byte{0xec}, bytes.Repeat([]byte{0xff}, 30)...), 0x7f)...)
		} else { // not on the curve
			off := bytes.Clone(own)
			off[len(off)-1] ^= 1
			bad["off the curve"] = off
		}
		for what, peer := range bad {
			if got, err := k.Agree(peer); !errors.Is(err, kms.Invalid) || got != nil {
				t.Errorf("%s, %s: %x, %v", s, what, got, err)
			}
		}
	}
}

// FuzzAgree: whatever a peer sends does no more than be refused, or be a key that
// is printed as it was read.
func FuzzAgree(f *testing.F) {
	keys := map[kms.Spec]alg.Key{}
	for _, s := range agreers {
		keys[s] = keyOf(f, s)
		spki, err := keys[s].Public()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(s), spki)
	}
	f.Fuzz(func(t *testing.T, spec byte, peer []byte) {
		k, ok := keys[kms.Spec(spec)]
		if !ok {
			return
		}
		if _, err := k.Agree(peer); err != nil {
			if !errors.Is(err, kms.Invalid) {
				t.Error(err)
			}
			return
		}
		public, err := alg.ParsePublic(kms.Spec(spec), peer)
		if err != nil {
			t.Fatalf("agreed with what is no public key: %v", err)
		}
		if again, err := public.Public(); err != nil || !bytes.Equal(again, peer) {
			t.Errorf("%x is printed as %x, %v", peer, again, err)
		}
	})
}

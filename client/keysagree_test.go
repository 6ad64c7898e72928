package client_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// written is how docs/native-api.md puts the info of a derivation together.
func written(label string, length uint32, parts ...[]byte) string {
	b := []byte(label)
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	return string(binary.BigEndian.AppendUint32(b, length))
}

func expand(t *testing.T, secret []byte, info string, length int) []byte {
	t.Helper()
	b, err := hkdf.Key(sha256.New, secret, nil, info, length)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newParty(t *testing.T, id kms.KeyID) (*ecdh.PrivateKey, kms.Party) {
	t.Helper()
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(k.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	return k, kms.Party{Key: id, Public: der}
}

// TestDeriveAgreed: both sides derive the same, which is what is documented.
func TestDeriveAgreed(t *testing.T) {
	id := kms.KeyID{1, 2, 3}
	a, node := newParty(t, id)
	b, peer := newParty(t, kms.KeyID{})
	shared, err := a.ECDH(b.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	d := kms.Derivation{Info: []byte("for mail"), Length: 48}
	one, err := client.DeriveAgreed(shared, d, node, peer)
	if err != nil {
		t.Fatal(err)
	}
	if two, err := client.DeriveAgreed(shared, d, peer, node); err != nil || !bytes.Equal(one, two) {
		t.Errorf("the sides derive %x and %x, %v", one, two, err)
	}
	first, second := [][]byte{[]byte(id.String()), node.Public}, [][]byte{nil, peer.Public}
	if bytes.Compare(node.Public, peer.Public) > 0 {
		first, second = second, first
	}
	info := written("holdfast/v1/agree", 48, first[0], first[1], second[0], second[1], []byte("for mail"))
	if want := expand(t, shared, info, 48); !bytes.Equal(one, want) {
		t.Errorf("derived %x, documented is %x", one, want)
	}
	if other, err := client.DeriveAgreed(shared, kms.Derivation{Length: 48}, node, peer); err != nil || bytes.Equal(one, other) {
		t.Errorf("without info: %x, %v", other, err)
	}
}

// TestDeriveEncapsulated: the same of a secret that whoever has the public key made.
func TestDeriveEncapsulated(t *testing.T) {
	k, err := mlkem.GenerateKey768()
	if err != nil {
		t.Fatal(err)
	}
	shared, ciphertext := k.EncapsulationKey().Encapsulate()
	p := kms.Party{Key: kms.KeyID{4}, Public: []byte("public key, DER")}
	got, err := client.DeriveEncapsulated(shared, kms.Derivation{Info: []byte("x")}, p, ciphertext)
	if err != nil {
		t.Fatal(err)
	}
	info := written("holdfast/v1/encapsulate", kms.DefaultDerived, []byte(p.Key.String()), p.Public, ciphertext, []byte("x"))
	if want := expand(t, shared, info, kms.DefaultDerived); !bytes.Equal(got, want) {
		t.Errorf("derived %x, documented is %x", got, want)
	}
}

func TestDeriveHere(t *testing.T) {
	for name, derive := range map[string]func(kms.Derivation) ([]byte, error){
		"agreed": func(d kms.Derivation) ([]byte, error) {
			return client.DeriveAgreed([]byte("secret"), d, kms.Party{}, kms.Party{})
		},
		"encapsulated": func(d kms.Derivation) ([]byte, error) {
			return client.DeriveEncapsulated([]byte("secret"), d, kms.Party{}, nil)
		},
	} {
		if b, err := derive(kms.Derivation{Raw: true}); err != nil || string(b) != "secret" {
			t.Errorf("%s: as it is: %q, %v", name, b, err)
		}
		if _, err := derive(kms.Derivation{Length: kms.MaxDataKey + 1}); !errors.Is(err, kms.Invalid) {
			t.Errorf("%s: too long: %v", name, err)
		}
		if _, err := derive(kms.Derivation{Info: make([]byte, kms.MaxBinding+1)}); !errors.Is(err, kms.TooLarge) {
			t.Errorf("%s: too much info: %v", name, err)
		}
	}
}

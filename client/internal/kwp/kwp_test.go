package kwp_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/client/internal/kwp"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVectors has the examples of RFC 5649, section 6.
func TestVectors(t *testing.T) {
	const kek = "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8"
	tests := []struct{ name, key, wrapped string }{
		{"20 bytes", "c37b7e6492584340bed12207808941155068f738",
			"138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"},
		{"7 bytes", "466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := kwp.Wrap(unhex(t, kek), unhex(t, tt.key))
			if err != nil || hex.EncodeToString(got) != tt.wrapped {
				t.Errorf("wrapped %x (%v), want %s", got, err, tt.wrapped)
			}
			key, err := kwp.Unwrap(unhex(t, kek), unhex(t, tt.wrapped))
			if err != nil || hex.EncodeToString(key) != tt.key {
				t.Errorf("opened %x (%v), want %s", key, err, tt.key)
			}
		})
	}
}

func TestEveryLengthOpensAndNoAlterationDoes(t *testing.T) {
	kek := make([]byte, 32)
	rand.Read(kek)
	for n := 1; n <= 48; n++ {
		key := bytes.Repeat([]byte{0}, n) // zeros, so that padding is told from key by length alone
		wrapped, err := kwp.Wrap(kek, key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := kwp.Unwrap(kek, wrapped); err != nil || !bytes.Equal(got, key) {
			t.Fatalf("%d bytes: opened %x (%v)", n, got, err)
		}
		for bit := range 8 * len(wrapped) {
			altered := bytes.Clone(wrapped)
			altered[bit/8] ^= 1 << (bit % 8)
			if _, err := kwp.Unwrap(kek, altered); !errors.Is(err, kwp.ErrUnwrap) {
				t.Fatalf("%d bytes, bit %d altered: %v", n, bit, err)
			}
		}
		for cut := range wrapped {
			if _, err := kwp.Unwrap(kek, wrapped[:cut]); !errors.Is(err, kwp.ErrUnwrap) {
				t.Fatalf("%d bytes cut to %d: %v", n, cut, err)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	kek := make([]byte, 16)
	for _, n := range []int{0, kwp.MaxLen + 1} {
		if _, err := kwp.Wrap(kek, make([]byte, n)); !errors.Is(err, kwp.ErrLength) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := kwp.Wrap(kek[:15], kek); err == nil {
		t.Error("a key of 15 bytes wraps")
	}
	longest, err := kwp.Wrap(kek, make([]byte, kwp.MaxLen))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := kwp.Unwrap(kek, longest); err != nil || len(got) != kwp.MaxLen {
		t.Errorf("the longest key: %d bytes, %v", len(got), err)
	}
}

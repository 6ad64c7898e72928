package root_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

func newRoot(s0 byte, domain byte) *root.Root {
	return root.New(root.NewSet(secret.New(bytes.Repeat([]byte{s0}, 32))), kms.DomainID{domain}, root.HoldfastLabels)
}

func slot() root.Slot {
	return root.Slot{Purpose: root.WrapKey, ID: []byte("0123456789abcdef"), Version: 1, Facts: []byte("facts")}
}

func TestWrapOpensInItsPlaceOnly(t *testing.T) {
	r := newRoot(1, 1)
	wrapped, err := r.Wrap(slot(), secret.New([]byte("key material")))
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Unwrap(slot(), wrapped)
	if err != nil || !got.Equal([]byte("key material")) {
		t.Fatalf("does not open in its own place: %v", err)
	}

	elsewhere := map[string]struct {
		r *root.Root
		s func(*root.Slot)
	}{
		"another key":     {r, func(s *root.Slot) { s.ID = []byte("0123456789abcdeX") }},
		"another version": {r, func(s *root.Slot) { s.Version = 2 }},
		"other facts":     {r, func(s *root.Slot) { s.Facts = []byte("Facts") }},
		"no facts":        {r, func(s *root.Slot) { s.Facts = nil }},
		"another purpose": {r, func(s *root.Slot) { s.Purpose = root.WrapCredential }},
		"another domain":  {newRoot(1, 2), func(*root.Slot) {}},
		"another secret":  {newRoot(2, 1), func(*root.Slot) {}},
		"split moved":     {r, func(s *root.Slot) { s.ID, s.Facts = []byte("0123456789abcde"), []byte("ffacts") }},
	}
	for name, c := range elsewhere {
		t.Run(name, func(t *testing.T) {
			s := slot()
			c.s(&s)
			if _, err := c.r.Unwrap(s, wrapped); !errors.Is(err, kms.Damaged) {
				t.Errorf("got %v, want Damaged", err)
			}
		})
	}
	for i := range wrapped {
		bad := bytes.Clone(wrapped)
		bad[i] ^= 1
		if _, err := r.Unwrap(slot(), bad); !errors.Is(err, kms.Damaged) {
			t.Fatalf("byte %d flipped: got %v, want Damaged", i, err)
		}
		if _, err := r.Unwrap(slot(), wrapped[:i]); !errors.Is(err, kms.Damaged) {
			t.Fatalf("cut to %d bytes: got %v, want Damaged", i, err)
		}
	}
}

func TestChecksumBindsSecretAndDomain(t *testing.T) {
	sum, err := newRoot(1, 1).Checksum(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := newRoot(1, 1).VerifyChecksum(0, nil, sum); err != nil {
		t.Errorf("own checksum refused: %v", err)
	}
	for name, r := range map[string]*root.Root{"another secret": newRoot(2, 1), "another domain": newRoot(1, 2)} {
		if err := r.VerifyChecksum(0, nil, sum); !errors.Is(err, kms.Damaged) {
			t.Errorf("%s: got %v, want Damaged", name, err)
		}
	}
	if _, err := newRoot(1, 1).Checksum(1, sum); !errors.Is(err, kms.NotFound) {
		t.Errorf("a generation that is not held: got %v, want NotFound", err)
	}
}

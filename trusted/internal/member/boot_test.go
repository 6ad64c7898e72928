package member_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
)

func TestBoot(t *testing.T) {
	b, err := member.NewBoot()
	if err != nil {
		t.Fatal(err)
	}
	other, err := member.NewBoot()
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Public()) != member.BootSize || bytes.Equal(b.Public(), other.Public()) {
		t.Errorf("a public key of %d bytes", len(b.Public()))
	}
	info, plain := []byte("for this"), []byte("a master secret")
	sealed, err := member.Seal(b.Public(), info, plain)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, plain) {
		t.Error("it is not sealed")
	}
	if got, err := b.Open(info, sealed); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opened %q: %v", got, err)
	}
	flipped := slices.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"other info":           func() ([]byte, error) { return b.Open([]byte("for that"), sealed) },
		"another start":        func() ([]byte, error) { return other.Open(info, sealed) },
		"altered":              func() ([]byte, error) { return b.Open(info, flipped) },
		"cut short":            func() ([]byte, error) { return b.Open(info, sealed[:len(sealed)-1]) },
		"the key alone":        func() ([]byte, error) { return b.Open(info, sealed[:member.BootSize]) },
		"nothing":              func() ([]byte, error) { return b.Open(info, nil) },
		"with something after": func() ([]byte, error) { return b.Open(info, append(sealed[:len(sealed):len(sealed)], 0)) },
	} {
		if got, err := open(); !errors.Is(err, kms.DecryptFailed) || got != nil || err.Error() != "decryption failed: it does not open with this start's key" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, public := range [][]byte{nil, b.Public()[1:], append(b.Public()[:member.BootSize:member.BootSize], 0), bytes.Repeat([]byte{0xff}, member.BootSize)} {
		if _, err := member.Seal(public, info, plain); !errors.Is(err, kms.Invalid) {
			t.Errorf("sealed to a key of %d bytes: %v", len(public), err)
		}
	}
}

// TestNothingPrints: neither a start nor channels show a private key.
func TestNothingPrints(t *testing.T) {
	w := newWorld(t)
	a := w.stranger("a")
	private, err := a.key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	idle, err := member.New(a.cfg) // one that nothing changes while it is printed
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%d"} {
		text := fmt.Sprintf(verb, idle) + fmt.Sprintf(verb, a.boot)
		for _, form := range []string{string(private), fmt.Sprintf("%x", private), fmt.Sprint(private), new(big.Int).SetBytes(private).String()} {
			if bytes.Contains([]byte(text), []byte(form)) {
				t.Errorf("%s shows the peer key", verb)
			}
		}
	}
}

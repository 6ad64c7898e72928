package kwp_test

import (
	"bytes"
	"crypto/aes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/trusted/internal/alg/kwp"
)

// wrap is the wrapping of RFC 5649, section 4.1, step 3, of a check value and
// length and a padded key.
func wrap(t testing.TB, key, out []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	out = bytes.Clone(out)
	if len(out) == 16 {
		block.Encrypt(out, out)
		return out
	}
	n := len(out)/8 - 1
	buf := bytes.Clone(out[:16])
	for step := 1; step <= 6*n; step++ {
		half := out[8*(1+(step-1)%n):][:8]
		copy(buf[8:], half)
		block.Encrypt(buf, buf)
		copy(half, buf[8:])
		binary.BigEndian.PutUint64(buf, binary.BigEndian.Uint64(buf)^uint64(step))
	}
	copy(out, buf[:8])
	return out
}

func padded(plain []byte) []byte {
	out := binary.BigEndian.AppendUint32([]byte{0xa6, 0x59, 0x59, 0xa6}, uint32(len(plain)))
	return append(append(out, plain...), make([]byte, -len(plain)&7)...)
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// RFC 5649, section 6.
func TestKnownAnswers(t *testing.T) {
	key := unhex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	for plain, wrapped := range map[string]string{
		"c37b7e6492584340bed12207808941155068f738": "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
		"466f7250617369": "afbeb0f07dfbf5419200f2ccb50bb24f",
	} {
		if got, err := kwp.Unwrap(key, unhex(wrapped)); err != nil || hex.EncodeToString(got) != plain {
			t.Errorf("opens to %x, %v; want %s", got, err, plain)
		}
		if got := wrap(t, key, padded(unhex(plain))); hex.EncodeToString(got) != wrapped {
			t.Errorf("the test wraps to %x, want %s", got, wrapped)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, bits := range []int{128, 192, 256} {
		key := make([]byte, bits/8)
		rand.Read(key)
		for n := 1; n < 100; n++ {
			plain := make([]byte, n)
			rand.Read(plain)
			wrapped := wrap(t, key, padded(plain))
			kept := bytes.Clone(wrapped)
			if got, err := kwp.Unwrap(key, wrapped); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d bytes under AES-%d: %v", n, bits, err)
			}
			if !bytes.Equal(kept, wrapped) {
				t.Fatal("Unwrap changed what it was given")
			}
		}
	}
}

func TestUnwrapRefuses(t *testing.T) {
	key := unhex(strings.Repeat("42", 32))
	refused := func(what string, key, wrapped []byte) {
		t.Helper()
		if got, err := kwp.Unwrap(key, wrapped); !errors.Is(err, kwp.ErrUnwrap) || got != nil {
			t.Errorf("%s: %x, %v", what, got, err)
		}
	}
	// Check values, lengths and paddings that are wrong under the right key.
	for what, plain := range map[string]string{
		"RFC 3394's check value":     "a6a6a6a6a6a6a6a6" + strings.Repeat("11", 16),
		"length zero":                "a65959a600000000" + strings.Repeat("00", 16),
		"length zero in a block":     "a65959a600000000" + strings.Repeat("00", 8),
		"length too short":           "a65959a600000008" + strings.Repeat("11", 8) + strings.Repeat("00", 8),
		"length too long":            "a65959a600000011" + strings.Repeat("11", 16),
		"length too long in a block": "a65959a600000009" + strings.Repeat("11", 8),
		"length huge":                "a65959a6ffffffff" + strings.Repeat("11", 16),
		"length with sign":           "a65959a680000010" + strings.Repeat("11", 16),
		"padding is not zero":        "a65959a60000000f" + strings.Repeat("11", 15) + "01",
		"padding begins badly":       "a65959a600000009" + strings.Repeat("11", 9) + "01" + strings.Repeat("00", 6),
	} {
		refused(what, key, wrap(t, key, unhex(plain)))
	}
	good := wrap(t, key, padded(make([]byte, 20)))
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		refused("altered", key, bad)
		refused("cut", key, good[:i])
	}
	refused("lengthened", key, append(bytes.Clone(good), make([]byte, 8)...))
	refused("another key", unhex(strings.Repeat("43", 32)), good)
	for _, n := range []int{0, 15, 17, 33} {
		refused("no AES key", make([]byte, n), good)
	}
	refused("too long", key, wrap(t, key, padded(make([]byte, kwp.MaxWrapped))))
}

// Nobody makes up what opens.
func FuzzUnwrap(f *testing.F) {
	key := unhex(strings.Repeat("42", 16))
	f.Add(wrap(f, key, padded(make([]byte, 7))))
	f.Add(wrap(f, key, padded(make([]byte, 20))))
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		plain, err := kwp.Unwrap(key, wrapped)
		if err != nil {
			return
		}
		if again := wrap(t, key, padded(plain)); !bytes.Equal(again, wrapped) {
			t.Errorf("%x opens to %x, which wraps to %x", wrapped, plain, again)
		}
	})
}

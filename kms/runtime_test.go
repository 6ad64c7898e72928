package kms_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

func runtimePublicKey() kms.RuntimePublicKey {
	return kms.RuntimePublicKey{
		RuntimeKey: kms.RuntimeKey{Runtime: "ledger", ID: kms.RuntimeKeyID{1}, Ephemeral: true, Period: 2},
		Domain:     kms.DomainID{3}, Public: [32]byte{4}, Generation: 5, Checksum: [32]byte{6}, Expires: time.Unix(7, 0),
	}
}

// The text that is signed is part of the protocol.
func TestRuntimePublicKeySigned(t *testing.T) {
	p := runtimePublicKey()
	zeros := strings.Repeat("00", 31)
	want := hex.EncodeToString([]byte("holdfast/v1/runtime-public-key\x00")) + "03" + zeros + "06" + hex.EncodeToString([]byte("ledger")) +
		"02" + "01" + zeros + "0000000000000002" + "00000005" + "06" + zeros + "0000000000000007" + "04" + zeros
	if got := hex.EncodeToString(p.Signed()); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	seen := map[string]string{string(p.Signed()): "itself"}
	for what, edit := range map[string]func(*kms.RuntimePublicKey){
		"runtime":    func(p *kms.RuntimePublicKey) { p.Runtime = "ledges" },
		"name's end": func(p *kms.RuntimePublicKey) { p.Runtime = "ledger\x02" },
		"id":         func(p *kms.RuntimePublicKey) { p.ID[31] = 1 },
		"kind":       func(p *kms.RuntimePublicKey) { p.Ephemeral = false },
		"period":     func(p *kms.RuntimePublicKey) { p.Period++ },
		"domain":     func(p *kms.RuntimePublicKey) { p.Domain[31] = 1 },
		"generation": func(p *kms.RuntimePublicKey) { p.Generation++ },
		"checksum":   func(p *kms.RuntimePublicKey) { p.Checksum[31] = 1 },
		"expiry":     func(p *kms.RuntimePublicKey) { p.Expires = p.Expires.Add(time.Second) },
		"no expiry":  func(p *kms.RuntimePublicKey) { p.Expires = time.Time{} },
		"public key": func(p *kms.RuntimePublicKey) { p.Public[31] = 1 },
	} {
		q := runtimePublicKey()
		edit(&q)
		if other, dup := seen[string(q.Signed())]; dup {
			t.Errorf("%s and %s have one text", what, other)
		}
		seen[string(q.Signed())] = what
	}
}

// What holds private halves prints its name alone.
func TestRuntimeKeysPrint(t *testing.T) {
	k := kms.RuntimeKeys{RuntimeKey: runtimePublicKey().RuntimeKey, Private: bytes.Repeat([]byte{0xAB}, 32), State: bytes.Repeat([]byte{0xAB}, 32)}
	for _, verb := range []string{"%v", "%+v", "%s"} {
		if got := fmt.Sprintf(verb, k); !strings.Contains(got, "ledger") || strings.Contains(got, "171") || strings.Contains(strings.ToLower(got), "abab") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	k.Wipe()
	if !bytes.Equal(k.Private, make([]byte, 32)) || !bytes.Equal(k.State, make([]byte, 32)) {
		t.Error("not wiped")
	}
}

func TestParseRuntimeSealed(t *testing.T) {
	key := runtimePublicKey().RuntimeKey
	whole := append(key.SealedHeader(), make([]byte, 48)...)
	got, body, err := kms.ParseRuntimeSealed(whole)
	if err != nil || len(body) != 48 {
		t.Fatal(err)
	}
	if got.Runtime = key.Runtime; got != key {
		t.Errorf("got %s", got)
	}
	at := func(i int, b byte) []byte { c := bytes.Clone(whole); c[i] = b; return c }
	for what, c := range map[string]struct {
		b    []byte
		kind error
	}{
		"nothing":              {nil, kms.Invalid},
		"another format":       {at(0, 2), kms.Invalid},
		"no kind":              {at(1, 0), kms.Invalid},
		"another kind":         {at(1, 3), kms.Invalid},
		"cut short":            {whole[:len(whole)-1], kms.Invalid},
		"too long":             {make([]byte, kms.MaxRuntimeSealed+1), kms.TooLarge},
		"too many generations": {func() []byte { c := at(1, 1); c[34] = 1; return c }(), kms.Invalid},
	} {
		if _, _, err := kms.ParseRuntimeSealed(c.b); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", what, err, c.kind)
		}
	}
}

// FuzzParseRuntimeSealed: what parses prints the same bytes.
func FuzzParseRuntimeSealed(f *testing.F) {
	f.Add(append(runtimePublicKey().SealedHeader(), make([]byte, 48)...))
	f.Add(append(kms.RuntimeKey{Period: 1<<32 - 1}.SealedHeader(), make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, body, err := kms.ParseRuntimeSealed(b)
		if err == nil && !bytes.Equal(append(k.SealedHeader(), body...), b) {
			t.Errorf("%x prints as %x", b, append(k.SealedHeader(), body...))
		}
	})
}

// FuzzParseRuntimeKeyID: what parses prints the same text, in lower case.
func FuzzParseRuntimeKeyID(f *testing.F) {
	f.Add(strings.Repeat("aB", 32))
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := kms.ParseRuntimeKeyID(s); err == nil && id.String() != strings.ToLower(s) {
			t.Errorf("%q prints as %q", s, id)
		}
	})
}

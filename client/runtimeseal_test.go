package client_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// A voucher signs runtimes' public keys as a domain does.
type voucher struct {
	key     ed25519.PrivateKey
	private *ecdh.PrivateKey
	want    client.RuntimeStatement
	public  kms.RuntimePublicKey
}

func newVoucher(t testing.TB, key kms.RuntimeKey) *voucher {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v := &voucher{key: private}
	if v.private, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	v.want = client.RuntimeStatement{Key: key, Domain: kms.DomainID{1}, At: time.Unix(1_700_000_000, 0), SigningKeys: []kms.RuntimeSigningKey{
		{Generation: 0, Public: [32]byte{9}, Checksum: [32]byte{9}},
		{Generation: 1, Public: [32]byte(public), Checksum: [32]byte{2}}}}
	v.public = kms.RuntimePublicKey{RuntimeKey: key, Domain: kms.DomainID{1}, Generation: 1, Checksum: [32]byte{2},
		Public: [32]byte(v.private.PublicKey().Bytes())}
	if key.Ephemeral {
		v.public.Expires, v.public.Checksum = v.want.At.Add(time.Hour), [32]byte{3}
	}
	v.sign()
	return v
}

func (v *voucher) sign() { v.public.Signature = ed25519.Sign(v.key, v.public.Signed()) }

func (v *voucher) keys() kms.RuntimeKeys {
	return kms.RuntimeKeys{RuntimeKey: v.public.RuntimeKey, Domain: v.public.Domain, Private: v.private.Bytes()}
}

var (
	longTermKey  = kms.RuntimeKey{Runtime: "ledger", ID: kms.RuntimeKeyID{1}, Period: 1}
	ephemeralKey = kms.RuntimeKey{Runtime: "ledger", ID: kms.RuntimeKeyID{1}, Ephemeral: true, Period: 7}
)

func TestVerifyRuntimePublicKey(t *testing.T) {
	for _, key := range []kms.RuntimeKey{longTermKey, ephemeralKey} {
		if v := newVoucher(t, key); v.want.Verify(&v.public) != nil {
			t.Fatalf("%s: a good one is refused", key)
		}
	}
	for what, c := range map[string]struct {
		key    kms.RuntimeKey
		edit   func(*voucher)
		resign bool // whoever altered it has the signing key too
		kind   error
	}{
		"another runtime wanted":      {longTermKey, func(v *voucher) { v.want.Key.Runtime = "Ledger" }, false, kms.Denied},
		"another key id wanted":       {longTermKey, func(v *voucher) { v.want.Key.ID[31] = 1 }, false, kms.Denied},
		"another generation wanted":   {longTermKey, func(v *voucher) { v.want.Key.Period = 0 }, false, kms.Denied},
		"another epoch wanted":        {ephemeralKey, func(v *voucher) { v.want.Key.Period++ }, false, kms.Denied},
		"an ephemeral one wanted":     {longTermKey, func(v *voucher) { v.want.Key.Ephemeral = true }, false, kms.Denied},
		"another domain wanted":       {longTermKey, func(v *voucher) { v.want.Domain = kms.DomainID{2} }, false, kms.Denied},
		"altered runtime":             {longTermKey, func(v *voucher) { v.public.Runtime, v.want.Key.Runtime = "x", "x" }, false, kms.Denied},
		"altered key id":              {longTermKey, func(v *voucher) { v.public.ID, v.want.Key.ID = kms.RuntimeKeyID{}, kms.RuntimeKeyID{} }, false, kms.Denied},
		"altered epoch":               {ephemeralKey, func(v *voucher) { v.public.Period, v.want.Key.Period = 8, 8 }, false, kms.Denied},
		"altered public key":          {longTermKey, func(v *voucher) { v.public.Public[0] ^= 1 }, false, kms.Denied},
		"altered checksum":            {ephemeralKey, func(v *voucher) { v.public.Checksum[0] ^= 1 }, false, kms.Denied},
		"altered expiry":              {ephemeralKey, func(v *voucher) { v.public.Expires = v.public.Expires.Add(time.Second) }, false, kms.Denied},
		"altered signature":           {longTermKey, func(v *voucher) { v.public.Signature[0] ^= 1 }, false, kms.Denied},
		"no signature":                {longTermKey, func(v *voucher) { v.public.Signature = nil }, false, kms.Denied},
		"altered domain":              {longTermKey, func(v *voucher) { v.public.Domain, v.want.Domain = kms.DomainID{2}, kms.DomainID{2} }, false, kms.Denied},
		"signed by another key":       {longTermKey, func(v *voucher) { v.want.SigningKeys[1].Public[0] ^= 1 }, false, kms.Denied},
		"an unknown generation":       {ephemeralKey, func(v *voucher) { v.public.Generation = 2 }, true, kms.Denied},
		"another generation's key":    {ephemeralKey, func(v *voucher) { v.public.Generation = 0 }, true, kms.Denied},
		"no signing keys":             {longTermKey, func(v *voucher) { v.want.SigningKeys = nil }, false, kms.Denied},
		"another master secret":       {longTermKey, func(v *voucher) { v.public.Checksum[0] ^= 1 }, true, kms.Denied},
		"signed by a later one":       {longTermKey, func(v *voucher) { v.public.Period, v.want.Key.Period = 0, 0 }, true, kms.Denied},
		"a long-term one that ends":   {longTermKey, func(v *voucher) { v.public.Expires = v.want.At.Add(time.Hour) }, true, kms.Denied},
		"an ephemeral one that never": {ephemeralKey, func(v *voucher) { v.public.Expires = time.Time{} }, true, kms.Denied},
		"no name":                     {longTermKey, func(v *voucher) { v.public.Runtime, v.want.Key.Runtime = "", "" }, true, kms.Denied},
		"expired to the second":       {ephemeralKey, func(v *voucher) { v.want.At = v.public.Expires }, false, kms.Expired},
		"expired long ago":            {ephemeralKey, func(v *voucher) { v.want.At = v.public.Expires.AddDate(1, 0, 0) }, false, kms.Expired},
	} {
		t.Run(what, func(t *testing.T) {
			v := newVoucher(t, c.key)
			c.edit(v)
			if c.resign {
				v.sign()
			}
			if err := v.want.Verify(&v.public); !errors.Is(err, c.kind) {
				t.Errorf("%v, want %v", err, c.kind)
			}
		})
	}
}

func TestSealToRuntime(t *testing.T) {
	v := newVoucher(t, longTermKey)
	sealed, err := client.SealToRuntime(&v.public, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	own := v.keys()
	if got, err := client.OpenAsRuntime(&own, sealed); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if again, err := client.SealToRuntime(&v.public, []byte("hello")); err != nil || bytes.Equal(again, sealed) {
		t.Errorf("sealed twice it looks the same: %v", err)
	}
	for what, c := range map[string]struct {
		edit func(*kms.RuntimeKeys)
		kind error
	}{
		"another runtime":    {func(k *kms.RuntimeKeys) { k.Runtime = "Ledger" }, kms.DecryptFailed},
		"another domain":     {func(k *kms.RuntimeKeys) { k.Domain = kms.DomainID{2} }, kms.DecryptFailed},
		"another private":    {func(k *kms.RuntimeKeys) { k.Private = bytes.Repeat([]byte{1}, 32) }, kms.DecryptFailed},
		"another key id":     {func(k *kms.RuntimeKeys) { k.ID[0] ^= 1 }, kms.Invalid},
		"another generation": {func(k *kms.RuntimeKeys) { k.Period = 0 }, kms.Invalid},
		"an epoch's":         {func(k *kms.RuntimeKeys) { k.Ephemeral = true }, kms.Invalid},
		"no private key":     {func(k *kms.RuntimeKeys) { k.Private = nil }, kms.Invalid},
	} {
		k := v.keys()
		c.edit(&k)
		if _, err := client.OpenAsRuntime(&k, sealed); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", what, err, c.kind)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := client.OpenAsRuntime(&own, bad); err == nil {
			t.Fatalf("with byte %d altered it opens", i)
		}
		if _, err := client.OpenAsRuntime(&own, sealed[:i]); err == nil {
			t.Fatalf("cut to %d bytes it opens", i)
		}
	}
	if _, err := client.SealToRuntime(&v.public, make([]byte, kms.MaxRuntimeMessage+1)); !errors.Is(err, kms.TooLarge) {
		t.Errorf("too long: %v, want TooLarge", err)
	}
	if whole, err := client.SealToRuntime(&v.public, make([]byte, kms.MaxRuntimeMessage)); err != nil || len(whole) != kms.MaxRuntimeSealed {
		t.Errorf("as long as can be: %d bytes, %v", len(whole), err)
	}
	for what, point := range map[string][32]byte{"zero": {}, "one": {1}} { // of low order: anyone could open
		p := v.public
		p.Public = point
		if _, err := client.SealToRuntime(&p, []byte("hello")); !errors.Is(err, kms.Invalid) {
			t.Errorf("to the point %s: %v, want Invalid", what, err)
		}
	}
}

func TestRuntimeKeyID(t *testing.T) {
	for text, ok := range map[string]bool{"": false, "stamps": true, "0123456789012345678901234567890": true, "01234567890123456789012345678901": false,
		"0100000000000000000000000000000000000000000000000000000000000000": true, "0x00000000000000000000000000000000000000000000000000000000000000": false} {
		if _, err := client.RuntimeKeyID(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzOpenAsRuntime: what anyone may have sealed opens, or is refused.
func FuzzOpenAsRuntime(f *testing.F) {
	v := newVoucher(f, longTermKey)
	sealed, err := client.SealToRuntime(&v.public, []byte("hello"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:60])
	own := v.keys()
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := client.OpenAsRuntime(&own, b)
		if err == nil && !bytes.Equal(b, sealed) {
			t.Error("a forgery opens")
		}
		if err != nil && !errors.Is(err, kms.Invalid) && !errors.Is(err, kms.TooLarge) && !errors.Is(err, kms.DecryptFailed) {
			t.Error(err)
		}
	})
}

package kms_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/kms"
)

// Numbers of specs are in sealed state, for ever. eHSM's specs have eHSM's.
func TestSpecNumbers(t *testing.T) {
	want := map[string]uint8{
		"AES-128-GCM": 1, "AES-192-GCM": 2, "AES-256-GCM": 3,
		"RSA-2048": 10, "RSA-3072": 11, "RSA-4096": 12,
		"EC-P224": 20, "EC-P256": 21, "EC-secp256k1": 22, "EC-P384": 23, "EC-P521": 24,
		"SM2": 30, "SM4-CTR": 31, "SM4-CBC": 32, "HMAC-SHA-256": 40,
		"Ed25519": 100, "HMAC-SHA-224": 101, "HMAC-SHA-384": 102, "HMAC-SHA-512": 103,
		"X25519": 104, "ML-KEM-768": 105, "ML-KEM-1024": 106, "ML-DSA-44": 107, "ML-DSA-65": 108, "ML-DSA-87": 109,
	}
	got := map[string]uint8{}
	for _, row := range kms.Capabilities() {
		got[row.Name] = uint8(row.Spec)
		if s, err := kms.ParseSpec(row.Name); err != nil || s != row.Spec {
			t.Errorf("%s reads as %s, %v", row.Name, s, err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, ok := kms.Spec(0).Capability(); ok {
		t.Error("the zero spec has a row")
	}
}

// Rows hold together: a family has what its operations need, and nothing else.
func TestRowsHoldTogether(t *testing.T) {
	for _, row := range kms.Capabilities() {
		signs := row.Family == kms.Asymmetric && row.Serves(kms.UseSign)
		for what, bad := range map[string]bool{
			"no usages":                        len(row.UsageSets) == 0,
			"default usages not admitted":      !row.Admits(row.UsageSets[0]),
			"family":                           row.Family < kms.Symmetric || row.Family > kms.MAC,
			"digests and does not sign":        len(row.Digests) > 0 && !signs,
			"sign paddings and does not sign":  len(row.SignPaddings) > 0 && !signs,
			"binds without integrity":          row.Binds && !row.Integrity,
			"in place without integrity":       row.InPlace && !row.Integrity,
			"data keys and does not encrypt":   row.DataKeys && !row.Serves(kms.UseEncrypt),
			"overhead and is not symmetric":    row.Overhead > 0 && row.Family != kms.Symmetric,
			"a MAC that encrypts":              row.Family == kms.MAC && row.Serves(kms.UseEncrypt),
			"no limit of asymmetric plaintext": row.Family == kms.Asymmetric && row.Serves(kms.UseEncrypt) != (row.MaxPlaintext > 0),
			"unserved set that is served":      len(row.Unserved) > 0 && row.Serves(kms.UseEncrypt),
			"raw without a shared secret":      row.Serves(kms.UseRaw) && !row.Serves(kms.UseAgree) && !row.Serves(kms.UseWrap),
			"raw by default":                   row.UsageSets[0].Has(kms.UseRaw),
			"limit and is not in place":        (row.MaxInvocations > 0) != row.InPlace,
		} {
			if bad {
				t.Errorf("%s: %s", row.Name, what)
			}
		}
	}
}

// Which usages eHSM's clients may create keys with, and which of them do anything.
func TestAdmits(t *testing.T) {
	for _, c := range []struct {
		spec            kms.Spec
		usages          kms.Usages
		admitted, works bool
	}{
		{kms.AES256GCM, kms.EncryptDecrypt, true, true},
		{kms.AES256GCM, kms.SignVerify, false, false},
		{kms.RSA2048, kms.SignVerify, true, true},
		{kms.RSA2048, kms.EncryptDecrypt, true, true},
		{kms.RSA2048, kms.SignVerify | kms.EncryptDecrypt, false, true}, // one key for one purpose
		{kms.ECP256, kms.SignVerify, true, true},
		{kms.ECP256, kms.EncryptDecrypt, true, false}, // eHSM's tests create such a key
		{kms.SM2, kms.EncryptDecrypt, true, true},
		{kms.SM4CBC, kms.EncryptDecrypt, true, true},
		{kms.SM4CBC, kms.SignVerify, false, false},
		{kms.Ed25519, kms.SignVerify, true, true},
		{kms.Ed25519, kms.EncryptDecrypt, false, false},
		{kms.HMACSHA256, kms.GenerateVerifyMAC, true, true},
		{kms.HMACSHA256, kms.SignVerify, false, false},
		{kms.ECP256, 0, false, true},
		{kms.ECP256, kms.KeyAgreement, true, true},
		{kms.ECP384, kms.KeyAgreement | kms.Usages(kms.UseRaw), true, true},
		{kms.ECP521, kms.KeyAgreement | kms.SignVerify, false, true}, // one key for one purpose
		{kms.ECP224, kms.KeyAgreement, false, false},
		{kms.X25519, kms.KeyAgreement, true, true},
		{kms.X25519, kms.SignVerify, false, false},
		{kms.MLKEM768, kms.Encapsulation, true, true},
		{kms.MLKEM1024, kms.KeyAgreement, false, false},
		{kms.MLDSA65, kms.SignVerify, true, true},
	} {
		row, _ := c.spec.Capability()
		if got := row.Admits(c.usages); got != c.admitted {
			t.Errorf("%s admits %q: %t", row.Name, c.usages, got)
		}
		works := true
		for u := kms.UseEncrypt; u <= kms.UseAgree; u <<= 1 {
			works = works && (!c.usages.Has(u) || row.Serves(u))
		}
		if works != c.works {
			t.Errorf("%s serves %q: %t", row.Name, c.usages, works)
		}
	}
}

func TestSigningInput(t *testing.T) {
	type input = kms.SigningInput
	misused := input{Message: []byte("misused")} // stands for the error
	for name, c := range map[string]struct {
		spec     kms.Spec
		use      kms.Usage
		in, want input
	}{
		"EC default":              {kms.ECP384, kms.UseSign, input{}, input{Digest: kms.SHA256}},
		"EC with SM3":             {kms.ECP256, kms.UseVerify, input{Digest: kms.SM3}, input{Digest: kms.SM3}},
		"EC ignores padding":      {kms.ECP256, kms.UseSign, input{Padding: kms.PaddingPKCS1}, input{Digest: kms.SHA256}},
		"EC prehashed":            {kms.ECP256, kms.UseSign, input{Prehashed: true, EHSM: true}, input{Digest: kms.SHA256, Prehashed: true, EHSM: true}},
		"unknown digest":          {kms.ECP256, kms.UseSign, input{Digest: 9}, misused},
		"RSA PSS":                 {kms.RSA2048, kms.UseSign, input{Padding: kms.PaddingPSS}, input{Padding: kms.PaddingPSS, Digest: kms.SHA256}},
		"RSA without padding":     {kms.RSA2048, kms.UseSign, input{}, misused},
		"RSA with none":           {kms.RSA2048, kms.UseVerify, input{Padding: kms.PaddingNone}, misused},
		"RSA with OAEP":           {kms.RSA2048, kms.UseSign, input{Padding: kms.PaddingOAEP}, misused},
		"RSA with SM3":            {kms.RSA2048, kms.UseSign, input{Padding: kms.PaddingPSS, Digest: kms.SM3}, misused},
		"SM2 default":             {kms.SM2, kms.UseSign, input{}, input{Digest: kms.SM3}},
		"SM2 with SHA-256":        {kms.SM2, kms.UseSign, input{Digest: kms.SHA256}, misused},
		"SM2 prehashed":           {kms.SM2, kms.UseSign, input{Prehashed: true}, input{Digest: kms.SM3, Prehashed: true}},
		"SM2 in eHSM":             {kms.SM2, kms.UseSign, input{Digest: kms.SHA256, Prehashed: true, EHSM: true}, input{Digest: kms.SM3, EHSM: true}},
		"SM2 verify in eHSM":      {kms.SM2, kms.UseVerify, input{Digest: kms.SM3, Prehashed: true, EHSM: true}, input{Digest: kms.SM3, EHSM: true}},
		"SM2 verify SHA-256":      {kms.SM2, kms.UseVerify, input{Digest: kms.SHA256, EHSM: true}, misused},
		"Ed25519":                 {kms.Ed25519, kms.UseSign, input{}, input{}},
		"Ed25519 with a digest":   {kms.Ed25519, kms.UseSign, input{Digest: kms.SHA512}, misused},
		"Ed25519 of a digest":     {kms.Ed25519, kms.UseSign, input{Prehashed: true}, misused},
		"ML-DSA":                  {kms.MLDSA65, kms.UseSign, input{}, input{}},
		"ML-DSA with a digest":    {kms.MLDSA65, kms.UseSign, input{Digest: kms.SHA512}, misused},
		"X25519 does not sign":    {kms.X25519, kms.UseSign, input{}, misused},
		"AES does not sign":       {kms.AES128GCM, kms.UseSign, input{}, misused},
		"HMAC does not sign":      {kms.HMACSHA256, kms.UseSign, input{}, misused},
		"HMAC verifies no digest": {kms.HMACSHA256, kms.UseVerify, input{}, misused},
	} {
		row, _ := c.spec.Capability()
		got, err := row.SigningInput(c.in, c.use)
		if c.want.Message != nil {
			if !errors.Is(err, kms.Misused) {
				t.Errorf("%s: %+v, %v; want Misused", name, got, err)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestCheckLayout(t *testing.T) {
	raw, context := kms.RawBinding([]byte("aad")), kms.ContextBinding(map[string]string{"a": "b"})
	for name, c := range map[string]struct {
		spec    kms.Spec
		layout  kms.Layout
		binding kms.Binding
		want    error
	}{
		"AES":                   {kms.AES128GCM, kms.LayoutNative, context, nil},
		"AES as eHSM":           {kms.AES128GCM, kms.LayoutEHSM, raw, nil},
		"unknown layout":        {kms.AES128GCM, 0, raw, kms.Invalid},
		"SM4 as eHSM":           {kms.SM4CTR, kms.LayoutEHSM, raw, nil}, // ignored, as eHSM does
		"SM4 in ours":           {kms.SM4CTR, kms.LayoutNative, kms.Binding{}, kms.Invalid},
		"SM4 and a context":     {kms.SM4CBC, kms.LayoutEHSM, context, kms.Invalid},
		"RSA as eHSM":           {kms.RSA2048, kms.LayoutEHSM, kms.Binding{}, nil},
		"RSA bound":             {kms.RSA2048, kms.LayoutEHSM, raw, kms.Invalid},
		"RSA in ours":           {kms.RSA2048, kms.LayoutNative, kms.Binding{}, kms.Invalid},
		"SM2 bound":             {kms.SM2, kms.LayoutEHSM, context, kms.Invalid},
		"EC does not encrypt":   {kms.ECP256, kms.LayoutEHSM, kms.Binding{}, kms.Misused},
		"HMAC does not encrypt": {kms.HMACSHA512, kms.LayoutEHSM, kms.Binding{}, kms.Misused},
	} {
		row, _ := c.spec.Capability()
		if err := row.CheckLayout(c.layout, c.binding); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

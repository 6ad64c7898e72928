package wire_test

import (
	"testing"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// TestSpecNames checks every name of the protocol, and that every spec has one.
func TestSpecNames(t *testing.T) {
	tests := map[string]kms.Spec{
		"EH_AES_GCM_128": kms.AES128GCM, "EH_AES_GCM_192": kms.AES192GCM, "EH_AES_GCM_256": kms.AES256GCM,
		"EH_RSA_2048": kms.RSA2048, "EH_RSA_3072": kms.RSA3072, "EH_RSA_4096": kms.RSA4096,
		"EH_EC_P224": kms.ECP224, "EH_EC_P256": kms.ECP256, "EH_EC_P256K": kms.ECSecp256k1, "EH_EC_P384": kms.ECP384, "EH_EC_P521": kms.ECP521,
		"EH_SM2": kms.SM2, "EH_SM4_CTR": kms.SM4CTR, "EH_SM4_CBC": kms.SM4CBC, "EH_HMAC": kms.HMACSHA256,
		// Ours.
		"EH_HMAC_SHA_224": kms.HMACSHA224, "EH_HMAC_SHA_384": kms.HMACSHA384, "EH_HMAC_SHA_512": kms.HMACSHA512,
		"EH_ED25519": kms.Ed25519, "EH_X25519": kms.X25519, "EH_ML_KEM_768": kms.MLKEM768, "EH_ML_KEM_1024": kms.MLKEM1024,
		"EH_ML_DSA_44": kms.MLDSA44, "EH_ML_DSA_65": kms.MLDSA65, "EH_ML_DSA_87": kms.MLDSA87,
	}
	roundTrip(t, wire.ParseSpec, wire.SpecName, tests, map[string]kms.Spec{"EH_HMAC_SHA_256": kms.HMACSHA256})
	for _, unknown := range []string{"", "1", "eh_aes_gcm_128", "EH_AES_GCM_128 ", "AES-128-GCM"} {
		if _, known := wire.ParseSpec(unknown); known {
			t.Errorf("ParseSpec(%q) is known", unknown)
		}
	}
	for _, c := range kms.Capabilities() {
		name, _ := wire.SpecName(c.Spec)
		if tests[name] != c.Spec {
			t.Errorf("%v is called %q", c.Spec, name)
		}
		for _, set := range c.UsageSets {
			if _, ok := wire.UsagesName(set); !ok {
				t.Errorf("%v: %v has no name", c.Spec, set)
			}
		}
	}
}

// roundTrip checks that each word reads as what it stands for, and that what it
// stands for prints as the first such word.
func roundTrip[T comparable](t *testing.T, parse func(string) (T, bool), print func(T) (string, bool), words map[string]T, aliases map[string]T) {
	t.Helper()
	for word, want := range words {
		if got, known := parse(word); got != want || !known {
			t.Errorf("%s reads as %v, %v", word, got, known)
		}
		if got, ok := print(want); got != word || !ok {
			t.Errorf("%v prints as %s, want %s", want, got, word)
		}
	}
	for word, want := range aliases {
		if got, known := parse(word); got != want || !known {
			t.Errorf("%s reads as %v, %v", word, got, known)
		}
	}
	var none T
	if _, known := parse("EH_NONSENSE"); known {
		t.Error("an unknown word was read")
	}
	if word, ok := print(none); ok {
		t.Errorf("nothing prints as %s", word)
	}
}

func TestNames(t *testing.T) {
	roundTrip(t, wire.ParseOrigin, wire.OriginName, map[string]kms.Origin{
		"EH_INTERNAL_KEY": kms.Generated, "EH_EXTERNAL_KEY": kms.Imported}, nil)
	roundTrip(t, wire.ParseUsages, wire.UsagesName, map[string]kms.Usages{
		"EH_KEYUSAGE_ENCRYPT_DECRYPT": kms.EncryptDecrypt, "EH_KEYUSAGE_SIGN_VERIFY": kms.SignVerify,
		"EH_KEYUSAGE_GENERATE_VERIFY_MAC": kms.GenerateVerifyMAC, "EH_KEYUSAGE_AGREE": kms.Usages(kms.UseAgree),
		"EH_KEYUSAGE_AGREE_RAW": kms.Usages(kms.UseAgree | kms.UseRaw), "EH_KEYUSAGE_ENCAPSULATE": kms.Usages(kms.UseWrap | kms.UseUnwrap),
		"EH_KEYUSAGE_ENCAPSULATE_RAW": kms.Usages(kms.UseWrap | kms.UseUnwrap | kms.UseRaw)}, nil)
	roundTrip(t, wire.ParsePadding, wire.PaddingName, map[string]kms.Padding{
		"EH_PAD_NONE": kms.PaddingNone, "EH_RSA_PKCS1": kms.PaddingPKCS1, "EH_RSA_PKCS1_PSS": kms.PaddingPSS, "EH_RSA_PKCS1_OAEP": kms.PaddingOAEP},
		map[string]kms.Padding{"EH_PAD_RSA_PKCS1": kms.PaddingPKCS1, "EH_PAD_RSA_PKCS1_PSS": kms.PaddingPSS, "EH_PAD_RSA_PKCS1_OAEP": kms.PaddingOAEP})
	roundTrip(t, wire.ParseWrapping, wire.WrappingName, map[string]kms.Wrapping{
		"EH_RSA_PKCS1": kms.WrapPKCS1, "EH_RSA_PKCS1_OAEP": kms.WrapOAEP, "EH_RSA_AES_KEY_WRAP": kms.WrapOAEPAES, "EH_PAD_NONE": kms.WrapSM2},
		map[string]kms.Wrapping{"EH_PAD_RSA_PKCS1": kms.WrapPKCS1, "EH_PAD_RSA_PKCS1_OAEP": kms.WrapOAEP})
	roundTrip(t, wire.ParseDigest, wire.DigestName, map[string]kms.Digest{
		"EH_SHA_224": kms.SHA224, "EH_SHA_256": kms.SHA256, "EH_SHA_384": kms.SHA384, "EH_SHA_512": kms.SHA512, "EH_SM3": kms.SM3}, nil)
	roundTrip(t, wire.ParseMessageType, wire.MessageTypeName, map[string]wire.MessageType{
		"EH_RAW": wire.Raw, "EH_DIGEST": wire.Digest}, nil)
}

package ehsm_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"testing"
)

// importRaw makes an external key of material, wrapped with OAEP.
func (s *site) importRaw(spec, usage string, material []byte) string {
	s.t.Helper()
	id := s.create(spec, external, usage)
	token, to := s.parameters(id)
	s.want(validated, "ImportKeyMaterial", payload{"keyid": id, "padding_mode": oaep, "key_material": sealOAEP(s.t, to, material), "importToken": token})
	return id
}

// parameters asks for an import token, and the key to wrap to.
func (s *site) parameters(id string) (token string, to *rsa.PublicKey) {
	s.t.Helper()
	got := s.ask("GetParametersForImport", payload{"keyid": id, "keyspec": "EH_RSA_2048"})
	if got.Code != 200 || got.Message != "success!" {
		s.t.Fatal(got)
	}
	return text(got, "importToken"), rsaKey(s.t, text(got, "pubkey"))
}

// rsaKey reads a public key as eHSM's Rust SDK does: PKCS #1 and nothing else.
func rsaKey(t *testing.T, text string) *rsa.PublicKey {
	t.Helper()
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(rest) > 0 || block.Type != "RSA PUBLIC KEY" {
		t.Fatalf("not PEM of PKCS #1: %s", text)
	}
	key, err := x509.ParsePKCS1PublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sealOAEP(t *testing.T, to *rsa.PublicKey, plaintext []byte) []byte {
	t.Helper()
	b, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, to, plaintext, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openGCM(t *testing.T, key, sealed, aad []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	at := len(sealed) - 28
	out, err := gcm.Open(nil, sealed[at:at+12], append(bytes.Clone(sealed[:at]), sealed[at+12:]...), aad)
	if err != nil {
		t.Errorf("not ciphertext, nonce, tag: %v", err)
	}
	return out
}

// TestReferenceCipher walks 4.1 and 4.2 of the symmetric specs, with keys that
// were made here and keys that were brought.
func TestReferenceCipher(t *testing.T) {
	s := newSite(t)
	gcm := func(n int) int { return n + 28 }
	specs := []struct {
		name   string
		size   int // of the key
		sealed func(n int) int
		aad    bool
	}{
		{"EH_AES_GCM_128", 16, gcm, true},
		{"EH_AES_GCM_192", 24, gcm, true},
		{"EH_AES_GCM_256", 32, gcm, true},
		{"EH_SM4_CTR", 16, func(n int) int { return n + 16 }, false},
		{"EH_SM4_CBC", 16, func(n int) int { return (n/16+1)*16 + 16 }, false},
	}
	for _, spec := range specs {
		t.Run(spec.name, func(t *testing.T) {
			s := s.on(t)
			material := bytes.Repeat([]byte(spec.name[:8]), 4)[:spec.size]
			made, brought := s.create(spec.name, internal, encrypts), s.importRaw(spec.name, encrypts, material)
			for _, id := range []string{made, brought} {
				for _, n := range []int{1, 15, 16, 17, 6144} {
					plain := bytes.Repeat([]byte{'p'}, n)
					sealed := s.get("Encrypt", "ciphertext", payload{"keyid": id, "plaintext": plain, "aad": []byte("bound")})
					if len(sealed) != spec.sealed(n) {
						t.Errorf("%d bytes make %d, want %d", n, len(sealed), spec.sealed(n))
					}
					if opened := s.get("Decrypt", "plaintext", payload{"keyid": id, "ciphertext": sealed, "aad": []byte("bound")}); !bytes.Equal(opened, plain) {
						t.Errorf("%d bytes open to %q", n, opened)
					}
					if id == brought && spec.aad && !bytes.Equal(openGCM(t, material, sealed, []byte("bound")), plain) {
						t.Error("the tenant's own copy of the key opens it to something else")
					}
				}
				s.openAltered(id, spec.aad)
				s.dataKeys(id, id == made)
			}
			for _, action := range []string{"AsymmetricEncrypt", "AsymmetricDecrypt"} {
				s.want(misused, action, payload{"keyid": made, "plaintext": []byte("x"), "ciphertext": make([]byte, 256), "padding_mode": pkcs1})
			}
			s.want(misused, "Sign", payload{"keyid": made, "message": []byte("x"), "message_type": "EH_RAW", "padding_mode": pkcs1, "digest_mode": "EH_SHA_256"})
			s.want(misused, "GetPublicKey", payload{"keyid": made})
		})
	}
}

// openAltered: GCM is authentic, SM4 is not, and ignores the aad.
func (s *site) openAltered(id string, authentic bool) {
	s.t.Helper()
	sealed := s.get("Encrypt", "ciphertext", payload{"keyid": id, "plaintext": []byte("hello"), "aad": []byte("bound")})
	altered := bytes.Clone(sealed)
	altered[len(altered)-16] ^= 1 // of the tag, or of the counter block or vector
	for _, p := range []payload{{"ciphertext": sealed}, {"ciphertext": sealed, "aad": []byte("other")}, {"ciphertext": altered, "aad": []byte("bound")}} {
		p["keyid"] = id
		if got := s.ask("Decrypt", p); authentic != cmpEqual(got, unopened) || !authentic && p["aad"] == nil && text(got, "plaintext") != b64("hello") {
			s.t.Errorf("authentic is %v: %v", authentic, got)
		}
	}
	s.want(unopened, "Decrypt", payload{"keyid": id, "ciphertext": sealed[:3]}) // 500 in eHSM
}

func cmpEqual(a, b reply) bool { return a.Code == b.Code && a.Message == b.Message && a.Null == b.Null }

// dataKeys: only a key that was made here protects data keys.
func (s *site) dataKeys(id string, may bool) {
	s.t.Helper()
	ask := payload{"keyid": id, "keylen": 48, "aad": []byte("bound")}
	if !may {
		s.want(misused, "GenerateDataKey", ask)
		s.want(misused, "GenerateDataKeyWithoutPlaintext", ask)
		return
	}
	got := s.ask("GenerateDataKey", ask)
	s.want(succeeded("success!", map[string]any{"plaintext": got.Result["plaintext"]}), "Decrypt",
		payload{"keyid": id, "ciphertext": s.decode(got, "ciphertext"), "aad": []byte("bound")})
	if n := len(s.decode(got, "plaintext")); n != 48 {
		s.t.Errorf("a data key of %d bytes", n)
	}
	wrapped := s.get("GenerateDataKeyWithoutPlaintext", "ciphertext", payload{"keyid": id, "keylen": 1024})
	if n := len(s.get("Decrypt", "plaintext", payload{"keyid": id, "ciphertext": wrapped})); n != 1024 {
		s.t.Errorf("a data key of %d bytes", n)
	}
}

func (s *site) decode(r reply, name string) []byte {
	s.t.Helper()
	b, err := base64.StdEncoding.DecodeString(text(r, name))
	if err != nil || len(b) == 0 {
		s.t.Fatalf("no %s in %v", name, r)
	}
	return b
}

// TestReferenceAsymmetric walks AsymmetricEncrypt, AsymmetricDecrypt and
// ExportDataKey.
func TestReferenceAsymmetric(t *testing.T) {
	s := newSite(t)
	id, signing := s.create("EH_RSA_2048", internal, encrypts), s.create("EH_RSA_2048", internal, signs)
	public := rsaKey(t, text(s.ask("GetPublicKey", payload{"keyid": id}), "pubkey"))
	if public.E != 65537 || public.Size() != 256 {
		t.Errorf("e = %d, %d bytes", public.E, public.Size())
	}
	for padding, most := range map[string]int{pkcs1: 245, oaep: 190} {
		for _, n := range []int{1, most} {
			plain := bytes.Repeat([]byte{'p'}, n)
			sealed := s.get("AsymmetricEncrypt", "ciphertext", payload{"keyid": id, "plaintext": plain, "padding_mode": padding})
			if opened := s.get("AsymmetricDecrypt", "plaintext", payload{"keyid": id, "ciphertext": sealed, "padding_mode": padding}); len(sealed) != 256 || !bytes.Equal(opened, plain) {
				t.Errorf("%s, %d bytes: %d, open to %q", padding, n, len(sealed), opened)
			}
		}
		s.want(misused, "AsymmetricEncrypt", payload{"keyid": id, "plaintext": make([]byte, most+1), "padding_mode": padding})
		s.want(misused, "AsymmetricEncrypt", payload{"keyid": signing, "plaintext": []byte("x"), "padding_mode": padding})
		s.want(misused, "AsymmetricDecrypt", payload{"keyid": signing, "ciphertext": make([]byte, 256), "padding_mode": padding})
	}
	for _, p := range []payload{{"padding_mode": noPadding}, {"padding_mode": pss}, {}} {
		p["keyid"], p["plaintext"], p["ciphertext"] = id, []byte("x"), make([]byte, 256)
		s.want(misused, "AsymmetricEncrypt", p)
		s.want(misused, "AsymmetricDecrypt", p)
	}
	outside := sealOAEP(t, public, []byte("from outside"))
	s.want(succeeded("success!", map[string]any{"plaintext": b64("from outside")}), "AsymmetricDecrypt", payload{"keyid": id, "ciphertext": outside, "padding_mode": "EH_PAD_RSA_PKCS1_OAEP"})
	for _, action := range []string{"Encrypt", "Decrypt"} {
		s.want(misused, action, payload{"keyid": id, "plaintext": []byte("x"), "ciphertext": outside, "padding_mode": oaep})
	}
	s.sm2()
	s.curvesEncryptNothing()
	s.exportDataKeys(id, signing)
}

// sm2: its ciphertext is SEQUENCE(x, y, SM3 hash, ciphertext), and the padding
// means nothing.
func (s *site) sm2() {
	s.t.Helper()
	id := s.create("EH_SM2", internal, encrypts)
	for i, padding := range []string{noPadding, oaep, pkcs1, pss} {
		plain := bytes.Repeat([]byte{'p'}, []int{1, 32, 254, 255}[i])
		sealed := s.get("AsymmetricEncrypt", "ciphertext", payload{"keyid": id, "plaintext": plain, "padding_mode": padding})
		var parts struct {
			X, Y       *big.Int
			Hash, Text []byte
		}
		if rest, err := asn1.Unmarshal(sealed, &parts); err != nil || len(rest) > 0 || len(parts.Hash) != 32 || len(parts.Text) != len(plain) {
			s.t.Errorf("not SM2's SEQUENCE: %x, %v", sealed, err)
		}
		if opened := s.get("AsymmetricDecrypt", "plaintext", payload{"keyid": id, "ciphertext": sealed}); !bytes.Equal(opened, plain) {
			s.t.Errorf("%d bytes open to %q", len(plain), opened)
		}
		sealed[len(sealed)-1] ^= 1
		s.want(unopened, "AsymmetricDecrypt", payload{"keyid": id, "ciphertext": sealed, "padding_mode": padding})
	}
	s.want(misused, "AsymmetricEncrypt", payload{"keyid": id, "plaintext": make([]byte, 256), "padding_mode": oaep})
	s.want(misused, "Encrypt", payload{"keyid": id, "plaintext": []byte("x")})
	s.want(misused, "Decrypt", payload{"keyid": id, "ciphertext": s.get("AsymmetricEncrypt", "ciphertext", payload{"keyid": id, "plaintext": []byte("x")})})
}

func (s *site) curvesEncryptNothing() {
	s.t.Helper()
	for _, spec := range []string{"EH_EC_P224", "EH_EC_P256K"} {
		id := s.create(spec, internal, encrypts) // accepted but useless
		s.want(misused, "AsymmetricEncrypt", payload{"keyid": id, "plaintext": []byte("x"), "padding_mode": oaep})
		if got := s.ask("GetPublicKey", payload{"keyid": id}); got.Code != 200 {
			s.t.Error(got)
		}
	}
}

// exportDataKeys: from a symmetric key to an asymmetric one of the same app,
// both made here, both for encryption.
func (s *site) exportDataKeys(toRSA, signing string) {
	s.t.Helper()
	from, toSM2 := s.create("EH_AES_GCM_192", internal, encrypts), s.create("EH_SM2", internal, encrypts)
	got := s.ask("GenerateDataKey", payload{"keyid": from, "keylen": 32, "aad": []byte("bound")})
	wrapped := s.decode(got, "ciphertext")
	for to, padding := range map[string]string{toRSA: oaep, toSM2: noPadding} {
		for _, name := range []string{"olddatakey_base", "olddatakey", "old_data_key"} {
			exported := s.get("ExportDataKey", "newdatakey", payload{"keyid": from, "ukeyid": to, name: wrapped, "aad": []byte("bound"), "padding_mode": pkcs1})
			s.want(succeeded("success!", map[string]any{"plaintext": got.Result["plaintext"]}), "AsymmetricDecrypt",
				payload{"keyid": to, "ciphertext": exported, "padding_mode": padding})
		}
	}
	foreign := s.enrol().create("EH_SM2", internal, encrypts)
	brought := s.importRaw("EH_AES_GCM_256", encrypts, make([]byte, 32))
	long := s.get("GenerateDataKeyWithoutPlaintext", "ciphertext", payload{"keyid": from, "keylen": 191})
	for _, tt := range []struct {
		keyid, ukeyid string
		data          []byte
		aad           string
		want          reply
	}{
		{from, toRSA, wrapped, "other", misused},
		{from, toRSA, wrapped[:20], "bound", misused},
		{from, toRSA, long, "", misused},
		{from, signing, wrapped, "bound", misused},
		{from, from, wrapped, "bound", misused},
		{from, s.create("EH_EC_P256", internal, encrypts), wrapped, "bound", misused},
		{brought, toRSA, wrapped, "bound", misused},
		{toRSA, toSM2, wrapped, "bound", misused},
		{from, foreign, wrapped, "bound", refusal(400, "appid error")},
		{from, "nobody's key", wrapped, "bound", refusal(400, "keyid error")},
	} {
		s.want(tt.want, "ExportDataKey", payload{"keyid": tt.keyid, "ukeyid": tt.ukeyid, "olddatakey_base": tt.data, "aad": []byte(tt.aad)})
	}
}

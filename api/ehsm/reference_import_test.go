package ehsm_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// decoded is a token as bytes, for members that are bytes.
func decoded(t *testing.T, token string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(b) == 0 {
		t.Fatalf("token %q: %v", token, err)
	}
	return b
}

// TestReferenceImport walks 3.5, and what eHSM got wrong there (S9, S10, D2).
func TestReferenceImport(t *testing.T) {
	s := newSite(t)
	notWaiting := refusal(500, "ImportKeyMaterial failed. The key does not wait for key material: it has it already, or is not external.")
	tokenRefused, materialFailed := refusal(500, "ImportToken failed."), refusal(500, "Import key failed.")
	material := []byte("0123456789abcdef0123456789abcdef")
	id, second := s.create("EH_AES_GCM_256", external, encrypts), s.create("EH_AES_GCM_256", external, encrypts)
	token, to := s.parameters(id)
	bring := func(id, token string, material []byte) payload {
		return payload{"keyid": id, "padding_mode": oaep, "key_material": material, "importToken": token}
	}

	t.Run("parameters", func(t *testing.T) {
		s := s.on(t)
		for spec, bits := range map[string]int{"EH_RSA_2048": 2048, "EH_RSA_3072": 3072} {
			got := s.ask("GetParametersForImport", payload{"keyid": id, "keyspec": spec})
			if key := rsaKey(t, text(got, "pubkey")); key.N.BitLen() != bits {
				t.Errorf("%s: %d bits", spec, key.N.BitLen())
			}
		}
		for _, spec := range []string{"EH_ED25519", "EH_EC_P256", "EH_AES_GCM_256"} {
			s.want(misused, "GetParametersForImport", payload{"keyid": id, "keyspec": spec})
		}
		s.want(misused, "GetParametersForImport", payload{"keyid": s.create("EH_AES_GCM_256", internal, encrypts), "keyspec": "EH_RSA_2048"})
		s.want(refusal(400, "keyid error"), "GetParametersForImport", payload{"keyid": testKeyID, "keyspec": "EH_RSA_2048"})
	})
	t.Run("S10: tokens are authentic", func(t *testing.T) {
		s := s.on(t)
		// What eHSM accepted from anybody: base64 of JSON with the key's id and a time.
		own, err := json.Marshal(map[string]any{"keyid": id, "timestamp": time.Now().UnixMilli()})
		if err != nil {
			t.Fatal(err)
		}
		wrapped := sealOAEP(t, to, material)
		s.want(tokenRefused, "ImportKeyMaterial", bring(id, base64.StdEncoding.EncodeToString(own), wrapped))
		altered := decoded(t, token)
		altered[len(altered)-1] ^= 1
		s.want(tokenRefused, "ImportKeyMaterial", bring(id, base64.StdEncoding.EncodeToString(altered), wrapped))
		s.want(tokenRefused, "ImportKeyMaterial", bring(second, token, wrapped))
	})
	t.Run("material that does not open", func(t *testing.T) {
		s := s.on(t)
		_, elsewhere := s.parameters(second)
		for name, wrapped := range map[string][]byte{
			"to another key": sealOAEP(t, elsewhere, material), "too short": sealOAEP(t, to, material[:31]), "too long": sealOAEP(t, to, append(material, 0)),
			"not wrapped": material, "nothing": make([]byte, 256), "cut": sealOAEP(t, to, material)[:255],
		} {
			s.want(materialFailed, "ImportKeyMaterial", bring(id, token, wrapped))
			// The other padding: what is wrong is not told (S23).
			s.want(materialFailed, "ImportKeyMaterial", payload{"keyid": id, "padding_mode": pkcs1, "key_material": wrapped, "importToken": token})
			if t.Failed() {
				t.Fatal(name)
			}
		}
	})
	t.Run("the key", func(t *testing.T) {
		s := s.on(t)
		s.want(misused, "Encrypt", payload{"keyid": id, "plaintext": []byte("x")})
		again, _ := s.parameters(id) // which takes nothing from the first
		s.want(validated, "ImportKeyMaterial", bring(id, token, sealOAEP(t, to, material)))
		sealed := s.get("Encrypt", "ciphertext", payload{"keyid": id, "plaintext": []byte("x")})
		if string(openGCM(t, material, sealed, nil)) != "x" {
			t.Error("it is not the one that was brought")
		}
		// S9: once more crashed eHSM. D2: new parameters destroyed the key.
		for range 3 {
			s.want(notWaiting, "ImportKeyMaterial", bring(id, token, sealOAEP(t, to, make([]byte, 32))))
			s.want(notWaiting, "ImportKeyMaterial", bring(id, again, sealOAEP(t, to, make([]byte, 32))))
			s.want(misused, "GetParametersForImport", payload{"keyid": id, "keyspec": "EH_RSA_2048"})
		}
		s.want(succeeded("success!", map[string]any{"plaintext": b64("x")}), "Decrypt", payload{"keyid": id, "ciphertext": sealed})
		s.want(notWaiting, "ImportKeyMaterial", bring(s.create("EH_AES_GCM_256", internal, encrypts), token, sealOAEP(t, to, material)))
	})
	t.Run("a day later", func(t *testing.T) {
		s := s.on(t)
		token, to := s.parameters(second)
		s.d.Nodes[0].Clock.Move(24*time.Hour + time.Minute)
		s.millis += (24*time.Hour + time.Minute).Milliseconds()
		s.want(refusal(500, `Token validity time is 24 hours. Try to send "GetParametersForImport" request again.`), "ImportKeyMaterial",
			bring(second, token, sealOAEP(t, to, material)))
		token, to = s.parameters(second)
		s.want(validated, "ImportKeyMaterial", payload{"keyid": second, "padding_mode": "EH_PAD_RSA_PKCS1_OAEP", "key_material": sealOAEP(t, to, material), "ImportToken": token})
	})
}

// TestReferenceImportEverySpec: eHSM has AES and SM4. The others are ours.
func TestReferenceImportEverySpec(t *testing.T) {
	s := newSite(t)
	t.Run("by PKCS #1 v1.5", func(t *testing.T) {
		s := s.on(t)
		id := s.create("EH_SM4_CTR", external, encrypts)
		token, to := s.parameters(id)
		//lint:ignore SA1019 it is what eHSM's clients may choose
		wrapped, err := rsa.EncryptPKCS1v15(rand.Reader, to, make([]byte, 16))
		if err != nil {
			t.Fatal(err)
		}
		s.want(validated, "ImportKeyMaterial", payload{"keyid": id, "padding_mode": pkcs1, "key_material": wrapped, "importToken": token})
	})
	t.Run("MAC", func(t *testing.T) {
		s := s.on(t)
		material := []byte("an HMAC key of thirty-two bytes.")
		id := s.importRaw("EH_HMAC_SHA_256", makesMACs, material)
		h := hmac.New(sha256.New, material)
		h.Write(hello)
		if got := s.get("GenerateMac", "mac", payload{"keyid": id, "message": hello}); !bytes.Equal(got, h.Sum(nil)) {
			t.Errorf("%x", got)
		}
	})
	t.Run("EC", func(t *testing.T) {
		s := s.on(t)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		id := s.importRaw("EH_EC_P256", signs, der)
		digest := sha256.Sum256(hello)
		signature := s.get("Sign", "signature", signing(id, hello, "EH_RAW", "", "EH_SHA_256"))
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			t.Error("the key is not the one that was brought")
		}
	})
	t.Run("RSA, by AES key wrap", func(t *testing.T) {
		s := s.on(t)
		id := s.create("EH_RSA_2048", external, encrypts)
		token, to := s.parameters(id)
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		kek := make([]byte, 32)
		wrapped := append(sealOAEP(t, to, kek), wrapKWP(t, kek, der)...)
		s.want(validated, "ImportKeyMaterial", payload{"keyid": id, "padding_mode": "EH_RSA_AES_KEY_WRAP", "key_material": wrapped, "importToken": token})
		if got := rsaKey(t, text(s.ask("GetPublicKey", payload{"keyid": id}), "pubkey")); !key.PublicKey.Equal(got) {
			t.Error("the key is not the one that was brought")
		}
	})
}

// TestReferenceExportKey: ours, with a v2 signature only.
func TestReferenceExportKey(t *testing.T) {
	s := newSite(t)
	create := func(spec, exportable string) string {
		t.Helper()
		got := s.callV2(t, "CreateKey", fmt.Sprintf(`{"keyspec":%q,"origin":"EH_INTERNAL_KEY"%s}`, spec, exportable))
		if got.Code != 200 {
			t.Fatal(got)
		}
		return text(got, "keyid")
	}
	aes, ec, kept := create("EH_AES_GCM_256", `,"exportable":true`), create("EH_EC_P256", `,"exportable":true`), create("EH_AES_GCM_256", "")
	export := func(id string) reply { return s.callV2(t, "ExportKey", payload{"keyid": id}.json()) }

	raw := s.decode(export(aes), "key_material")
	if sealed := s.get("Encrypt", "ciphertext", payload{"keyid": aes, "plaintext": hello}); !bytes.Equal(openGCM(t, raw, sealed, nil), hello) {
		t.Error("it is another key")
	}
	if _, err := x509.ParsePKCS8PrivateKey(s.decode(export(ec), "key_material")); err != nil {
		t.Error(err)
	}
	for id, spec := range map[string]string{aes: "EH_AES_GCM_256", ec: "EH_EC_P256"} {
		if got := text(export(id), "keyspec"); got != spec {
			t.Errorf("exported as %s, made as %s", got, spec)
		}
	}
	for _, id := range []string{kept, s.create("EH_AES_GCM_256", external, encrypts)} {
		if got := export(id); got.Code != 403 || !strings.Contains(got.Message, "not made exportable") {
			t.Error(got)
		}
	}
	s.want(refusal(403, "This action needs a request signature of version 2."), "ExportKey", payload{"keyid": aes})
}

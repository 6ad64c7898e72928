package ehsm_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/kms"
)

// publicDER is a P-256 public key.
var publicDER = func() []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return der
}()

// TestActions checks what each action asks the core, and what it answers.
func TestActions(t *testing.T) {
	ref := kms.KeyRef{ID: keyID(testKeyID)}
	key := `"keyid":"` + testKeyID + `"`
	created := succeeded("success!", map[string]any{"keyid": testKeyID})
	done := succeeded("successful", map[string]any{})
	wrapped := map[string]any{"ciphertext": b64("wrapped")}
	signed := succeeded("success!", map[string]any{"signature": b64("signature")})
	rewrapped := succeeded("success!", map[string]any{"newdatakey": b64("rewrapped")})
	imported := succeeded("success!", map[string]any{"result": true})
	publicPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER}))
	text := "d"
	listed := map[string]any{"secretName": "s", "createTime": 1.7e12, "description": "d"}
	tests := []struct {
		name, action, payload string
		op                    string
		arg                   any
		want                  reply
	}{
		{"secret", "CreateSecret", `{"secretName":"s","secretData":"v","encryptionKeyId":"` + testKeyID + `","description":"d","rotationInterval":"30d"}`,
			"CreateSecret", kms.CreateSecretRequest{Name: "s", Value: []byte("v"), Key: keyID(testKeyID), Description: "d", Rotation: "30d"},
			succeeded("The s create success.", map[string]any{})},
		{"text", "UpdateSecretDesc", `{"secretName":"s","description":"d"}`, "UpdateSecret", kms.UpdateSecretRequest{Name: "s", Description: &text},
			succeeded("Update secret description success.", map[string]any{})},
		{"value", "PutSecretValue", newSecret, "PutSecret", kms.PutSecretRequest{Name: "s", Value: []byte("v")}, succeeded("The s new version put success.", map[string]any{})},
		{"old value", "GetSecretValue", `{"secretName":"s","versionId":2}`, "GetSecret", kms.GetSecretRequest{Name: "s", Version: 2},
			succeeded("successful", map[string]any{"secretName": "s", "secretData": "value", "versionId": 2.0, "createTime": 1.7e12})},
		{"versions", "ListSecretVersionIds", oneSecret, "ListSecretVersions", kms.ListSecretVersionsRequest{Name: "s"},
			succeeded("List secret versionIds success.", map[string]any{"secretName": "s", "totalCount": 1.0,
				"versionIds": []any{map[string]any{"versionId": 1.0, "createTime": 1.7e12}}})},
		{"secrets", "ListSecrets", ``, "ListSecrets", kms.ListSecretsRequest{},
			succeeded("List secrets success.", map[string]any{"totalCount": 1.0, "secretList": []any{listed}})},
		{"one secret", "ListSecrets", oneSecret, "DescribeSecret", kms.SecretName("s"),
			succeeded("List secrets success.", map[string]any{"totalCount": 1.0, "secretList": []any{listed}})},
		{"described", "DescribeSecret", oneSecret, "DescribeSecret", kms.SecretName("s"), succeeded("Describe secrets success.", listed)},
		{"scheduled", "DeleteSecret", `{"secretName":"s","recoveryPeriod":7,"forceDelete":"TRUE"}`, "DeleteSecret", kms.DeleteSecretRequest{Name: "s", Days: 7},
			succeeded("The s will be deleted after 7 days.", map[string]any{})},
		{"forced", "DeleteSecret", `{"secretName":"s","force_delete":"true"}`, "DeleteSecret", kms.DeleteSecretRequest{Name: "s", Days: 30, Force: true},
			succeeded("The s delete success", map[string]any{})},
		{"restored", "RestoreSecret", oneSecret, "RestoreSecret", kms.SecretName("s"), succeeded("The s restore success.", map[string]any{})},
		{"AES", "CreateKey", `{"keyspec":"EH_AES_GCM_256","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_ENCRYPT_DECRYPT"}`,
			"CreateKey", kms.CreateKeyRequest{Spec: kms.AES256GCM, Usages: kms.EncryptDecrypt, Origin: kms.Generated}, created},
		{"EC", "CreateKey", `{"keyspec":"EH_EC_P256","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_SIGN_VERIFY"}`,
			"CreateKey", kms.CreateKeyRequest{Spec: kms.ECP256, Usages: kms.SignVerify, Origin: kms.Generated}, created},
		{"usage left to the spec", "CreateKey", `{"keyspec":"EH_AES_GCM_128","origin":"EH_INTERNAL_KEY"}`,
			"CreateKey", kms.CreateKeyRequest{Spec: kms.AES128GCM, Origin: kms.Generated}, created},
		{"RSA that decrypts", "CreateKey", `{"keyspec":"EH_RSA_3072","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_ENCRYPT_DECRYPT"}`,
			"CreateKey", kms.CreateKeyRequest{Spec: kms.RSA3072, Usages: kms.EncryptDecrypt, Origin: kms.Generated}, created},
		{"MAC", "CreateKey", `{"keyspec":"EH_HMAC","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_GENERATE_VERIFY_MAC"}`,
			"CreateKey", kms.CreateKeyRequest{Spec: kms.HMACSHA256, Usages: kms.GenerateVerifyMAC, Origin: kms.Generated}, created},
		{"external", "CreateKey", `{"keyspec":"EH_SM4_CBC","origin":"EH_EXTERNAL_KEY","keyusage":"EH_KEYUSAGE_ENCRYPT_DECRYPT"}`,
			"CreateKey", kms.CreateKeyRequest{Spec: kms.SM4CBC, Usages: kms.EncryptDecrypt, Origin: kms.Imported}, created},
		{"external RSA", "CreateKey", `{"keyspec":"EH_RSA_2048","origin":"EH_EXTERNAL_KEY"}`,
			"CreateKey", kms.CreateKeyRequest{Spec: kms.RSA2048, Origin: kms.Imported}, created},
		{"exportable", "CreateKey", `{"keyspec":"EH_ED25519","origin":"EH_INTERNAL_KEY","exportable":true}`,
			"CreateKey", kms.CreateKeyRequest{Spec: kms.Ed25519, Origin: kms.Generated, Exportable: true}, created},
		{"not exportable", "CreateKey", `{"keyspec":"EH_ED25519","origin":"EH_INTERNAL_KEY","exportable":false}`,
			"CreateKey", kms.CreateKeyRequest{Spec: kms.Ed25519, Origin: kms.Generated}, created},
		{"not said whether exportable", "CreateKey", `{"keyspec":"EH_ED25519","origin":"EH_INTERNAL_KEY","exportable":null}`,
			"CreateKey", kms.CreateKeyRequest{Spec: kms.Ed25519, Origin: kms.Generated}, created},

		{"", "Encrypt", `{` + key + `,"plaintext":"` + b64("hello") + `"}`,
			"Encrypt", kms.EncryptRequest{Key: ref, Family: kms.Symmetric, Plaintext: []byte("hello"), Layout: kms.LayoutEHSM}, encrypted},
		{"with aad", "Encrypt", `{"aad":"` + b64("bound") + `","plaintext":"` + b64("hello") + `",` + key + `}`,
			"Encrypt", kms.EncryptRequest{Key: ref, Family: kms.Symmetric, Plaintext: []byte("hello"), Binding: kms.RawBinding([]byte("bound")), Layout: kms.LayoutEHSM}, encrypted},
		{"with an empty aad", "Encrypt", `{` + key + `,"plaintext":"` + b64("hello") + `","aad":""}`,
			"Encrypt", kms.EncryptRequest{Key: ref, Family: kms.Symmetric, Plaintext: []byte("hello"), Layout: kms.LayoutEHSM}, encrypted},
		{"with a member nobody asked for", "Encrypt", `{` + key + `,"plaintext":"` + b64("hello") + `","x":"y"}`,
			"Encrypt", kms.EncryptRequest{Key: ref, Family: kms.Symmetric, Plaintext: []byte("hello"), Layout: kms.LayoutEHSM}, encrypted},
		{"of bits left over", "Encrypt", `{` + key + `,"plaintext":"YR=="}`,
			"Encrypt", kms.EncryptRequest{Key: ref, Family: kms.Symmetric, Plaintext: []byte("a"), Layout: kms.LayoutEHSM},
			succeeded("success!", map[string]any{"ciphertext": b64("sealed a")})},
		{"of base64 that is escaped", "Encrypt", `{` + key + `,"plaintext":"\u0061GVsbG8\u003d"}`,
			"Encrypt", kms.EncryptRequest{Key: ref, Family: kms.Symmetric, Plaintext: []byte("hello"), Layout: kms.LayoutEHSM}, encrypted},
		{"of the longest", "Encrypt", `{` + key + `,"plaintext":"` + strings.Repeat("QUFB", 2048) + `","aad":"` + strings.Repeat("QUFB", 2048) + `"}`,
			"Encrypt", kms.EncryptRequest{Key: ref, Family: kms.Symmetric, Plaintext: []byte(strings.Repeat("A", 6144)),
				Binding: kms.RawBinding([]byte(strings.Repeat("A", 6144))), Layout: kms.LayoutEHSM},
			succeeded("success!", map[string]any{"ciphertext": b64("sealed " + strings.Repeat("A", 6144))})},
		{"", "Decrypt", `{` + key + `,"ciphertext":"` + b64("sealed") + `","aad":"` + b64("bound") + `"}`,
			"Decrypt", kms.DecryptRequest{Key: ref, Family: kms.Symmetric, Data: []byte("sealed"), Binding: kms.RawBinding([]byte("bound")), Layout: kms.LayoutEHSM},
			succeeded("success!", map[string]any{"plaintext": b64("opened sealed")})},
		{"of the longest", "Decrypt", `{` + key + `,"ciphertext":"` + strings.Repeat("QUFB", 2059) + `"}`,
			"Decrypt", kms.DecryptRequest{Key: ref, Family: kms.Symmetric, Data: []byte(strings.Repeat("A", 6177)), Layout: kms.LayoutEHSM},
			succeeded("success!", map[string]any{"plaintext": b64("opened " + strings.Repeat("A", 6177))})},

		{"for RSA", "AsymmetricEncrypt", `{` + key + `,"plaintext":"` + b64("hello") + `","padding_mode":"EH_RSA_PKCS1_OAEP"}`,
			"Encrypt", kms.EncryptRequest{Key: ref, Family: kms.Asymmetric, Plaintext: []byte("hello"), Layout: kms.LayoutEHSM, Padding: kms.PaddingOAEP}, encrypted},
		{"for SM2, as eHSM's tests do", "AsymmetricEncrypt", `{` + key + `,"plaintext":"` + b64("hello") + `","padding_mode":"EH_PAD_NONE"}`,
			"Encrypt", kms.EncryptRequest{Key: ref, Family: kms.Asymmetric, Plaintext: []byte("hello"), Layout: kms.LayoutEHSM, Padding: kms.PaddingNone}, encrypted},
		{"for SM2, without padding", "AsymmetricEncrypt", `{` + key + `,"plaintext":"` + b64("hello") + `"}`,
			"Encrypt", kms.EncryptRequest{Key: ref, Family: kms.Asymmetric, Plaintext: []byte("hello"), Layout: kms.LayoutEHSM}, encrypted},
		{"with aad, which means nothing", "AsymmetricEncrypt", `{` + key + `,"plaintext":"` + b64("hello") + `","padding_mode":"EH_RSA_PKCS1","aad":"AAAA"}`,
			"Encrypt", kms.EncryptRequest{Key: ref, Family: kms.Asymmetric, Plaintext: []byte("hello"), Layout: kms.LayoutEHSM, Padding: kms.PaddingPKCS1}, encrypted},
		{"", "AsymmetricDecrypt", `{` + key + `,"ciphertext":"` + b64("sealed") + `","padding_mode":"EH_RSA_PKCS1"}`,
			"Decrypt", kms.DecryptRequest{Key: ref, Family: kms.Asymmetric, Data: []byte("sealed"), Layout: kms.LayoutEHSM, Padding: kms.PaddingPKCS1},
			succeeded("success!", map[string]any{"plaintext": b64("opened sealed")})},

		{"", "ExportDataKey", `{` + key + `,"ukeyid":"` + testTarget + `","olddatakey_base":"` + b64("wrapped") + `","aad":"` + b64("bound") + `"}`,
			"Rewrap", kms.RewrapRequest{Key: ref, Data: []byte("wrapped"), Binding: kms.RawBinding([]byte("bound")), Layout: kms.LayoutEHSM,
				Target: kms.KeyRef{ID: keyID(testTarget)}, Padding: kms.PaddingOAEP}, rewrapped},
		{"with a padding, which means nothing", "ExportDataKey", `{` + key + `,"ukeyid":"` + testTarget + `","olddatakey_base":"` + b64("wrapped") + `","padding_mode":"EH_PAD_RSA_PKCS1"}`,
			"Rewrap", kms.RewrapRequest{Key: ref, Data: []byte("wrapped"), Layout: kms.LayoutEHSM,
				Target: kms.KeyRef{ID: keyID(testTarget)}, Padding: kms.PaddingOAEP}, rewrapped},

		{"", "GetParametersForImport", `{` + key + `,"keyspec":"EH_RSA_4096"}`,
			"ImportParameters", kms.ImportParametersRequest{Key: ref.ID, Spec: kms.RSA4096},
			succeeded("success!", map[string]any{"pubkey": publicPEM, "importToken": b64("token")})},
		{"", "ImportKeyMaterial", `{` + key + `,"padding_mode":"EH_RSA_PKCS1_OAEP","key_material":"` + b64("wrapped") + `","importToken":"` + b64("token") + `"}`,
			"ImportKey", kms.ImportRequest{Key: ref.ID, Token: []byte("token"), Wrapping: kms.WrapOAEP, Material: []byte("wrapped")}, imported},
		{"by PKCS #1 v1.5", "ImportKeyMaterial", `{` + key + `,"padding_mode":"EH_RSA_PKCS1","key_material":"` + b64("wrapped") + `","importToken":"` + b64("token") + `"}`,
			"ImportKey", kms.ImportRequest{Key: ref.ID, Token: []byte("token"), Wrapping: kms.WrapPKCS1, Material: []byte("wrapped")}, imported},
		{"of what is long", "ImportKeyMaterial", `{` + key + `,"padding_mode":"EH_RSA_AES_KEY_WRAP","key_material":"` + b64("wrapped") + `","importToken":"` + b64("token") + `"}`,
			"ImportKey", kms.ImportRequest{Key: ref.ID, Token: []byte("token"), Wrapping: kms.WrapOAEPAES, Material: []byte("wrapped")}, imported},

		{"", "GenerateMac", `{` + key + `,"message":"` + b64("hello") + `"}`,
			"MAC", kms.MACRequest{Key: ref, Message: []byte("hello")}, succeeded("success!", map[string]any{"mac": b64("mac")})},
		{"that is good", "VerifyMac", `{` + key + `,"message":"` + b64("hello") + `","mac":"` + b64("mac") + `"}`,
			"VerifyMAC", kms.VerifyMACRequest{Key: ref, Message: []byte("hello"), MAC: []byte("mac")}, succeeded("success!", map[string]any{"result": true})},
		{"that is bad", "VerifyMac", `{` + key + `,"message":"` + b64("hello") + `","mac":"` + b64("ma") + `"}`,
			"VerifyMAC", kms.VerifyMACRequest{Key: ref, Message: []byte("hello"), MAC: []byte("ma")}, succeeded("success!", map[string]any{"result": false})},

		{"", "GenerateDataKey", `{` + key + `,"keylen":16,"aad":"` + b64("bound") + `"}`,
			"GenerateDataKey", kms.DataKeyRequest{Key: ref, Length: 16, Binding: kms.RawBinding([]byte("bound")), Layout: kms.LayoutEHSM},
			succeeded("success!", map[string]any{"plaintext": b64(strings.Repeat("k", 16)), "ciphertext": b64("wrapped")})},
		{"of a length with a point", "GenerateDataKey", `{` + key + `,"keylen":1.0}`,
			"GenerateDataKey", kms.DataKeyRequest{Key: ref, Length: 1, Layout: kms.LayoutEHSM},
			succeeded("success!", map[string]any{"plaintext": b64("k"), "ciphertext": b64("wrapped")})},
		{"", "GenerateDataKeyWithoutPlaintext", `{` + key + `,"keylen":1024}`,
			"GenerateDataKey", kms.DataKeyRequest{Key: ref, Length: 1024, Layout: kms.LayoutEHSM, NoPlaintext: true},
			succeeded("success!", wrapped)},

		{"of a message", "Sign", `{` + key + `,"message":"` + b64("hello") + `","message_type":"EH_RAW","padding_mode":"EH_PAD_NONE","digest_mode":"EH_SHA_384"}`,
			"Sign", kms.SignRequest{Key: ref, Input: kms.SigningInput{Message: []byte("hello"), Digest: kms.SHA384, Padding: kms.PaddingNone, EHSM: true}}, signed},
		{"with the documents' defaults", "Sign", `{` + key + `,"message":"` + b64("hello") + `","message_type":"EH_RAW"}`,
			"Sign", kms.SignRequest{Key: ref, Input: kms.SigningInput{Message: []byte("hello"), EHSM: true}}, signed},
		{"of a digest", "Sign", `{` + key + `,"message":"` + b64("digest") + `","message_type":"EH_DIGEST","digest_mode":"EH_SM3","padding_mode":"EH_PAD_RSA_PKCS1_PSS"}`,
			"Sign", kms.SignRequest{Key: ref, Input: kms.SigningInput{Message: []byte("digest"), Digest: kms.SM3, Prehashed: true, Padding: kms.PaddingPSS, EHSM: true}}, signed},
		{"of a good signature", "Verify", `{` + key + `,"message":"` + b64("hello") + `","message_type":"EH_RAW","padding_mode":"EH_RSA_PKCS1","digest_mode":"EH_SHA_256","signature":"` + b64("signature") + `"}`,
			"Verify", kms.VerifyRequest{Key: ref, Input: kms.SigningInput{Message: []byte("hello"), Digest: kms.SHA256, Padding: kms.PaddingPKCS1, EHSM: true}, Signature: []byte("signature")},
			succeeded("success!", map[string]any{"result": true})},
		{"of a bad signature", "Verify", `{` + key + `,"message":"` + b64("hello") + `","message_type":"EH_RAW","signature":"` + b64("nonsense") + `"}`,
			"Verify", kms.VerifyRequest{Key: ref, Input: kms.SigningInput{Message: []byte("hello"), EHSM: true}, Signature: []byte("nonsense")},
			succeeded("success!", map[string]any{"result": false})},
		{"", "GetPublicKey", `{` + key + `}`, "PublicKey", ref, succeeded("success!", map[string]any{
			"keyid": testKeyID, "pubkey": publicPEM})},

		{"of nothing", "ListKey", ``, "ListKeys", kms.ListKeysRequest{Limit: 10000}, succeeded("successful", map[string]any{"list": []any{}})},
		{"with an empty payload", "ListKey", `{}`, "ListKeys", kms.ListKeysRequest{Limit: 10000}, succeeded("successful", map[string]any{"list": []any{}})},
		{"", "DeleteKey", `{` + key + `}`, "DeleteKey", ref.ID, done},
		{"", "DeleteAllKey", ``, "DeleteAllKeys", nil, done},
		{"with an empty payload", "DeleteAllKey", `{}`, "DeleteAllKeys", nil, done},
		{"", "DeleteALLKey", ``, "DeleteAllKeys", nil, done},
		{"", "EnableKey", `{` + key + `}`, "SetKeyEnabled true", ref.ID, done},
		{"", "DisableKey", `{` + key + `}`, "SetKeyEnabled false", ref.ID, done},
	}
	// By TestPaths, TestOpenActions, TestExportKeyNeedsV2 and the tests of quotes.
	covered := map[string]bool{"GetVersion": true, "Enroll": true, "ExportKey": true,
		"GenerateQuote": true, "VerifyQuote": true, "UploadQuotePolicy": true, "GetQuotePolicy": true}
	for _, tt := range tests {
		covered[tt.action] = true
		t.Run(tt.action+" "+tt.name, func(t *testing.T) {
			g := newRig(t)
			if diff := cmp.Diff(tt.want, g.call(t, tt.action, tt.payload)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			want := []call{{tt.op, tt.arg}}
			if diff := cmp.Diff(want, g.calls, cmp.Comparer(sameBinding)); diff != "" {
				t.Errorf("asked of the core (-want +got):\n%s", diff)
			}
		})
	}
	for _, action := range allActions() {
		if !covered[action] {
			t.Errorf("%s was not tried", action)
		}
	}
}

func sameBinding(a, b kms.Binding) bool {
	return string(a.AppendTo(nil)) == string(b.AppendTo(nil))
}

func TestListKey(t *testing.T) {
	made := time.UnixMilli(1_690_000_000_123)
	g := newRig(t)
	g.keys = []kms.Key{
		{ID: keyID(testKeyID), Spec: kms.AES256GCM, State: kms.Enabled, Created: made},
		{ID: keyID(strings.ToLower("BBBBBBBB-bbbb-4ccc-8ddd-eeeeeeeeeeee")), Spec: kms.ECP256, State: kms.KeyDisabled, Created: made, Expires: made.Add(time.Hour)},
		{ID: keyID("cccccccc-bbbb-4ccc-8ddd-eeeeeeeeeeee"), Spec: 250, State: kms.PendingDeletion, Created: made},
		{ID: keyID("dddddddd-bbbb-4ccc-8ddd-eeeeeeeeeeee"), Spec: kms.HMACSHA256, State: kms.PendingImport, Created: made},
	}
	item := func(id, spec string, expires, state float64) any {
		return map[string]any{"keyid": id, "creationDate": 1_690_000_000_123.0, "expireTime": expires, "alias": "", "keyspec": spec, "keyState": state}
	}
	forever := float64(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).UnixMilli())
	want := succeeded("successful", map[string]any{"list": []any{
		item(testKeyID, "EH_AES_GCM_256", forever, 1),
		item("bbbbbbbb-bbbb-4ccc-8ddd-eeeeeeeeeeee", "EH_EC_P256", 1_690_003_600_123, 0),
		item("cccccccc-bbbb-4ccc-8ddd-eeeeeeeeeeee", "Spec(250)", forever, 0), // made through another API
		item("dddddddd-bbbb-4ccc-8ddd-eeeeeeeeeeee", "EH_HMAC", forever, 1),
	}})
	if diff := cmp.Diff(want, g.call(t, "ListKey", "")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	t.Run("as many as there can be", func(t *testing.T) {
		g.keys = make([]kms.Key, 10_000)
		got := g.call(t, "ListKey", "")
		if list, _ := got.Result["list"].([]any); len(list) != 10_000 {
			t.Errorf("%d keys", len(list))
		}
	})
}

func TestPublicKeyPEM(t *testing.T) {
	g := newRig(t)
	text, _ := g.call(t, "GetPublicKey", `{"keyid":"`+testKeyID+`"}`).Result["pubkey"].(string)
	lines := strings.Split(text, "\n")
	if lines[0] != "-----BEGIN PUBLIC KEY-----" || len(lines[1]) != 64 || lines[len(lines)-2] != "-----END PUBLIC KEY-----" || lines[len(lines)-1] != "" {
		t.Errorf("not 64 columns of PEM with a line end:\n%q", text)
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(rest) > 0 {
		t.Fatal("not PEM")
	}
	if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		t.Error(err)
	}
}

// TestResultMembersOfErrors: the Rust SDK never looks at code; it notices an
// error by the missing member alone.
func TestResultMembersOfErrors(t *testing.T) {
	g := newRig(t)
	g.callErr = kms.Disabled
	for _, action := range allActions() {
		if got := g.call(t, action, goodEncrypt); got.Code != 200 && len(got.Result) > 0 {
			t.Errorf("%s: %v", action, got)
		}
	}
}

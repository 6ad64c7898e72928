package ehsm_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/kms"
)

var goodEncrypt = `{"keyid":"` + testKeyID + `","plaintext":"` + b64("hello") + `"}`

// TestEnvelopeErrors walks eHSM's catalogue up to the signature, one fault each.
func TestEnvelopeErrors(t *testing.T) {
	at := func(d time.Duration) string {
		return quote(fmt.Sprint(newCore().now.Add(d).UnixMilli()))
	}
	tests := []struct {
		name    string
		action  string // "" is Encrypt
		payload string // "" is a good one
		set     members
		want    reply
	}{
		{name: "no appid", set: members{"appid": ""}, want: refusal(400, "Missing required parameters")},
		{name: "no timestamp", set: members{"timestamp": ""}, want: refusal(400, "Missing required parameters")},
		{name: "no sign", set: members{"sign": ""}, want: refusal(400, "Missing required parameters")},
		{name: "empty appid", set: members{"appid": `""`}, want: refusal(400, "Missing required parameters")},
		{name: "empty timestamp", set: members{"timestamp": `""`}, want: refusal(400, "Missing required parameters")},
		{name: "empty sign", set: members{"sign": `""`}, want: refusal(400, "Missing required parameters")},
		{name: "null appid", set: members{"appid": `null`}, want: refusal(400, "Missing required parameters")},
		{name: "timestamp 0", set: members{"timestamp": `0`}, want: refusal(400, "Missing required parameters")},
		{name: "sign false", set: members{"sign": `false`}, want: refusal(400, "Missing required parameters")},
		{name: "cryptographic action without payload", payload: "none", want: refusal(400, "Missing required parameters")},
		{name: "cryptographic action with payload null", payload: `null`, want: refusal(400, "Missing required parameters")},
		{name: "cryptographic action with payload empty", payload: `""`, want: refusal(400, "Missing required parameters")},

		{name: "appid a number", set: members{"appid": `7`}, want: refusal(400, "param type error")},
		{name: "appid an object", set: members{"appid": `{}`}, want: refusal(400, "param type error")},
		{name: "timestamp a number", set: members{"timestamp": `1700000000000`}, want: refusal(400, "param type error")},
		{name: "sign true", set: members{"sign": `true`}, want: refusal(400, "param type error")},
		{name: "payload a string", payload: `"x"`, want: refusal(400, "param type error")},
		{name: "payload a number", action: "ListKey", payload: `7`, want: refusal(400, "param type error")},

		{name: "nonce of 65 characters", set: members{"nonce": quote(strings.Repeat("n", 65))}, want: refusal(400, "Nonce length error")},
		{name: "nonce of 33 surrogate pairs", set: members{"nonce": quote(strings.Repeat("😀", 33))}, want: refusal(400, "Nonce length error")},
		{name: "nonce of 65 elements", set: members{"nonce": "[1" + strings.Repeat(",1", 64) + "]"}, want: refusal(400, "Nonce length error")},

		{name: "timestamp of 12 characters", set: members{"timestamp": `"170000000000"`}, want: refusal(400, "Timestamp length error")},
		{name: "timestamp of 14 characters", set: members{"timestamp": `"17000000000000"`}, want: refusal(400, "Timestamp length error")},
		{name: "timestamp of seconds", set: members{"timestamp": `"1700000000"`}, want: refusal(400, "Timestamp length error")},
		{name: "timestamp of 13 letters", set: members{"timestamp": `"ABCDEFGHIJKLM"`}, want: refusal(400, "Timestamp error")},
		{name: "timestamp of 13 characters beyond ASCII", set: members{"timestamp": `"١٧٠٠٠٠٠٠٠٠٠٠٠"`}, want: refusal(400, "Timestamp error")},
		{name: "timestamp in hexadecimal", set: members{"timestamp": `"0x18bcfe56800"`}, want: refusal(400, "Timestamp error")},
		{name: "timestamp with a sign", set: members{"timestamp": `"+170000000000"`}, want: refusal(400, "Timestamp error")},
		{name: "timestamp 10 minutes old", set: members{"timestamp": at(-10 * time.Minute)}, want: refusal(400, "Timestamp error")},
		{name: "timestamp 10 minutes early", set: members{"timestamp": at(10 * time.Minute)}, want: refusal(400, "Timestamp error")},
		{name: "timestamp 22 minutes old", set: members{"timestamp": at(-22 * time.Minute)}, want: refusal(400, "Timestamp error")},

		{name: "another's signature", set: members{"sign": quote(sign([]byte("x")))}, want: refusal(400, "sign error")},
		{name: "signature not base64", set: members{"sign": `"not base64"`}, want: refusal(400, "sign error")},
		{name: "signature too short", set: members{"sign": `"AAAA"`}, want: refusal(400, "sign error")},
		{name: "appid unknown", set: members{"appid": `"99999999-2222-4333-8444-555555555555"`}, want: refusal(400, "sign error")},
		{name: "appid not an id", set: members{"appid": `"nobody"`}, want: refusal(400, "sign error")},
		{name: "appid in upper case", set: members{"appid": quote("AAAAAAAA-2222-4333-8444-555555555555")}, want: refusal(400, "sign error")},

		{name: "unknown action", action: "MakeCoffee", want: refusal(404, "API Not Found")},
		{name: "action in lower case", action: "encrypt", want: refusal(404, "API Not Found")},
		{name: "no action", action: "&", want: refusal(404, "API Not Found")},
		{name: "two actions", action: "Encrypt&Action=Decrypt", want: refusal(404, "API Not Found")},
		{name: "unknown action, wrong signature", action: "MakeCoffee", set: members{"sign": quote(sign(nil))}, want: refusal(400, "sign error")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t)
			switch tt.payload {
			case "":
				tt.payload = goodEncrypt
			case "none":
				tt.payload = ""
			}
			if tt.action == "" {
				tt.action = "Encrypt"
			}
			got := g.post(t, tt.action, g.body(tt.payload, tt.set))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(g.calls) > 0 {
				t.Errorf("the core was asked: %v", g.calls)
			}
		})
	}
}

// TestSignedRequestsPass checks the other side of each limit above.
func TestSignedRequestsPass(t *testing.T) {
	tests := map[string]members{
		"plain":                     nil,
		"9:50 old":                  {"timestamp": quote(fmt.Sprint(newCore().now.Add(-590 * time.Second).UnixMilli()))},
		"9:50 early":                {"timestamp": quote(fmt.Sprint(newCore().now.Add(590 * time.Second).UnixMilli()))},
		"nonce of 64 characters":    {"nonce": quote(strings.Repeat("n", 64))},
		"nonce of 64 beyond ASCII":  {"nonce": quote(strings.Repeat("é", 64))},
		"nonce a number":            {"nonce": "2374462904"},
		"nonce a long number":       {"nonce": strings.Repeat("7", 70)},
		"nonce null":                {"nonce": "null"},
		"nonce an object":           {"nonce": `{"a":1}`},
		"members nobody asked for":  {"extra": `{"a":[1,2,3]}`},
		"timestamp spelled escaped": {"timestamp": `"\u0031700000000001"`},
	}
	for name, set := range tests {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			got := g.post(t, "Encrypt", g.body(goodEncrypt, set))
			if diff := cmp.Diff(succeeded("success!", map[string]any{"ciphertext": b64("sealed hello")}), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPayloadErrors walks the rest of the catalogue, one fault each, for each
// kind of field.
func TestPayloadErrors(t *testing.T) {
	key := `"keyid":"` + testKeyID + `"`
	long := strings.Repeat("A", 8196)
	empty := func(f string) reply {
		return refusal(400, "Missing required parameters, The "+f+" cannot be empty.")
	}
	invalid := func(f, what string) reply { return refusal(400, "Parameter invalid, The "+f+" "+what+".") }
	server := exception(500, "Server exception.")
	create := func(spec, origin, usage string) string {
		return `{"keyspec":` + spec + `,"origin":` + origin + `,"keyusage":` + usage + `}`
	}
	const aes, internal, usage = `"EH_AES_GCM_256"`, `"EH_INTERNAL_KEY"`, `"EH_KEYUSAGE_ENCRYPT_DECRYPT"`
	signing := func(over string) string {
		return `{` + key + `,"message":"AAAA","message_type":"EH_RAW",` + over + `}`
	}
	importing := func(over string) string { return `{` + key + `,"key_material":"AAAA",` + over + `}` }
	tests := []struct {
		name, action, payload string
		want                  reply
	}{
		{"key id missing", "Encrypt", `{"plaintext":"AAAA"}`, empty("keyid")},
		{"key id null", "Encrypt", `{"keyid":null,"plaintext":"AAAA"}`, empty("keyid")},
		{"key id empty", "Encrypt", `{"keyid":"","plaintext":"AAAA"}`, empty("keyid")},
		{"key id a number", "Encrypt", `{"keyid":7,"plaintext":"AAAA"}`, invalid("keyid", "must be of string type")},
		{"key id of 35", "Encrypt", `{"keyid":"` + testKeyID[1:] + `","plaintext":"AAAA"}`, invalid("keyid", "length error")},
		{"key id of 37", "Encrypt", `{"keyid":"` + testKeyID + `a","plaintext":"AAAA"}`, invalid("keyid", "length error")},
		{"key id in upper case", "Encrypt", `{"keyid":"` + strings.ToUpper(testKeyID) + `","plaintext":"AAAA"}`, invalid("keyid", "format wrong")},
		{"key id without dashes", "Encrypt", `{"keyid":"` + strings.ReplaceAll(testKeyID, "-", "a") + `","plaintext":"AAAA"}`, invalid("keyid", "format wrong")},
		{"key id of 36 beyond ASCII", "Encrypt", `{"keyid":"` + strings.Repeat("é", 36) + `","plaintext":"AAAA"}`, invalid("keyid", "format wrong")},
		{"key id of no key", "Encrypt", `{"keyid":"zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz","plaintext":"AAAA"}`, refusal(400, "keyid error")},
		{"payload an array", "Encrypt", `["` + testKeyID + `"]`, empty("keyid")},
		{"payload missing in DeleteKey", "DeleteKey", ``, empty("keyid")},
		{"payload missing in EnableKey", "EnableKey", ``, empty("keyid")},

		{"plaintext missing", "Encrypt", `{` + key + `}`, empty("plaintext")},
		{"plaintext empty", "Encrypt", `{` + key + `,"plaintext":""}`, empty("plaintext")},
		{"plaintext an object", "Encrypt", `{` + key + `,"plaintext":{}}`, invalid("plaintext", "must be of string type")},
		{"plaintext too long", "Encrypt", `{` + key + `,"plaintext":"` + long + `"}`, invalid("plaintext", "length error")},
		{"plaintext without padding", "Encrypt", `{` + key + `,"plaintext":"AAA"}`, invalid("plaintext", "not a vailed base64 string")},
		{"plaintext in the URL alphabet", "Encrypt", `{` + key + `,"plaintext":"AA-_"}`, invalid("plaintext", "not a vailed base64 string")},
		{"plaintext only padding", "Encrypt", `{` + key + `,"plaintext":"===="}`, invalid("plaintext", "not a vailed base64 string")},
		{"plaintext with a line end", "Encrypt", `{` + key + `,"plaintext":"AAAA\nAAA"}`, invalid("plaintext", "not a vailed base64 string")},
		{"plaintext ends in line ends", "Encrypt", `{` + key + `,"plaintext":"AAAA\r\n\r\n"}`, invalid("plaintext", "not a vailed base64 string")},
		{"aad a number", "Encrypt", `{` + key + `,"plaintext":"AAAA","aad":1}`, invalid("aad", "must be of string type")},
		{"aad not base64", "Encrypt", `{` + key + `,"plaintext":"AAAA","aad":"?"}`, invalid("aad", "not a vailed base64 string")},
		{"aad too long", "Encrypt", `{` + key + `,"plaintext":"AAAA","aad":"` + long + `"}`, invalid("aad", "length error")},
		{"ciphertext missing", "Decrypt", `{` + key + `}`, empty("ciphertext")},
		{"ciphertext too long", "Decrypt", `{` + key + `,"ciphertext":"` + strings.Repeat("A", 8240) + `"}`, invalid("ciphertext", "length error")},

		{"key length missing", "GenerateDataKey", `{` + key + `}`, empty("keylen")},
		{"key length a string", "GenerateDataKey", `{` + key + `,"keylen":"16"}`, invalid("keylen", "must be of integer type")},
		{"key length a fraction", "GenerateDataKey", `{` + key + `,"keylen":1.5}`, invalid("keylen", "must be of integer type")},
		{"key length true", "GenerateDataKey", `{` + key + `,"keylen":true}`, invalid("keylen", "must be of integer type")},
		{"key length beyond digits", "GenerateDataKey", `{` + key + `,"keylen":1e21}`, invalid("keylen", "must be of integer type")},
		{"key length 0", "GenerateDataKey", `{` + key + `,"keylen":0}`, invalid("keylen", "value must be greater than or equal to 1")},
		{"key length negative", "GenerateDataKey", `{` + key + `,"keylen":-16}`, invalid("keylen", "value must be greater than or equal to 1")},
		{"key length too great", "GenerateDataKey", `{` + key + `,"keylen":1025}`, invalid("keylen", "value must be less than or equal to 1024")},
		{"key length far too great", "GenerateDataKeyWithoutPlaintext", `{` + key + `,"keylen":1e20}`, invalid("keylen", "value must be less than or equal to 1024")},

		{"spec missing", "CreateKey", `{"origin":"EH_INTERNAL_KEY"}`, empty("keyspec")},
		{"spec unknown", "CreateKey", create(`"EH_AES_GCM_512"`, internal, usage), invalid("keyspec", "type is incorrect")},
		{"spec a number", "CreateKey", create(`3`, internal, usage), invalid("keyspec", "type is incorrect")},
		{"spec in lower case", "CreateKey", create(`"eh_aes_gcm_256"`, internal, usage), invalid("keyspec", "type is incorrect")},
		{"origin missing", "CreateKey", `{"keyspec":"EH_AES_GCM_256"}`, empty("origin")},
		{"origin unknown", "CreateKey", create(aes, `"EXTERNAL_KEY"`, usage), invalid("origin", "type is incorrect")},
		{"usage unknown", "CreateKey", create(aes, internal, `"EH_KEYUSAGE_ANY"`), server},
		{"usage a number", "CreateKey", create(aes, internal, `1`), server},
		{"exportable a string", "CreateKey", create(aes, internal, usage+`,"exportable":"true"`), invalid("exportable", "must be of boolean type")},
		{"exportable a number", "CreateKey", create(aes, internal, usage+`,"exportable":1`), invalid("exportable", "must be of boolean type")},
		{"expiry that nothing would keep", "CreateKey", create(aes, internal, usage+`,"expireTime":1`), refusal(400, "Parameter invalid, The expireTime is not a parameter of CreateKey.")},

		{"plaintext missing", "AsymmetricEncrypt", `{` + key + `,"padding_mode":"EH_RSA_PKCS1"}`, empty("plaintext")},
		{"plaintext too long", "AsymmetricEncrypt", `{` + key + `,"padding_mode":"EH_RSA_PKCS1","plaintext":"` + long + `"}`, invalid("plaintext", "length error")},
		{"padding unknown", "AsymmetricEncrypt", `{` + key + `,"padding_mode":"EH_OAEP","plaintext":"AAAA"}`, invalid("padding_mode", "type is incorrect")},
		{"padding a number", "AsymmetricDecrypt", `{` + key + `,"padding_mode":3,"ciphertext":"AAAA"}`, invalid("padding_mode", "type is incorrect")},
		{"ciphertext missing", "AsymmetricDecrypt", `{` + key + `,"padding_mode":"EH_RSA_PKCS1"}`, empty("ciphertext")},
		{"ciphertext too long", "AsymmetricDecrypt", `{` + key + `,"padding_mode":"EH_RSA_PKCS1","ciphertext":"` + long + `"}`, invalid("ciphertext", "length error")},

		{"target missing", "ExportDataKey", `{` + key + `,"olddatakey_base":"AAAA"}`, empty("ukeyid")},
		{"target a number", "ExportDataKey", `{` + key + `,"ukeyid":7,"olddatakey_base":"AAAA"}`, invalid("ukeyid", "must be of string type")},
		{"target of 8193", "ExportDataKey", `{` + key + `,"ukeyid":"` + strings.Repeat("a", 8193) + `","olddatakey_base":"AAAA"}`, invalid("ukeyid", "length error")},
		{"target that is no id", "ExportDataKey", `{` + key + `,"ukeyid":"x","olddatakey_base":"AAAA"}`, refusal(400, "keyid error")},
		{"data key missing", "ExportDataKey", `{` + key + `,"ukeyid":"` + testTarget + `"}`, empty("olddatakey_base")},
		{"data key empty in each spelling", "ExportDataKey", `{` + key + `,"ukeyid":"` + testTarget + `","olddatakey_base":"","olddatakey":"","old_data_key":null}`, empty("olddatakey_base")},
		{"data key not base64", "ExportDataKey", `{` + key + `,"ukeyid":"` + testTarget + `","old_data_key":"?"}`, invalid("olddatakey_base", "not a vailed base64 string")},

		{"spec missing", "GetParametersForImport", `{` + key + `}`, empty("keyspec")},
		{"spec unknown", "GetParametersForImport", `{` + key + `,"keyspec":"EH_RSA_1024"}`, invalid("keyspec", "type is incorrect")},
		{"padding missing", "ImportKeyMaterial", `{` + key + `,"key_material":"AAAA","importToken":"AAAA"}`, empty("padding_mode")},
		{"padding unknown", "ImportKeyMaterial", importing(`"padding_mode":"EH_OAEP","importToken":"AAAA"`), invalid("padding_mode", "type is incorrect")},
		{"padding that is for signatures", "ImportKeyMaterial", importing(`"padding_mode":"EH_RSA_PKCS1_PSS","importToken":"AAAA"`), server},
		{"padding of signatures", "ImportKeyMaterial", importing(`"padding_mode":"EH_RSA_PKCS1_PSS","importToken":"AAAA"`), server},
		{"material missing", "ImportKeyMaterial", `{` + key + `,"padding_mode":"EH_RSA_PKCS1","importToken":"AAAA"}`, empty("key_material")},
		{"material not base64", "ImportKeyMaterial", `{` + key + `,"padding_mode":"EH_RSA_PKCS1","importToken":"AAAA","key_material":"?"}`, invalid("key_material", "not a vailed base64 string")},
		{"token missing", "ImportKeyMaterial", importing(`"padding_mode":"EH_RSA_PKCS1"`), refusal(500, "ImportKeyMaterial failed.")},
		{"token empty", "ImportKeyMaterial", importing(`"padding_mode":"EH_RSA_PKCS1","importToken":""`), refusal(500, "ImportKeyMaterial failed.")},
		{"token a number", "ImportKeyMaterial", importing(`"padding_mode":"EH_RSA_PKCS1","importToken":7`), refusal(500, "ImportKeyMaterial failed.")},
		{"token not base64", "ImportKeyMaterial", importing(`"padding_mode":"EH_RSA_PKCS1","ImportToken":"?"`), refusal(500, "ImportKeyMaterial failed.")},
		{"token far too long", "ImportKeyMaterial", importing(`"padding_mode":"EH_RSA_PKCS1","importToken":"` + long + `"`), refusal(500, "ImportKeyMaterial failed.")},
		{"expiry that nothing would keep", "ImportKeyMaterial", importing(`"padding_mode":"EH_RSA_PKCS1","importToken":"AAAA","KeyMaterialExpireUnix":1`),
			refusal(400, "Parameter invalid, The KeyMaterialExpireUnix is not a parameter of ImportKeyMaterial.")},

		{"message missing", "GenerateMac", `{` + key + `}`, empty("message")},
		{"message too long", "GenerateMac", `{` + key + `,"message":"` + long + `"}`, invalid("message", "length error")},
		{"MAC missing", "VerifyMac", `{` + key + `,"message":"AAAA"}`, empty("mac")},
		{"MAC not base64", "VerifyMac", `{` + key + `,"message":"AAAA","mac":"?"}`, invalid("mac", "not a vailed base64 string")},

		{"message missing", "Sign", `{` + key + `,"message_type":"EH_RAW"}`, empty("message")},
		{"message type missing", "Sign", `{` + key + `,"message":"AAAA"}`, empty("message_type")},
		{"message type unknown", "Sign", `{` + key + `,"message":"AAAA","message_type":"RAW"}`, invalid("message_type", "type is incorrect")},
		{"padding unknown", "Sign", signing(`"padding_mode":"EH_PKCS1"`), invalid("padding_mode", "type is incorrect")},
		{"padding a number", "Sign", signing(`"padding_mode":1`), invalid("padding_mode", "type is incorrect")},
		{"digest unknown", "Sign", signing(`"digest_mode":"EH_MD5"`), invalid("digest_mode", "type is incorrect")},
		{"signature missing", "Verify", `{` + key + `,"message":"AAAA","message_type":"EH_RAW"}`, empty("signature")},
		{"signature over 512 bytes", "Verify", signing(`"signature":"` + strings.Repeat("A", 688) + `"`), server},
		{"signature too long for a field", "Verify", signing(`"signature":"` + long + `"`), invalid("signature", "length error")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t)
			if diff := cmp.Diff(tt.want, g.call(t, tt.action, tt.payload)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(g.calls) > 0 {
				t.Errorf("the core was asked: %v", g.calls)
			}
		})
	}
}

// TestErrorKinds checks the answer to every kind of error, from the core's
// authentication and from its operations.
func TestErrorKinds(t *testing.T) {
	type answers struct{ authenticating, serving reply }
	sign := refusal(400, "sign error")
	server := exception(500, "Server exception.")
	internal := refusal(500, "Server internal error, please contact the administrator.")
	later := refusal(503, "The service is unavailable, please try again later. The request may have taken effect.")
	changed := refusal(409, "The state has changed meanwhile, please try again.")
	full := refusal(429, "A quota or rate is used up, please try again later.")
	replayed := refusal(400, "Timestamp can't be repeated in 20 minutes")
	want := map[kms.Kind]answers{
		kms.Internal:        {refusal(400, "database error"), internal},
		kms.Invalid:         {sign, server},
		kms.Unauthenticated: {sign, sign},
		kms.Denied:          {sign, refusal(403, "The credential does not allow this action.")},
		kms.Foreign:         {sign, refusal(400, "appid error")},
		kms.Misused:         {sign, server},
		kms.NotFound:        {sign, refusal(400, "keyid error")},
		kms.Exists:          {sign, refusal(409, "It exists already.")},
		kms.Conflict:        {changed, changed},
		kms.Disabled:        {sign, refusal(400, "keyid is disabled")},
		kms.Expired:         {sign, refusal(400, "keyid expire")},
		kms.Stale: {refusal(400, "Timestamp error"),
			refusal(503, "The service cannot confirm that its state is current, please try again later.")},
		kms.Replayed:      {replayed, replayed},
		kms.TooLarge:      {refusal(400, "Unexpected Error"), exception(500, "Argument bad.")},
		kms.Exhausted:     {full, full},
		kms.Unavailable:   {later, later},
		kms.DecryptFailed: {sign, exception(400, "Decryption failed, Please confirm that your parameters are correct.")},
		kms.Damaged:       {refusal(400, "database error"), internal},
		kms.Unsupported:   {sign, refusal(501, "Not every node runs a program that knows this yet.")},
	}
	for _, kind := range kms.Kinds() {
		t.Run(kind.Error(), func(t *testing.T) {
			w, ok := want[kind]
			if !ok {
				t.Fatal("no answer was thought of")
			}
			err := kms.Errorf(kind, "planted secret text").WithField("planted").WithFile("planted").WithHint("planted")
			g := newRig(t)
			g.authErr = err
			if diff := cmp.Diff(w.authenticating, g.call(t, "Encrypt", goodEncrypt)); diff != "" {
				t.Errorf("authenticating (-want +got):\n%s", diff)
			}
			g.authErr, g.callErr = nil, err
			if diff := cmp.Diff(w.serving, g.call(t, "Encrypt", goodEncrypt)); diff != "" {
				t.Errorf("serving (-want +got):\n%s", diff)
			}
			logged := strings.Count(g.log.String(), "action=Encrypt kind=\""+kind.Error()+"\"")
			if internal := kind == kms.Internal || kind == kms.Damaged; internal != (logged == 2) || strings.Contains(g.log.String(), "planted") {
				t.Errorf("log: %s", &g.log)
			}
		})
	}
	if unbuilt := ehsm.MissingAnswers(); len(unbuilt) > 0 {
		t.Errorf("kinds without a row of their own: %v", unbuilt)
	}
}

// TestErrorsOfActions checks the actions that answer a kind in their own words.
func TestErrorsOfActions(t *testing.T) {
	key := `{"keyid":"` + testKeyID + `"}`
	notWaiting := refusal(500, "ImportKeyMaterial failed. The key does not wait for key material: it has it already, or is not external.")
	tests := []struct {
		action string
		kind   kms.Kind
		want   reply
	}{
		{"EnableKey", kms.NotFound, refusal(400, "not find this keyid")},
		{"EnableKey", kms.Foreign, refusal(400, "not find this keyid")},
		{"DisableKey", kms.NotFound, refusal(400, "not find this keyid")},
		{"DisableKey", kms.Foreign, refusal(400, "not find this keyid")},
		{"DisableKey", kms.Unavailable, refusal(503, "The service is unavailable, please try again later. The request may have taken effect.")},
		{"GetPublicKey", kms.Foreign, refusal(400, "appid error")},
		{"AsymmetricEncrypt", kms.TooLarge, exception(500, "Server exception.")},
		{"AsymmetricDecrypt", kms.DecryptFailed, exception(400, "Decryption failed, Please confirm that your parameters are correct.")},
		{"AsymmetricDecrypt", kms.Misused, exception(500, "Server exception.")},
		{"ExportDataKey", kms.DecryptFailed, exception(500, "Server exception.")},
		{"ExportDataKey", kms.TooLarge, exception(500, "Server exception.")},
		{"ExportDataKey", kms.Misused, exception(500, "Server exception.")},
		{"ExportDataKey", kms.Foreign, refusal(400, "appid error")},
		{"GetParametersForImport", kms.Misused, exception(500, "Server exception.")},
		{"GetParametersForImport", kms.NotFound, refusal(400, "keyid error")},
		{"GetParametersForImport", kms.Exhausted, refusal(429, "A quota or rate is used up, please try again later.")},
		{"ImportKeyMaterial", kms.Unauthenticated, refusal(500, "ImportToken failed.")},
		{"ImportKeyMaterial", kms.Invalid, refusal(500, "ImportToken failed.")},
		{"ImportKeyMaterial", kms.Expired, refusal(500, `Token validity time is 24 hours. Try to send "GetParametersForImport" request again.`)},
		{"ImportKeyMaterial", kms.DecryptFailed, refusal(500, "Import key failed.")},
		{"ImportKeyMaterial", kms.TooLarge, refusal(500, "Import key failed.")},
		{"ImportKeyMaterial", kms.Misused, notWaiting},
		{"ImportKeyMaterial", kms.Exists, notWaiting},
		{"ImportKeyMaterial", kms.Conflict, refusal(409, "The state has changed meanwhile, please try again.")},
		{"ImportKeyMaterial", kms.NotFound, refusal(400, "keyid error")},
		{"ImportKeyMaterial", kms.Foreign, refusal(400, "appid error")},
		{"ImportKeyMaterial", kms.Denied, refusal(403, "The credential does not allow this action.")},
		{"ExportKey", kms.Misused, refusal(403, "The key was not made exportable, or cannot be exported now.")},
		{"ExportKey", kms.Foreign, refusal(400, "appid error")},
		{"CreateSecret", kms.Exists, refusal(400, "Secret name already exists, cannot use the same secret name")},
		{"CreateSecret", kms.Misused, exception(500, "Server exception.")},
		{"CreateSecret", kms.Exhausted, refusal(429, "A quota or rate is used up, please try again later.")},
		{"UpdateSecretDesc", kms.NotFound, refusal(400, "Cannot find secretName")},
		{"UpdateSecretDesc", kms.Disabled, refusal(400, "Can not modify a deleted secret.")},
		{"PutSecretValue", kms.NotFound, refusal(400, "Can not find secretName")},
		{"PutSecretValue", kms.Disabled, refusal(400, "Can not put value for a deleted secret.")},
		{"GetSecretValue", kms.NotFound, refusal(400, "Can't find the s's value.")},
		{"GetSecretValue", kms.Disabled, refusal(400, "Can't find the s's value.")},
		{"DeleteSecret", kms.NotFound, refusal(400, "Delete error, Can not find the secretName")},
		{"RestoreSecret", kms.NotFound, refusal(400, "Can not restore secret, the secretName not find.")},
		{"RestoreSecret", kms.Denied, refusal(403, "The credential does not allow this action.")},
		{"DeleteKey", kms.Unavailable, refusal(503, "The service is unavailable, please try again later. The request may have taken effect.")},
	}
	for _, tt := range tests {
		t.Run(tt.action+" "+tt.kind.Error(), func(t *testing.T) {
			g := newRig(t)
			g.callErr = tt.kind
			payload, call := key, g.call
			if p := harmless[tt.action] + harmful[tt.action]; p != "" {
				payload = p
			}
			if tt.action == "ExportKey" {
				call = g.callV2
			}
			if diff := cmp.Diff(tt.want, call(t, tt.action, payload)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("the same for all others", func(t *testing.T) {
		payloads := maps.Clone(harmless)
		maps.Copy(payloads, harmful)
		for _, action := range []string{"UpdateSecretDesc", "PutSecretValue", "GetSecretValue", "ListSecretVersionIds"} {
			delete(payloads, action) // it is the secret that is disabled, which is answered above
		}
		for action, payload := range payloads {
			g := newRig(t)
			g.callErr = kms.Disabled
			if diff := cmp.Diff(refusal(400, "keyid is disabled"), g.call(t, action, payload)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", action, diff)
			}
		}
	})
	t.Run("ids that no key has", func(t *testing.T) {
		g := newRig(t)
		none := `{"keyid":"zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz"}`
		own := map[string]reply{
			"EnableKey":  refusal(400, "not find this keyid"),
			"DisableKey": refusal(400, "not find this keyid"),
			"DeleteKey":  succeeded("successful", map[string]any{}),
		}
		payloads := maps.Clone(harmless)
		maps.Copy(payloads, harmful)
		payloads["ExportKey"] = none
		for action, payload := range payloads {
			if !strings.Contains(payload, testKeyID) && action != "ExportKey" {
				continue // it takes no key id
			}
			want, ok := own[action]
			if !ok {
				want = refusal(400, "keyid error")
			}
			payload = strings.Replace(payload, testKeyID, "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz", 1)
			if diff := cmp.Diff(want, g.callV2(t, action, payload)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", action, diff)
			}
		}
		if len(g.calls) > 0 {
			t.Errorf("the core was asked: %v", g.calls)
		}
	})
	t.Run("Enroll", func(t *testing.T) {
		for kind, want := range map[kms.Kind]reply{
			kms.Internal:    refusal(500, "enroll user info failed"),
			kms.Denied:      refusal(403, "Enrolment is not open to everybody here."),
			kms.Exhausted:   refusal(429, "A quota or rate is used up, please try again later."),
			kms.Unavailable: refusal(503, "The service is unavailable, please try again later. The request may have taken effect."),
		} {
			g := newRig(t)
			g.callErr = kind
			r, err := http.NewRequest("GET", "/ehsm?Action=Enroll", nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, g.do(t, r)); diff != "" {
				t.Errorf("%v (-want +got):\n%s", kind, diff)
			}
		}
	})
}

package ehsm_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

func allActions() []string {
	changing, others := ehsm.Actions()
	return append(changing, others...)
}

const testTarget = "bbbbbbbb-bbbb-4ccc-8ddd-eeeeeeeeeeee"

// A payload of each action that changes nothing.
var harmless = map[string]string{
	"Encrypt":                         `{"keyid":"` + testKeyID + `","plaintext":"AAAA"}`,
	"Decrypt":                         `{"keyid":"` + testKeyID + `","ciphertext":"AAAA"}`,
	"AsymmetricEncrypt":               `{"keyid":"` + testKeyID + `","plaintext":"AAAA","padding_mode":"EH_RSA_PKCS1_OAEP"}`,
	"AsymmetricDecrypt":               `{"keyid":"` + testKeyID + `","ciphertext":"AAAA","padding_mode":"EH_RSA_PKCS1_OAEP"}`,
	"GenerateDataKey":                 `{"keyid":"` + testKeyID + `","keylen":16}`,
	"GenerateDataKeyWithoutPlaintext": `{"keyid":"` + testKeyID + `","keylen":16}`,
	"ExportDataKey":                   `{"keyid":"` + testKeyID + `","ukeyid":"` + testTarget + `","olddatakey_base":"AAAA"}`,
	"Sign":                            `{"keyid":"` + testKeyID + `","message":"AAAA","message_type":"EH_RAW","padding_mode":"EH_PAD_NONE","digest_mode":"EH_SHA_256"}`,
	"Verify":                          `{"keyid":"` + testKeyID + `","message":"AAAA","message_type":"EH_RAW","padding_mode":"EH_PAD_NONE","digest_mode":"EH_SHA_256","signature":"AAAA"}`,
	"GenerateMac":                     `{"keyid":"` + testKeyID + `","message":"AAAA"}`,
	"VerifyMac":                       `{"keyid":"` + testKeyID + `","message":"AAAA","mac":"AAAA"}`,
	"GetPublicKey":                    `{"keyid":"` + testKeyID + `"}`,
	"GetParametersForImport":          `{"keyid":"` + testKeyID + `","keyspec":"EH_RSA_2048"}`,
	"ListKey":                         ``,
	"GenerateQuote":                   `{"challenge":"AAAA"}`,
	"VerifyQuote":                     `{"quote":"AAAA","nonce":"AAAA"}`,
	"GetQuotePolicy":                  `{"policyId":"` + testPolicyID + `"}`,
	"ListSecretVersionIds":            oneSecret,
	"ListSecrets":                     ``,
	"DescribeSecret":                  oneSecret,
	"GetSecretValue":                  oneSecret,
}

const (
	oneSecret = `{"secretName":"s"}`
	newSecret = `{"secretName":"s","secretData":"v"}`
)

// And of each other one, but for those that only a v2 signature opens.
var harmful = map[string]string{
	"CreateKey":         `{"keyspec":"EH_AES_GCM_256","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_ENCRYPT_DECRYPT"}`,
	"ImportKeyMaterial": `{"keyid":"` + testKeyID + `","padding_mode":"EH_RSA_PKCS1_OAEP","key_material":"AAAA","importToken":"AAAA"}`,
	"EnableKey":         `{"keyid":"` + testKeyID + `"}`,
	"DisableKey":        `{"keyid":"` + testKeyID + `"}`,
	"DeleteKey":         `{"keyid":"` + testKeyID + `"}`,
	"DeleteAllKey":      ``,
	"DeleteALLKey":      ``,
	"UploadQuotePolicy": `{"mr_enclave":"` + testMRENCLAVE + `","mr_signer":"` + testMRSIGNER + `"}`,
	"CreateSecret":      newSecret,
	"PutSecretValue":    newSecret,
	"UpdateSecretDesc":  `{"secretName":"s","description":"d"}`,
	"DeleteSecret":      oneSecret,
	"RestoreSecret":     oneSecret,
}

// TestSentAsAnotherAction: the action is not signed, so whoever catches a
// request may send it as any (eHSM's weakness S11). Those that change state
// refuse what is not theirs.
func TestSentAsAnotherAction(t *testing.T) {
	// What v1 cannot tell apart. A longer list would be a weakness.
	inherent := map[string]bool{
		"GetPublicKey as DeleteKey": true, "GetPublicKey as EnableKey": true, "GetPublicKey as DisableKey": true,
		"EnableKey as DeleteKey": true, "EnableKey as DisableKey": true, "DisableKey as DeleteKey": true, "DisableKey as EnableKey": true,
		"DeleteKey as EnableKey": true, "DeleteKey as DisableKey": true,
		"ListKey as DeleteAllKey": true, "ListKey as DeleteALLKey": true,
		"DeleteAllKey as DeleteALLKey": true, "DeleteALLKey as DeleteAllKey": true,
		"ListSecrets as DeleteAllKey": true, "ListSecrets as DeleteALLKey": true,
		"CreateSecret as PutSecretValue": true, "PutSecretValue as CreateSecret": true,
	}
	for _, as := range []string{"DeleteSecret", "GetSecretValue", "RestoreSecret", "UpdateSecretDesc"} {
		for _, from := range []string{"DescribeSecret", "ListSecretVersionIds", "GetSecretValue", "DeleteSecret", "RestoreSecret"} {
			inherent[from+" as "+as] = true
		}
	}
	guarded, _ := ehsm.Actions()
	payloads := maps.Clone(harmless)
	maps.Copy(payloads, harmful)
	for from, payload := range payloads {
		for _, as := range guarded {
			if from == as {
				continue
			}
			name := from + " as " + as
			t.Run(name, func(t *testing.T) {
				g := newRig(t)
				got := g.call(t, as, payload)
				if done := got.Code == 200 || len(g.calls) > 0; done != inherent[name] {
					t.Errorf("answer %v, calls %v", got, g.calls)
				}
			})
		}
	}
	t.Run("which are refused", func(t *testing.T) {
		want := []string{"CreateKey", "CreateSecret", "DeleteALLKey", "DeleteAllKey", "DeleteKey", "DeleteSecret", "DisableKey", "EnableKey", "ExportKey", "GenerateMac", "GenerateQuote",
			"GetSecretValue", "ImportKeyMaterial", "PutSecretValue", "RestoreSecret", "Sign", "UpdateSecretDesc", "UploadQuotePolicy", "VerifyQuote"}
		slices.Sort(guarded)
		if diff := cmp.Diff(want, guarded); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a forged message's Verify as its Sign", func(t *testing.T) {
		// With the excess in a name: an EC key needs no padding_mode.
		for _, forged := range []string{
			harmless["Verify"],
			`{"digest_mode":"EH_SHA_256","keyid":"` + testKeyID + `","message":"AAAA","message_type":"EH_RAW","padding_mode=EH_PAD_NONE&signature":"AAAA"}`,
			`{"digest_mode":"EH_SHA_256","keyid":"` + testKeyID + `","message":"AAAA","message_type":"EH_RAW","padding_mode":"EH_PAD_NONE&signature=AAAA"}`,
			`{"digest_mode":"EH_SHA_256","keyid":"` + testKeyID + `","message":"AAAA","message_type":"EH_RAW&padding_mode=EH_PAD_NONE&signature=AAAA"}`,
		} {
			g := newRig(t)
			if got := g.call(t, "Sign", forged); got.Code == 200 || len(g.calls) > 0 {
				t.Errorf("%s: %v", forged, got)
			}
		}
	})
	t.Run("what it says", func(t *testing.T) {
		g := newRig(t)
		want := refusal(400, "Parameter invalid, The plaintext is not a parameter of DeleteKey.")
		if diff := cmp.Diff(want, g.call(t, "DeleteKey", harmless["Encrypt"])); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		want = refusal(400, "Parameter invalid, The keyid is not a parameter of DeleteAllKey.")
		if diff := cmp.Diff(want, g.call(t, "DeleteAllKey", harmless["GetPublicKey"])); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("only one of the two", func(t *testing.T) {
		g := newRig(t)
		body := g.body(harmless["GetPublicKey"], nil)
		g.post(t, "GetPublicKey", body)
		if diff := cmp.Diff(refusal(400, "Timestamp can't be repeated in 20 minutes"), g.post(t, "DeleteKey", body)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("members that say nothing", func(t *testing.T) {
		for _, member := range []string{`"plaintext":""`, `"plaintext":null`, `"":""`, `"keyid ":"x"`} {
			g := newRig(t)
			if got := g.call(t, "DeleteKey", `{"keyid":"`+testKeyID+`",`+member+`}`); got.Code != 400 || len(g.calls) > 0 {
				t.Errorf("%s: %v", member, got)
			}
		}
	})
	t.Run("elements", func(t *testing.T) {
		g := newRig(t)
		want := refusal(400, "Parameter invalid, The 0 is not a parameter of DeleteAllKey.")
		if diff := cmp.Diff(want, g.call(t, "DeleteAllKey", `["x"]`)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a long name is cut", func(t *testing.T) {
		g := newRig(t)
		got := g.call(t, "DeleteAllKey", `{"`+strings.Repeat("é", 5000)+`":1}`)
		if want := refusal(400, "Parameter invalid, The "+strings.Repeat("é", 32)+" is not a parameter of DeleteAllKey."); !cmp.Equal(want, got) {
			t.Errorf("%v", got)
		}
	})
}

// TestSplitDifferently: the signed string escapes nothing, so that other members
// may give the same one (eHSM's weakness S12). Each case is a request of a
// client, and what somebody who caught it makes of it.
func TestSplitDifferently(t *testing.T) {
	const app, stamp = `"appid":"` + testApp + `"`, `"timestamp":"1700000000001"`
	tests := []struct {
		name, original, action, forged string
		want                           reply
	}{
		{
			name:     "the excess in the key id",
			original: `{` + app + `,` + stamp + `,"payload":{"keyid":"` + testKeyID + `","plaintext":"AAAA"}}`,
			action:   "DeleteKey",
			forged:   `{` + app + `,` + stamp + `,"payload":{"keyid":"` + testKeyID + `&plaintext=AAAA"}}`,
			want:     refusal(400, "Parameter invalid, The keyid length error."),
		}, {
			name:     "the excess in a name",
			original: `{` + app + `,` + stamp + `,"payload":{"aad":"AAAA","keyid":"` + testKeyID + `"}}`,
			action:   "DeleteAllKey",
			forged:   `{` + app + `,` + stamp + `,"payload":{"aad=AAAA&keyid":"` + testKeyID + `"}}`,
			want:     refusal(400, "Parameter invalid, The aad=AAAA&keyid is not a parameter of DeleteAllKey."),
		}, {
			name:     "the payload in the nonce",
			original: `{` + app + `,` + stamp + `,"nonce":"2374462904","payload":{"keyid":"` + testKeyID + `"}}`,
			action:   "DeleteAllKey",
			forged:   `{` + app + `,` + stamp + `,"nonce":"2374462904&payload=keyid=` + testKeyID + `"}`,
			want:     refusal(400, "Parameter invalid, The nonce format wrong."),
		}, {
			name:     "the payload in a name in the nonce",
			original: `{` + app + `,` + stamp + `,"nonce":{"a":1},"payload":{"keyid":"` + testKeyID + `"}}`,
			action:   "DeleteAllKey",
			forged:   `{` + app + `,` + stamp + `,"nonce":{"a=1&payload":{"keyid":"` + testKeyID + `"}}}`,
			want:     refusal(400, "Parameter invalid, The nonce format wrong."),
		}, {
			name:     "the payload in the appid",
			original: `{` + app + `,` + stamp + `,"payload":{"keyid":"` + testKeyID + `"}}`,
			action:   "DeleteAllKey",
			forged:   `{"appid":"` + testApp + `&payload=keyid=` + testKeyID + `",` + stamp + `}`,
			want:     refusal(400, "sign error"),
		}, {
			name:     "a member out of a value",
			original: `{` + app + `,` + stamp + `,"payload":{"secretData":"v&secretName=evil"}}`,
			action:   "CreateKey",
			forged:   `{` + app + `,` + stamp + `,"payload":{"secretData":"v","secretName":"evil"}}`,
			want:     refusal(400, "Parameter invalid, The secretData is not a parameter of CreateKey."),
		}, {
			name:     "a name out of a value",
			original: `{` + app + `,` + stamp + `,"payload":{"secretData":"v&secretName=evil","secretName":"s"}}`,
			action:   "PutSecretValue",
			forged:   `{` + app + `,` + stamp + `,"payload":{"secretData":"v","secretName":"evil&secretName=s"}}`,
			want:     refusal(400, "Parameter invalid, The secretName cannot contain &secretName= with a signature of version 1."),
		}, {
			name:     "a value out of a description",
			original: `{` + app + `,` + stamp + `,"payload":{"description":"d&secretData=other","secretData":"v","secretName":"s"}}`,
			action:   "CreateSecret",
			forged:   `{` + app + `,` + stamp + `,"payload":{"description":"d","secretData":"other&secretData=v","secretName":"s"}}`,
			want:     refusal(400, "Parameter invalid, The secretData cannot contain &secretData= with a signature of version 1."),
		}, {
			name:     "an element for a member",
			original: `{` + app + `,` + stamp + `,"payload":{"0":"` + testKeyID + `"}}`,
			action:   "DeleteAllKey",
			forged:   `{` + app + `,` + stamp + `,"payload":["` + testKeyID + `"]}`,
			want:     refusal(400, "Parameter invalid, The 0 is not a parameter of DeleteAllKey."),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			signed, err := wire.StringToSign([]byte(tt.original))
			if err != nil {
				t.Fatal(err)
			}
			if again, err := wire.StringToSign([]byte(tt.forged)); err != nil || !bytes.Equal(signed, again) {
				t.Fatalf("no forgery: %q and %q, %v", signed, again, err)
			}
			g := newRig(t)
			forged := append([]byte(`{"sign":"`+sign(signed)+`",`), tt.forged[1:]...)
			if diff := cmp.Diff(tt.want, g.post(t, tt.action, forged)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(g.calls) > 0 {
				t.Errorf("the core was asked: %v", g.calls)
			}
		})
	}
	t.Run("after the original it is a replay", func(t *testing.T) {
		g := newRig(t)
		original := `{` + app + `,` + stamp + `,"payload":{"keyid":"` + testKeyID + `","plaintext":"AAAA"}}`
		signed, err := wire.StringToSign([]byte(original))
		if err != nil {
			t.Fatal(err)
		}
		mac := `{"sign":"` + sign(signed) + `",`
		if got := g.post(t, "Encrypt", append([]byte(mac), original[1:]...)); got.Code != 200 {
			t.Fatal(got)
		}
		forged := `{` + app + `,` + stamp + `,"payload":{"keyid":"` + testKeyID + `&plaintext=AAAA"}}`
		want := refusal(400, "Timestamp can't be repeated in 20 minutes")
		if diff := cmp.Diff(want, g.post(t, "Encrypt", append([]byte(mac), forged[1:]...))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestStrangersLearnNothing: a payload is looked at only once its sender is
// known, and an unknown app looks like a wrong signature.
func TestStrangersLearnNothing(t *testing.T) {
	want := refusal(400, "sign error")
	for _, payload := range []string{goodEncrypt, `{"keyid":7}`, `{}`, `["x"]`} {
		for _, set := range []members{
			{"sign": quote(sign([]byte("x")))},
			{"appid": `"99999999-2222-4333-8444-555555555555"`},
			{"appid": `"x"`},
		} {
			g := newRig(t)
			for _, action := range allActions() {
				if action == "GetVersion" || action == "Enroll" {
					continue // by GET
				}
				if diff := cmp.Diff(want, g.post(t, action, g.body(payload, set))); diff != "" {
					t.Errorf("%s %s (-want +got):\n%s", action, payload, diff)
				}
			}
		}
	}
}

func TestReplay(t *testing.T) {
	g := newRig(t)
	body := g.body(`{"keyspec":"EH_AES_GCM_256","origin":"EH_INTERNAL_KEY"}`, nil)
	if got := g.post(t, "CreateKey", body); got.Code != 200 {
		t.Fatal(got)
	}
	want := refusal(400, "Timestamp can't be repeated in 20 minutes")
	if diff := cmp.Diff(want, g.post(t, "CreateKey", body)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	t.Run("another spelling of the signature is none", func(t *testing.T) {
		// The last character of a MAC's base64 has two bits to spare.
		at := bytes.IndexByte(body, '=') - 1
		body[at]++
		if diff := cmp.Diff(refusal(400, "sign error"), g.post(t, "CreateKey", body)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestCredential checks all that the facade tells the core of the sender.
func TestCredential(t *testing.T) {
	id, err := kms.ParseCredentialID(testApp)
	if err != nil {
		t.Fatal(err)
	}
	g := newRig(t)
	body := g.body(`{}`, members{"nonce": "17.0"})
	g.post(t, "ListKey", body)
	signed := fmt.Sprintf("appid=%s&nonce=17&payload=&timestamp=%d", testApp, g.millis)
	want := kms.Credential{Scheme: kms.SchemeEHSMv1, ID: id, Known: true, Signed: []byte(signed),
		MAC: wire.MAC([]byte(testKey), []byte(signed)), Time: g.creds[0].Time, Nonce: "17"}
	if diff := cmp.Diff(want, g.creds[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := g.creds[0].Time.UnixMilli(); got != g.millis {
		t.Errorf("time %d, want %d", got, g.millis)
	}
}

// TestPlaintextsAreWiped holds on to every plaintext that passed through,
// against the rules, to see that none is left.
func TestPlaintextsAreWiped(t *testing.T) {
	g := newRig(t)
	wiped := func(what string, b []byte) {
		t.Helper()
		if len(b) == 0 || !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("%s: %q is left", what, b)
		}
	}
	g.call(t, "Encrypt", goodEncrypt)
	wiped("what was encrypted", g.held)
	g.call(t, "Decrypt", harmless["Decrypt"])
	wiped("what was decrypted", g.data)
	g.call(t, "GenerateDataKey", harmless["GenerateDataKey"])
	wiped("the data key", g.data)
	g.call(t, "AsymmetricDecrypt", harmless["AsymmetricDecrypt"])
	wiped("what was decrypted with a private key", g.data)
	g.call(t, "ImportKeyMaterial", harmful["ImportKeyMaterial"])
	wiped("what was imported", g.held)
	g.callV2(t, "ExportKey", harmless["GetPublicKey"])
	wiped("what was exported", g.data)
	g.callErr = kms.Unavailable
	g.call(t, "Decrypt", harmless["Decrypt"])
	wiped("what was decrypted in vain", g.data)
	g.callV2(t, "ExportKey", harmless["GetPublicKey"])
	wiped("what was exported in vain", g.data)

	g.callErr = nil
	var sent keeper
	r := post("/ehsm?Action=Decrypt", nil)
	received := &keeper{from: bytes.NewReader(g.body(harmless["Decrypt"], nil))}
	r.Body, r.ContentLength = received, -1
	g.handler.ServeHTTP(&sent, r)
	wiped("the request's body", received.kept)
	wiped("the reply", sent.kept)
}

// A keeper is both ends of a connection, and holds on to the memory that it is
// given: what it read into first, or was written from last.
type keeper struct {
	from *bytes.Reader
	kept []byte
}

func (k *keeper) Read(p []byte) (int, error) {
	n, err := k.from.Read(p)
	if n > 0 {
		k.kept = p[:n]
	}
	return n, err
}

func (k *keeper) Write(p []byte) (int, error) {
	k.kept = p
	return len(p), nil
}

func (*keeper) Close() error        { return nil }
func (*keeper) Header() http.Header { return http.Header{} }
func (*keeper) WriteHeader(int)     {}

// TestRustSDK sends what eHSM's Rust SDK sends: a nonce of decimal digits,
// members sorted, and a signature over text with every quote removed, which for
// ids, base64 and enumerations is the canonical string.
func TestRustSDK(t *testing.T) {
	const nonce, stamp = "13475936459872364591", "1700000000001"
	tests := []struct{ action, payload, signed string }{
		{"CreateKey", `{"keyspec":"EH_AES_GCM_256","keyusage":"EH_KEYUSAGE_ENCRYPT_DECRYPT","origin":"EH_INTERNAL_KEY"}`,
			"keyspec=EH_AES_GCM_256&keyusage=EH_KEYUSAGE_ENCRYPT_DECRYPT&origin=EH_INTERNAL_KEY"},
		{"GenerateDataKey", `{"aad":"YWFk","keyid":"` + testKeyID + `","keylen":48}`, "aad=YWFk&keyid=" + testKeyID + "&keylen=48"},
		{"ListKey", ``, ""},
	}
	for _, tt := range tests {
		t.Run(tt.action, func(t *testing.T) {
			signed := "appid=" + testApp + "&nonce=" + nonce
			body := `{"appid":"` + testApp + `","nonce":"` + nonce + `",`
			if tt.payload != "" {
				signed += "&payload=" + tt.signed
				body += `"payload":` + tt.payload + `,`
			}
			signed += "&timestamp=" + stamp
			body += `"sign":"` + sign([]byte(signed)) + `","timestamp":"` + stamp + `"}`
			g := newRig(t)
			if got := g.post(t, tt.action, []byte(body)); got.Code != 200 {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestVectors sends the published requests as they are. V4 has members that its
// action refuses, which only those are told whose signature is good.
func TestVectors(t *testing.T) {
	const head = `{"appid":"` + testApp + `","timestamp":"1700000000000","sign":`
	v4 := `"iEbH/UGklKf4uQdjcjU9fscGFHk0ap4NkU17XucghEY=","nonce":"","payload":{"secretName":"s","secretData":"p&q=%20+é","description":"","B":"upper",` +
		`"a":{"z":1,"b":true,"c":false,"d":0,"e":null},"l":["x","y"],"m":[],"o":{},"f":1.5,"zero":"0"}}`
	tests := []struct{ name, action, body string }{
		{"V1", "CreateKey", head + `"j4tMA4Ug/cdOr0bm4LdPj1taocu/MlTFa2CbspUDvlY=","payload":{"keyspec":"EH_AES_GCM_256","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_ENCRYPT_DECRYPT"}}`},
		{"V2", "GenerateDataKey", head + `"qd8+fIkdUHxzqlbqK3b3UItCav/XbHw1JpFFGhwpeUQ=","nonce":"2374462904","payload":{"keylen":16,"keyid":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee","aad":"YWFk"}}`},
		{"V3", "ListKey", head + `"fbv89UpublE2ZVEKKhYdMsMhS/kuxuaOfMFjTDxu6AU="}`},
		{"V4", "CreateSecret", head + v4},
		{"V5", "ListKey", head + `"UPlk+3hS0+2BC0ELDGplHtoqrRjSpB8WnPDZtgnmew0=","payload":{}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t)
			if got := g.post(t, tt.action, []byte(tt.body)); got.Code != 200 && !strings.HasSuffix(got.Message, " is not a parameter of CreateSecret.") {
				t.Errorf("%v", got)
			}
			at := strings.Index(tt.body, `"sign":"`) + len(`"sign":"`)
			upper := tt.body[:at] + strings.ToUpper(tt.body[at:at+44]) + tt.body[at+44:] // as eHSM's documents have it
			if got := g.post(t, tt.action, []byte(upper)); got.Message != "sign error" {
				t.Errorf("signature in upper case: %v", got)
			}
		})
	}
}

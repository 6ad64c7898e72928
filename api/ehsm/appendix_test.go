package ehsm_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/kms"
)

// everyPayload has a good payload of each signed action.
func everyPayload() map[string]string {
	all := maps.Clone(harmless)
	maps.Copy(all, harmful)
	all["ExportKey"] = harmless["GetPublicKey"]
	return all
}

// TestAppendixA walks what eHSM's documents and its code say differently, where
// both are to be accepted. Rows that are not marked so are in the catalogue: the
// signature's case in TestVectors, the window in TestEnvelopeErrors, keylen in
// TestPayloadErrors; messages of secrets in TestSecretManager.
func TestAppendixA(t *testing.T) {
	key := `"keyid":"` + testKeyID + `"`
	signing := func(over string) string {
		return `{` + key + `,"message":"` + b64("hello") + `","message_type":"EH_RAW"` + over + `}`
	}
	create := func(over string) string { return `{"keyspec":"EH_RSA_2048"` + over + `}` }
	exporting := func(name string) string {
		return `{` + key + `,"ukeyid":"` + testTarget + `","` + name + `":"` + b64("wrapped") + `"}`
	}
	importing := func(padding, token string) string {
		return `{` + key + `,"padding_mode":"` + padding + `","key_material":"` + b64("wrapped") + `","` + token + `":"` + b64("token") + `"}`
	}
	encrypting := func(padding string) string {
		return `{` + key + `,"plaintext":"AAAA","padding_mode":"` + padding + `"}`
	}
	rows := []struct {
		topic, action string
		alike         []string // the code's spelling first
	}{
		{"export field", "ExportDataKey", []string{exporting("olddatakey_base"), exporting("olddatakey"), exporting("old_data_key")}},
		{"import token field", "ImportKeyMaterial", []string{importing("EH_RSA_PKCS1", "importToken"), importing("EH_RSA_PKCS1", "ImportToken")}},
		{"padding names, import", "ImportKeyMaterial", []string{importing("EH_RSA_PKCS1_OAEP", "importToken"), importing("EH_PAD_RSA_PKCS1_OAEP", "importToken")}},
		{"padding names, import", "ImportKeyMaterial", []string{importing("EH_RSA_PKCS1", "importToken"), importing("EH_PAD_RSA_PKCS1", "importToken")}},
		{"padding names, OAEP", "AsymmetricEncrypt", []string{encrypting("EH_RSA_PKCS1_OAEP"), encrypting("EH_PAD_RSA_PKCS1_OAEP")}},
		{"padding names, PKCS #1", "AsymmetricEncrypt", []string{encrypting("EH_RSA_PKCS1"), encrypting("EH_PAD_RSA_PKCS1")}},
		{"padding names, PSS", "Sign", []string{signing(`,"padding_mode":"EH_RSA_PKCS1_PSS"`), signing(`,"padding_mode":"EH_PAD_RSA_PKCS1_PSS"`)}},
		{"padding names, export", "ExportDataKey", []string{exporting("olddatakey_base"), exporting(`padding_mode":"EH_PAD_RSA_PKCS1_OAEP","olddatakey_base`)}},
		{"defaults", "Sign", []string{signing(""), signing(`,"padding_mode":null,"digest_mode":""`)}},
		{"forced delete field", "DeleteSecret", []string{`{"secretName":"s","forceDelete":"true"}`, `{"secretName":"s","force_delete":"true"}`}},
		{"key usage", "CreateKey", []string{create(`,"origin":"EH_INTERNAL_KEY"`), create(`,"origin":"EH_INTERNAL_KEY","keyusage":null`)}},
	}
	for _, row := range rows {
		t.Run(row.topic, func(t *testing.T) {
			var calls []call
			for _, p := range row.alike {
				g := newRig(t)
				if got := g.call(t, row.action, p); got.Code != 200 || len(g.calls) != 1 {
					t.Fatalf("%s: %v", p, got)
				}
				calls = append(calls, g.calls...)
			}
			for _, other := range calls[1:] {
				if diff := cmp.Diff(calls[0], other, cmp.Comparer(sameBinding)); diff != "" {
					t.Errorf("(-first +other):\n%s", diff)
				}
			}
		})
	}
	t.Run("action DeleteALLKey", func(t *testing.T) {
		g := newRig(t)
		g.call(t, "DeleteAllKey", "")
		g.call(t, "DeleteALLKey", "")
		if diff := cmp.Diff([]call{{Op: "DeleteAllKeys"}, {Op: "DeleteAllKeys"}}, g.calls); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("external keys", func(t *testing.T) {
		g := newRig(t)
		g.call(t, "CreateKey", create(`,"origin":"EH_EXTERNAL_KEY"`))
		if r, ok := g.calls[0].Arg.(kms.CreateKeyRequest); !ok || r.Origin != kms.Imported {
			t.Errorf("%+v", g.calls)
		}
	})
}

// TestSpellings: of two spellings the first that is set counts, and each is the
// action's own.
func TestSpellings(t *testing.T) {
	want := map[string][][2]string{
		"DeleteSecret":      {{"forceDelete", "force_delete"}},
		"ExportDataKey":     {{"olddatakey_base", "olddatakey"}, {"olddatakey_base", "old_data_key"}},
		"ImportKeyMaterial": {{"importToken", "ImportToken"}},
	}
	if diff := cmp.Diff(want, ehsm.Spellings()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	g := newRig(t)
	got := g.call(t, "ImportKeyMaterial", `{"keyid":"`+testKeyID+`","padding_mode":"EH_RSA_PKCS1","key_material":"AAAA","importToken":"`+b64("first")+`","ImportToken":"`+b64("second")+`"}`)
	if r, ok := g.calls[0].Arg.(kms.ImportRequest); got.Code != 200 || !ok || string(r.Token) != "first" {
		t.Errorf("%v, %+v", got, g.calls)
	}
}

// TestAppendixB checks what eHSM's three SDKs see of every success: status and
// envelope (in parseReply), "success" in the message. The rest of the list is in
// TestPaths, TestEnvelopeErrors and the walks over a real core.
func TestAppendixB(t *testing.T) {
	payloads := everyPayload()
	for _, action := range allActions() {
		g := newRig(t)
		got := reply{}
		if p, signed := payloads[action]; signed {
			got = g.callV2(t, action, p)
		} else {
			r := post("/ehsm?Action="+action, nil)
			r.Method = "GET"
			got = g.do(t, r)
		}
		scheduled := action == "DeleteSecret" // whose words for it are eHSM's all the same
		if got.Code != 200 || got.Null || !scheduled && !strings.Contains(strings.ToLower(got.Message), "success") {
			t.Errorf("%s: %v", action, got)
		}
	}
}

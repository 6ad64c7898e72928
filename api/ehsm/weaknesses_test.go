package ehsm_test

import (
	"bytes"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	v2 "github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
)

// What eHSM did wrong (numbers as in the list of its weaknesses), as attacks on
// this facade. S9, S10 and D2 are in TestReferenceImport; S11 and S12 with a v1
// signature in TestSentAsAnotherAction and TestSplitDifferently.

// TestS8FailedDecryption: a decryption that failed was answered 200, with what
// the host's memory held. Here it is an error, even if the core let slip bytes.
func TestS8FailedDecryption(t *testing.T) {
	g := newRig(t)
	g.callErr = kms.DecryptFailed
	for _, action := range []string{"Decrypt", "AsymmetricDecrypt"} {
		w := httptest.NewRecorder()
		g.handler.ServeHTTP(w, post("/ehsm?Action="+action, g.body(harmless[action], nil)))
		body := w.Body.Bytes()
		if bytes.Contains(body, []byte("plaintext")) || bytes.Contains(body, []byte(b64("opened "))) {
			t.Errorf("%s: %s", action, body)
		}
		if diff := cmp.Diff(unopened, parseJSON(t, body)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", action, diff)
		}
	}
	s := newSite(t)
	rsaID, sm2ID := s.create("EH_RSA_2048", internal, encrypts), s.create("EH_SM2", internal, encrypts)
	for _, n := range []int{1, 255, 256, 257, 6144} {
		s.want(unopened, "AsymmetricDecrypt", payload{"keyid": rsaID, "ciphertext": make([]byte, n), "padding_mode": oaep})
		s.want(unopened, "AsymmetricDecrypt", payload{"keyid": sm2ID, "ciphertext": make([]byte, n), "padding_mode": oaep})
	}
}

// TestS11WithV2: an action that is signed cannot be sent as another, also where
// both take the same.
func TestS11WithV2(t *testing.T) {
	alike := [][2]string{
		{"GetPublicKey", "DeleteKey"}, {"EnableKey", "DeleteKey"}, {"DisableKey", "EnableKey"}, {"GetPublicKey", "ExportKey"},
		{"ListKey", "DeleteAllKey"}, {"GenerateDataKeyWithoutPlaintext", "GenerateDataKey"}, {"Verify", "Sign"}, {"VerifyMac", "GenerateMac"},
	}
	payloads := everyPayload()
	for _, pair := range alike {
		g := newRig(t)
		body := bodyV2(payloads[pair[0]])
		caught := g.postV2(t, "/ehsm?Action="+pair[0], body)
		sent := post("/ehsm?Action="+pair[1], body)
		sent.Header = caught.Header
		if diff := cmp.Diff(refusal(400, "sign error"), g.do(t, sent)); diff != "" || len(g.calls) > 0 {
			t.Errorf("%s as %s (-want +got):\n%s", pair[0], pair[1], diff)
		}
		sent = post("/ehsm?Action="+pair[1], body) // and without the header there is no signature at all
		if diff := cmp.Diff(refusal(400, "Missing required parameters"), g.do(t, sent)); diff != "" {
			t.Errorf("%s as %s, without signature (-want +got):\n%s", pair[0], pair[1], diff)
		}
	}
}

// TestS12WithV2: bodies that share a v1 signature do not share this one.
func TestS12WithV2(t *testing.T) {
	g := newRig(t)
	original := bodyV2(`{"aad":"AAAA","keyid":"` + testKeyID + `","plaintext":"AAAA"}`)
	split := bodyV2(`{"aad":"AAAA&keyid=` + testKeyID + `&plaintext=AAAA"}`)
	caught := g.postV2(t, "/ehsm?Action=Encrypt", original)
	sent := post("/ehsm?Action=Encrypt", split)
	sent.Header = caught.Header
	if diff := cmp.Diff(refusal(400, "sign error"), g.do(t, sent)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := g.do(t, caught); got.Code != 200 {
		t.Errorf("the original: %v", got)
	}
	if caught.Header.Get(v2.HeaderName) == "" {
		t.Error("no signature was sent")
	}
}

// TestS23NoOracle: eHSM told apart whether the padding of PKCS #1 v1.5 was good,
// which decrypts anything and signs as well (Bleichenbacher 1998). Here every
// ciphertext of the right length opens, to the same bytes each time.
func TestS23NoOracle(t *testing.T) {
	s := newSite(t)
	id := s.create("EH_RSA_2048", internal, encrypts)
	open := func(sealed []byte) reply {
		return s.ask("AsymmetricDecrypt", payload{"keyid": id, "ciphertext": sealed, "padding_mode": pkcs1})
	}
	good := s.get("AsymmetricEncrypt", "ciphertext", payload{"keyid": id, "plaintext": hello, "padding_mode": pkcs1})
	if got := text(open(good), "plaintext"); got != b64("hello") {
		t.Fatalf("a good one opens to %q", got)
	}
	seen := map[string]bool{}
	for i := range 20 {
		bad := bytes.Clone(good)
		bad[100+i] ^= 1
		first, again := open(bad), open(bad)
		if first.Code != 200 || first.Message != "success!" || first.Result["plaintext"] == nil {
			t.Errorf("a bad one: %v", first)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("not the same again (-first +again):\n%s", diff)
		}
		seen[text(first, "plaintext")] = true
	}
	if len(seen) < 19 || seen[b64("hello")] { // one in 2048 may be empty, or be short
		t.Errorf("20 bad ones open to %d different plaintexts", len(seen))
	}
	for _, n := range []int{1, 255, 257} { // everybody knows the length
		if diff := cmp.Diff(unopened, open(make([]byte, n))); diff != "" {
			t.Errorf("%d bytes (-want +got):\n%s", n, diff)
		}
	}
}

// TestD1NoSurpriseExpiry: keys expired after a year, and vanished before. It is
// in TestReferenceManagement that they are listed so; here, that one still works.
func TestD1NoSurpriseExpiry(t *testing.T) {
	s := newSite(t)
	id := s.create("EH_AES_GCM_256", internal, encrypts)
	sealed := s.get("Encrypt", "ciphertext", payload{"keyid": id, "plaintext": hello})
	const tenYears = 10 * 365 * 24 * window * 6
	s.d.Nodes[0].Clock.Move(tenYears)
	s.millis += tenYears.Milliseconds()
	s.want(succeeded("success!", map[string]any{"plaintext": b64("hello")}), "Decrypt", payload{"keyid": id, "ciphertext": sealed})
}

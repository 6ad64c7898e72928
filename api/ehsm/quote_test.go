package ehsm_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

const testPolicyID = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"

var (
	testMRENCLAVE = strings.Repeat("a", 64)
	testMRSIGNER  = strings.Repeat("b", 64)
)

// goodVerdict is that of vector V6.
func goodVerdict() kms.QuoteVerdict {
	return kms.QuoteVerdict{Valid: true, TEE: "sgx", MRENCLAVE: bytes.Repeat([]byte{0xaa}, 32), MRSIGNER: bytes.Repeat([]byte{0xbb}, 32),
		ReportData: bytes.Repeat([]byte{0xcc}, 64), Status: "UpToDate",
		ValidFrom: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), ValidUntil: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}
}

// verdictResult is how it is answered.
func verdictResult() map[string]any {
	return map[string]any{"mr_enclave": testMRENCLAVE, "mr_signer": testMRSIGNER, "report_data": strings.Repeat("c", 128),
		"result": true, "nonce": "bm9uY2U=", "tee": "sgx", "simulated": false, "tcb_status": "UpToDate", "tcb_advisories": []any{},
		"valid_from": "2026-01-01T00:00:00Z", "valid_until": "2026-01-31T00:00:00Z"}
}

func TestGenerateQuote(t *testing.T) {
	g := newRig(t)
	want := succeeded("success!", map[string]any{"challenge": "YR==", "quote": b64("quote"), "collateral": b64("collateral"), "tee": "sgx",
		"domain": "01" + strings.Repeat("0", 62), "policy_serial": 7.0, "policy_digest": "02" + strings.Repeat("0", 62)})
	// YR== is YQ==, spelled as nobody else spells it; it comes back as it was.
	if diff := cmp.Diff(want, g.call(t, "GenerateQuote", `{"challenge":"YR=="}`)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]call{{"GenerateQuote", kms.QuoteRequest{Challenge: []byte("a")}}}, g.calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	longest := strings.Repeat("AAAA", 1024)
	if got := g.call(t, "GenerateQuote", `{"challenge":"`+longest+`"}`); text(got, "challenge") != longest {
		t.Errorf("the longest challenge: %v", got)
	}
}

func TestVerifyQuote(t *testing.T) {
	g := newRig(t)
	want := succeeded("success!", verdictResult())
	got := g.call(t, "VerifyQuote", `{"quote":"`+b64("q")+`","nonce":"bm9uY2U="}`)
	checkReplySign(t, g, got)
	delete(got.Result, "sign")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	g.call(t, "UploadQuotePolicy", harmful["UploadQuotePolicy"])
	g.calls = nil
	got = g.call(t, "VerifyQuote", `{"quote":"`+b64("q")+`","nonce":"bm9uY2U=","policyId":"`+testPolicyID+`","collateral":"`+b64("c")+`"}`)
	checkReplySign(t, g, got)
	if text(got, "policyId") != testPolicyID {
		t.Errorf("%v", got)
	}
	id := policyID(testPolicyID)
	if diff := cmp.Diff([]call{{"VerifyQuote", kms.VerifyQuoteRequest{Quote: []byte("q"), Collateral: []byte("c"), Policy: &id}}}, g.calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	g.keyless = true
	if got := g.call(t, "VerifyQuote", harmless["VerifyQuote"]); got.Code != 200 || got.Result["sign"] != nil || got.Result["result"] != true {
		t.Errorf("to a caller without a key: %v", got)
	}
	if got := g.call(t, "VerifyQuote", `{"quote":"AAAA","nonce":"AAAA","policyId":null}`); got.Code != 200 || got.Result["policyId"] != nil {
		t.Errorf("a policy of null: %v", got)
	}
}

// checkReplySign checks sign over all other members of a result.
func checkReplySign(t *testing.T, g *rig, got reply) {
	t.Helper()
	rest := maps.Clone(got.Result)
	delete(rest, "sign")
	object, err := json.Marshal(rest)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := wire.Canonical(object)
	if err != nil {
		t.Fatal(err)
	}
	if text(got, "sign") != sign(signed) || !bytes.Equal(signed, g.signed) {
		t.Errorf("%v is not signed as\n%s\n%s", got, signed, g.signed)
	}
}

// TestReplySignExtendsVectors: without the members that eHSM does not have, what
// is signed is that of vectors V6.
func TestReplySignExtendsVectors(t *testing.T) {
	g := newRig(t)
	g.call(t, "VerifyQuote", `{"quote":"AAAA","nonce":"bm9uY2U="}`)
	for _, ours := range []string{"&report_data=" + strings.Repeat("c", 128), "&tcb_status=UpToDate", "&tee=sgx",
		"&valid_from=2026-01-01T00:00:00Z", "&valid_until=2026-01-31T00:00:00Z"} {
		if !bytes.Contains(g.signed, []byte(ours)) {
			t.Errorf("%q is not signed", ours)
		}
		g.signed = bytes.Replace(g.signed, []byte(ours), nil, 1)
	}
	if want := "mr_enclave=" + testMRENCLAVE + "&mr_signer=" + testMRSIGNER + "&nonce=bm9uY2U=&result=true"; string(g.signed) != want {
		t.Errorf("%s", g.signed)
	}
	if got := sign(g.signed); got != "2anvRQOy0A1F9CtRwzBNpwj679YVQdi/Dfqd69+IeVk=" {
		t.Errorf("sign %s", got)
	}
}

func TestVerifyQuoteOfOtherTEEs(t *testing.T) {
	register := func(b byte) []byte { return bytes.Repeat([]byte{b}, 48) }
	for name, row := range map[string]struct {
		verdict kms.QuoteVerdict
		want    map[string]string
	}{
		"tdx": {kms.QuoteVerdict{MRTD: register(1), RTMR: [4][]byte{register(2), register(3), register(4), register(5)}, Advisories: []string{"INTEL-SA-00289", "INTEL-SA-00615"}},
			map[string]string{"mrtd": strings.Repeat("01", 48), "rtmr0": strings.Repeat("02", 48), "rtmr3": strings.Repeat("05", 48)}},
		"snp": {kms.QuoteVerdict{Measurement: register(6)}, map[string]string{"measurement": strings.Repeat("06", 48)}},
	} {
		g := newRig(t)
		g.verdict = row.verdict
		g.verdict.Valid, g.verdict.TEE, g.verdict.Simulated = true, name, true
		got := g.call(t, "VerifyQuote", harmless["VerifyQuote"])
		checkReplySign(t, g, got)
		if got.Code != 200 || got.Result["simulated"] != true || got.Result["mr_enclave"] != nil {
			t.Errorf("%s: %v", name, got)
		}
		for member, want := range row.want {
			if text(got, member) != want {
				t.Errorf("%s: %s is %q", name, member, text(got, member))
			}
		}
	}
}

func TestRefusedQuotes(t *testing.T) {
	for _, tt := range []struct {
		name    string
		verdict kms.QuoteVerdict
		message string
	}{
		{"revoked", kms.QuoteVerdict{Reason: "revoked", Detail: "PCK certificate: the vendor revoked a certificate", MRENCLAVE: make([]byte, 32)},
			"Quote refused (revoked): PCK certificate: the vendor revoked a certificate"},
		{"without a word", kms.QuoteVerdict{}, "Quote refused (malformed)"},
		{"words that steer a terminal", kms.QuoteVerdict{Reason: "malformed", Detail: "a\x1b[2Jb\u202ec\n\xff"}, "Quote refused (malformed): a[2Jbc"},
		{"endless words", kms.QuoteVerdict{Reason: "malformed", Detail: strings.Repeat("x", 1<<16)}, "Quote refused (malformed): " + strings.Repeat("x", 256)},
		{"valid of nothing", kms.QuoteVerdict{Valid: true, TEE: "sgx"}, "Quote refused (malformed)"},
		{"an advisory that is another member", kms.QuoteVerdict{Valid: true, MRENCLAVE: make([]byte, 32), Advisories: []string{"SA&tee=snp"}}, "Quote refused (malformed)"},
		{"an advisory that is a string's end", kms.QuoteVerdict{Valid: true, MRENCLAVE: make([]byte, 32), Advisories: []string{`SA"`}}, "Quote refused (malformed)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t)
			g.verdict = tt.verdict
			if diff := cmp.Diff(refusal(400, tt.message), g.call(t, "VerifyQuote", harmless["VerifyQuote"])); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if g.signed != nil {
				t.Errorf("signed %q", g.signed)
			}
		})
	}
}

// TestReplySignIsNoRequest: the caller has a word in what is signed under its
// API key, and gets no request out of it.
func TestReplySignIsNoRequest(t *testing.T) {
	const forged = "appid=" + testApp + "&timestamp=1700000000001"
	for _, nonce := range []string{
		"x&" + forged, forged, "&" + forged, "AAAA&" + forged, "AAAA\\n" + forged, "AAA=" + "&appid=" + testApp, "\\u0026" + forged,
		"appid=", "appid=AA", "holdfast request signature v2 key", "",
	} {
		g := newRig(t)
		if got := g.call(t, "VerifyQuote", `{"quote":"AAAA","nonce":"`+nonce+`"}`); got.Code != 400 || g.signed != nil {
			t.Errorf("nonce %q: %v, signed %q", nonce, got, g.signed)
		}
	}
	for _, nonce := range []string{"appidAA=", "AAAA", "////", "++==", "YR==", strings.Repeat("appi", 1024)} {
		g := newRig(t)
		if got := g.call(t, "VerifyQuote", `{"quote":"AAAA","nonce":"`+nonce+`"}`); got.Code != 200 || text(got, "nonce") != nonce {
			t.Errorf("nonce %q: %v", nonce, got)
		}
		if !kms.IsQuoteReply(g.signed) || bytes.Count(g.signed, []byte("&nonce="+nonce+"&")) != 1 || bytes.HasPrefix(g.signed, []byte("appid")) {
			t.Errorf("signed %q", g.signed)
		}
	}
	t.Run("nonces that are no text", func(t *testing.T) {
		for _, nonce := range []string{`{"a&appid":"x"}`, `["x&appid=y"]`, `7`, `true`} {
			g := newRig(t)
			if got := g.call(t, "VerifyQuote", `{"quote":"AAAA","nonce":`+nonce+`}`); got.Code != 400 || g.signed != nil {
				t.Errorf("nonce %s: %v", nonce, got)
			}
		}
	})
	t.Run("no request is signed as a reply", func(t *testing.T) {
		for action, p := range everyPayload() {
			g := newRig(t)
			g.call(t, action, p)
			if len(g.creds) != 1 || kms.IsQuoteReply(g.creds[0].Signed) || !bytes.HasPrefix(g.creds[0].Signed, []byte("appid="+testApp+"&")) {
				t.Errorf("%s: %+v", action, g.creds)
			}
		}
	})
	t.Run("no label of a key is a reply", func(t *testing.T) {
		for s := kms.Scheme(1); s.Valid(); s++ {
			if kms.IsQuoteReply([]byte(s.KeyLabel())) {
				t.Errorf("%v", s)
			}
		}
	})
}

// FuzzReplySign: whatever is asked and whatever the verdict says, what is signed
// is a reply, or nothing is.
func FuzzReplySign(f *testing.F) {
	f.Add("bm9uY2U=", "UpToDate", "INTEL-SA-00615", []byte{1}, uint8(0))
	f.Add("x&appid=1", "a=b&c", "&", []byte{}, uint8(1))
	f.Fuzz(func(t *testing.T, nonce, status, advisory string, measurement []byte, tee uint8) {
		g := newRig(t)
		v := &g.verdict
		*v = kms.QuoteVerdict{Valid: true, TEE: "sgx", Status: status, Advisories: []string{advisory}, ReportData: measurement}
		switch tee % 3 {
		case 0:
			v.MRENCLAVE = measurement
		case 1:
			v.MRTD = measurement
		default:
			v.Measurement = measurement
		}
		payload, err := json.Marshal(map[string]string{"quote": "AAAA", "nonce": nonce})
		if err != nil {
			t.Fatal(err)
		}
		got := g.call(t, "VerifyQuote", string(payload))
		if (got.Code == 200) != (g.signed != nil) {
			t.Errorf("%v, signed %q", got, g.signed)
		}
		if g.signed != nil && (!kms.IsQuoteReply(g.signed) || strings.Count(string(g.signed), "&") > 8) {
			t.Errorf("signed %q", g.signed)
		}
	})
}

func TestQuotePolicies(t *testing.T) {
	g := newRig(t)
	mixed := strings.Repeat("aAfF", 16)
	want := succeeded("Upload quote policy success.", map[string]any{"policyId": testPolicyID})
	if diff := cmp.Diff(want, g.call(t, "UploadQuotePolicy", `{"mr_enclave":"`+mixed+`","mr_signer":"`+strings.ToUpper(testMRSIGNER)+`"}`)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want = succeeded("Query quote policy success.", map[string]any{"policyId": testPolicyID, "mr_enclave": strings.ToLower(mixed), "mr_signer": testMRSIGNER,
		"createTime": 1_700_000_000_000.0})
	if diff := cmp.Diff(want, g.call(t, "GetQuotePolicy", harmless["GetQuotePolicy"])); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	const unknown, impossible = "dddddddd-dddd-4ddd-8ddd-dddddddddddd", "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz"
	for _, id := range []string{unknown, impossible} {
		want = succeeded("Query quote policy success.", map[string]any{"policyId": id})
		if diff := cmp.Diff(want, g.call(t, "GetQuotePolicy", `{"policyId":"`+id+`"}`)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		got := g.call(t, "VerifyQuote", `{"quote":"AAAA","nonce":"AAAA","policyId":"`+id+`"}`)
		if diff := cmp.Diff(refusal(400, "Invalid  policyId."), got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	// The zero id is an id like any other, and not the lack of one.
	if got := g.call(t, "VerifyQuote", `{"quote":"AAAA","nonce":"AAAA","policyId":"00000000-0000-0000-0000-000000000000"}`); got.Message != "Invalid  policyId." {
		t.Errorf("the zero id: %v", got)
	}
}

func TestQuoteErrors(t *testing.T) {
	only := succeeded("Query quote policy success.", map[string]any{"policyId": testPolicyID})
	later := refusal(503, "The service is unavailable, please try again later. The request may have taken effect.")
	for _, tt := range []struct {
		action string
		kind   kms.Kind
		want   reply
	}{
		{"GenerateQuote", kms.NotFound, refusal(404, "API Not Found")},
		{"GenerateQuote", kms.Unavailable, later},
		{"VerifyQuote", kms.NotFound, refusal(400, "Invalid  policyId.")},
		{"VerifyQuote", kms.Foreign, refusal(400, "Invalid  policyId.")},
		{"VerifyQuote", kms.Unavailable, later},
		{"GetQuotePolicy", kms.NotFound, only},
		{"GetQuotePolicy", kms.Foreign, only},
		{"GetQuotePolicy", kms.Denied, refusal(403, "The credential does not allow this action.")},
		{"GetQuotePolicy", kms.Internal, refusal(500, "Server internal error, please contact the administrator.")},
		{"UploadQuotePolicy", kms.Exhausted, refusal(429, "A quota or rate is used up, please try again later.")},
	} {
		g := newRig(t)
		g.callErr = tt.kind
		if diff := cmp.Diff(tt.want, g.call(t, tt.action, everyPayload()[tt.action])); diff != "" {
			t.Errorf("%s, %v (-want +got):\n%s", tt.action, tt.kind, diff)
		}
	}
}

func TestQuotePayloads(t *testing.T) {
	empty := func(name string) reply {
		return refusal(400, "Missing required parameters, The "+name+" cannot be empty.")
	}
	invalid := func(name, what string) reply { return refusal(400, "Parameter invalid, The "+name+" "+what+".") }
	long := strings.Repeat("AAAA", 1025)
	for _, tt := range []struct {
		name, action, payload string
		want                  reply
	}{
		{"none", "GenerateQuote", ``, empty("challenge")},
		{"challenge empty", "GenerateQuote", `{"challenge":""}`, empty("challenge")},
		{"challenge a number", "GenerateQuote", `{"challenge":1}`, invalid("challenge", "must be of string type")},
		{"challenge not base64", "GenerateQuote", `{"challenge":"?"}`, invalid("challenge", "not a vailed base64 string")},
		{"challenge of 4100", "GenerateQuote", `{"challenge":"` + long + `"}`, invalid("challenge", "length error")},
		{"member of another action", "GenerateQuote", `{"challenge":"AAAA","nonce":"AAAA"}`, invalid("nonce", "is not a parameter of GenerateQuote")},

		{"quote missing", "VerifyQuote", `{"nonce":"AAAA"}`, empty("quote")},
		{"quote not base64", "VerifyQuote", `{"quote":"A","nonce":"AAAA"}`, invalid("quote", "not a vailed base64 string")},
		{"quote of 10928", "VerifyQuote", `{"quote":"` + strings.Repeat("AAAA", 2732) + `","nonce":"AAAA"}`, invalid("quote", "length error")},
		{"nonce missing", "VerifyQuote", `{"quote":"AAAA"}`, empty("nonce")},
		{"nonce not base64", "VerifyQuote", `{"quote":"AAAA","nonce":"?"}`, invalid("nonce", "not a vailed base64 string")},
		{"nonce of 4100", "VerifyQuote", `{"quote":"AAAA","nonce":"` + long + `"}`, invalid("nonce", "length error")},
		{"policy too short", "VerifyQuote", `{"quote":"AAAA","nonce":"AAAA","policyId":"x"}`, invalid("policyId", "length error")},
		{"policy in upper case", "VerifyQuote", `{"quote":"AAAA","nonce":"AAAA","policyId":"` + strings.ToUpper(testPolicyID) + `"}`, invalid("policyId", "format wrong")},
		{"policy a number", "VerifyQuote", `{"quote":"AAAA","nonce":"AAAA","policyId":7}`, invalid("policyId", "must be of string type")},
		{"collateral not base64", "VerifyQuote", `{"quote":"AAAA","nonce":"AAAA","collateral":"{}"}`, invalid("collateral", "not a vailed base64 string")},
		{"collateral of 65540", "VerifyQuote", `{"quote":"AAAA","nonce":"AAAA","collateral":"` + strings.Repeat("AAAA", 16385) + `"}`, invalid("collateral", "length error")},

		{"mr_enclave missing", "UploadQuotePolicy", `{"mr_signer":"` + testMRSIGNER + `"}`, empty("mr_enclave")},
		{"mr_enclave too short", "UploadQuotePolicy", `{"mr_enclave":"aa","mr_signer":"` + testMRSIGNER + `"}`, invalid("mr_enclave", "length error")},
		{"mr_enclave too long", "UploadQuotePolicy", `{"mr_enclave":"` + testMRENCLAVE + `a","mr_signer":"` + testMRSIGNER + `"}`, invalid("mr_enclave", "length error")},
		{"mr_enclave not hexadecimal", "UploadQuotePolicy", `{"mr_enclave":"` + strings.Repeat("g", 64) + `","mr_signer":"` + testMRSIGNER + `"}`, invalid("mr_enclave", "format wrong")},
		{"mr_enclave beyond ASCII", "UploadQuotePolicy", `{"mr_enclave":"` + strings.Repeat("é", 64) + `","mr_signer":"` + testMRSIGNER + `"}`, invalid("mr_enclave", "format wrong")},
		{"mr_signer missing", "UploadQuotePolicy", `{"mr_enclave":"` + testMRENCLAVE + `"}`, empty("mr_signer")},
		{"mr_signer a number", "UploadQuotePolicy", `{"mr_enclave":"` + testMRENCLAVE + `","mr_signer":7}`, invalid("mr_signer", "must be of string type")},
		{"member that nothing would keep", "UploadQuotePolicy", `{"mr_enclave":"` + testMRENCLAVE + `","mr_signer":"` + testMRSIGNER + `","isv_svn":1}`, invalid("isv_svn", "is not a parameter of UploadQuotePolicy")},

		{"policy missing", "GetQuotePolicy", `{}`, empty("policyId")},
		{"policy with other letters", "GetQuotePolicy", `{"policyId":"` + strings.Repeat("_", 36) + `"}`, invalid("policyId", "format wrong")},
	} {
		t.Run(tt.action+", "+tt.name, func(t *testing.T) {
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

// TestCallersWithoutQuotes: a caller that is no Quoter has no such actions.
func TestCallersWithoutQuotes(t *testing.T) {
	g := newRig(t)
	h := ehsm.New(ehsm.Config{Authenticate: func(ctx context.Context, c kms.Credential) (ehsm.Caller, error) {
		caller, err := g.Authenticate(ctx, c)
		return struct{ ehsm.Caller }{caller}, err
	}})
	g.handler = h
	for _, action := range []string{"GenerateQuote", "VerifyQuote", "UploadQuotePolicy", "GetQuotePolicy"} {
		if diff := cmp.Diff(refusal(404, "API Not Found"), g.call(t, action, everyPayload()[action])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", action, diff)
		}
	}
}

// TestReferenceQuotes walks 3.4 over a real core.
func TestReferenceQuotes(t *testing.T) {
	s := newSite(t)
	made := s.ask("GenerateQuote", payload{"challenge": []byte("challenge")})
	if made.Code == 404 {
		t.Skip("SKIPPED: NO QUOTE IS MADE. The core's callers are no ehsm.Quoter yet.")
	}
	quote, collateral := text(made, "quote"), text(made, "collateral")
	if made.Message != "success!" || text(made, "challenge") != b64("challenge") || quote == "" {
		t.Fatal(made)
	}
	verifying := func(quote string, more payload) payload {
		p := payload{"quote": quote, "nonce": []byte("nonce")}
		if collateral != "" {
			p["collateral"] = collateral
		}
		maps.Copy(p, more)
		return p
	}
	got := s.ask("VerifyQuote", verifying(quote, nil))
	if got.Code != 200 || got.Message != "success!" || got.Result["result"] != true || text(got, "nonce") != b64("nonce") {
		t.Fatal(got)
	}
	s.checkSign(got)

	upload := func(mrenclave, mrsigner string) string {
		up := s.ask("UploadQuotePolicy", payload{"mr_enclave": mrenclave, "mr_signer": mrsigner})
		if up.Message != "Upload quote policy success." || len(text(up, "policyId")) != 36 {
			t.Fatal(up)
		}
		return text(up, "policyId")
	}
	mrenclave, mrsigner := text(got, "mr_enclave"), text(got, "mr_signer")
	fitting := upload(strings.ToUpper(mrenclave), mrsigner)
	got = s.ask("VerifyQuote", verifying(quote, payload{"policyId": fitting}))
	if got.Code != 200 || got.Result["result"] != true || text(got, "mr_enclave") != mrenclave {
		t.Error(got)
	}
	for what, id := range map[string]string{"enclave": upload(testMRENCLAVE, mrsigner), "signer": upload(mrenclave, testMRSIGNER)} {
		if got := s.ask("VerifyQuote", verifying(quote, payload{"policyId": id})); got.Code < 400 || !strings.Contains(got.Message, "identity_not_admitted") {
			t.Errorf("policy of another %s: %v", what, got)
		}
	}
	raw, err := base64.StdEncoding.DecodeString(quote)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 60, 120, 400, 500, len(raw) - 1} {
		raw[i] ^= 1
		if got := s.ask("VerifyQuote", verifying(base64.StdEncoding.EncodeToString(raw), nil)); got.Code < 400 {
			t.Errorf("byte %d altered: %v", i, got)
		}
		raw[i] ^= 1
	}

	stored := s.ask("GetQuotePolicy", payload{"policyId": fitting})
	if stored.Message != "Query quote policy success." || text(stored, "mr_enclave") != mrenclave || text(stored, "mr_signer") != mrsigner || stored.Result["createTime"] == nil {
		t.Error(stored)
	}
	other := s.enrol()
	other.want(succeeded("Query quote policy success.", map[string]any{"policyId": fitting}), "GetQuotePolicy", payload{"policyId": fitting})
	other.want(refusal(400, "Invalid  policyId."), "VerifyQuote", verifying(quote, payload{"policyId": fitting}))
}

// checkSign checks the MAC of a reply under the app's own key.
func (s *site) checkSign(got reply) {
	s.t.Helper()
	mac := text(got, "sign")
	delete(got.Result, "sign")
	object, err := json.Marshal(got.Result)
	if err != nil {
		s.t.Fatal(err)
	}
	signed, err := wire.Canonical(object)
	if err != nil || mac != base64.StdEncoding.EncodeToString(wire.MAC([]byte(s.apiKey), signed)) {
		s.t.Errorf("not signed as %s: %v", signed, err)
	}
}

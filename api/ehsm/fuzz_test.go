package ehsm_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
)

// isBase64 is eHSM's rule in its own words.
var isBase64 = regexp.MustCompile(`^[a-zA-Z0-9+/]+={0,2}$`)

func FuzzBase64(f *testing.F) {
	for _, s := range []string{"", "QUJD", "YQ==", "YR==", "YWI=", "====", "AAA", "AAAA\n", "AAAA\r\r\r\r", "AA\r\nAA", "AA-_", "A===", "AAAA====", "AA=A", "AAAAAAA\n", "\nAAAA\n\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		dst := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
		n, ok := ehsm.DecodeBase64(dst, s)
		if want := len(s)%4 == 0 && isBase64.Match(s); ok != want {
			t.Fatalf("%q: %v, want %v", s, ok, want)
		}
		if !ok {
			return
		}
		// What it decodes to must encode to the same, but for the spare bits.
		again := base64.StdEncoding.EncodeToString(dst[:n])
		keep := len(s)
		for keep > 0 && s[keep-1] == '=' {
			keep--
		}
		if keep < len(s) {
			keep--
		}
		if again[:keep] != string(s[:keep]) {
			t.Fatalf("%q decodes to %q", s, dst[:n])
		}
	})
}

// FuzzHandler: whatever is sent is answered, in JSON with all members or with a
// page, and nobody gets in without a signature.
func FuzzHandler(f *testing.F) {
	g := newRig(f)
	for _, action := range allActions() {
		f.Add("POST", "Action="+action, "application/json", g.body(goodEncrypt, nil))
	}
	f.Add("GET", "Action=Enroll", "", []byte(nil))
	f.Add("PUT", "Action=Encrypt&Action=Decrypt", "text/plain", []byte("{"))
	f.Fuzz(func(t *testing.T, method, query, contentType string, body []byte) {
		g := newRig(t)
		r := post("/ehsm", body)
		r.Method, r.URL.RawQuery = method, query
		r.Header.Set("Content-Type", contentType)
		if got := g.do(t, r); got.Status == 200 && got.Code == 200 && method != "GET" && len(g.seen) == 0 {
			t.Fatalf("let in: %v", got)
		}
	})
}

// FuzzPayload signs arbitrary payloads, so that the checks behind the signature
// see them, and sends them as every action.
func FuzzPayload(f *testing.F) {
	for _, payload := range harmless {
		f.Add([]byte(`{"payload":` + payload + `}`))
	}
	f.Add([]byte(`{"nonce":"a&b","payload":{"keyid":"` + testKeyID + `"}}`))
	f.Add([]byte(`{"payload":{"keyspec":"EH_EC_P256","origin":"EH_INTERNAL_KEY"}}`))
	f.Fuzz(func(t *testing.T, request []byte) {
		r, err := wire.Parse(request)
		if err != nil {
			return
		}
		clash := len(r.Signed) == 0 || r.AppID.Kind() != wire.Absent || r.Timestamp.Kind() != wire.Absent || r.Sign.Kind() != wire.Absent
		r.Release()
		if clash || request[0] != '{' {
			return
		}
		for _, action := range allActions() {
			g := newRig(t)
			body := append([]byte(`{"appid":"`+testApp+`","timestamp":"1700000000001",`), request[1:]...)
			signed, err := wire.StringToSign(body)
			if err != nil {
				return // at a limit
			}
			body = append([]byte(`{"sign":"`+sign(signed)+`",`), body[1:]...)
			w := httptest.NewRecorder()
			g.handler.ServeHTTP(w, post("/ehsm?Action="+action, body))
			resp := w.Result()
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: status %d for %q", action, resp.StatusCode, body)
			}
			got := parseReply(t, resp)
			// An id that eHSM could have given out and we cannot is answered like an
			// unknown one, which both of these answer with success.
			unasked := action == "DeleteKey" || action == "GetQuotePolicy"
			if (got.Code == 200) != (len(g.calls) > 0) && !unasked {
				t.Fatalf("%s: %v, calls %v", action, got, g.calls)
			}
		}
	})
}

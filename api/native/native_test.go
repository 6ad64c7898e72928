package native_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/api/native"
	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

const jsonType = "application/json"

func TestVerdicts(t *testing.T) {
	if missing := native.MissingVerdicts(); len(missing) > 0 {
		t.Errorf("no answer to %v", missing)
	}
	for _, k := range kms.Kinds() {
		code, kind, message := native.Verdict(k)
		if code == 0 || kind == "" || message == "" || code == connect.CodeUnknown {
			t.Errorf("%v: %v %q %q", k, code, kind, message)
		}
	}
	for procedure, kinds := range native.Reasons() {
		if !strings.HasPrefix(procedure, native.Prefix) || kinds[kms.Internal] != "" || kinds[kms.Unauthenticated] != "" {
			t.Errorf("%s has words of its own for %v", procedure, kinds)
		}
	}
}

// TestErrors lets the core fail in each way, and looks at what leaves.
func TestErrors(t *testing.T) {
	f := newFake()
	h := f.handler()
	for _, k := range kms.Kinds() {
		code, kind, _ := native.Verdict(k)
		f.err = kms.Errorf(k, "reading: %w", errSecret).WithField("a_field").WithHint("secret words").WithFile("secret words")
		w := do(h, request(service+"ListCredentials", jsonType, "{}", f))
		mustNotLeak(t, w)
		var said struct {
			Code    string
			Message string
			Details []struct {
				Type  string
				Debug struct{ Kind, Field string }
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || w.Code == 200 {
			t.Fatalf("%v: %d %s", k, w.Code, w.Body)
		}
		if said.Code != code.String() || len(said.Details) != 1 || said.Details[0].Debug.Kind != kind || said.Message == "" {
			t.Errorf("%v: %+v", k, said)
		}
		if field := said.Details[0].Debug.Field; (field == "a_field") != (k == kms.Invalid) {
			t.Errorf("%v names the field %q", k, field)
		}
	}
	f.err = errSecret
	w := do(h, request(service+"ListCredentials", jsonType, "{}", f))
	if mustNotLeak(t, w); w.Code != 500 {
		t.Errorf("an error without a kind: %d", w.Code)
	}
}

// TestJSON is what a person with curl would send and see.
func TestJSON(t *testing.T) {
	f := newFake()
	w := do(f.handler(), request(service+"CreateCredential", jsonType, `{"name":"ci","permissions":["use","read"],"expires":"2030-01-02T03:04:05Z"}`, f))
	mustNotLeak(t, w)
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	want := map[string]any{"apiKey": apiKey, "credential": map[string]any{"id": kms.CredentialID{1}.String(), "name": "ci",
		"permissions": []any{"use", "read"}, "created": "2023-11-14T22:13:20Z", "expires": "2030-01-02T03:04:05Z"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	asked := kms.CreateCredentialRequest{Name: "ci", Permissions: kms.PermUse | kms.PermRead, Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
	if diff := cmp.Diff([]any{asked}, f.calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if w = do(f.handler(), request(service+"ListCredentials", jsonType+"; charset=utf-8", "{}", f)); w.Code != 200 {
		t.Errorf("with a charset: %d %s", w.Code, w.Body)
	}
	if w = do(f.handler(), request("/holdfast.v1.EnrolmentService/Enrol", jsonType, `{"ticket":"a"}`, nil)); w.Code != 200 || !strings.Contains(w.Body.String(), apiKey) {
		t.Errorf("enrolling: %d %s", w.Code, w.Body)
	}
}

// TestUnsigned: whatever is wrong with who calls looks the same, and nothing is done.
func TestUnsigned(t *testing.T) {
	f := newFake()
	h := f.handler()
	edit := func(e func(*http.Request)) *http.Request {
		r := request(service+"ListCredentials", jsonType, "{}", f)
		e(r)
		return r
	}
	header := func(s string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(signature.HeaderName, s) }
	}
	body := func(s string) func(*http.Request) {
		return func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader(s)), int64(len(s)) }
	}
	first := ""
	for name, r := range map[string]*http.Request{
		"no signature": request(service+"ListCredentials", jsonType, "{}", nil),
		"nonsense":     edit(header("nonsense")),
		"an empty one": edit(header("")),
		"two": edit(func(r *http.Request) {
			r.Header[signature.HeaderName] = append(r.Header[signature.HeaderName], r.Header[signature.HeaderName][0])
		}),
		"another body":            edit(body("{ }")),
		"no body":                 edit(body("")),
		"another host":            edit(func(r *http.Request) { r.Host = "elsewhere" }),
		"a Host header beside":    edit(func(r *http.Request) { r.Header.Set("Host", "elsewhere") }),
		"another method's":        edit(func(r *http.Request) { r.URL.Path = service + "RevokeCredential"; r.RequestURI = r.URL.Path }),
		"a path that was changed": edit(func(r *http.Request) { r.URL.Path = service + "RevokeCredential" }),
		"a query":                 edit(func(r *http.Request) { r.URL.RawQuery = "a=b"; r.RequestURI += "?a=b" }),
		"an unknown credential":   edit(header("v=2, credential=" + kms.CredentialID{9}.String() + ", time=1, nonce=AAAAAAAAAAAAAAAAAAAAAA, binding=none, mac=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
		"tied to another connection": edit(func(r *http.Request) {
			header(strings.Replace(r.Header.Get(signature.HeaderName), "none", "tls-exporter", 1))(r)
		}),
		"an empty session":             edit(func(r *http.Request) { r.Header[api.SessionHeader] = []string{""} }),
		"two sessions":                 edit(func(r *http.Request) { r.Header[api.SessionHeader] = []string{"a", "b"} }),
		"a malformed one by a session": edit(func(r *http.Request) { header("x")(r); r.Header.Set(api.SessionHeader, "a") }),
	} {
		w := do(h, r)
		mustNotLeak(t, w)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if first == "" {
			first = w.Body.String()
		}
		if w.Body.String() != first {
			t.Errorf("%s: %s, others %s", name, w.Body, first)
		}
	}
	if f.count() != 0 {
		t.Errorf("%d calls got through", f.count())
	}
}

// What else a request shows gets to the core as it is.
func TestCredentialOf(t *testing.T) {
	f := newFake()
	r := request(service+"ListCredentials", jsonType, "{}", f)
	r.Header.Set(api.SessionHeader, "a ticket")
	if w := do(f.handler(), r); w.Code != 200 || f.asked.Session != "a ticket" || f.asked.Scheme != kms.SchemeV2 || f.asked.ID != f.id || !f.asked.Known {
		t.Errorf("%d %+v", w.Code, f.asked)
	}
	r = request(service+"ListCredentials", jsonType, "{}", nil)
	r.Header.Set(api.SessionHeader, "a ticket")
	if w := do(f.handler(), r); w.Code != 403 || f.asked.Scheme != kms.SchemeSession || f.asked.Session != "a ticket" || f.asked.MAC != nil {
		t.Errorf("%d %+v", w.Code, f.asked)
	}
}

// TestHostile sends what is signed and wrong.
func TestHostile(t *testing.T) {
	f := newFake()
	h := f.handler()
	const protoType = "application/proto"
	unknown, err := proto.Marshal(&holdfastv1.Credential{Id: "x", Expires: timestamppb.Now()}) // field 5: more than the request has
	if err != nil {
		t.Fatal(err)
	}
	nested := strings.Repeat(`{"name":`, 5000) + strings.Repeat(`}`, 5000)
	for _, c := range []struct {
		name, procedure, contentType, body string
		status                             int
	}{
		{"an unknown member", "CreateCredential", jsonType, `{"permissions":["use"],"limit":1}`, 400},
		{"a member twice", "CreateCredential", jsonType, `{"name":"a","name":"b","permissions":["use"]}`, 400},
		{"both of its names", "RotateCredential", jsonType, `{"grace_seconds":1,"graceSeconds":2}`, 400},
		{"two documents", "ListCredentials", jsonType, `{}{}`, 400},
		{"nothing", "ListCredentials", jsonType, ``, 400},
		{"null", "ListCredentials", jsonType, `null`, 400},
		{"an array", "ListCredentials", jsonType, `[]`, 400},
		{"no UTF-8", "CreateCredential", jsonType, "{\"name\":\"\xff\",\"permissions\":[\"use\"]}", 400},
		{"deep", "CreateCredential", jsonType, nested[:15000], 400},
		{"a number that does not fit", "RotateCredential", jsonType, `{"id":"` + kms.CredentialID{}.String() + `","graceSeconds":4294967296}`, 400},
		{"a negative one", "RotateCredential", jsonType, `{"graceSeconds":-1}`, 400},
		{"permissions that are none", "CreateCredential", jsonType, `{"permissions":["admin"]}`, 400},
		{"a permission twice", "CreateCredential", jsonType, `{"permissions":["use","use"]}`, 400},
		{"no permissions", "CreateCredential", jsonType, `{"name":"x"}`, 400},
		{"a time that is none", "CreateCredential", jsonType, `{"permissions":["use"],"expires":"tomorrow"}`, 400},
		{"an id that is none", "RevokeCredential", jsonType, `{"id":"../x"}`, 400},
		{"an id in upper case", "RevokeCredential", jsonType, `{"id":"AAAAAAAA-0000-0000-0000-000000000000"}`, 400},
		{"an unknown field", "ListCredentials", protoType, string(unknown), 400},
		{"cut short", "CreateCredential", protoType, "\x0a\x7fabc", 400},
		{"a group", "CreateCredential", protoType, "\x0b", 400},
		{"a time out of range", "CreateCredential", protoType, "\x12\x03use\x1a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x10\x01", 400},
		{"gRPC without a frame", "ListCredentials", "application/grpc", "", 200},
		{"gRPC with a long frame", "ListCredentials", "application/grpc+proto", "\x00\xff\xff\xff\xff", 200},
		{"gRPC compressed", "ListCredentials", "application/grpc+proto", "\x01\x00\x00\x00\x01x", 200},
		{"a stream", "ListCredentials", "application/connect+json", "\x00\x00\x00\x00\x02{}", 415},
		{"text", "ListCredentials", "text/plain", "{}", 415},
		{"a form", "ListCredentials", "application/x-www-form-urlencoded", "a=b", 415},
		{"no type", "ListCredentials", "", "{}", 415},
		{"no such procedure", "DropTables", jsonType, "{}", 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := f.count()
			w := do(h, request(service+c.procedure, c.contentType, c.body, f))
			if w.Code != c.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if c.status == 200 && (w.Header().Get("Grpc-Status") == "0" || w.Result().Trailer.Get("Grpc-Status") == "0") {
				t.Errorf("%v %v", w.Header(), w.Result().Trailer)
			}
			if f.count() != before {
				t.Errorf("it got through: %v", f.calls[before:])
			}
			if strings.Contains(w.Body.String(), "limit") || strings.Contains(w.Body.String(), "admin") {
				t.Errorf("the request is quoted: %s", w.Body)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	f := newFake()
	h := f.handler()
	long := `{"name":"` + strings.Repeat("a", 17<<10) + `"}`
	if w := do(h, request(service+"CreateCredential", jsonType, long, f)); w.Code != 400 || !strings.Contains(w.Body.String(), "too_large") || f.count() != 0 {
		t.Errorf("a long request: %d %s", w.Code, w.Body)
	}
	if w := do(h, request("/holdfast.v1.EnrolmentService/Enrol", jsonType, `{"ticket":"`+strings.Repeat("a", 300<<10)+`"}`, nil)); w.Code != 400 || f.count() != 0 {
		t.Errorf("a long ticket: %d %s", w.Code, w.Body)
	}
	for _, name := range []string{"Content-Encoding", "Grpc-Encoding", "Connect-Content-Encoding"} {
		for _, encoding := range []string{"gzip", "br", "zstd"} {
			r := request(service+"ListCredentials", jsonType, "{}", f)
			r.Header.Set(name, encoding)
			if w := do(h, r); w.Code != 415 || f.count() != 0 {
				t.Errorf("%s: %s: %d %s", name, encoding, w.Code, w.Body)
			}
		}
	}
	r := request(service+"ListCredentials", jsonType, "{}", f)
	r.Header.Set("Accept-Encoding", "gzip")
	if w := do(h, r); w.Header().Get("Content-Encoding") != "" {
		t.Error("an answer is compressed")
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS", "HEAD"} {
		r := request(service+"ListCredentials", jsonType, "{}", f)
		r.Method = method
		if w := do(h, r); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
	for _, path := range []string{"/", "/holdfast.v1.", "/holdfast.v1.Nothing/Do", "/holdfast.v1.CredentialService", "/holdfast.v2.CredentialService/ListCredentials"} {
		if w := do(h, request(path, jsonType, "{}", f)); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestEnrol(t *testing.T) {
	f := newFake()
	h := f.handler()
	const path = "/holdfast.v1.EnrolmentService/Enrol"
	for _, body := range []string{`{}`, `{"ticket":"t"}`, `{"attested":{"challenge":"AQID","evidence":{"tee":"sgx","quote":"AQ==","collateral":"Ag=="}}}`} {
		if w := do(h, request(path, jsonType, body, nil)); w.Code != 200 {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	want := []any{"open", "t", kms.AttestedEnrolment{Challenge: []byte{1, 2, 3}, Evidence: kms.Evidence{TEE: "sgx", Quote: []byte{1}, Collateral: []byte{2}}}}
	if diff := cmp.Diff(want, f.calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if w := do(h, request(path, jsonType, `{"ticket":"t","attested":{}}`, nil)); w.Code != 400 {
		t.Errorf("both: %d", w.Code)
	}
	// Nobody enrols where there is nobody to do it.
	closed := native.New(native.Config{Authenticate: f.authenticate})
	if w := do(closed, request(path, jsonType, `{}`, nil)); w.Code != 404 {
		t.Errorf("without an Enroller: %d", w.Code)
	}
	for k, word := range map[kms.Kind]string{kms.Expired: "expired", kms.Exists: "used before", kms.Foreign: "another domain", kms.Denied: "does not let"} {
		f.err = kms.Errorf(k, "secret words")
		if w := do(h, request(path, jsonType, `{}`, nil)); !strings.Contains(w.Body.String(), word) {
			t.Errorf("%v: %s", k, w.Body)
		} else {
			mustNotLeak(t, w)
		}
	}
}

func TestNewNeedsAuthenticate(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("served without knowing anybody")
		}
	}()
	native.New(native.Config{})
}

// FuzzRequest sends what it likes: nothing that is not signed gets through, and
// nothing falls over.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{"{}", `{"name":"a"}`, "\x00\x00\x00\x00\x00", "\x0a\x01a"} {
		for _, c := range []string{jsonType, "application/proto", "application/grpc", "application/grpc-web+json"} {
			f.Add("ListCredentials", c, "", s, false)
			f.Add("CreateCredential", c, "v=2, credential=", s, true)
		}
	}
	f.Fuzz(func(t *testing.T, procedure, contentType, header, body string, signed bool) {
		core := newFake()
		r, err := http.NewRequest(http.MethodPost, "http://host"+service+"x", strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		r.URL.Path = service + procedure
		r.RequestURI = r.URL.RequestURI()
		r.Header.Set("Content-Type", contentType)
		r.Header.Set(signature.HeaderName, header)
		if signed {
			sign(r, body, core.id)
		}
		w := do(core.handler(), r)
		if w.Code < 200 || w.Code > 599 {
			t.Errorf("status %d", w.Code)
		}
		if !signed && core.count() != 0 {
			t.Errorf("it got through: %s", fmt.Sprint(core.calls))
		}
	})
}

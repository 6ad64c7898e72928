package ehsm_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v2 "github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
)

// bodyV2 is a request's body where a header has the signature.
func bodyV2(payload string) []byte {
	if payload == "" {
		return []byte("{}")
	}
	return []byte(`{"payload":` + payload + `}`)
}

// header makes a header that is good for what is signed. Each has a time and a
// nonce of its own.
func (g *rig) header(t testing.TB, what *v2.Request, binding v2.Binding) *v2.Header {
	t.Helper()
	g.millis++
	id, err := kms.ParseCredentialID(g.app)
	if err != nil {
		t.Fatal(err)
	}
	h := &v2.Header{Credential: id, TimeMillis: g.millis, Binding: binding}
	binary.BigEndian.PutUint64(h.Nonce[:], uint64(g.millis))
	v2.Sign([]byte(g.apiKey), h, what)
	return h
}

// postV2 is a signed request, tied to no connection.
func (g *rig) postV2(t testing.TB, target string, body []byte) *http.Request {
	t.Helper()
	r := post(target, body)
	h := g.header(t, &v2.Request{Method: "POST", Host: r.Host, Target: target, BodyHash: sha256.Sum256(body)}, v2.BindNone)
	r.Header.Set(v2.HeaderName, h.String())
	return r
}

func (g *rig) callV2(t testing.TB, action, payload string) reply {
	t.Helper()
	return g.do(t, g.postV2(t, "/ehsm?Action="+action, bodyV2(payload)))
}

func TestV2ServesEveryAction(t *testing.T) {
	payloads := everyPayload()
	for _, action := range allActions() {
		payload, ok := payloads[action]
		if !ok {
			if action != "GetVersion" && action != "Enroll" {
				t.Errorf("%s was not tried", action)
			}
			continue
		}
		g := newRig(t)
		if got := g.callV2(t, action, payload); got.Code != 200 || len(g.calls) != 1 {
			t.Errorf("%s: %v, %d calls", action, got, len(g.calls))
		}
		if g.creds[0].Scheme != kms.SchemeV2 {
			t.Errorf("%s: scheme %v", action, g.creds[0].Scheme)
		}
	}
}

// TestV2Faults: whatever is wrong with a signature looks like a wrong one.
func TestV2Faults(t *testing.T) {
	edit := func(change func(h *v2.Header)) func(r *http.Request) {
		return func(r *http.Request) {
			h, err := v2.Parse(r.Header.Get(v2.HeaderName))
			if err != nil {
				t.Fatal(err)
			}
			change(h)
			r.Header.Set(v2.HeaderName, h.String())
		}
	}
	set := func(value ...string) func(r *http.Request) {
		return func(r *http.Request) { r.Header[v2.HeaderName] = value }
	}
	send := func(target string) func(r *http.Request) {
		return func(r *http.Request) { r.URL, r.RequestURI = httptest.NewRequest("POST", target, nil).URL, target }
	}
	tests := map[string]func(r *http.Request){
		"another action":            send("/ehsm?Action=DeleteKey"),
		"another path":              send("/ehsm/?Action=GetPublicKey"),
		"another case of the path":  send("/EHSM?Action=GetPublicKey"),
		"more query":                send("/ehsm?Action=GetPublicKey&x=y"),
		"an empty member of query":  send("/ehsm?Action=GetPublicKey&"),
		"another spelling of query": send("/ehsm?Action=%47etPublicKey"),
		"absolute form":             func(r *http.Request) { r.RequestURI = "https://example.com" + r.RequestURI },
		"URL changed on the way":    func(r *http.Request) { r.URL.RawQuery = "Action=DeleteKey" },
		"another host":              func(r *http.Request) { r.Host = "example.org" },
		"another port":              func(r *http.Request) { r.Host += ":9000" },
		"a dot behind the host":     func(r *http.Request) { r.Host += "." },
		"no host":                   func(r *http.Request) { r.Host = "" },
		"a second host":             func(r *http.Request) { r.Header.Set("Host", "example.org") },
		"another body":              func(r *http.Request) { r.Body = post("/", bodyV2(`{"keyid":"`+testTarget+`"}`)).Body },
		"a space in the body":       func(r *http.Request) { r.Body = post("/", append(bodyV2(harmless["GetPublicKey"]), ' ')).Body },
		"another time":              edit(func(h *v2.Header) { h.TimeMillis++ }),
		"a time long ago":           edit(func(h *v2.Header) { h.TimeMillis = 0 }),
		"another nonce":             edit(func(h *v2.Header) { h.Nonce[15] ^= 1 }),
		"another MAC":               edit(func(h *v2.Header) { h.MAC[0] ^= 1 }),
		"another credential":        edit(func(h *v2.Header) { h.Credential[0] ^= 1 }),
		"bound, but not by TLS":     edit(func(h *v2.Header) { h.Binding = v2.BindExporter }),
		"unknown binding":           edit(func(h *v2.Header) { h.Binding = "other" }),
		"the header empty":          set(""),
		"the header twice":          func(r *http.Request) { h := r.Header.Get(v2.HeaderName); set(h, h)(r) },
		"the header and an empty one": func(r *http.Request) {
			set(r.Header.Get(v2.HeaderName), "")(r)
		},
		"the header joined":         func(r *http.Request) { h := r.Header.Get(v2.HeaderName); set(h + ", " + h)(r) },
		"something else":            set("Bearer token"),
		"a signature of version 1":  set(sign([]byte("x"))),
		"version 2 of another key":  set("v=2, credential=" + testApp + ", time=1700000000001, nonce=AAAAAAAAAAAAAAAAAAAAAA, binding=none, mac=" + strings.Repeat("A", 43)),
		"a URL without a signature": func(r *http.Request) { r.RequestURI = "" },
	}
	for name, alter := range tests {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			r := g.postV2(t, "/ehsm?Action=GetPublicKey", bodyV2(harmless["GetPublicKey"]))
			alter(r)
			if diff := cmp.Diff(refusal(400, "sign error"), g.do(t, r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(g.calls) > 0 || len(g.seen) > 0 {
				t.Errorf("calls %v, accepted %d", g.calls, len(g.seen))
			}
		})
	}
	signed := map[string]func(h *v2.Request){
		"method signed as PUT":     func(r *v2.Request) { r.Method = "PUT" },
		"method in lower case":     func(r *v2.Request) { r.Method = "post" },
		"target without its query": func(r *v2.Request) { r.Target = "/ehsm" },
		"target decoded":           func(r *v2.Request) { r.Target = "/ehsm?Action=Get PublicKey" },
		"exporter of nothing":      func(r *v2.Request) { r.Exporter = make([]byte, 32) },
	}
	for name, alter := range signed {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			body := bodyV2(harmless["GetPublicKey"])
			r := post("/ehsm?Action=GetPublicKey", body)
			what := &v2.Request{Method: "POST", Host: r.Host, Target: "/ehsm?Action=GetPublicKey", BodyHash: sha256.Sum256(body)}
			alter(what)
			r.Header.Set(v2.HeaderName, g.header(t, what, v2.BindNone).String())
			if diff := cmp.Diff(refusal(400, "sign error"), g.do(t, r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestV2Replay: what only the holder of the key can cause is told apart.
func TestV2Replay(t *testing.T) {
	g := newRig(t)
	body := bodyV2("")
	r := g.postV2(t, "/ehsm?Action=ListKey", body)
	again := post("/ehsm?Action=ListKey", body)
	again.Header = r.Header.Clone()
	if got := g.do(t, r); got.Code != 200 {
		t.Fatal(got)
	}
	if diff := cmp.Diff(refusal(400, "Timestamp can't be repeated in 20 minutes"), g.do(t, again)); diff != "" {
		t.Errorf("again (-want +got):\n%s", diff)
	}
	for name, d := range map[string]time.Duration{"early": window, "late": -window} {
		g.millis = g.now.Add(d).UnixMilli() - 1
		if diff := cmp.Diff(refusal(400, "Timestamp error"), g.callV2(t, "ListKey", "")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestV2Bodies: the members of a v1 signature mean nothing, except that one must
// not be there.
func TestV2Bodies(t *testing.T) {
	listed := succeeded("successful", map[string]any{"list": []any{}})
	missing, shape := refusal(400, "Missing required parameters"), refusal(400, "param type error")
	tests := []struct {
		name, action, body string
		want               reply
	}{
		{"no payload", "ListKey", `{}`, listed},
		{"an array", "ListKey", `[]`, listed},
		{"members of v1", "ListKey", `{"appid":7,"nonce":"a&b","timestamp":"long ago"}`, listed},
		{"members of v1, where payloads are checked", "DeleteAllKey", `{"appid":"x","nonce":"a&b","timestamp":1}`, succeeded("successful", map[string]any{})},
		{"a payload missing", "Encrypt", `{}`, missing},
		{"a payload that is none", "Encrypt", `{"payload":"x"}`, shape},
		{"a payload that is none, not needed", "ListKey", `{"payload":7}`, shape},
		{"a sign of v1", "ListKey", `{"sign":"AAAA"}`, refusal(400, "sign error")},
		{"a sign that is null", "ListKey", `{"sign":null}`, refusal(400, "sign error")},
		{"a foreign member", "DeleteKey", `{"payload":{"keyid":"` + testKeyID + `","plaintext":"AAAA"}}`,
			refusal(400, "Parameter invalid, The plaintext is not a parameter of DeleteKey.")},
		{"unknown action", "MakeCoffee", `{}`, refusal(404, "API Not Found")},
		{"not JSON", "ListKey", `{`, refusal(400, "Invalid JSON")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t)
			if diff := cmp.Diff(tt.want, g.do(t, g.postV2(t, "/ehsm?Action="+tt.action, []byte(tt.body)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("both signatures, both good", func(t *testing.T) {
		g := newRig(t)
		r := g.postV2(t, "/ehsm?Action=ListKey", g.body("", nil))
		if diff := cmp.Diff(refusal(400, "sign error"), g.do(t, r)); diff != "" || g.authd > 0 {
			t.Errorf("asked who it is: %d, (-want +got):\n%s", g.authd, diff)
		}
	})
}

func TestV2Credential(t *testing.T) {
	g := newRig(t)
	body := bodyV2("")
	r := g.postV2(t, "/ehsm?Action=ListKey", body)
	h, err := v2.Parse(r.Header.Get(v2.HeaderName))
	if err != nil {
		t.Fatal(err)
	}
	g.do(t, r)
	want := kms.Credential{Scheme: kms.SchemeV2, ID: h.Credential, Known: true, MAC: h.MAC[:], Time: time.UnixMilli(g.millis), Nonce: string(h.Nonce[:]),
		Signed: v2.Text(h, &v2.Request{Method: "POST", Host: "example.com", Target: "/ehsm?Action=ListKey", BodyHash: sha256.Sum256(body)})}
	if diff := cmp.Diff([]kms.Credential{want}, g.creds); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestExportKeyNeedsV2: a v1 request for the public key would fit it.
func TestExportKeyNeedsV2(t *testing.T) {
	g := newRig(t)
	body := g.body(harmless["GetPublicKey"], nil)
	if diff := cmp.Diff(refusal(403, "This action needs a request signature of version 2."), g.post(t, "ExportKey", body)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(refusal(400, "sign error"), g.post(t, "ExportKey", g.body(harmless["GetPublicKey"], members{"sign": quote(sign(nil))}))); diff != "" {
		t.Errorf("a stranger (-want +got):\n%s", diff)
	}
	if len(g.calls) > 0 {
		t.Errorf("the core was asked: %v", g.calls)
	}
	want := succeeded("success!", map[string]any{"keyid": testKeyID, "key_material": b64("key material")})
	if diff := cmp.Diff(want, g.callV2(t, "ExportKey", harmless["GetPublicKey"])); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestV2OverTLS ties requests to connections: one that is sent on another than
// it was signed for is refused (somebody in between has a connection of his own
// to each side).
func TestV2OverTLS(t *testing.T) {
	g := newRig(t)
	srv := httptest.NewTLSServer(g.handler)
	defer srv.Close()
	first, second := dial(t, srv, 0), dial(t, srv, 0)
	old := dial(t, srv, tls.VersionTLS12)
	good, refused := succeeded("successful", map[string]any{"list": []any{}}), refusal(400, "sign error")
	tests := []struct {
		name     string
		on       *tls.Conn
		binding  v2.Binding
		exporter []byte
		want     reply
	}{
		{"bound", first, v2.BindExporter, exporter(t, first), good},
		{"bound, another time", first, v2.BindExporter, exporter(t, first), good},
		{"bound, another connection", second, v2.BindExporter, exporter(t, second), good},
		{"unbound", second, v2.BindNone, nil, good},
		{"bound to another connection", second, v2.BindExporter, exporter(t, first), refused},
		{"bound to nothing", first, v2.BindExporter, nil, refused},
		{"bound, and says it is not", first, v2.BindNone, exporter(t, first), refused},
		{"bound below TLS 1.3", old, v2.BindExporter, rawExporter(t, old), refused},
		{"unbound below TLS 1.3", old, v2.BindNone, nil, good},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := bodyV2("")
			what := &v2.Request{Method: "POST", Host: "kms:9000", Target: "/ehsm?Action=ListKey", BodyHash: sha256.Sum256(body), Exporter: tt.exporter}
			h := g.header(t, what, tt.binding)
			if _, err := fmt.Fprintf(tt.on, "POST /ehsm?Action=ListKey HTTP/1.1\r\nHost: kms:9000\r\nContent-Type: application/json\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
				v2.HeaderName, h, len(body), body); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(tt.on), nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, parseReply(t, resp)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func dial(t *testing.T, srv *httptest.Server, maxVersion uint16) *tls.Conn {
	t.Helper()
	cfg := srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	cfg.MaxVersion = maxVersion
	conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func exporter(t *testing.T, conn *tls.Conn) []byte {
	t.Helper()
	state := conn.ConnectionState()
	b, err := v2.Exporter(&state)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rawExporter is what Exporter refuses to make.
func rawExporter(t *testing.T, conn *tls.Conn) []byte {
	t.Helper()
	state := conn.ConnectionState()
	b, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestV2OverHTTP2: the same over HTTP/2, where requests share a connection and
// what HTTP/1.1 has on its request line is in pseudo-headers.
func TestV2OverHTTP2(t *testing.T) {
	g := newRig(t)
	srv := httptest.NewUnstartedServer(g.handler)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	var conn *tls.Conn
	transport := srv.Client().Transport.(*http.Transport)
	cfg := transport.TLSClientConfig.Clone()
	cfg.NextProtos = []string{"h2"}
	transport.DialTLSContext = func(_ context.Context, network, addr string) (c net.Conn, err error) {
		conn, err = tls.Dial(network, addr, cfg)
		return conn, err
	}
	call := func(action string, exporter []byte) reply {
		t.Helper()
		body := bodyV2(harmless["GetPublicKey"])
		target := "/ehsm?Action=" + action
		r, err := http.NewRequest("POST", srv.URL+target, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		binding := v2.BindNone
		if exporter != nil {
			binding = v2.BindExporter
		}
		what := &v2.Request{Method: "POST", Host: r.Host, Target: target, BodyHash: sha256.Sum256(body), Exporter: exporter}
		r.Header.Set(v2.HeaderName, g.header(t, what, binding).String())
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.ProtoMajor != 2 {
			t.Fatalf("protocol %s", resp.Proto)
		}
		return parseReply(t, resp)
	}
	if got := call("GetPublicKey", nil); got.Code != 200 {
		t.Fatal(got)
	}
	here := exporter(t, conn)
	for range 2 {
		if got := call("GetPublicKey", here); got.Code != 200 {
			t.Error(got)
		}
	}
	if diff := cmp.Diff(refusal(400, "sign error"), call("GetPublicKey", make([]byte, 32))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzV2 sends arbitrary headers and targets. Nobody gets in without a MAC.
func FuzzV2(f *testing.F) {
	g := newRig(f)
	for _, payload := range []string{"", harmless["Encrypt"]} {
		r := g.postV2(f, "/ehsm?Action=ListKey", bodyV2(payload))
		f.Add(r.Header.Get(v2.HeaderName), r.Host, r.RequestURI, bodyV2(payload))
	}
	f.Add("v=2, credential="+testApp+", time=0, nonce=, binding=tls-exporter, mac=", "", "*", []byte("{}"))
	f.Fuzz(func(t *testing.T, header, host, target string, body []byte) {
		g := newRig(t)
		r := post("/ehsm?Action=ListKey", body)
		r.Host, r.RequestURI = host, target
		r.Header.Set(v2.HeaderName, header)
		got := g.do(t, r)
		if got.Code != 200 {
			return
		}
		// The seeds are good, and so is what differs from them in nothing that counts.
		h, err := v2.Parse(header)
		if err != nil || target != "/ehsm?Action=ListKey" || !strings.EqualFold(host, "example.com") || !json.Valid(body) {
			t.Fatalf("let in: %q to %q %q with %q", header, host, target, body)
		}
		want := *h
		v2.Sign([]byte(testKey), &want, &v2.Request{Method: "POST", Host: "example.com", Target: target, BodyHash: sha256.Sum256(body)})
		if want != *h {
			t.Fatalf("let in with another MAC: %q", header)
		}
	})
}

package ehsm_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/kms"
)

var encrypted = succeeded("success!", map[string]any{"ciphertext": b64("sealed hello")})

func TestPaths(t *testing.T) {
	version := succeeded("success!", map[string]any{"version": "1.2.3", "git_sha": "abcdef0"})
	missing := refusal(400, "Missing required parameters")
	signed, notFound := encrypted, refusal(404, "API Not Found")
	tests := []struct {
		method, target string
		want           reply
	}{
		{"POST", "/ehsm?Action=Encrypt", signed},
		{"POST", "/ehsm/?Action=Encrypt", signed},
		{"POST", "/EHSM?Action=Encrypt", signed},
		{"POST", "/eHsM/?Action=Encrypt", signed},
		{"POST", "/ehsm?x=y&Action=Encrypt", signed},
		{"POST", "/ehsm?Action=%45ncrypt", signed},
		{"POST", "/ehsm?Action=Encrypt&", signed},
		{"POST", "/ehsm?action=Encrypt", notFound},
		{"POST", "/ehsm?Action=Encrypt;x=y", notFound},
		{"POST", "/ehsm", notFound},

		{"GET", "/ehsm?Action=GetVersion", version},
		{"GET", "/ehsm/?Action=GetVersion", version},
		{"POST", "/ehsm?Action=GetVersion", notFound},
		{"POST", "/ehsm?Action=Enroll", notFound},
		{"POST", "/ehsm/?Action=Enroll", notFound},
		{"GET", "/ehsm?Action=Encrypt", missing}, // the body of a GET is ignored, signed or not
		{"GET", "/ehsm", missing},

		{"GET", "/", missing}, // what probes ask for
		{"GET", "/?Action=Encrypt", missing},
		{"GET", "/somewhere", missing},
		{"GET", "/somewhere?Action=Enroll", page(404)},
		{"POST", "/somewhere?Action=Enroll", page(404)},
		{"POST", "/?Action=Encrypt", page(404)},
		{"POST", "/ehsm//?Action=Encrypt", page(404)},
		{"POST", "//ehsm?Action=Encrypt", page(404)}, // not cleaned, not redirected
		{"POST", "/x/../ehsm?Action=Encrypt", page(404)},
		{"POST", "/eh%C5%BFm?Action=Encrypt", page(404)}, // ſ folds to s

		{"PUT", "/ehsm?Action=Encrypt", page(404)},
		{"DELETE", "/ehsm?Action=GetVersion", page(404)},
		{"HEAD", "/", page(404)},
		{"OPTIONS", "/ehsm", page(404)},
		{"get", "/ehsm?Action=GetVersion", page(404)},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			g := newRig(t)
			r := post("/", g.body(goodEncrypt, nil))
			u := httptest.NewRequest("GET", "https://localhost"+tt.target, nil).URL
			r.Method, r.URL = tt.method, u
			if diff := cmp.Diff(tt.want, g.do(t, r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("elsewhere strangers are refused first", func(t *testing.T) {
		g := newRig(t)
		r := post("/somewhere?Action=Encrypt", g.body(goodEncrypt, members{"sign": quote(sign(nil))}))
		if diff := cmp.Diff(refusal(400, "sign error"), g.do(t, r)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestBodies(t *testing.T) {
	sized := func(g *rig, size int) []byte { // valid, with white space up to size
		b := g.body(goodEncrypt, nil)
		return append(b, bytes.Repeat([]byte{' '}, size-len(b))...)
	}
	missing, invalid := refusal(400, "Missing required parameters"), refusal(400, "Invalid JSON")
	tests := []struct {
		name string
		body func(g *rig) []byte
		want reply
	}{
		{"of 100 kB", func(g *rig) []byte { return sized(g, 102400) }, encrypted},
		{"of more", func(g *rig) []byte { return sized(g, 102401) }, page(413)},
		{"of much more", func(g *rig) []byte { return sized(g, 10<<20) }, page(413)},
		{"empty", func(*rig) []byte { return nil }, invalid},
		{"not JSON", func(*rig) []byte { return []byte("appid=a&sign=b") }, invalid},
		{"cut short", func(g *rig) []byte { b := g.body(goodEncrypt, nil); return b[:len(b)-1] }, invalid},
		{"with a name twice", func(g *rig) []byte {
			return append([]byte(`{"appid":"x",`), g.body(goodEncrypt, nil)[1:]...)
		}, invalid},
		{"not UTF-8", func(g *rig) []byte {
			return bytes.Replace(g.body(goodEncrypt, nil), []byte("appid"), []byte("appid\xff"), 1)
		}, invalid},
		{"too deep", func(*rig) []byte { return []byte(strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33)) }, invalid},
		{"far too deep", func(*rig) []byte { return bytes.Repeat([]byte("["), 100000) }, invalid},
		{"with too many values", func(*rig) []byte { return []byte("[" + strings.Repeat("1,", 2000) + "1]") }, invalid},
		{"a string", func(*rig) []byte { return []byte(`"x"`) }, page(400)},
		{"a number", func(*rig) []byte { return []byte(`1`) }, page(400)},
		{"null", func(*rig) []byte { return []byte(`null`) }, page(400)},
		{"an array", func(*rig) []byte { return []byte(`[{"appid":"a"}]`) }, missing},
		{"an empty object", func(*rig) []byte { return []byte(`{}`) }, missing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t)
			if diff := cmp.Diff(tt.want, g.post(t, "Encrypt", tt.body(g))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if tt.want.Code != 200 && g.authd > 0 {
				t.Error("the core was asked who it is")
			}
			chunked := post("/ehsm?Action=Encrypt", nil)
			chunked.Body, chunked.ContentLength = io.NopCloser(bytes.NewReader(tt.body(g))), -1
			if diff := cmp.Diff(tt.want, g.do(t, chunked)); diff != "" {
				t.Errorf("chunked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestContentTypes(t *testing.T) {
	missing := refusal(400, "Missing required parameters")
	tests := map[string]reply{
		"application/json":                  encrypted,
		"application/json; charset=utf-8":   encrypted,
		"Application/Json":                  encrypted,
		"":                                  missing,
		"text/plain":                        missing,
		"application/x-www-form-urlencoded": missing,
		"application/jsonlines":             missing,
	}
	for contentType, want := range tests {
		t.Run(contentType, func(t *testing.T) {
			g := newRig(t)
			r := post("/ehsm?Action=Encrypt", g.body(goodEncrypt, nil))
			r.Header.Set("Content-Type", contentType)
			if diff := cmp.Diff(want, g.do(t, r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestOpenActions: the Rust SDK sends GET with a JSON content type and an empty
// body, others with anything; it is all the same.
func TestOpenActions(t *testing.T) {
	for _, body := range []string{"", "{", "x"} {
		g := newRig(t)
		r := post("/ehsm?Action=Enroll", []byte(body))
		r.Method = "GET"
		want := succeeded("successful", map[string]any{"appid": testApp, "apikey": testKey})
		if diff := cmp.Diff(want, g.do(t, r)); diff != "" {
			t.Errorf("body %q (-want +got):\n%s", body, diff)
		}
	}
	t.Run("enrolment turned off", func(t *testing.T) {
		c := newCore()
		g := &rig{core: c, handler: ehsm.New(ehsm.Config{Authenticate: c.Authenticate})}
		r := httptest.NewRequest("GET", "/ehsm?Action=Enroll", nil)
		if diff := cmp.Diff(refusal(404, "API Not Found"), g.do(t, r)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestNewNeedsAuthenticate(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New made a facade that authenticates nobody")
		}
	}()
	ehsm.New(ehsm.Config{})
}

// TestNobody: a core that returns neither a caller nor an error lets nobody in.
func TestNobody(t *testing.T) {
	g := newRig(t)
	g.handler = ehsm.New(ehsm.Config{Authenticate: func(context.Context, kms.Credential) (ehsm.Caller, error) { return nil, nil }})
	if diff := cmp.Diff(refusal(400, "sign error"), g.call(t, "Encrypt", goodEncrypt)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestConnection checks over real TLS what only a connection shows: one that
// sent no JSON is closed, any other is kept.
func TestConnection(t *testing.T) {
	g := newRig(t)
	srv := httptest.NewTLSServer(g.handler)
	defer srv.Close()
	conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), srv.Client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	send := func(body []byte) *http.Response {
		t.Helper()
		r := post("https://example.com/ehsm?Action=Encrypt", body)
		r.RequestURI = ""
		if err := r.Write(conn); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, r)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	for range 2 {
		resp := send(g.body(goodEncrypt, nil))
		if diff := cmp.Diff(encrypted, parseReply(t, resp)); diff != "" || resp.Close {
			t.Errorf("closed: %v, (-want +got):\n%s", resp.Close, diff)
		}
	}
	resp := send([]byte("not JSON"))
	if diff := cmp.Diff(refusal(400, "Invalid JSON"), parseReply(t, resp)); diff != "" || !resp.Close {
		t.Errorf("closed: %v, (-want +got):\n%s", resp.Close, diff)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("the connection is still open: %v", err)
	}
}

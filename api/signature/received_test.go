package signature_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
)

// A heard is what a server made of a request.
type heard struct {
	Req *signature.Request
	Err error
}

// listen starts a server over TLS that passes on what Received makes of each
// request, as if its header had binding b.
func listen(t *testing.T, b signature.Binding, configure func(*httptest.Server)) (*httptest.Server, <-chan heard) {
	t.Helper()
	got := make(chan heard, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		req, err := signature.Received(&signature.Header{Binding: b}, r, body)
		got <- heard{req, err}
	}))
	if configure != nil {
		configure(srv)
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv, got
}

func dial(t *testing.T, srv *httptest.Server, cfg *tls.Config) *tls.Conn {
	t.Helper()
	if cfg == nil {
		cfg = new(tls.Config)
	}
	cfg.RootCAs = x509.NewCertPool()
	cfg.RootCAs.AddCert(srv.Certificate())
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

// TestReceivedHTTP1 sends requests as bytes: no client library has a hand in
// them.
func TestReceivedHTTP1(t *testing.T) {
	ok := func(host, target string) heard {
		return heard{Req: &signature.Request{Method: "POST", Host: host, Target: target, BodyHash: sha256.Sum256([]byte("{}"))}}
	}
	refused := heard{Err: kms.Unauthenticated}
	tests := []struct {
		name, line, headers string
		want                heard
	}{
		{"usual", "POST /ehsm?Action=ListKey", "Host: kms:9000", ok("kms:9000", "/ehsm?Action=ListKey")},
		{"case is kept", "POST /EHSM/?Action=ListKey", "Host: KMS:9000", ok("KMS:9000", "/EHSM/?Action=ListKey")},
		{"dots are kept", "POST /", "Host: kms.", ok("kms.", "/")},
		{"escapes are kept", "POST /%65hsm?Action=%4cistKey", "Host: kms", ok("kms", "/%65hsm?Action=%4cistKey")},
		{"an empty query is kept", "POST /ehsm?", "Host: kms", ok("kms", "/ehsm?")},
		{"two slashes are a path", "POST //other/ehsm", "Host: kms", ok("kms", "//other/ehsm")},
		{"a number sign is of the query", "POST /ehsm?a#b", "Host: kms", ok("kms", "/ehsm?a#b")},
		{"forwarded elsewhere", "POST /", "Host: kms\r\nX-Forwarded-Host: other\r\nForwarded: host=other", ok("kms", "/")},
		{"absolute form", "POST https://kms/ehsm", "Host: kms", refused},
		{"absolute form of another host", "POST https://other/ehsm", "Host: kms", refused},
		{"no host", "POST /ehsm", "Host:", refused},
		{"characters that Go spells differently", `POST /eh"sm`, "Host: kms", refused},
	}
	srv, got := listen(t, signature.BindNone, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := dial(t, srv, nil)
			if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\n%s\r\nContent-Length: 2\r\n\r\n{}", tt.line, tt.headers); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%v, %v", resp, err)
			}
			check(t, <-got, tt.want)
		})
	}
	for name, headers := range map[string]string{"two hosts": "Host: kms\r\nHost: other", "none": "X: y"} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, srv, nil)
			if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\n%s\r\nContent-Length: 2\r\n\r\n{}", headers); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != http.StatusBadRequest {
				t.Fatalf("%v, %v", resp, err)
			}
		})
	}
}

// check compares errors by their kind.
func check(t *testing.T, got, want heard) {
	t.Helper()
	if !errors.Is(got.Err, want.Err) || (got.Err == nil) != (want.Err == nil) {
		t.Errorf("error %v, want %v", got.Err, want.Err)
	}
	if diff := cmp.Diff(want.Req, got.Req); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReceivedHTTP2(t *testing.T) {
	srv, got := listen(t, signature.BindNone, func(s *httptest.Server) { s.EnableHTTP2 = true })
	r, err := http.NewRequest("POST", srv.URL+"/ehsm?Action=ListKey", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "KMS:9000"
	resp, err := srv.Client().Do(r)
	if err != nil || resp.ProtoMajor != 2 {
		t.Fatalf("%v, %v", resp, err)
	}
	_ = resp.Body.Close()
	check(t, <-got, heard{Req: &signature.Request{Method: "POST", Host: "KMS:9000", Target: "/ehsm?Action=ListKey", BodyHash: sha256.Sum256([]byte("{}"))}})
}

// TestReceivedElsewhere: requests that no connection of this test can make, but
// another version of net/http, or a handler in front, may hand on.
func TestReceivedElsewhere(t *testing.T) {
	tests := map[string]struct {
		change func(r *http.Request)
		good   bool
	}{
		"as it is":                     {func(*http.Request) {}, true},
		"HTTP/2, host told twice":      {func(r *http.Request) { r.Header["Host"] = []string{"kms"} }, true},
		"HTTP/2, another host":         {func(r *http.Request) { r.Header["Host"] = []string{"other"} }, false},
		"HTTP/2, two hosts":            {func(r *http.Request) { r.Header["Host"] = []string{"kms", "kms"} }, false},
		"a handler changed the path":   {func(r *http.Request) { r.URL.Path = "/other" }, false},
		"a handler changed the query":  {func(r *http.Request) { r.URL.RawQuery = "Action=Other" }, false},
		"a handler took the query":     {func(r *http.Request) { r.URL.RawQuery = "" }, false},
		"a request of a client":        {func(r *http.Request) { r.RequestURI = "" }, false},
		"the server as a whole":        {func(r *http.Request) { r.RequestURI, r.URL = "*", &url.URL{Path: "*"} }, false},
		"CONNECT":                      {func(r *http.Request) { r.RequestURI, r.URL = "kms:9000", &url.URL{Host: "kms:9000"} }, false},
		"absolute, of a handler's own": {func(r *http.Request) { r.RequestURI = "https://kms" + r.RequestURI }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/ehsm?Action=ListKey", nil)
			r.Host = "kms"
			tt.change(r)
			_, err := signature.Received(&signature.Header{Binding: signature.BindNone}, r, nil)
			if good := err == nil; good != tt.good || !good && !errors.Is(err, kms.Unauthenticated) {
				t.Errorf("error %v, good is %v", err, tt.good)
			}
		})
	}
}

// TestExporter: both ends of a connection have the same one, and no two
// connections, also where one resumes the other's session.
func TestExporter(t *testing.T) {
	srv, got := listen(t, signature.BindExporter, nil)
	sessions := tls.NewLRUClientSessionCache(4)
	seen := map[string]bool{}
	for i := range 3 {
		conn := dial(t, srv, &tls.Config{ClientSessionCache: sessions, ServerName: "example.com"})
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: kms\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		there := <-got
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil { // takes in the session ticket too
			t.Fatal(err)
		}
		state := conn.ConnectionState()
		here, err := signature.Exporter(&state)
		if err != nil || there.Err != nil || len(here) != 32 || !bytes.Equal(here, there.Req.Exporter) {
			t.Errorf("%x and %x, %v", here, there.Req.Exporter, errors.Join(err, there.Err))
		}
		if seen[string(here)] || state.DidResume != (i > 0) {
			t.Errorf("connection %d: resumed %v, seen %v", i, state.DidResume, seen[string(here)])
		}
		seen[string(here)] = true
	}
}

// TestConnContext sees that a remembered channel binding is that of the
// connection at hand, for each of its requests, and never another's.
func TestConnContext(t *testing.T) {
	srv, got := listen(t, signature.BindExporter, func(s *httptest.Server) { s.Config.ConnContext = signature.ConnContext })
	for range 3 {
		conn := dial(t, srv, nil)
		state := conn.ConnectionState()
		want, err := signature.Exporter(&state)
		if err != nil {
			t.Fatal(err)
		}
		answers := bufio.NewReader(conn)
		for range 3 {
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: kms\r\nContent-Length: 0\r\n\r\n")
			if h := <-got; h.Err != nil || !bytes.Equal(h.Req.Exporter, want) {
				t.Errorf("%x, %v, want %x", h.Req.Exporter, h.Err, want)
			}
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
		}
	}
}

func TestNoExporter(t *testing.T) {
	for name, state := range map[string]*tls.ConnectionState{
		"no TLS": nil, "nothing": {}, "made up": {Version: tls.VersionTLS13}, "of a test": httptest.NewRequest("GET", "https://kms/", nil).TLS,
	} {
		if b, err := signature.Exporter(state); !errors.Is(err, kms.Unauthenticated) || b != nil {
			t.Errorf("%s: %x, %v", name, b, err)
		}
	}
	t.Run("TLS 1.2", func(t *testing.T) {
		srv, got := listen(t, signature.BindExporter, nil)
		conn := dial(t, srv, &tls.Config{MaxVersion: tls.VersionTLS12})
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: kms\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		check(t, <-got, heard{Err: kms.Unauthenticated})
	})
	t.Run("HTTP in clear", func(t *testing.T) {
		r := httptest.NewRequest("POST", "/", nil)
		if _, err := signature.Received(&signature.Header{Binding: signature.BindExporter}, r, nil); !errors.Is(err, kms.Unauthenticated) {
			t.Error(err)
		}
	})
}

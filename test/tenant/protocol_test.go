package tenant_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestProbesAndPaths is what probes and curl ask for without credentials, and
// what else may be written for a path.
func TestProbesAndPaths(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	x := a.enrol()
	version := reply{200, 200, "success!", `{"version":"1.2.3","git_sha":"abcdef0"}`}
	tests := []struct {
		method, target string // signed where it is a POST
		want           reply
	}{
		{"GET", "/", missing},
		{"GET", "/ehsm", missing},
		{"GET", "/ehsm/", missing},
		{"GET", "/ehsm?Action=GetVersion", version},
		{"GET", "/ehsm/?Action=GetVersion", version},
		{"GET", "/EHSM?Action=GetVersion", version},
		{"GET", "/%65hsm?Action=GetVersion", version},
		{"GET", "/ehsm?Action=getversion", missing},
		{"GET", "/ehsm?Action=GetVersion&Action=Enroll", missing},
		{"GET", "/favicon.ico", missing},
		{"POST", "/ehsm?Action=ListKey", listed},
		{"POST", "/ehsm/?Action=ListKey", listed},
		{"POST", "/eHsM/?Action=ListKey", listed},
		{"POST", "/ehsm%2f?Action=ListKey", listed},

		{"POST", "/ehsm//?Action=ListKey", page(404)},
		{"POST", "//ehsm?Action=ListKey", page(404)},
		{"POST", "/ehsm/../ehsm?Action=ListKey", page(404)},
		{"POST", "/ehsm/%2e%2e/ehsm?Action=ListKey", page(404)},
		{"POST", "/ehsm/.?Action=ListKey", page(404)},
		{"POST", "/./ehsm?Action=ListKey", page(404)},
		{"POST", "/%2e/ehsm?Action=ListKey", page(404)},
		{"POST", "/ehsm%00?Action=ListKey", page(404)},
		{"POST", "/ehsm;x?Action=ListKey", page(404)},
		{"POST", "/ehsm%3FAction=ListKey", page(404)},
		{"POST", "/ehsm/ehsm?Action=ListKey", page(404)},
		{"POST", "/status?Action=ListKey", page(405)},
		{"POST", "/?Action=ListKey", page(404)},
		{"POST", "/ehsm", apiNotFound},
		{"POST", "/ehsm?action=ListKey", apiNotFound},
		{"POST", "/ehsm?Action=listkey", apiNotFound},
		{"POST", "/ehsm?Action=ListKey%00", apiNotFound},
		{"POST", "/ehsm?Action=ListKey&Action=DeleteAllKey", apiNotFound},
		{"POST", "/ehsm?Action=ListKey;Action=DeleteAllKey", apiNotFound},
		{"POST", "/ehsm?Action=../ListKey", apiNotFound},
		{"POST", "/ehsm?Action=", apiNotFound},

		{"HEAD", "/ehsm?Action=Enroll", page(404)},
		{"HEAD", "/", page(404)},
		{"PUT", "/ehsm?Action=ListKey", page(404)},
		{"PATCH", "/ehsm?Action=ListKey", page(404)},
		{"DELETE", "/ehsm?Action=DeleteAllKey", page(404)},
		{"OPTIONS", "/ehsm?Action=ListKey", page(404)},
		{"TRACE", "/ehsm?Action=ListKey", page(404)},
		{"CONNECT", "/ehsm?Action=ListKey", page(404)},
		{"get", "/ehsm?Action=Enroll", page(404)},
		{"post", "/ehsm?Action=ListKey", page(404)},
		{"EHSM", "/ehsm?Action=ListKey", page(404)},
	}
	apps := a.node.Server().Status().Apps
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			body := []byte(nil)
			if tt.method != "GET" {
				body = x.body("", nil)
			}
			text := plainRequest("", body, hangUp)
			_, headers, _ := strings.Cut(text, "\r\n")
			got := one(t, a.raw(t, tt.method+" "+tt.target+" HTTP/1.1\r\n"+headers), tt.method)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if now := a.node.Server().Status().Apps; now != apps {
		t.Errorf("%d apps were enrolled on the way", now-apps)
	}
	if got := x.get("/ehsm/?Action=Enroll"); !got.ok() || got.field("appid") == "" {
		t.Errorf("unsigned Enroll with a slash: %+v", got)
	}
	t.Run("absolute form", func(t *testing.T) {
		// The host is not what decides: a proxy's way to write the same request.
		text := strings.Replace(plainRequest("ListKey", x.body("", nil), hangUp), "POST /", "POST https://elsewhere.example/", 1)
		if diff := cmp.Diff(listed, one(t, a.raw(t, text), "POST")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

var listed = reply{200, 200, "successful", `{"list":[]}`}

// one reads the only answer of a connection.
func one(t *testing.T, answer, method string) reply {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%v in %q", err, answer)
	}
	return parse(t, resp)
}

// TestFraming sends requests whose end is told in more than one way, which is
// how requests are smuggled past a proxy. What the server makes of one is
// either refused, or the one request that RFC 9112 says it is; what follows is
// never taken for a request unless it is one.
func TestFraming(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p := newProperty(a)
	hidden := "GET /ehsm?Action=Enroll HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	chunked := func(body []byte) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body) }
	tests := []struct {
		name    string
		request func(body []byte) string
		want    []int
	}{
		{"chunked", func(b []byte) string {
			return plainRequest("ListKey", nil, "Transfer-Encoding: chunked", hangUp) + chunked(b)
		}, []int{200}},
		{"chunked and a length", func(b []byte) string { // the length counts for nothing
			return plainRequest("ListKey", nil, "Content-Length: 5", "Transfer-Encoding: chunked", hangUp) + chunked(b)
		}, []int{200}},
		{"chunked and a length that hides a request", func(b []byte) string {
			return plainRequest("ListKey", nil, fmt.Sprintf("Content-Length: %d", len(chunked(b))+len(hidden)), "Transfer-Encoding: chunked", hangUp) + chunked(b) + hidden
		}, []int{200}},
		{"two lengths", func(b []byte) string {
			return plainRequest("ListKey", b, fmt.Sprintf("Content-Length: %d", len(b)), "Content-Length: 5", hangUp)
		}, []int{400}},
		{"two lengths in one line", func(b []byte) string {
			return plainRequest("ListKey", b, fmt.Sprintf("Content-Length: %d, 5", len(b)), hangUp)
		}, []int{400}},
		{"a length with a sign", func(b []byte) string {
			return plainRequest("ListKey", b, fmt.Sprintf("Content-Length: +%d", len(b)), hangUp)
		}, []int{400}},
		{"a negative length", func(b []byte) string { return plainRequest("ListKey", b, "Content-Length: -1", hangUp) }, []int{400}},
		{"a length in hexadecimal", func(b []byte) string { return plainRequest("ListKey", b, "Content-Length: 0x10", hangUp) }, []int{400}},
		{"a length beyond numbers", func(b []byte) string {
			return plainRequest("ListKey", b, "Content-Length: 99999999999999999999999999", hangUp)
		}, []int{400}},
		{"a space before the colon", func(b []byte) string {
			return plainRequest("ListKey", nil, "Transfer-Encoding : chunked", "Content-Length: 0", hangUp) + chunked(b)
		}, []int{400}},
		{"an encoding nobody knows", func(b []byte) string {
			return plainRequest("ListKey", nil, "Transfer-Encoding: xchunked", hangUp) + chunked(b)
		}, []int{501}},
		{"an encoding before chunked", func(b []byte) string {
			return plainRequest("ListKey", nil, "Transfer-Encoding: gzip, chunked", hangUp) + chunked(b)
		}, []int{501}},
		{"chunked twice", func(b []byte) string {
			return plainRequest("ListKey", nil, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", hangUp) + chunked(b)
		}, []int{501}},
		{"chunked and identity", func(b []byte) string {
			return plainRequest("ListKey", nil, "Transfer-Encoding: chunked", "Transfer-Encoding: identity", hangUp) + chunked(b)
		}, []int{501}},
		{"a vertical tab for a space", func(b []byte) string {
			return plainRequest("ListKey", nil, "Transfer-Encoding:\vchunked", hangUp) + chunked(b)
		}, []int{400}},
		{"a NUL in a header", func(b []byte) string { return plainRequest("ListKey", b, "X: a\x00b", hangUp) }, []int{400}},
		{"a header of no name", func(b []byte) string { return plainRequest("ListKey", b, ": x", hangUp) }, []int{400}},
		{"two hosts", func(b []byte) string { return plainRequest("ListKey", b, "Host: elsewhere", hangUp) }, []int{400}},
		{"no host", func(b []byte) string {
			return strings.Replace(plainRequest("ListKey", b, hangUp), "Host: localhost\r\n", "", 1)
		}, []int{400}},
		{"a chunk that claims too much", func([]byte) string {
			return plainRequest("ListKey", nil, "Transfer-Encoding: chunked", hangUp) + "fffffffffffffffff\r\nx"
		}, []int{200}}, // a body that cannot be read: Invalid JSON
		{"a chunk with a negative size", func([]byte) string {
			return plainRequest("ListKey", nil, "Transfer-Encoding: chunked", hangUp) + "-5\r\nx"
		}, []int{200}},
		{"a body longer than it says", func(b []byte) string {
			return plainRequest("ListKey", b, fmt.Sprintf("Content-Length: %d", len(b))) + "X\r\n\r\n"
		}, []int{200, 400}},
		{"a request line of two words", func([]byte) string { return "POST /ehsm?Action=ListKey\r\n\r\n" }, []int{400}},
		{"binary", func([]byte) string { return "\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n" }, []int{400}},
	}
	apps := a.node.Server().Status().Apps
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answers := a.raw(t, tt.request(p.body("", nil)))
			if diff := cmp.Diff(tt.want, statuses(t, answers)); diff != "" {
				t.Errorf("statuses (-want +got):\n%s\n%s", diff, answers)
			}
		})
	}
	p.intact()
	if now := a.node.Server().Status().Apps; now != apps {
		t.Errorf("%d requests were smuggled", now-apps)
	}
}

// TestPipelining: requests sent without waiting are answered in order, each as
// itself, also behind one that was refused.
func TestPipelining(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	x := a.enrol()
	key := x.newKey(newAES)
	var all strings.Builder
	var want []string
	for i := range 50 {
		plain := fmt.Sprintf("the pipelined plaintext %d", i)
		all.WriteString(plainRequest("Encrypt", x.body(encrypting(key, plain), nil)))
		all.WriteString(plainRequest("Encrypt", x.body(encrypting(key, plain), members{"sign": quote(b64("x"))})))
		want = append(want, plain)
	}
	all.WriteString(plainRequest("ListKey", x.body("", nil), hangUp))
	in := bufio.NewReader(strings.NewReader(a.raw(t, all.String())))
	for _, plain := range want {
		sealed, refused := next(t, in), next(t, in)
		x.opens(key, sealed.field("ciphertext"), plain)
		if refused != signError {
			t.Errorf("%+v", refused)
		}
	}
	if last := next(t, in); !last.ok() {
		t.Errorf("the last one: %+v", last)
	}
}

func next(t *testing.T, in *bufio.Reader) reply {
	t.Helper()
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, resp)
}

// TestOldHTTP: HTTP/1.0 is served, and chunks are not part of it.
func TestOldHTTP(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	x := a.enrol()
	old := func(text string) string { return strings.Replace(text, "HTTP/1.1", "HTTP/1.0", 1) }
	for name, tt := range map[string]struct {
		request string
		want    []int
	}{
		"HTTP/1.0":              {old(plainRequest("ListKey", x.body("", nil))), []int{200}},
		"HTTP/1.0 in chunks":    {old(plainRequest("ListKey", nil, "Transfer-Encoding: chunked") + "0\r\n\r\n"), []int{200}},
		"HTTP/0.9":              {"GET /\r\n\r\n", []int{400}},
		"HTTP/1.2":              {strings.Replace(plainRequest("ListKey", nil, hangUp), "HTTP/1.1", "HTTP/1.2", 1), []int{200}},
		"HTTP/2 without frames": {strings.Replace(plainRequest("ListKey", nil, hangUp), "HTTP/1.1", "HTTP/2.0", 1), []int{505}},
		"HTTP/3.0":              {strings.Replace(plainRequest("ListKey", nil, hangUp), "HTTP/1.1", "HTTP/3.0", 1), []int{505}},
		"HTTP/1.10":             {strings.Replace(plainRequest("ListKey", nil, hangUp), "HTTP/1.1", "HTTP/1.10", 1), []int{400}},
	} {
		if diff := cmp.Diff(tt.want, statuses(t, a.raw(t, tt.request))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := one(t, a.raw(t, old(plainRequest("ListKey", x.body("", nil)))), "POST"); got != listed {
		t.Errorf("HTTP/1.0: %+v", got)
	}
}

// TestHeaderBombs: headers of up to 16 kB are read, and not much more.
func TestHeaderBombs(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	x := a.enrol()
	filler := func(n int) []string { // n header lines of 100 bytes
		lines := make([]string, n, n+1)
		for i := range lines {
			lines[i] = fmt.Sprintf("X-%03d: %s", i, strings.Repeat("x", 91))
		}
		return append(lines, hangUp)
	}
	tests := map[string]struct {
		request string
		want    []int
	}{
		"15 kB in one line":   {plainRequest("ListKey", x.body("", nil), "X: "+strings.Repeat("x", 15<<10), hangUp), []int{200}},
		"15 kB in 150 lines":  {plainRequest("ListKey", x.body("", nil), filler(150)...), []int{200}},
		"21 kB in one line":   {plainRequest("ListKey", x.body("", nil), "X: "+strings.Repeat("x", 21<<10), hangUp), []int{431}},
		"21 kB in 210 lines":  {plainRequest("ListKey", x.body("", nil), filler(210)...), []int{431}},
		"21 kB of path":       {strings.Replace(plainRequest("ListKey", nil, hangUp), "/ehsm", "/"+strings.Repeat("x", 21<<10), 1), []int{431}},
		"1 MB":                {plainRequest("ListKey", nil, "X: "+strings.Repeat("x", 1<<20)), []int{431}},
		"1 MB without an end": {"POST /" + strings.Repeat("x", 1<<20), []int{431}},
	}
	for name, tt := range tests {
		if diff := cmp.Diff(tt.want, statuses(t, a.raw(t, tt.request))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	t.Run("trailers", func(t *testing.T) {
		body := x.body("", nil)
		trailer := strings.Join(filler(300), "\r\n")
		answers := a.raw(t, plainRequest("ListKey", nil, "Transfer-Encoding: chunked", hangUp)+fmt.Sprintf("%x\r\n%s\r\n0\r\n%s\r\n\r\n", len(body), body, trailer))
		if got := one(t, answers, "POST"); got != listed && got != invalidJSON {
			t.Errorf("%+v", got)
		}
	})
}

// TestVersionsOfTLS: nothing below 1.2 is spoken.
func TestVersionsOfTLS(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	x := a.enrol()
	for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		tr := x.http.Transport.(*http.Transport).Clone()
		tr.TLSClientConfig.MinVersion, tr.TLSClientConfig.MaxVersion = version, version
		old := &http.Client{Transport: tr, Timeout: patience}
		resp, err := old.Get(a.endpoint.URL + "/")
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			parse(t, resp)
		}
		tr.CloseIdleConnections()
	}
	cfg := a.endpoint.TLS()
	cfg.NextProtos = []string{"http/0.9", "spdy/3"}
	if c, err := tls.Dial("tcp", a.endpoint.Addr, cfg); err == nil {
		c.Close()
		t.Error("a protocol that nobody speaks was agreed on")
	}
	t.Run("not TLS", func(t *testing.T) {
		for _, text := range []string{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", plainRequest("ListKey", x.body("", nil)), "\x00\x00\x00", strings.Repeat("\xff", 100_000), "SSH-2.0-x\r\n"} {
			c, err := net.Dial("tcp", a.endpoint.Addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			say(t, c, text)
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			got := rest(t, c)
			c.Close()
			if strings.Contains(got, " 200 ") {
				t.Errorf("served without TLS: %q", got)
			}
			if strings.HasPrefix(text, "GET ") && !strings.HasPrefix(got, "HTTP/1.0 400 ") {
				t.Errorf("plain HTTP: %q", got)
			}
		}
	})
	t.Run("records", func(t *testing.T) {
		c := a.dial(t)
		say(t, c, "GET / HTTP/1.1\r\nHost: localhost\r\n")
		if _, err := c.NetConn().Write([]byte("\x17\x03\x03\x00\x10sixteen bytes ok")); err != nil { // a record that does not authenticate
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); err == nil {
			t.Error("a record that does not authenticate was taken for the end of the connection")
		}
	})
}

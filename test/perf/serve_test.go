package perf_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"

	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// serveTLS serves the facade as a node does, and returns its address and CA.
func (x *bench) serveTLS(t testing.TB) (addr string, ca *x509.CertPool) {
	x.node.Edit = func(c *server.Config) {
		c.SegmentSize = 0
		c.Mount = func(*server.Node) http.Handler { return x.handler }
	}
	x.node.Restart()
	l, err := listen.TCP("127.0.0.1:0", listen.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- x.node.Server().Serve(ctx, l) }()
	t.Cleanup(func() { stop(); <-served })
	ca = x509.NewCertPool()
	ca.AppendCertsFromPEM(x.node.Server().CA())
	return l.Addr().String(), ca
}

// A connection sends requests that were made before and throws replies away:
// it allocates next to nothing itself.
type connection struct {
	*tls.Conn
	buf []byte
}

func dial(t testing.TB, addr string, ca *x509.CertPool) *connection {
	c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca, ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &connection{c, make([]byte, 64<<10)}
}

func (c *connection) exchange(t testing.TB, request []byte) {
	if err := c.try(request); err != nil {
		t.Fatal(err)
	}
}

// try sends a request and waits for its reply. The error says what it was, where
// it is no success.
func (c *connection) try(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	n, size := 0, -1
	for size < 0 || n < size {
		m, err := c.Read(c.buf[n:])
		if err != nil && err != io.EOF || m == 0 {
			return fmt.Errorf("reading the reply: %w", err)
		}
		n += m
		if head := bytes.Index(c.buf[:n], []byte("\r\n\r\n")); size < 0 && head > 0 {
			size = head + 4 + contentLength(c.buf[:head])
		}
	}
	if !bytes.Contains(c.buf[:n], []byte(`"code":200`)) {
		return fmt.Errorf("refused: %s", c.buf[:n])
	}
	return nil
}

// contentLength is the length of the body that a header announces; 0: it says nothing.
func contentLength(head []byte) (n int) {
	const name = "Content-Length: "
	at := bytes.Index(head, []byte(name))
	if at < 0 {
		return 0
	}
	for _, d := range head[at+len(name):] {
		if d < '0' || d > '9' {
			break
		}
		n = 10*n + int(d-'0')
	}
	return n
}

// TestAllocationPerRequest holds the promise of at most 8 kB allocated for an
// Encrypt of 1 KiB, with everything from TLS to disk-free reply.
func TestAllocationPerRequest(t *testing.T) {
	if raced {
		t.Skip("NOT TESTED: the race detector allocates on its own")
	}
	x := newBench(t, nil)
	key := x.do(t, "CreateKey", createAES)["keyid"]
	addr, ca := x.serveTLS(t)
	payload := fmt.Sprintf(`{"keyid":%q,"plaintext":%q}`, key, base64.StdEncoding.EncodeToString(make([]byte, 1024)))
	const n = 2000
	requests := make([][]byte, 2*n)
	for i := range requests {
		body := x.body(payload)
		requests[i] = fmt.Appendf(nil, "POST /ehsm?Action=Encrypt HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			addr, len(body), body)
	}
	c := dial(t, addr, ca)
	for _, r := range requests[:n] { // warm
		c.exchange(t, r)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, r := range requests[n:] {
		c.exchange(t, r)
	}
	runtime.ReadMemStats(&after)
	per := float64(after.TotalAlloc-before.TotalAlloc) / n
	t.Logf("%.0f bytes in %.1f allocations per request", per, float64(after.Mallocs-before.Mallocs)/n)
	if per > 8000 {
		t.Errorf("%.0f bytes per request, at most 8000", per)
	}
}

var _ net.Conn = (*connection)(nil)

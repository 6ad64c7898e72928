package client_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// A clock is set by tests.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// TestProofAges: a connection takes no request once its proof is older than
// the policy, or the user, lets it be.
func TestProofAges(t *testing.T) {
	tests := map[string]struct {
		policy func(*govern.Policy)
		max    time.Duration
	}{
		"the policy's age": {policy: func(p *govern.Policy) { p.EvidenceAge = attest.Age(10 * time.Minute) }},
		"the user's age":   {max: 10 * time.Minute},
		"the policy's end": {policy: func(p *govern.Policy) { p.ValidUntil = time.Now().Add(10 * time.Minute).UTC().Truncate(time.Second) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := newDomain(t, tt.policy).serve(t)
			trust, clk := n.trust(), &clock{at: time.Now()}
			trust.MaxAge = tt.max
			c := newClient(t, client.Config{URL: n.http.URL, Trust: trust, Now: clk.now, Retries: -1})
			call := func(want int32) {
				t.Helper()
				_, err := c.Version(t.Context())
				ok(t, err)
				if got := n.proofs.Load(); got != want {
					t.Errorf("%d proofs, want %d", got, want)
				}
			}
			call(1)
			clk.add(9 * time.Minute)
			call(1)
			clk.add(time.Minute)
			if name == "the policy's end" {
				if _, err := c.Version(t.Context()); !errors.Is(err, kms.Expired) {
					t.Errorf("%v, want %v", err, kms.Expired)
				}
				return
			}
			call(2)
			call(2)
			clk.add(-time.Hour) // a clock that was set back proves nothing about age
			call(3)
		})
	}
}

// TestFailedProofEndsConnections: what was proved before does not outlive the
// failure to prove it again.
func TestFailedProofEndsConnections(t *testing.T) {
	n := newDomain(t, nil).serve(t)
	liar := n.domain.serve(t)
	liar.tell(lie{purpose: attest.ForSelf})
	var turn atomic.Pointer[node] // who is behind the address
	turn.Store(n)
	m := relay(t, func(in net.Conn) (net.Conn, net.Conn, error) {
		out, err := net.Dial("tcp", turn.Load().http.Listener.Addr().String())
		return in, out, err
	})
	c := dial(t, m.url, n.trust())
	release := n.holdCalls()
	held := make(chan error)
	go func() { _, err := c.Version(t.Context()); held <- err }()
	for n.calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}

	turn.Store(liar)
	_, err := c.Version(t.Context()) // the first connection is busy
	if !errors.Is(err, attest.WrongReportData) {
		t.Errorf("the liar: %v, want %v", err, attest.WrongReportData)
	}
	release()
	ok(t, <-held) // what was sent is answered

	turn.Store(n)
	_, err = c.Version(t.Context())
	ok(t, err)
	if got := n.proofs.Load(); got != 2 {
		t.Errorf("%d proofs, want 2: the connection from before is used again", got)
	}
}

// TestOneProofForManyConnections: whoever dials while a proof is under way waits
// for it.
func TestOneProofForManyConnections(t *testing.T) {
	n := newDomain(t, nil).serve(t)
	c := n.client(t, n.trust())
	release := n.holdCalls()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := c.Version(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	for n.calls.Load() < 8 { // each on a connection of its own
		time.Sleep(time.Millisecond)
	}
	release()
	all.Wait()
	if got := n.proofs.Load(); got != 1 {
		t.Errorf("%d proofs, want 1", got)
	}
}

func TestSilence(t *testing.T) {
	tests := map[string]func(net.Conn, *node){
		"before TLS": func(c net.Conn, _ *node) { io.Copy(io.Discard, c) },
		"after TLS": func(c net.Conn, n *node) {
			conn := tls.Server(c, n.http.TLS)
			io.Copy(io.Discard, conn)
		},
		"in the answer": func(c net.Conn, n *node) {
			conn := tls.Server(c, n.http.TLS)
			http.ReadRequest(bufio.NewReader(conn))
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: 10\r\n\r\nx")
			io.Copy(io.Discard, conn)
		},
	}
	for name, behave := range tests {
		t.Run(name, func(t *testing.T) {
			n := newDomain(t, nil).serve(t)
			m := relay(t, func(in net.Conn) (net.Conn, net.Conn, error) {
				behave(in, n)
				return nil, nil, io.EOF
			})
			c := newClient(t, client.Config{URL: m.url, Trust: n.trust(), Retries: -1, Timeout: 200 * time.Millisecond})
			for _, call := range []func() error{
				func() error { _, err := c.Version(t.Context()); return err },
				func() error { _, err := c.Attest(t.Context()); return err },
			} {
				if err := call(); !errors.Is(err, kms.Unavailable) {
					t.Errorf("%v, want %v", err, kms.Unavailable)
				}
			}
		})
	}
}

// TestUnaskedAnswer: bytes after the proof would be the answer to the first
// request.
func TestUnaskedAnswer(t *testing.T) {
	n := newDomain(t, nil).serve(t)
	m := relay(t, func(in net.Conn) (net.Conn, net.Conn, error) {
		conn := tls.Server(in, n.http.TLS)
		http.ReadRequest(bufio.NewReader(conn))
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n")
		return nil, nil, io.EOF
	})
	_, err := dial(t, m.url, n.trust()).Version(t.Context())
	if !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "more came") {
		t.Errorf("%v, want %v", err, kms.Denied)
	}
}

// TestNodeThatCloses: an answer that ends its connection is good for the next.
func TestNodeThatCloses(t *testing.T) {
	n := newDomain(t, nil).serve(t)
	n.http.Config.SetKeepAlivesEnabled(false)
	_, err := n.client(t, n.trust()).Version(t.Context())
	ok(t, err)
	if n.proofs.Load() != 1 || n.calls.Load() != 1 {
		t.Errorf("%d proofs, %d calls, want 1 and 1", n.proofs.Load(), n.calls.Load())
	}
}

func TestAttestedDialThroughProxy(t *testing.T) {
	n := newDomain(t, nil).serve(t)
	var asked atomic.Pointer[http.Request]
	proxy := relay(t, func(in net.Conn) (net.Conn, net.Conn, error) {
		r, err := http.ReadRequest(bufio.NewReader(in))
		if err != nil {
			return nil, nil, err
		}
		asked.Store(r)
		io.WriteString(in, "HTTP/1.1 200 Connection established\r\n\r\n")
		out, err := net.Dial("tcp", n.http.Listener.Addr().String())
		return in, out, err
	})
	c := n.client(t, n.trust())
	client.SetProxy(c, strings.Replace(proxy.url, "https://", "http://user:secret@", 1))
	_, err := c.Version(t.Context())
	ok(t, err)
	if r := asked.Load(); r == nil || r.Method != http.MethodConnect || r.Host != n.http.Listener.Addr().String() ||
		r.Header.Get("Proxy-Authorization") != "Basic dXNlcjpzZWNyZXQ=" {
		t.Errorf("the proxy was asked for %+v", r)
	}
	for answer, words := range map[string]string{"HTTP/1.1 407 no\r\n\r\n": "the proxy answers", "garbage\r\n\r\n": "asking the proxy"} {
		proxy := relay(t, func(in net.Conn) (net.Conn, net.Conn, error) {
			http.ReadRequest(bufio.NewReader(in))
			io.WriteString(in, answer)
			return nil, nil, io.EOF
		})
		c := n.client(t, n.trust())
		client.SetProxy(c, strings.Replace(proxy.url, "https://", "http://", 1))
		if _, err := c.Version(t.Context()); !errors.Is(err, kms.Unavailable) || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v, want %v with %q", answer, err, kms.Unavailable, words)
		}
	}
}

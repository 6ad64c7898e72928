package tenant_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/host/listen"
)

// TestTooManyConnections fills a node with idle connections. One more is
// refused, those that are there are served, and when one goes there is room.
func TestTooManyConnections(t *testing.T) {
	most := listen.DefaultMaxConns
	if testing.Short() {
		most = 300
	}
	if !raiseDescriptors(t, uint64(2*most+200)) { // both ends are ours
		t.Skipf("NOT TESTED: this process may not open %d files; raise `ulimit -n`", 2*most+200)
	}
	a := newArena(t, setup{listen: listen.Config{MaxConns: most}})
	defer a.watch()() // on a connection that it has
	x := a.enrol()
	x.must("ListKey", "")
	open := a.endpoint.Listener.Stats().Open
	conns := make([]*tls.Conn, most-int(open))
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < len(conns); i += 8 {
				conns[i] = a.idle(t)
			}
		})
	}
	wg.Wait()
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	if got := a.endpoint.Listener.Stats().Open; got != int64(most) {
		t.Fatalf("%d connections are open, want %d", got, most)
	}
	for range 3 {
		if c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", a.endpoint.Addr, a.endpoint.TLS()); err == nil {
			c.Close()
			t.Error("one connection more than there may be was served")
		} else if timedOut(err) {
			t.Errorf("one connection more was left waiting: %v", err)
		}
	}
	if got := a.endpoint.Listener.Stats().Refused; got < 3 {
		t.Errorf("%d connections refused, want 3", got)
	}
	x.must("ListKey", "") // on its own
	for _, i := range []int{0, 1, len(conns) / 2, len(conns) - 1} {
		if got := a.answer(t, conns[i]); got != missing {
			t.Errorf("connection %d: %+v", i, got)
		}
	}
	conns[7].Close()
	a.eventually(t, "there is room again", func() bool { return a.endpoint.Listener.Stats().Open < int64(most) })
	c := a.dial(t)
	defer c.Close()
	if got := a.answer(t, c); got != missing {
		t.Errorf("in its place: %+v", got)
	}
}

// idle opens a connection and leaves it so after a first request: without one
// it would have 10 seconds only.
func (a *arena) idle(t *testing.T) *tls.Conn {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", a.endpoint.Addr, a.endpoint.TLS())
	if err != nil {
		t.Error(err)
		return nil
	}
	a.answer(t, c)
	return c
}

// answer asks a question on a connection.
func (a *arena) answer(t *testing.T, c net.Conn) reply {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	say(t, c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Errorf("no answer: %v", err)
		return reply{}
	}
	return parse(t, resp)
}

func (a *arena) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A hasty host lets all timeouts come earlier on connections that are opened
// while it is armed, so that a test need not wait as long as an attacker must.
type hasty struct {
	net.Listener
	armed *atomic.Bool
}

// haste is how much earlier.
const haste = 20

func (l hasty) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil || !l.armed.Load() {
		return c, err
	}
	return hastyConn{c}, nil
}

type hastyConn struct{ net.Conn }

func sooner(t time.Time) time.Time {
	if left := time.Until(t); left > 0 {
		return time.Now().Add(left / haste)
	}
	return t // none, or at once
}

func (c hastyConn) SetDeadline(t time.Time) error      { return c.Conn.SetDeadline(sooner(t)) }
func (c hastyConn) SetReadDeadline(t time.Time) error  { return c.Conn.SetReadDeadline(sooner(t)) }
func (c hastyConn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(sooner(t)) }

// hastyArena is an arena for attacks that take their time. The well-behaved
// client is there already, with all the time that it is given.
func hastyArena(t *testing.T) *arena {
	t.Helper()
	var armed atomic.Bool
	a := newArena(t, setup{wrap: func(l net.Listener) net.Listener { return hasty{l, &armed} }})
	a.watch()
	armed.Store(true)
	return a
}

// TestSlowClients: whoever takes too long is hung up on, after the times that
// the node's HTTP server has.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	a := hastyArena(t)
	const greeting = "POST /ehsm?Action=ListKey HTTP/1.1\r\nHost: localhost\r\n"
	announced := func(header string) string { return plainRequest("ListKey", nil, header) }
	tests := []struct {
		name    string
		after   time.Duration // hung up on, in the node's time
		say     string
		dribble string // what goes on being sent
	}{
		{"nothing is asked", 10 * time.Second, "", ""},
		{"nothing more is asked", 2 * time.Minute, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", ""},
		{"half a header", 10 * time.Second, greeting, ""},
		{"a header that goes on and on", 10 * time.Second, greeting, "X: y\r\n"},
		{"a header byte by byte", 10 * time.Second, greeting + "X: ", "y"},
		{"no body", 30 * time.Second, announced("Content-Length: 1000"), ""},
		{"half a body", 30 * time.Second, announced("Content-Length: 1000") + "{", ""},
		{"a body byte by byte", 30 * time.Second, announced("Content-Length: 100000"), " "},
		{"a body chunk by chunk", 30 * time.Second, announced("Transfer-Encoding: chunked"), "1\r\n \r\n"},
		{"a body that is too large, and not sent", 0, announced("Content-Length: 200000"), ""},
	}
	var wg sync.WaitGroup
	for _, tt := range tests {
		c := a.dial(t)
		start := time.Now()
		say(t, c, tt.say)
		wg.Go(func() { hungUp(t, c, tt.name, start, tt.after) })
		if tt.dribble != "" {
			go drip(c, tt.dribble)
		}
	}
	start := time.Now()
	c, err := net.Dial("tcp", a.endpoint.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(start.Add(patience))
	wg.Go(func() { hungUp(t, c, "no TLS", start, 10*time.Second) })
	wg.Wait()
}

// hungUp waits until the server hangs up, which it may not do before its time.
func hungUp(t *testing.T, c net.Conn, what string, start time.Time, after time.Duration) {
	t.Helper()
	got, err := io.ReadAll(c)
	if took, want := time.Since(start), after/haste; timedOut(err) || took < want*9/10 {
		t.Errorf("%s: hung up on after %v, want %v (%v, %.40q)", what, took, want, err, got)
	}
}

// drip sends something small again and again until nobody takes it.
func drip(c net.Conn, text string) {
	for {
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestSlowHeader takes the time that it really takes.
func TestSlowHeader(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 11 seconds")
	}
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	var wg sync.WaitGroup
	for range 100 {
		start := time.Now()
		c := a.dial(t)
		say(t, c, "POST /ehsm?Action=ListKey HTTP/1.1\r\nHost: localhost\r\nX: ")
		go drip(c, "y")
		wg.Go(func() {
			_, err := io.ReadAll(c)
			if took := time.Since(start); timedOut(err) || took < 9*time.Second {
				t.Errorf("hung up on after %v: %v", took, err)
			}
		})
	}
	wg.Wait()
}

// TestNeverReading: clients that send requests and take no answers hold up
// nobody, and are hung up on when an answer cannot be written for a minute.
func TestNeverReading(t *testing.T) {
	t.Parallel()
	a := hastyArena(t)
	others := a.endpoint.Listener.Stats().Open
	requests := strings.Repeat("GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n", 200) // its answer is long
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 3 {
		c := a.dial(t)
		defer c.Close() // what ends the writing where the kernel has not told of it
		wg.Go(func() {
			for err := error(nil); err == nil; {
				_, err = io.WriteString(c, requests)
			}
		})
	}
	a.eventually(t, "hung up on", func() bool { return a.endpoint.Listener.Stats().Open == others })
}

// TestManyBodiesAtOnce: what a connection can make the node hold is bounded by
// the size of a body.
func TestManyBodiesAtOnce(t *testing.T) {
	a := newArena(t, setup{})
	defer a.watch()()
	const conns = 100
	before := heap()
	for range conns {
		c := a.dial(t)
		say(t, c, plainRequest("ListKey", []byte(strings.Repeat(" ", limit-1)), fmt.Sprintf("Content-Length: %d", limit)))
	}
	time.Sleep(200 * time.Millisecond)
	if grown := int64(heap()) - int64(before); grown > conns*300<<10 {
		t.Errorf("%d kB for each connection", grown/conns>>10)
	}
}

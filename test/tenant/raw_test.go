package tenant_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// dial opens a connection by hand, for what no client would send.
func (a *arena) dial(t testing.TB, protocols ...string) *tls.Conn {
	t.Helper()
	cfg := a.endpoint.TLS()
	cfg.NextProtos = protocols
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", a.endpoint.Addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// say writes to a connection. Where the server has hung up already, what it
// said before is still to be read.
func say(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil && timedOut(err) {
		t.Errorf("the server does not take what it is sent: %v", err)
	}
}

func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// raw sends bytes on a connection of their own and returns all that comes back
// until the server hangs up, which it must.
func (a *arena) raw(t testing.TB, request string) string {
	t.Helper()
	c := a.dial(t)
	say(t, c, request)
	return rest(t, c)
}

func rest(t testing.TB, c net.Conn) string {
	t.Helper()
	got, err := io.ReadAll(c)
	if timedOut(err) {
		t.Errorf("the server does not hang up; so far %q", got)
	}
	return string(got)
}

// statuses are the HTTP statuses of the answers on a connection, in order.
func statuses(t testing.TB, answers string) (all []int) {
	t.Helper()
	in := bufio.NewReader(strings.NewReader(answers))
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return all
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Errorf("half an answer: %v", err)
		}
		all = append(all, resp.StatusCode)
	}
}

// plainRequest is a well-formed request, as text. extra are header lines.
func plainRequest(action string, body []byte, extra ...string) string {
	var b bytes.Buffer
	b.WriteString("POST /ehsm?Action=" + action + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
	if !strings.Contains(strings.Join(extra, ""), "Content-Length") && !strings.Contains(strings.Join(extra, ""), "Transfer-Encoding") {
		b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	for _, line := range extra {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.String()
}

const hangUp = "Connection: close"

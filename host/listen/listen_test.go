package listen_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/kms"
)

const patience = 10 * time.Second

func listener(t *testing.T, cfg listen.Config) *listen.Listener {
	t.Helper()
	l, err := listen.TCP("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// echo serves l until the test ends: each connection gets its own bytes back.
func echo(t *testing.T, l net.Listener) {
	t.Helper()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer c.Close(); io.Copy(c, c) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func echoes(c net.Conn) error {
	if _, err := c.Write([]byte("echo")); err != nil {
		return err
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != "echo" {
		return errors.New("other bytes came back")
	}
	return nil
}

// wantRefused asks for an end of the connection, and not for a time-out. The
// reset may come before the dialler has even returned.
func wantRefused(t *testing.T, l *listen.Listener) {
	t.Helper()
	c, err := net.DialTimeout("tcp", l.Addr().String(), patience)
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
	}
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("connection over the limit: %v, want it closed", err)
	}
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func TestLimit(t *testing.T) {
	l := listener(t, listen.Config{MaxConns: 2})
	echo(t, l)
	first, second := dial(t, l), dial(t, l)
	if err := errors.Join(echoes(first), echoes(second)); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, l)
	wantRefused(t, l)
	if err := errors.Join(echoes(first), echoes(second)); err != nil {
		t.Errorf("after a refusal: %v", err)
	}
	if diff := cmp.Diff(listen.Stats{Open: 2, Refused: 2}, l.Stats()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	first.Close()
	eventually(t, "one place free", func() bool { return l.Stats().Open == 1 })
	if err := echoes(dial(t, l)); err != nil {
		t.Errorf("in the place given back: %v", err)
	}
}

func TestClosingTwiceGivesOnePlaceBack(t *testing.T) {
	l := listener(t, listen.Config{MaxConns: 2})
	defer l.Close()
	dial(t, l)
	dial(t, l)
	one, err1 := l.Accept()
	two, err2 := l.Accept()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	one.Close()
	one.Close()
	if open := l.Stats().Open; open != 1 {
		t.Errorf("%d open, want 1", open)
	}
}

func TestCloseEndsAccept(t *testing.T) {
	l := listener(t, listen.Config{})
	accepted := make(chan error)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v, want net.ErrClosed", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestServesHTTP(t *testing.T) {
	l := listener(t, listen.Config{MaxConns: 10})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "served") }))
	server.Listener.Close()
	server.Listener = l
	server.StartTLS()
	defer server.Close()
	reply, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(reply.Body)
	reply.Body.Close()
	if err != nil || string(body) != "served" || reply.TLS.Version != tls.VersionTLS13 {
		t.Errorf("%q (%v)", body, err)
	}
	server.CloseClientConnections()
	eventually(t, "every place given back", func() bool { return l.Stats().Open == 0 })
}

func TestPortTaken(t *testing.T) {
	l := listener(t, listen.Config{})
	defer l.Close()
	_, err := listen.TCP(l.Addr().String(), listen.Config{})
	checkError(t, err, kms.Unavailable)
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	if want := "port " + port + " is taken: choose another with --listen 127.0.0.1:PORT"; kms.HintOf(err) != want {
		t.Errorf("hint %q, want %q", kms.HintOf(err), want)
	}
	if got, want := listen.Hint(err, "127.0.0.1:9000", 9000), "port 9000 is taken (MinIO likes it too): choose another with --listen 127.0.0.1:PORT"; got != want {
		t.Errorf("hint for port 9000 %q, want %q", got, want)
	}
}

func TestAddresses(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "localhost:0", ":0", "0.0.0.0:0"} {
		l, err := listen.TCP(addr, listen.Config{})
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		l.Close()
	}
	for _, addr := range []string{"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1", "kms.example:9000", "127.0.0.256:0", "::1:0"} {
		_, err := listen.TCP(addr, listen.Config{})
		checkError(t, err, kms.Invalid)
	}
	_, err := listen.TCP("192.0.2.1:0", listen.Config{}) // RFC 5737: nobody's
	checkError(t, err, kms.Unavailable)
	if !strings.Contains(kms.HintOf(err), "no address of this machine") {
		t.Errorf("hint %q", kms.HintOf(err))
	}
	if _, err := listen.TCP("127.0.0.1:0", listen.Config{MaxConns: -1}); !errors.Is(err, kms.Invalid) {
		t.Errorf("negative limit: %v, want Invalid", err)
	}
}

// faulty fails the accepts that it is told to and then goes on.
type faulty struct {
	net.Listener
	failures chan error
}

func (f *faulty) Accept() (net.Conn, error) {
	select {
	case err := <-f.failures:
		return nil, err
	default:
		return f.Listener.Accept()
	}
}

func TestAcceptSurvivesFailures(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{Listener: inner, failures: make(chan error, 10)}
	for range 4 {
		f.failures <- errors.New("too many open files")
	}
	var logged strings.Builder
	l := listen.Wrap(f, listen.Config{Log: slog.New(slog.NewTextHandler(&logged, nil))})
	echo(t, l)
	if err := echoes(dial(t, l)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(listen.Stats{Open: 1, Retried: 4}, l.Stats()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := strings.Count(logged.String(), "too many open files"); n != 1 {
		t.Errorf("logged %d times, want once a row:\n%s", n, logged.String())
	}
}

func TestCloseEndsRetries(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{Listener: inner, failures: make(chan error, 1000)}
	for range cap(f.failures) {
		f.failures <- errors.New("always")
	}
	l := listen.Wrap(f, listen.Config{})
	accepted := make(chan error)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	eventually(t, "some retries", func() bool { return l.Stats().Retried > 3 })
	l.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v, want net.ErrClosed", err)
	}
	if n := l.Stats().Retried; n > 100 {
		t.Errorf("%d retries: it does not wait between them", n)
	}
}

func checkError(t *testing.T, err error, want kms.Kind) {
	t.Helper()
	var e *kms.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want a *kms.Error", err, err)
	}
	if e.Kind != want || e.Hint == "" {
		t.Errorf("kind %v, hint %q of %v; want %v and a hint", e.Kind, e.Hint, err, want)
	}
}

// Package listen opens the TCP sockets that a node is reached at. It bounds
// how many connections are open at once, so that a tenant who opens thousands
// and sends nothing costs a bounded amount of memory, and it does not stop
// accepting because the machine was out of something for a moment.
package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// DefaultMaxConns is the number of connections that may be open at once where
// Config names none.
const DefaultMaxConns = 2000

// A peer that vanished without a word is noticed after about a minute.
const (
	keepAliveIdle     = 30 * time.Second
	keepAliveInterval = 10 * time.Second
	keepAliveCount    = 3
)

// An accept that fails is tried again after a wait that grows from the first
// to the second.
const (
	minRetryWait = 5 * time.Millisecond
	maxRetryWait = time.Second
)

// Config says how a listener behaves.
type Config struct {
	MaxConns int          // connections open at once; zero: DefaultMaxConns
	Log      *slog.Logger // is told when accepting fails; nil: nobody is
}

// Stats is a reading of a listener's counters.
type Stats struct {
	Open    int64 // connections open now
	Refused int64 // connections closed at once because MaxConns were open
	Retried int64 // accepts that failed and were tried again
}

// A Listener is a net.Listener that bounds its connections.
type Listener struct {
	inner  net.Listener
	max    int64
	log    *slog.Logger
	closed chan struct{}
	close  func() error

	open, refused, retried atomic.Int64
}

// Try asks whether TCP could listen at addr, for who listens there later.
func Try(addr string) error {
	l, err := TCP(addr, Config{})
	if err != nil {
		return err
	}
	return l.Close()
}

// TCP listens at addr, "IP:port", where an empty IP is every address of the
// machine, localhost is 127.0.0.1 and port 0 is any free one. No name is
// looked up. The error is Invalid for an address that is none, else
// Unavailable, and has a hint.
func TCP(addr string, cfg Config) (*Listener, error) {
	if cfg.MaxConns < 0 {
		return nil, kms.Errorf(kms.Invalid, "listening: at most %d connections", cfg.MaxConns)
	}
	addr, port, err := resolve(addr)
	if err != nil {
		return nil, err
	}
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	}}
	inner, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, kms.Errorf(kms.Unavailable, "listening: %w", err).WithHint(hint(err, addr, port))
	}
	return newListener(inner, cfg), nil
}

func newListener(inner net.Listener, cfg Config) *Listener {
	l := &Listener{inner: inner, max: int64(cfg.MaxConns), log: cfg.Log, closed: make(chan struct{})}
	if l.max == 0 {
		l.max = DefaultMaxConns
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.close = sync.OnceValue(func() error {
		close(l.closed)
		return inner.Close()
	})
	return l
}

// resolve checks addr and puts the address for localhost.
func resolve(addr string) (resolved string, port uint16, err error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, notAnAddress(err)
	}
	number, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", 0, notAnAddress(err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return "", 0, notAnAddress(err)
		}
	}
	return net.JoinHostPort(host, portText), uint16(number), nil
}

func notAnAddress(err error) error {
	return kms.Errorf(kms.Invalid, "listening: %w", err).WithHint("an address to listen at is an IP and a port, as in 127.0.0.1:9000 or [::1]:9000")
}

// hint says what to do about a listen that failed.
func hint(err error, addr string, port uint16) string {
	switch {
	case isAny(err, inUse):
		taken := "port " + strconv.Itoa(int(port)) + " is taken"
		if port == 9000 {
			taken += " (MinIO likes it too)"
		}
		return taken + ": choose another with --listen 127.0.0.1:PORT"
	case isAny(err, notAllowed):
		return "this user may not listen at port " + strconv.Itoa(int(port)) + ": choose one above 1023 with --listen 127.0.0.1:PORT"
	case isAny(err, notOurs):
		return addr + " is no address of this machine: choose another with --listen 127.0.0.1:PORT"
	}
	return "choose another address with --listen 127.0.0.1:PORT"
}

func isAny(err error, codes []syscall.Errno) bool {
	var code syscall.Errno
	if !errors.As(err, &code) {
		return false
	}
	for _, c := range codes {
		if c == code {
			return true
		}
	}
	return false
}

// Accept returns the next connection that there is room for. It fails only
// once the listener is closed, with an error that wraps net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	for wait := time.Duration(0); ; {
		c, err := l.inner.Accept()
		switch {
		case err == nil && l.enter():
			return &conn{Conn: c, leave: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		case err == nil:
			l.refuse(c)
			wait = 0
		case errors.Is(err, net.ErrClosed):
			return nil, err
		default:
			if wait = min(max(2*wait, minRetryWait), maxRetryWait); !l.retry(err, wait) {
				return nil, net.ErrClosed
			}
		}
	}
}

func (l *Listener) enter() bool {
	if l.open.Add(1) <= l.max {
		return true
	}
	l.open.Add(-1)
	return false
}

// refuse drops a connection with a reset, so that it leaves nothing behind in
// the kernel either.
func (l *Listener) refuse(c net.Conn) {
	l.refused.Add(1) // first: who sees the reset sees it counted
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

// retry waits before the next accept and reports whether there is to be one.
// Only the first failure of a row is logged: there may be no disk left for more.
func (l *Listener) retry(err error, wait time.Duration) bool {
	l.retried.Add(1)
	if wait == minRetryWait {
		l.log.Warn("accepting a connection failed; trying again", "address", l.inner.Addr().String(), "error", err)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-l.closed:
		return false
	case <-timer.C:
		return true
	}
}

// Close stops accepting. Connections that are open stay so.
func (l *Listener) Close() error { return l.close() }

// Addr is where the listener listens, with the port that was chosen for 0.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Stats reads the counters. Safe to call at any time.
func (l *Listener) Stats() Stats {
	return Stats{Open: l.open.Load(), Refused: l.refused.Load(), Retried: l.retried.Load()}
}

// A conn gives its place back when it is closed first.
type conn struct {
	net.Conn
	leave func()
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}

// CloseWrite ends the sending half; net/http asks for it before it drops a
// connection, so that the last reply arrives.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn gives access to the socket's options.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if raw, ok := c.Conn.(syscall.Conn); ok {
		return raw.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

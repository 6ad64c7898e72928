package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// An attested is a transport whose every connection ends in a key that has
// proved, on a connection of its own making, that it lives in a node of the
// domain. Requests pay for a look at the clock.
//
// Connections belong to a generation, which ends when the first of its proofs
// ceases to count, or when a node does not prove itself any more. What was sent
// on them by then is answered; they take no further request.
type attested struct {
	trust   *Trust
	charter govern.Digest
	memory  Memory
	tls     *tls.Config
	proxy   proxyFunc
	now     func() time.Time
	timeout time.Duration // of a dial, with everything in it

	mu      sync.Mutex // of replacing current
	current atomic.Pointer[generation]
}

// A generation is connections, and the keys that they may end in.
type generation struct {
	owner     *attested
	transport *http.Transport
	born      time.Time
	until     atomic.Pointer[time.Time] // nil before the first proof

	mu    sync.Mutex
	keys  map[[sha256.Size]byte]*flight
	first *Verified
}

// A flight is one proof, under way or done. Who dials meanwhile and finds the
// same key waits for it.
type flight struct {
	done     chan struct{}
	verified *Verified
	err      error
}

// newAttested makes the transport for a configuration with a Trust.
func newAttested(c *Config) (*attested, error) {
	charter, err := govern.ParseCharter(c.Trust.Charter)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "%w", err).WithField("Trust.Charter").
			WithHint("give the charter that the domain was founded on")
	}
	if c.Trust.Require != nil {
		if err := c.Trust.Require.Validate(); err != nil {
			return nil, kms.Errorf(kms.Invalid, "%w", err).WithField("Trust.Require")
		}
	}
	trust := *c.Trust
	trust.Charter = slices.Clone(trust.Charter)
	a := c.asker()
	a.trust, a.charter, a.memory = &trust, charter.Digest(), trust.Memory
	if a.memory == nil {
		a.memory = &briefMemory{}
	}
	a.renew(nil)
	return a, nil
}

// asker returns what can connect to a node and ask for its proof.
func (c *Config) asker() *attested {
	a := &attested{proxy: http.ProxyFromEnvironment, now: c.Now, timeout: c.Timeout}
	if a.now == nil {
		a.now = time.Now
	}
	if a.timeout <= 0 {
		a.timeout = defaultTimeout
	}
	// The proof takes the place of names and roots; the handshake still shows that
	// the node holds its certificate's key, which is what the proof is about.
	a.tls = &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	return a
}

// RoundTrip implements http.RoundTripper.
func (a *attested) RoundTrip(r *http.Request) (*http.Response, error) {
	g := a.current.Load()
	if g.over(a.now()) {
		g = a.renew(g)
	}
	return g.transport.RoundTrip(r)
}

// CloseIdleConnections is what http.Client looks for.
func (a *attested) CloseIdleConnections() { a.current.Load().transport.CloseIdleConnections() }

// renew ends a generation, unless another goroutine has, and returns the one
// that is current then.
func (a *attested) renew(old *generation) *generation {
	a.mu.Lock()
	defer a.mu.Unlock()
	if g := a.current.Load(); g != old {
		return g
	}
	g := &generation{owner: a, born: a.now(), keys: map[[sha256.Size]byte]*flight{}}
	g.transport = &http.Transport{
		DialTLSContext:      func(ctx context.Context, _, address string) (net.Conn, error) { return g.dial(ctx, address) },
		MaxIdleConns:        idleConns,
		MaxIdleConnsPerHost: idleConns,
		IdleConnTimeout:     90 * time.Second,
	}
	a.current.Store(g)
	if old != nil {
		old.transport.CloseIdleConnections() // and each busy one when it becomes idle
	}
	return g
}

// over reports whether a proof of g has ceased to count, or the clock was set back
// behind it.
func (g *generation) over(now time.Time) bool {
	until := g.until.Load()
	return until != nil && (!now.Before(*until) || now.Before(g.born))
}

// dial makes a connection that has proved itself.
func (g *generation) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, g.owner.timeout)
	defer cancel()
	for {
		conn, err := g.owner.handshake(ctx, address)
		if err != nil {
			return nil, err
		}
		usable, err := g.admit(ctx, conn, address)
		if err == nil && usable {
			return conn, nil
		}
		conn.Close()
		if err != nil {
			return nil, err
		}
		// The node has proved itself and wants no second request on that
		// connection; the next one ends in a key that is known.
	}
}

// admit has the key at the other end of conn prove itself, unless it has. The
// connection is usable unless the node closes it after the proof.
func (g *generation) admit(ctx context.Context, conn *tls.Conn, address string) (usable bool, err error) {
	for {
		f, mine := g.join(keyOf(conn))
		if mine {
			f.verified, usable, f.err = g.owner.prove(ctx, conn, address)
			g.settle(keyOf(conn), f)
			return usable, f.err
		}
		select {
		case <-ctx.Done():
			return false, kms.Errorf(kms.Unavailable, "waiting for the node's proof: %w", ctx.Err())
		case <-f.done:
		}
		// That another connection broke says nothing about this one.
		if !errors.Is(f.err, kms.Unavailable) {
			return f.err == nil, f.err
		}
	}
}

// join returns the proof of a key, and whether it is the caller's to make.
func (g *generation) join(key [sha256.Size]byte) (f *flight, mine bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.keys[key]; f != nil {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	g.keys[key] = f
	return f, true
}

// settle ends a flight. A node that does not prove itself ends the generation:
// what it proved before may not hold any more.
func (g *generation) settle(key [sha256.Size]byte, f *flight) {
	g.mu.Lock()
	if f.err != nil {
		delete(g.keys, key)
	} else if g.first == nil || f.verified.Until.Before(*g.until.Load()) {
		g.first = f.verified
		g.until.Store(&f.verified.Until)
	}
	established := g.first != nil
	g.mu.Unlock()
	close(f.done)
	if f.err != nil && established && !errors.Is(f.err, kms.Unavailable) {
		g.owner.renew(g)
	}
}

// Attest has the node prove what it is, on a connection of its own, and returns
// what it proved. Calls do so by themselves where Config has a Trust; without
// one the error is Invalid.
func (c *Client) Attest(ctx context.Context) (*Verified, error) {
	a, ok := c.http.Transport.(*attested)
	if !ok {
		return nil, misuse(actAttest, kms.Invalid, "set Config.Trust", "the client has no charter to hold the node to")
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	v, err := a.attest(ctx, hostPort(c.base))
	if err != nil {
		return nil, unreachable(actAttest, err)
	}
	return v, nil
}

var actAttest = action{name: "Attest", repeatable: true}

func (a *attested) attest(ctx context.Context, address string) (*Verified, error) {
	conn, err := a.handshake(ctx, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	v, _, err := a.prove(ctx, conn, address)
	return v, err
}

// Shown is what a node shows of itself to someone who asks, unverified.
type Shown struct {
	Proof *kms.Proof
	Nonce []byte            // that the proof is to answer
	Leaf  *x509.Certificate // that the node presented on that connection
}

// Inquire asks the node of cfg for its proof and verifies nothing. It is for
// looking at evidence; only URL, Timeout and Now of cfg count.
func Inquire(ctx context.Context, cfg Config) (*Shown, error) {
	base, err := cfg.base()
	if err != nil {
		return nil, err
	}
	a := (&Config{Timeout: cfg.Timeout, Now: cfg.Now}).asker()
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	conn, err := a.handshake(ctx, hostPort(base))
	if err != nil {
		return nil, unreachable(actAttest, err)
	}
	defer conn.Close()
	s := &Shown{Nonce: make([]byte, nonceSize), Leaf: conn.ConnectionState().PeerCertificates[0]}
	rand.Read(s.Nonce)
	if s.Proof, _, err = ask(ctx, conn, hostPort(base), s.Nonce); err != nil {
		return nil, unreachable(actAttest, err)
	}
	return s, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func keyOf(conn *tls.Conn) [sha256.Size]byte {
	return sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
}

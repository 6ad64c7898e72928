package member

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

const (
	// maxKnocking bounds the connections whose TLS is under way.
	maxKnocking = 128
	// maxStrangers bounds the channels of the protocol Join, and strangerTime how
	// long each lasts.
	maxStrangers = 32
	strangerTime = 2 * time.Minute
	// maxStrangerBytes bounds what a stranger may send on each: evidence of the
	// greatest length for each of the up to three calls that an attempt to join makes.
	// So its streams, however many it opens, cannot make this node hold more.
	maxStrangerBytes = 4 * maxFrame
)

// Serve takes the connections of other nodes from l until ctx ends or Close is
// called, then closes l. Channels that were opened stay. The error is l's.
func (c *Channels) Serve(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	if !c.start(func() { served <- c.accept(l) }) {
		_ = l.Close()
		return errClosed
	}
	select {
	case err := <-served:
		_ = l.Close()
		return kms.Errorf(kms.Unavailable, "serving other nodes: %w", err)
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	err := l.Close()
	<-served
	return err
}

func (c *Channels) accept(l net.Listener) error {
	for {
		raw, err := l.Accept()
		if err != nil {
			return err
		}
		leave := c.knocking.enter(raw.RemoteAddr(), func() { _ = raw.Close() })
		if !c.start(func() { c.receive(raw, leave) }) {
			_ = raw.Close()
		}
	}
}

// receive takes one connection as far as its protocol's listener.
func (c *Channels) receive(raw net.Conn, leave func()) {
	conn, theirs, err := c.secure(raw)
	leave()
	if err != nil {
		c.cfg.Logger.Debug("a connection of a stranger's", "from", raw.RemoteAddr().String(), "cause", err)
		return
	}
	if conn.protocol == Join {
		err = c.takeStranger(conn)
	} else if err = c.greet(conn, theirs); err == nil {
		c.peers.listens(conn, theirs.socket)
		err = c.deliver(conn)
	}
	if err != nil {
		c.cfg.Logger.Debug("a connection of another node's", "node", conn.who.node.String(), "protocol", conn.protocol, "cause", err)
	}
}

// secure proves by TLS who is there, and hears what a member says first. All that
// a stranger can have of this node is in here, in a place at the door.
func (c *Channels) secure(raw net.Conn) (*Conn, hello, error) {
	m := &meter{Conn: raw}
	m.allow(maxTLSBytes)
	conn := &Conn{raw: m, leave: c.forget}
	config := c.tls.Clone()
	config.NextProtos = protocols
	config.VerifyConnection = func(cs tls.ConnectionState) error { return conn.shown(cs, protocols...) }
	t := tls.Server(m, config)
	conn.Conn = t
	ctx, cancel := context.WithTimeout(c.ctx, tlsTime)
	defer cancel()
	unwatch := context.AfterFunc(ctx, func() { _ = raw.Close() })
	var theirs hello
	err := tlsError(t.HandshakeContext(ctx))
	if conn.who != nil && broken(err) {
		c.cfg.Impostor(kms.Errorf(kms.Denied, "a certificate without its key: %w", err))
	}
	if err == nil && conn.protocol != Join {
		theirs, err = c.greetIn(conn)
	}
	if !unwatch() && err == nil {
		err = kms.Errorf(kms.Unavailable, "hearing a stranger: %w", ctx.Err())
	}
	if err != nil {
		conn.drop()
		return nil, hello{}, err
	}
	return conn, theirs, nil
}

// broken reports whether a handshake ended by what was said in it, not because
// the connection did: once a certificate was read, that is its signature.
func broken(err error) bool {
	var gone net.Error
	return err != nil && !errors.As(err, &gone) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed)
}

// takeStranger hands out a channel of the protocol Join, for as long as such lasts.
func (c *Channels) takeStranger(conn *Conn) error {
	out := func() { _ = conn.raw.Close() }
	leave := c.strangers.enter(conn.raw.RemoteAddr(), out)
	ctx, cancel := context.WithTimeout(c.ctx, strangerTime)
	unwatch := context.AfterFunc(ctx, out)
	forget := conn.leave
	conn.leave = func(conn *Conn) {
		unwatch()
		cancel()
		leave()
		forget(conn)
	}
	if err := c.keep(conn); err != nil {
		return err
	}
	conn.raw.allow(maxStrangerBytes)
	return c.deliver(conn)
}

// keep puts a channel of the protocol Join on record, for Close.
func (c *Channels) keep(conn *Conn) error {
	c.mu.Lock()
	if !c.closed {
		c.joining[conn] = true
		c.mu.Unlock()
		return nil
	}
	c.mu.Unlock()
	conn.drop()
	return errClosed
}

// deliver gives a channel to who listens for its protocol, or closes it.
func (c *Channels) deliver(conn *Conn) error {
	c.mu.Lock()
	q := c.listeners[conn.protocol]
	c.mu.Unlock()
	if q == nil {
		conn.drop()
		return kms.Errorf(kms.Unavailable, "nobody listens for it")
	}
	ctx, cancel := context.WithTimeout(c.ctx, tlsTime)
	defer cancel()
	select {
	case q.channels <- conn:
		return nil
	case <-q.done:
	case <-ctx.Done():
	}
	conn.drop()
	return kms.Errorf(kms.Unavailable, "nobody takes it")
}

// Listener gives the channels that other nodes open for a protocol, each a *Conn.
// There is one listener of each at a time; the next one takes its place. Those of
// the protocol Join are of strangers; all others are admitted.
func (c *Channels) Listener(protocol string) net.Listener {
	q := &queue{channels: make(chan net.Conn), done: make(chan struct{}), addr: address(protocol)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if before := c.listeners[protocol]; before != nil {
		before.shut()
	}
	if c.listeners[protocol] = q; c.closed {
		q.shut()
	}
	return q
}

// A queue is the listener of one protocol.
type queue struct {
	channels chan net.Conn
	done     chan struct{}
	once     sync.Once
	addr     address
}

func (q *queue) shut() { q.once.Do(func() { close(q.done) }) }

func (q *queue) Accept() (net.Conn, error) {
	select {
	case <-q.done:
		return nil, net.ErrClosed
	case conn := <-q.channels:
		return conn, nil
	}
}

// Close ends the listener. Channels that it gave stay open.
func (q *queue) Close() error {
	q.shut()
	return nil
}

func (q *queue) Addr() net.Addr { return q.addr }

// An address names a protocol: where the node listens is for the host to know.
type address string

func (address) Network() string  { return "holdfast" }
func (a address) String() string { return string(a) }

package member

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// errCut is what using a channel that was ended returns. It wraps net.ErrClosed.
var errCut = kms.Errorf(kms.Unavailable, "the channel was ended: %w", net.ErrClosed)

// A Conn is a channel to another node: TLS with the key that is the node's id.
type Conn struct {
	net.Conn // TLS

	raw      *meter
	leave    func(*Conn)
	who      *identity
	protocol string
	dialed   bool
	peer     *peer // nil on the protocol Join

	admission atomic.Pointer[admission]
	ended     atomic.Bool
	close     sync.Once
}

// Peer is the node at the other end.
func (c *Conn) Peer() kms.NodeID { return c.who.node }

// Key is the peer key of the node at the other end, as SubjectPublicKeyInfo. The
// caller does not change it.
func (c *Conn) Key() []byte { return c.who.key }

// Boot is the public key of the start of the node at the other end, see Seal. The
// caller does not change it.
func (c *Conn) Boot() []byte { return c.who.boot }

// Claims is what the node at the other end proved last. They are the zero Claims
// on the protocol Join, where it has proved nothing but its key.
func (c *Conn) Claims() attest.Claims {
	if adm := c.admission.Load(); adm != nil {
		return adm.claims
	}
	return attest.Claims{}
}

// Read reads what the other node wrote. Nothing is read of a node whose channels
// were ended, though it had arrived before.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.ended.Load() {
		clear(b[:n])
		return 0, errCut
	}
	return n, err
}

// Write writes to the other node.
func (c *Conn) Write(b []byte) (int, error) {
	if c.ended.Load() {
		return 0, errCut
	}
	return c.Conn.Write(b)
}

// farewellTime bounds the alert by which TLS says that this is the end. The other
// side may not be reading.
const farewellTime = 100 * time.Millisecond

// Close closes the channel.
func (c *Conn) Close() (err error) {
	c.close.Do(func() {
		c.leave(c)
		ctx, cancel := context.WithTimeout(context.Background(), farewellTime)
		defer cancel()
		defer context.AfterFunc(ctx, func() { _ = c.raw.Close() })()
		err = c.Conn.Close()
	})
	return err
}

// drop closes a channel that nobody was given, without a farewell.
func (c *Conn) drop() {
	c.close.Do(func() {
		c.leave(c)
		_ = c.raw.Close()
	})
}

type connKey struct{}

// ConnContext puts a channel into the context of its requests; see
// http.Server.ConnContext.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if conn, ok := c.(*Conn); ok {
		return context.WithValue(ctx, connKey{}, conn)
	}
	return ctx
}

// PeerOf is the channel that a request came on.
func PeerOf(ctx context.Context) (*Conn, bool) {
	c, ok := ctx.Value(connKey{}).(*Conn)
	return c, ok
}

package member

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// Limits of calls between nodes.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 5 * time.Minute
	pingAfter      = 15 * time.Second
	pingTimeout    = 5 * time.Second
	writeTimeout   = 10 * time.Second // of a connection that takes nothing
	maxHeaderBytes = 16 << 10
)

// multiplexing bounds what one connection makes a node hold.
func multiplexing(streams int) *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: streams, StrictMaxConcurrentRequests: true,
		MaxReceiveBufferPerConnection: 1 << 20, MaxReceiveBufferPerStream: 256 << 10,
		SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: writeTimeout,
	}
}

// justHTTP2 is HTTP/2 on connections that net/http need not encrypt: they are
// channels.
func justHTTP2() *http.Protocols {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &p
}

// newClient makes a client whose connections are the channels that dial opens.
func newClient(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial, Protocols: justHTTP2(), HTTP2: multiplexing(0), DisableCompression: true,
			IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxHeaderBytes,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Client calls other nodes by HTTP/2 over the protocol Call. A URL is
// "http://NODE/PATH", where NODE is the text of the node's id; the channel
// encrypts. There is one connection to each node, kept and shared; it ends when
// the node's admission does.
func (c *Channels) Client() *http.Client { return c.calls }

func (c *Channels) dialCall(ctx context.Context, _, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "not a node's address: %w", err)
	}
	node, err := kms.ParseNodeID(host)
	if err != nil {
		return nil, err
	}
	return c.Dial(ctx, node, Call)
}

// JoinClient opens a channel of the protocol Join to whoever listens at a socket,
// and makes a client that calls there by HTTP/2, whatever host a URL names. The
// channel says who it is: its key and its start are proven, and nothing else. The
// client connects again if it must, to the same node alone. Who is done with it
// calls its CloseIdleConnections and closes the channel.
func (c *Channels) JoinClient(ctx context.Context, socket string) (*http.Client, *Conn, error) {
	first, err := c.dialStranger(ctx, socket, nil)
	if err != nil {
		return nil, nil, err
	}
	var unused atomic.Pointer[Conn]
	unused.Store(first)
	client := newClient(func(ctx context.Context, _, _ string) (net.Conn, error) {
		if conn := unused.Swap(nil); conn != nil {
			return conn, nil
		}
		conn, err := c.dialStranger(ctx, socket, &first.who.node)
		if err != nil {
			return nil, err
		}
		return conn, nil
	})
	return client, first, nil
}

func (c *Channels) dialStranger(ctx context.Context, socket string, node *kms.NodeID) (*Conn, error) {
	conn, err := c.connect(ctx, socket, Join, node)
	if err != nil {
		return nil, kms.Errorf(kms.KindOf(err), "dialling %q: %w", socket, err).WithHint(kms.HintOf(err))
	}
	conn.raw.free()
	return conn, c.keep(conn)
}

// Server makes a server of calls for the listener of the protocol Call or Join.
// PeerOf says, of a request's context, whose it is.
func (c *Channels) Server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, Protocols: justHTTP2(), HTTP2: multiplexing(maxStreams), ConnContext: ConnContext,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(c.cfg.Logger.Handler(), slog.LevelDebug),
	}
}

// maxStreams is how many calls one node may have open.
const maxStreams = 64

package trustedtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"

	"github.com/holdfast-kms/holdfast/host/listen"
)

// An Endpoint is where a node serves its API.
type Endpoint struct {
	Addr     string // IP:port, on the loopback interface
	URL      string
	Listener *listen.Listener

	node  *Node
	roots *x509.CertPool
	stop  func() error
}

// Serve serves the node's API on a free port of the loopback interface until
// the node stops. wrap, where not nil, puts the host between the node and its
// sockets.
func (n *Node) Serve(cfg listen.Config, wrap func(net.Listener) net.Listener) *Endpoint {
	t := n.domain.t
	t.Helper()
	if n.endpoint != nil {
		t.Fatal("the node serves already")
	}
	l, err := listen.TCP("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	e := &Endpoint{Addr: addr, URL: "https://" + addr, Listener: l, node: n, roots: x509.NewCertPool()}
	if !e.roots.AppendCertsFromPEM(n.node.CA()) {
		t.Fatal("the node's CA is not a certificate")
	}
	outer := net.Listener(l)
	if wrap != nil {
		outer = wrap(l)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- n.node.Serve(ctx, outer) }()
	e.stop = sync.OnceValue(func() error { cancel(); return <-served })
	n.endpoint = e
	return e
}

// TLS is the configuration of a client that trusts the node's domain and goes
// by the node's clock.
func (e *Endpoint) TLS() *tls.Config {
	return &tls.Config{RootCAs: e.roots, Time: e.node.Clock.Now}
}

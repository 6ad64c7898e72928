package trustedtest

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/holdfast-kms/holdfast/trusted/server"
)

// A Network is what joins the nodes of a domain: the loopback interface, with a
// host in the middle that can cut it.
type Network struct {
	mu    sync.Mutex
	nodes map[string]*Node // by socket
	cut   map[[2]*Node]bool
	conns map[*wire]struct{}
}

func newNetwork() *Network {
	return &Network{nodes: map[string]*Node{}, cut: map[[2]*Node]bool{}, conns: map[*wire]struct{}{}}
}

var errCut = errors.New("the network is cut")

// wire is one connection between two nodes.
type wire struct {
	net.Conn
	network *Network
	ends    [2]*Node
}

func (w *wire) Close() error {
	w.network.mu.Lock()
	delete(w.network.conns, w)
	w.network.mu.Unlock()
	return w.Conn.Close()
}

// Cut cuts the network between two nodes, both ways, until Heal.
func (nw *Network) Cut(a, b *Node) {
	nw.mu.Lock()
	nw.cut[[2]*Node{a, b}], nw.cut[[2]*Node{b, a}] = true, true
	var gone []*wire
	for w := range nw.conns {
		if nw.cut[w.ends] {
			gone = append(gone, w)
		}
	}
	nw.mu.Unlock()
	for _, w := range gone {
		_ = w.Close()
	}
}

// Isolate cuts a node off from all others.
func (nw *Network) Isolate(n *Node) {
	for _, other := range n.domain.Nodes {
		if other != n {
			nw.Cut(n, other)
		}
	}
}

// Move has a node that is stopped listen at another address from its next start on.
func (nw *Network) Move(n *Node) { n.socket = "" }

// Heal mends every cut.
func (nw *Network) Heal() {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	clear(nw.cut)
}

// peers is how n reaches the others. It keeps its port for as long as it lives.
func (nw *Network) peers(n *Node) (*server.Peers, error) {
	at := n.socket
	if at == "" {
		at = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, err
	}
	n.socket = l.Addr().String()
	nw.mu.Lock()
	nw.nodes[n.socket] = n
	nw.mu.Unlock()
	return &server.Peers{Listener: l, Socket: n.socket, Name: n.Name,
		Dial: func(ctx context.Context, socket string) (net.Conn, error) { return nw.dial(ctx, n, socket) }}, nil
}

func (nw *Network) dial(ctx context.Context, from *Node, socket string) (net.Conn, error) {
	nw.mu.Lock()
	to := nw.nodes[socket]
	blocked := nw.cut[[2]*Node{from, to}]
	nw.mu.Unlock()
	if to == nil || blocked {
		return nil, errCut
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", socket)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c, network: nw, ends: [2]*Node{from, to}}
	nw.mu.Lock()
	defer nw.mu.Unlock()
	if nw.cut[w.ends] {
		return nil, errors.Join(errCut, c.Close())
	}
	nw.conns[w] = struct{}{}
	return w, nil
}

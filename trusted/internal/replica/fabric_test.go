package replica_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
)

// A fabric is a network in memory whose every direction can be cut (what is
// sent waits, as where packets are dropped and sent again), delayed, and robbed
// of single frames that come later.
type fabric struct {
	mu        sync.Mutex
	listeners map[endpoint]*listener
	cuts      map[way]bool
	frozen    map[kms.NodeID]bool
	delays    map[way]time.Duration
	holds     map[way][]*held
	open      map[*direction]struct{}
}

type way struct{ from, to kms.NodeID }

type endpoint struct {
	node     kms.NodeID
	protocol string
}

func newFabric() *fabric {
	return &fabric{
		listeners: make(map[endpoint]*listener), cuts: make(map[way]bool), frozen: make(map[kms.NodeID]bool),
		delays: make(map[way]time.Duration), holds: make(map[way][]*held), open: make(map[*direction]struct{}),
	}
}

// peers is the fabric as a node sees it.
type peers struct {
	f    *fabric
	node kms.NodeID

	mu        sync.Mutex
	listeners []*listener
	dead      bool
}

func (p *peers) Dial(ctx context.Context, to kms.NodeID, protocol string) (net.Conn, error) {
	for {
		p.mu.Lock()
		dead := p.dead
		p.mu.Unlock()
		if dead {
			return nil, net.ErrClosed
		}
		p.f.mu.Lock()
		blocked := p.f.blocked(way{p.node, to}) || p.f.blocked(way{to, p.node})
		l := p.f.listeners[endpoint{to, protocol}]
		p.f.mu.Unlock()
		switch {
		case blocked:
			select { // until it is not, as a dialler does
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Millisecond):
				continue
			}
		case l == nil:
			return nil, errors.New("connection refused")
		}
		here, there := p.f.pair(p.node, to, protocol)
		if !l.offer(there) {
			_ = here.Close()
			return nil, errors.New("connection refused")
		}
		return here, nil
	}
}

func (p *peers) Listener(protocol string) net.Listener {
	l := &listener{f: p.f, at: endpoint{p.node, protocol}, conns: make(chan net.Conn, 16), done: make(chan struct{})}
	p.f.mu.Lock()
	p.f.listeners[l.at] = l
	p.f.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = append(p.listeners, l)
	return l
}

// kill ends everything of the node at once.
func (p *peers) kill() {
	p.mu.Lock()
	p.dead = true
	all := p.listeners
	p.mu.Unlock()
	for _, l := range all {
		_ = l.Close()
	}
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	for d := range p.f.open {
		if d.from == p.node || d.to == p.node {
			d.shut()
		}
	}
}

type listener struct {
	f     *fabric
	at    endpoint
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *listener) offer(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.done:
		return false
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.f.mu.Lock()
		defer l.f.mu.Unlock()
		if l.f.listeners[l.at] == l {
			delete(l.f.listeners, l.at)
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return fabricAddr(l.at.node.String()) }

type fabricAddr string

func (fabricAddr) Network() string  { return "fabric" }
func (a fabricAddr) String() string { return string(a) }

// pair makes a connection.
func (f *fabric) pair(from, to kms.NodeID, protocol string) (here, there *conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out, in := f.direction(from, to, protocol), f.direction(to, from, protocol)
	return &conn{f: f, in: in, out: out, peer: to}, &conn{f: f, in: out, out: in, peer: from}
}

func (f *fabric) direction(from, to kms.NodeID, protocol string) *direction {
	d := &direction{f: f, from: from, to: to, frames: protocol == replica.NodeProtocol}
	d.cond.L = &d.mu
	d.blocked, d.delay = f.blocked(way{from, to}), f.delays[way{from, to}]
	f.open[d] = struct{}{}
	return d
}

func (f *fabric) blocked(w way) bool { return f.cuts[w] || f.frozen[w.from] || f.frozen[w.to] }

// settle applies what has changed to open connections. The caller holds mu.
func (f *fabric) settle() {
	for d := range f.open {
		d.mu.Lock()
		d.blocked, d.delay = f.blocked(way{d.from, d.to}), f.delays[way{d.from, d.to}]
		d.cond.Broadcast()
		d.mu.Unlock()
	}
}

func (f *fabric) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	f.settle()
}

// A held frame was taken off its way.
type held struct {
	kind  byte
	taken chan struct{} // closed when a frame was taken
	data  []byte
	way   *direction
}

// release delivers the frame now, whatever is cut.
func (h *held) release() {
	<-h.taken
	h.way.inject(h.data)
}

// hold takes the next frame of a kind off the way.
func (f *fabric) hold(from, to kms.NodeID, kind byte) *held {
	h := &held{kind: kind, taken: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holds[way{from, to}] = append(f.holds[way{from, to}], h)
	return h
}

// takes finds out who waits for a frame.
func (f *fabric) takes(d *direction, kind byte) *held {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := way{d.from, d.to}
	for i, h := range f.holds[w] {
		if h.kind == kind {
			f.holds[w] = append(f.holds[w][:i:i], f.holds[w][i+1:]...)
			return h
		}
	}
	return nil
}

// A direction is half of a connection.
type direction struct {
	f        *fabric
	from, to kms.NodeID
	frames   bool // of NodeProtocol

	mu      sync.Mutex
	cond    sync.Cond
	chunks  []chunk
	blocked bool
	delay   time.Duration
	closed  bool

	injected []byte    // comes before all chunks
	deadline time.Time // of Read; zero: none
}

type chunk struct {
	data []byte
	due  time.Time
}

func (d *direction) push(data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := chunk{data: data}
	if d.delay > 0 {
		c.due = time.Now().Add(d.delay)
		time.AfterFunc(d.delay, d.cond.Broadcast)
	}
	d.chunks = append(d.chunks, c)
	d.cond.Broadcast()
}

// inject delivers data at once, whatever is cut.
func (d *direction) inject(data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.injected = append(d.injected, data...)
	d.cond.Broadcast()
}

func (d *direction) Write(p []byte) (int, error) {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return 0, net.ErrClosed
	}
	all := append([]byte{}, p...)
	for len(all) > 0 {
		n := len(all)
		if d.frames { // our writer writes whole frames
			n = 21 + int(binary.BigEndian.Uint32(all[17:]))
			if h := d.f.takes(d, all[0]); h != nil {
				h.data, h.way = all[:n:n], d
				close(h.taken)
				all = all[n:]
				continue
			}
		}
		d.push(all[:n:n])
		all = all[n:]
	}
	return len(p), nil
}

func (d *direction) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.closed && !d.late() && len(d.injected) == 0 && (d.blocked || len(d.chunks) == 0 || time.Now().Before(d.chunks[0].due)) {
		d.cond.Wait()
	}
	if d.closed {
		return 0, io.EOF
	}
	if d.late() {
		return 0, os.ErrDeadlineExceeded
	}
	if len(d.injected) > 0 {
		n := copy(p, d.injected)
		d.injected = d.injected[n:]
		return n, nil
	}
	n := copy(p, d.chunks[0].data)
	if d.chunks[0].data = d.chunks[0].data[n:]; len(d.chunks[0].data) == 0 {
		d.chunks = d.chunks[1:]
	}
	return n, nil
}

func (d *direction) late() bool { return !d.deadline.IsZero() && !time.Now().Before(d.deadline) }

func (d *direction) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.cond.Broadcast()
}

// conn is one end of a connection. Deadlines of reads are kept, since raft
// finds out by them that the other side is gone.
type conn struct {
	f       *fabric
	in, out *direction
	peer    kms.NodeID
}

func (c *conn) Peer() kms.NodeID            { return c.peer }
func (c *conn) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.Write(p) }
func (c *conn) LocalAddr() net.Addr         { return fabricAddr(c.in.to.String()) }
func (c *conn) RemoteAddr() net.Addr        { return fabricAddr(c.peer.String()) }

func (c *conn) Close() error {
	c.f.mu.Lock()
	delete(c.f.open, c.in)
	delete(c.f.open, c.out)
	c.f.mu.Unlock()
	c.in.shut()
	c.out.shut()
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	d := c.in
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deadline = t; !t.IsZero() {
		time.AfterFunc(time.Until(t), d.cond.Broadcast)
	}
	return nil
}

func (c *conn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

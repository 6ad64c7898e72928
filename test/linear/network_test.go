//go:build unix

package linear_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A network is what joins the nodes, in the hands of a hostile host: in each
// direction between two nodes it can drop, delay or hold back what is sent. What
// nodes say to each other is sealed, so that is all that a host can do.
type network struct {
	mu      sync.Mutex
	nodes   []*node
	relays  []net.Listener
	ways    map[way]*rule
	pipes   map[*pipe]struct{}
	closing bool
	serving sync.WaitGroup
}

// A way is a direction, from one node to another.
type way struct{ from, to int }

// A rule is what happens to what goes some way.
type rule struct {
	blocked bool          // it waits
	lost    bool          // and so do connections that carried something meanwhile: they break when it ends
	delay   time.Duration // of everything
}

// A pipe carries one direction of one connection.
type pipe struct {
	way
	src, dst net.Conn
	held     time.Time // until then
	struck   bool      // something was lost
}

func newNetwork(nodes []*node) *network {
	return &network{nodes: nodes, ways: make(map[way]*rule), pipes: make(map[*pipe]struct{})}
}

// relay listens for what node i sends to others until close, and returns where.
func (nw *network) relay(t *testing.T, i int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nw.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			nw.serving.Go(func() { nw.carry(i, c) })
		}
	})
	nw.relays = append(nw.relays, l)
	return l.Addr().String()
}

// close ends all connections and waits for what carried them.
func (nw *network) close() {
	nw.mu.Lock()
	nw.closing = true
	for _, l := range nw.relays {
		_ = l.Close()
	}
	for p := range nw.pipes {
		p.cut()
	}
	nw.mu.Unlock()
	nw.serving.Wait()
}

// carry carries a connection that node i has made.
func (nw *network) carry(i int, c net.Conn) {
	defer c.Close()
	first := bufio.NewReaderSize(c, 4<<10)
	name, err := first.ReadString('\n')
	if err != nil {
		return
	}
	to := nw.named(strings.TrimSpace(name))
	if to < 0 {
		return
	}
	other, err := net.Dial("tcp", nw.nodes[to].peers())
	if err != nil {
		return // nobody listens there now
	}
	defer other.Close()
	there, back := &pipe{way: way{i, to}, src: c, dst: other}, &pipe{way: way{to, i}, src: other, dst: c}
	if !nw.add(there, back) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { nw.pump(there, first) })
	both.Go(func() { nw.pump(back, other) })
	both.Wait()
	nw.mu.Lock()
	defer nw.mu.Unlock()
	delete(nw.pipes, there)
	delete(nw.pipes, back)
}

func (nw *network) add(pipes ...*pipe) bool {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	for _, p := range pipes {
		nw.pipes[p] = struct{}{}
	}
	return !nw.closing
}

func (nw *network) named(name string) int {
	for i, n := range nw.nodes {
		if n.name == name {
			return i
		}
	}
	return -1
}

// A parcel is bytes that were read at a time.
type parcel struct {
	data []byte
	at   time.Time
}

// pump carries what comes from in, in order.
func (nw *network) pump(p *pipe, in io.Reader) {
	defer p.cut()
	parcels := make(chan parcel, 4096)
	go func() {
		defer close(parcels)
		for {
			b := make([]byte, 16<<10)
			n, err := in.Read(b)
			if n > 0 {
				parcels <- parcel{b[:n], time.Now()}
			}
			if err != nil {
				return
			}
		}
	}()
	for x := range parcels {
		if !nw.let(p, x.at) {
			break
		}
		if _, err := p.dst.Write(x.data); err != nil {
			break
		}
	}
	p.cut()
	for range parcels { // so that the reader ends
	}
}

func (p *pipe) cut() {
	_ = p.src.Close()
	_ = p.dst.Close()
}

// let waits until what was sent at a time may go on. It is false where it was lost.
func (nw *network) let(p *pipe, sent time.Time) bool {
	for {
		nw.mu.Lock()
		r, now := nw.ways[p.way], time.Now()
		wait := p.held.Sub(now)
		if r != nil {
			wait = max(wait, sent.Add(r.delay).Sub(now))
			if r.blocked {
				wait = max(wait, 5*time.Millisecond)
				p.struck = p.struck || r.lost
			}
		}
		closing, struck := nw.closing, p.struck && (r == nil || !r.blocked)
		nw.mu.Unlock()
		switch {
		case closing, struck:
			return false
		case wait <= 0:
			return true
		}
		time.Sleep(min(wait, 5*time.Millisecond))
	}
}

// set has a rule hold for some ways.
func (nw *network) set(r rule, ways ...way) {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	for _, w := range ways {
		nw.ways[w] = &r
	}
}

// heal takes the rules of some ways away.
func (nw *network) heal(ways ...way) {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	for _, w := range ways {
		delete(nw.ways, w)
	}
}

var errNoPipe = errors.New("nothing is connected")

// holdBack holds back what goes some way on one of the connections, chosen by
// pick, for a time: the others go on.
func (nw *network) holdBack(w way, pick func(n int) int, d time.Duration) error {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	var some []*pipe
	for p := range nw.pipes {
		if p.way == w {
			some = append(some, p)
		}
	}
	if len(some) == 0 {
		return errNoPipe
	}
	some[pick(len(some))].held = time.Now().Add(d)
	return nil
}

// between are the ways between a node and all others: to it, from it.
func (nw *network) between(i int) (to, from []way) {
	for j := range nw.nodes {
		if j != i {
			to, from = append(to, way{j, i}), append(from, way{i, j})
		}
	}
	return to, from
}

package member

import (
	"context"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// headStart is how long an address in the state has to answer before the other
// one is tried beside it.
const headStart = 250 * time.Millisecond

// listens notes where a member that is admitted says that it listens.
func (a *admissions) listens(c *Conn, socket string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.peer.socket = socket
}

// said is where a node has said that it listens; "": it has not.
func (a *admissions) said(node kms.NodeID) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.of[node]; p != nil {
		return p.socket
	}
	return ""
}

// reach connects to a member at the address in the state. Where nobody with its
// key answers there, or not at once, it goes to where the member itself said that
// it listens, on a channel on which it was admitted.
//
// A node that comes back at another address is in need of that: the state names
// its new one once a leader has put it there, and where its vote is missing, or
// the others' entries are missing in its log, nobody is elected before they reach
// it.
//
// Who lies about it, and a host that sends the connection elsewhere, gains
// nothing: whoever is there must prove by TLS that he has the key that is the
// node's id, and be admitted, as anywhere. What was said counts for dialling that
// node alone, and is forgotten with it and with this start.
func (c *Channels) reach(ctx context.Context, node kms.NodeID, protocol string) (*Conn, error) {
	known, ok := c.cfg.Members.Socket(node)
	if !ok {
		return nil, notMember(node)
	}
	said := c.peers.said(node)
	if said == "" || said == known {
		return c.connect(ctx, known, protocol, &node)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)() // Close waits for both
	r := race{Channels: c, ctx: ctx, node: node, protocol: protocol, ends: make(chan attempt)}
	return r.run(known, said)
}

// A race is two attempts to connect to one node. The first that succeeds is it.
type race struct {
	*Channels
	ctx      context.Context // until it is decided
	node     kms.NodeID
	protocol string
	ends     chan attempt
}

type attempt struct {
	conn *Conn
	err  error
}

func (r race) run(known, said string) (*Conn, error) {
	if !r.try(known) {
		return nil, errClosed
	}
	head, cancel := context.WithTimeout(r.ctx, headStart)
	defer cancel()
	first, ended := r.next(head)
	if ended && first.err == nil {
		return first.conn, nil
	}
	if !r.try(said) {
		return nil, errClosed
	}
	open := 2
	if ended {
		open = 1
	}
	for ; open > 0; open-- {
		a, ok := r.next(r.ctx)
		switch {
		case !ok:
			return nil, kms.Errorf(kms.Unavailable, "gave up waiting: %w", r.ctx.Err())
		case a.err == nil:
			return a.conn, nil
		case first.err == nil:
			first = a
		}
	}
	return nil, first.err
}

// try starts an attempt. What comes too late is closed.
func (r race) try(socket string) bool {
	return r.start(func() {
		conn, err := r.connect(r.ctx, socket, r.protocol, &r.node)
		select {
		case r.ends <- attempt{conn, err}:
		case <-r.ctx.Done():
			if conn != nil {
				conn.drop()
			}
		}
	})
}

// next is the next attempt that ends before ctx does.
func (r race) next(ctx context.Context) (attempt, bool) {
	select {
	case a := <-r.ends:
		return a, true
	case <-ctx.Done():
		return attempt{}, false
	}
}

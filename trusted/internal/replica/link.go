package replica

import (
	"context"
	"net"
	"sync"
	"time"
)

// Bounds of a link.
const (
	dialLimit  = 2 * time.Second
	silence    = 2 * time.Second // after which a member who owes a reply is dialled anew
	maxPending = 8_192           // questions that one member has not answered
)

// A reply is what came of a question. The zero frame: nothing, and it may have
// been heard all the same.
type reply struct {
	from *link
	frame
}

// A link is this node's connection to one member, dialled when there is
// something to say and kept.
type link struct {
	dial  func(context.Context) (net.Conn, error)
	spawn func(func()) bool
	ctx   context.Context // ends with the replica

	mu      sync.Mutex
	wire    *wire
	dialing bool
	waiting []frame // for the wire
	pending map[nonce]func(reply)
	owing   bool   // something was sent since it last said anything
	heard   uint64 // frames
}

// call sends a frame; on hears the reply, or a zero frame when the connection
// is lost, from another goroutine and without blocking it. It is false if
// nothing was sent (of a small frame: not wholly), and then on is not called.
func (l *link) call(f frame, on func(reply)) bool {
	w, ok := l.expect(f, on)
	if !ok || w == nil || w.send(f) {
		return ok
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, unheard := l.pending[f.id]
	delete(l.pending, f.id)
	return !unheard // on was called: the connection was lost meanwhile
}

// expect readies for a frame's reply. The frame is to be sent on the wire; if
// that is nil it goes out with the connection that is being made.
func (l *link) expect(f frame, on func(reply)) (*wire, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) >= maxPending || l.ctx.Err() != nil {
		return nil, false
	}
	if l.wire == nil {
		if !l.dialing && !l.spawn(l.run) {
			return nil, false
		}
		l.dialing = true
		l.waiting = append(l.waiting, f)
	}
	l.pending[f.id], l.owing = on, true
	return l.wire, true
}

// forget drops a question: its reply, if one comes, means nothing any more.
func (l *link) forget(id nonce) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, id)
}

// run dials and serves one connection.
func (l *link) run() {
	dialing, cancel := context.WithTimeout(l.ctx, dialLimit)
	conn, err := l.dial(dialing)
	cancel()
	if err != nil {
		l.lost()
		return
	}
	w := newWire(conn)
	l.mu.Lock()
	l.wire, l.dialing = w, false
	for _, f := range l.waiting {
		w.queue(f) // writes nothing: others wait for the lock
	}
	l.waiting = nil
	l.mu.Unlock()
	var parts sync.WaitGroup
	parts.Go(w.write)
	parts.Go(func() { w.read(l.hear) })
	l.watch(w)
	w.close()
	parts.Wait()
	l.lost()
}

// watch closes the wire of a member who owes replies and says nothing: the
// path to him may be dead, and only a new connection shows whether he is.
func (l *link) watch(w *wire) {
	for l.ctx.Err() == nil {
		l.mu.Lock()
		owed, heard := l.owing, l.heard
		l.mu.Unlock()
		pause(l.ctx, silence, w.gone)
		l.mu.Lock()
		mute := owed && l.heard == heard
		l.mu.Unlock()
		if mute || w.isClosed() {
			return
		}
	}
}

// hear takes a reply. What nobody waits for is dropped.
func (l *link) hear(f frame) bool {
	l.mu.Lock()
	l.owing = false
	l.heard++
	on := l.pending[f.id]
	delete(l.pending, f.id)
	l.mu.Unlock()
	if on != nil {
		on(reply{l, f})
	}
	return true
}

// lost tells all who wait that no reply will come.
func (l *link) lost() {
	l.mu.Lock()
	all := l.pending
	l.pending, l.waiting, l.wire, l.dialing = make(map[nonce]func(reply)), nil, nil, false
	l.mu.Unlock()
	for _, on := range all {
		on(reply{from: l})
	}
}

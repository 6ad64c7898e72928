package replica

import (
	"bufio"
	"context"
	"net"
	"sync"
	"time"
)

// maxUnsent bounds what waits to be written to one member: a few commands, and
// more questions than he who reads nothing needs to be sent.
const maxUnsent = maxCommand + 1<<20

// smallBody is the most that a frame holds which is a question or an answer
// about reads.
const smallBody = standingLen

// sendLimit bounds how long a caller may write himself.
const sendLimit = 100 * time.Millisecond

// A wire writes frames to a connection without making its caller wait for the
// other side: what comes while a write is under way goes out with the next. A
// small frame that finds nothing under way its caller writes himself, which
// saves waking another goroutine, and takes as long as the system takes to copy
// it; where that has no room, the other side has not read for long, and it is
// taken for dead after sendLimit.
type wire struct {
	conn net.Conn

	mu     sync.Mutex
	unsent []byte
	busy   bool   // somebody writes
	small  []byte // for whoever does
	closed bool
	wake   chan struct{} // holds one token while there is something to write
	gone   chan struct{} // closed with the wire
}

func newWire(conn net.Conn) *wire {
	return &wire{conn: conn, wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

// send queues a frame. It is false if the wire is closed or the other side does
// not read.
func (w *wire) send(f frame) bool {
	w.mu.Lock()
	if w.closed || (len(w.unsent) > 0 && len(w.unsent)+len(f.body) > maxUnsent) {
		w.mu.Unlock()
		return false
	}
	if len(f.body) <= smallBody && !w.busy && len(w.unsent) == 0 {
		w.busy = true
		w.mu.Unlock()
		return w.sendNow(f)
	}
	defer w.mu.Unlock()
	w.add(f)
	return true
}

// queue has the writer send a frame. Nobody waits for another side.
func (w *wire) queue(f frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(f)
}

func (w *wire) add(f frame) {
	w.unsent = f.append(w.unsent)
	if !w.busy {
		w.rouse()
	}
}

// sendNow writes a frame. Nobody else writes.
func (w *wire) sendNow(f frame) bool {
	ctx, cancel := context.WithTimeout(context.Background(), sendLimit)
	defer cancel()
	defer context.AfterFunc(ctx, w.close)()
	w.small = f.append(w.small[:0])
	if _, err := w.conn.Write(w.small); err != nil {
		w.close()
		return false
	}
	w.written()
	return true
}

// written lets others write.
func (w *wire) written() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = false
	if len(w.unsent) > 0 {
		w.rouse()
	}
}

// rouse has the writer look for something to write.
func (w *wire) rouse() {
	select {
	case w.wake <- struct{}{}:
	default: // a token is there
	}
}

// write writes what is queued until the wire is closed. It closes it when it
// cannot.
func (w *wire) write() {
	defer w.close()
	var out []byte
	for {
		select {
		case <-w.gone:
			return
		case <-w.wake:
		}
		w.mu.Lock()
		if w.busy || len(w.unsent) == 0 { // who writes rouses this one
			w.mu.Unlock()
			continue
		}
		out, w.unsent, w.busy = w.unsent, out[:0], true
		w.mu.Unlock()
		if _, err := w.conn.Write(out); err != nil {
			return
		}
		w.written()
		if cap(out) > 1<<20 {
			out = nil // a large command has passed
		}
	}
}

// read calls f with each frame that comes until the wire is closed, f returns
// false, or what comes is no frame.
func (w *wire) read(f func(frame) bool) {
	defer w.close()
	in := bufio.NewReaderSize(w.conn, 8<<10)
	for {
		next, err := readFrame(in)
		if err != nil || !f(next) {
			return
		}
	}
}

// close ends reads and writes. It may be called more than once.
func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.gone)
		_ = w.conn.Close() // the other side sees it or has gone
	}
}

func (w *wire) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

package replica

import (
	"bufio"
	"net"
	"sync"
)

// maxUnsent bounds what waits to be written to one member: a few commands, and
// more questions than he who reads nothing needs to be sent.
const maxUnsent = maxCommand + 1<<20

// A wire writes frames to a connection without ever making its caller wait for
// the other side: what comes while a write is under way goes out with the next.
type wire struct {
	conn net.Conn

	mu     sync.Mutex
	unsent []byte
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
	defer w.mu.Unlock()
	if w.closed || (len(w.unsent) > 0 && len(w.unsent)+len(f.body) > maxUnsent) {
		return false
	}
	w.unsent = f.append(w.unsent)
	select {
	case w.wake <- struct{}{}:
	default: // a token is there
	}
	return true
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
		out, w.unsent = w.unsent, out[:0]
		w.mu.Unlock()
		if _, err := w.conn.Write(out); err != nil {
			return
		}
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

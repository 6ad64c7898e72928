package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// A worker sends one request after another over a connection of its own.
type worker struct {
	run *run

	good   atomic.Uint64 // while measuring
	failed atomic.Uint64 // always: an error in the warm-up is one too

	latency   Histogram
	firstErr  error
	replySize int
	body      []byte // room for a reply, used again
}

// redialPause keeps a server that refuses from being hammered.
const redialPause = 20 * time.Millisecond

// maxReply bounds a reply's body.
const maxReply = 8 << 20

func (w *worker) loop(ctx context.Context) {
	for !w.run.stop.Load() && ctx.Err() == nil {
		// What fails because the run was interrupted counts too: nobody sees it then.
		if err := w.session(ctx); err != nil {
			w.fail(err)
			time.Sleep(redialPause)
		}
	}
}

func (w *worker) fail(err error) {
	w.failed.Add(1)
	if w.firstErr == nil {
		w.firstErr = err
	}
}

// session opens a connection and uses it until it ends.
func (w *worker) session(ctx context.Context) error {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: w.run.plan.TLS}
	conn, err := d.DialContext(ctx, "tcp", w.run.plan.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Also an answer that never comes is cut short, by Ctrl-C or the end of the run.
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	next := w.run.plan.Requests(conn.(*tls.Conn).ConnectionState())
	br := bufio.NewReaderSize(conn, 16<<10)
	for !w.run.stop.Load() {
		again, err := w.exchange(conn, br, next())
		if err != nil || !again {
			return err
		}
	}
	return nil
}

// exchange sends req and reads its reply. It reports whether the
// connection can be used again. A reply that is no success counts as failed
// but is no error of the connection.
func (w *worker) exchange(conn net.Conn, br *bufio.Reader, req []byte) (again bool, err error) {
	start := time.Now()
	if _, err := conn.Write(req); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return false, err
	}
	if err := w.readBody(resp); err != nil {
		return false, err
	}
	took := time.Since(start)
	if err := w.judge(resp.StatusCode); err != nil {
		w.fail(err)
	} else if w.run.measuring.Load() {
		w.good.Add(1)
		w.latency.Record(took)
	}
	return !resp.Close, nil
}

func (w *worker) readBody(resp *http.Response) error {
	defer resp.Body.Close()
	if resp.ContentLength > maxReply {
		return errors.New("reply too large")
	}
	if resp.ContentLength < 0 {
		var err error
		w.body, err = io.ReadAll(io.LimitReader(resp.Body, maxReply))
		return err
	}
	if n := int(resp.ContentLength); n > cap(w.body) {
		w.body = make([]byte, n)
	}
	w.body = w.body[:resp.ContentLength]
	_, err := io.ReadFull(resp.Body, w.body)
	return err
}

func (w *worker) judge(status int) error {
	if status != http.StatusOK {
		return fmt.Errorf("HTTP status %d", status)
	}
	if w.run.plan.Check != nil {
		if err := w.run.plan.Check(w.body); err != nil {
			return err
		}
	}
	w.replySize = len(w.body)
	return nil
}

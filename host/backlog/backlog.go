// Package backlog measures how long what arrives at this program waits before
// anything is done for it: a byte is sent through a pipe of our own, and has to
// wait in the kernel and in Go's scheduler for as long as the requests do. Go's
// own figures leave out the first, which is where a queue of thousands stands.
package backlog

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// interval is how far apart bytes are sent. One that is on its way counts for as
// long as it has been.
const interval = 50 * time.Millisecond

// A Probe measures until it is closed.
type Probe struct {
	start time.Time
	sent  atomic.Int64 // when the byte on its way left, ns since start; 0: none is
	took  atomic.Int64 // the last one, ns

	in, out *os.File
	stop    context.CancelFunc
	work    sync.WaitGroup
}

// Start starts measuring.
func Start() (*Probe, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Probe{start: time.Now(), in: in, out: out, stop: cancel}
	p.work.Go(func() { p.send(ctx) })
	p.work.Go(p.receive)
	return p, nil
}

func (p *Probe) now() int64 { return int64(time.Since(p.start)) }

func (p *Probe) send(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !p.sent.CompareAndSwap(0, max(p.now(), 1)) {
			continue // the last one has not arrived yet
		}
		if _, err := p.in.Write([]byte{0}); err != nil {
			return
		}
	}
}

func (p *Probe) receive() {
	one := make([]byte, 1)
	for {
		if n, err := p.out.Read(one); n == 0 || err != nil {
			return
		}
		p.took.Store(p.now() - p.sent.Load())
		p.sent.Store(0)
	}
}

// Delay is how long what arrives waits.
func (p *Probe) Delay() time.Duration {
	took := p.took.Load()
	if sent := p.sent.Load(); sent != 0 {
		took = max(took, p.now()-sent)
	}
	return time.Duration(took)
}

// Close stops measuring, and waits.
func (p *Probe) Close() error {
	p.stop()
	err := errors.Join(p.in.Close(), p.out.Close())
	p.work.Wait()
	return err
}

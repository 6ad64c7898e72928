// Package load is the load generator of `holdfast bench`: a closed loop of
// requests over HTTP/1.1 keep-alive connections with TLS, one connection to a
// worker, and what it measures: latencies, and the CPU time of the server
// where that runs on this machine.
package load

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// A Plan says what load to make.
type Plan struct {
	Addr     string        // host:port
	TLS      *tls.Config   // whom to trust
	Conns    int           // connections, and workers; at least 1
	Warmup   time.Duration // load that is not measured
	Duration time.Duration // load that is; more than 0

	// Grace is how long answers may take beyond the end of the run. Zero: 5 s.
	Grace time.Duration

	// Requests makes the source of the requests of one connection. The bytes that
	// a source returns are a whole HTTP request; they may change with its next call.
	Requests func(tls.ConnectionState) func() []byte

	// Check judges the body of a reply with status 200; nil accepts it.
	Check func(body []byte) error

	// PID is the server's process, 0 where it is not on this machine.
	PID int

	// Progress, where given, hears once a Tick how it goes.
	Progress func(Progress)
	Tick     time.Duration
}

// Progress is how a run goes.
type Progress struct {
	Elapsed  time.Duration // since the measurement began; negative while warming up
	Requests uint64        // answered since then
	Rate     float64       // requests a second since the last tick
	Errors   uint64
}

// A Result is what was measured.
type Result struct {
	Elapsed    time.Duration // of the measurement
	Requests   uint64        // answered well in that time
	Errors     uint64
	FirstError error     // one of them
	Latency    Histogram // of the requests answered well
	CPU        time.Duration
	HasCPU     bool // CPU is known
	ReplySize  int  // bytes of the last good reply's body
}

// Rate is requests answered well per second.
func (r *Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Elapsed.Seconds()
}

// CPUPerRequest is the server's user and system time per request, and false
// where it is not known.
func (r *Result) CPUPerRequest() (time.Duration, bool) {
	if !r.HasCPU || r.Requests == 0 {
		return 0, false
	}
	return time.Duration(float64(r.CPU) / float64(r.Requests)), true
}

// Add adds what another run of the same plan measured.
func (r *Result) Add(o *Result) {
	r.HasCPU = o.HasCPU && (r.HasCPU || r.Elapsed == 0)
	r.Elapsed += o.Elapsed
	r.Requests += o.Requests
	r.Errors += o.Errors
	r.CPU += o.CPU
	r.Latency.Merge(&o.Latency)
	r.ReplySize = o.ReplySize
	if r.FirstError == nil {
		r.FirstError = o.FirstError
	}
}

const defaultGrace = 5 * time.Second

// Run makes the load. It returns early, with ctx's error, when ctx ends.
// Errors of single requests are in the result.
func Run(ctx context.Context, p Plan) (*Result, error) {
	if p.Conns < 1 || p.Duration <= 0 || p.Requests == nil {
		return nil, errors.New("a plan needs connections, a duration and requests")
	}
	if p.Grace <= 0 {
		p.Grace = defaultGrace
	}
	bounded, cancel := context.WithDeadline(ctx, time.Now().Add(p.Warmup+p.Duration+p.Grace))
	defer cancel()
	r := newRun(p)
	var wg sync.WaitGroup
	for _, w := range r.workers {
		wg.Go(func() { w.loop(bounded) })
	}
	res := r.measure(bounded)
	r.stop.Store(true)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	r.collect(res)
	return res, nil
}

// A run is a Plan being carried out.
type run struct {
	plan      Plan
	workers   []*worker
	measuring atomic.Bool // what is answered now counts
	stop      atomic.Bool
}

func newRun(p Plan) *run {
	r := &run{plan: p}
	for range p.Conns {
		r.workers = append(r.workers, &worker{run: r})
	}
	return r
}

// measure lets the load warm up, then notes what is answered, and what CPU
// time that takes, between two points in time.
func (r *run) measure(ctx context.Context) *Result {
	r.wait(ctx, time.Now(), -r.plan.Warmup, 0)
	cpu0, err0 := ProcessCPU(r.plan.PID)
	start := time.Now()
	r.measuring.Store(true)
	r.wait(ctx, start, 0, r.plan.Duration)
	r.measuring.Store(false)
	res := &Result{Elapsed: time.Since(start)}
	res.Requests, res.Errors = r.answered()
	cpu1, err1 := ProcessCPU(r.plan.PID)
	if err0 == nil && err1 == nil {
		res.CPU, res.HasCPU = cpu1-cpu0, true
	}
	return res
}

// wait reports progress from one elapsed time to another.
func (r *run) wait(ctx context.Context, start time.Time, from, to time.Duration) {
	end := time.NewTimer(to - from)
	defer end.Stop()
	tick := time.NewTicker(max(r.plan.Tick, 10*time.Millisecond))
	defer tick.Stop()
	last, lastAt := uint64(0), start
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case at := <-tick.C:
			if r.plan.Progress == nil || r.plan.Tick <= 0 {
				continue
			}
			n, failed := r.answered()
			r.plan.Progress(Progress{Elapsed: from + at.Sub(start), Requests: n, Errors: failed,
				Rate: float64(n-last) / at.Sub(lastAt).Seconds()})
			last, lastAt = n, at
		}
	}
}

// answered is what the workers counted so far.
func (r *run) answered() (good, failed uint64) {
	for _, w := range r.workers {
		good += w.good.Load()
		failed += w.failed.Load()
	}
	return good, failed
}

// collect adds what only workers that are done can tell.
func (r *run) collect(res *Result) {
	for _, w := range r.workers {
		res.Latency.Merge(&w.latency)
		if res.FirstError == nil {
			res.FirstError = w.firstErr
		}
		res.ReplySize = max(res.ReplySize, w.replySize)
	}
	// Again: a request that was under way at the end may have failed since.
	_, res.Errors = r.answered()
}

package core

import (
	"context"
	"runtime"

	"github.com/holdfast-kms/holdfast/kms"
)

// A pool bounds how much slow work (RSA: key generation and private
// operations) runs at once, so that one processor at least is left for
// everything else. Making a key takes a hundred times as long as signing with
// it, so at most half of the places go to key generation.
type pool struct {
	places     chan struct{}
	generating chan struct{}
	waiting    chan struct{}
	strangers  chan struct{} // held by those in here whom nobody knows
}

// maxWaiting bounds who waits for a place, and maxStrangers who of them came
// without a credential or a session; more are refused.
const (
	maxWaiting   = 1024
	maxStrangers = 256
)

func newPool() *pool {
	n := max(1, runtime.GOMAXPROCS(0)-1)
	return &pool{places: make(chan struct{}, n), generating: make(chan struct{}, max(1, n/2)),
		waiting: make(chan struct{}, maxWaiting), strangers: make(chan struct{}, maxStrangers)}
}

// serve is use for a caller whom nobody knows: such callers leave places in the
// line for those who are known.
func (p *pool) serve(ctx context.Context, work func() error) error {
	select {
	case p.strangers <- struct{}{}:
		defer func() { <-p.strangers }()
	default:
		return kms.Errorf(kms.Exhausted, "too many slow operations are waiting")
	}
	return p.use(ctx, work)
}

// ForStranger runs slow work that a node does for one whom nobody knows, in the
// line of all who come so. The errors are those of use.
func (c *Core) ForStranger(ctx context.Context, work func() error) error {
	return c.slow.serve(ctx, work)
}

// use runs slow work that uses a key. The errors are Exhausted and
// Unavailable (ctx ended first), and those of work.
func (p *pool) use(ctx context.Context, work func() error) error {
	return p.run(ctx, work, p.places)
}

// generate runs slow work that makes a key.
func (p *pool) generate(ctx context.Context, work func() error) error {
	return p.run(ctx, work, p.generating, p.places)
}

func (p *pool) run(ctx context.Context, work func() error, gates ...chan struct{}) error {
	select {
	case p.waiting <- struct{}{}:
	default:
		return kms.Errorf(kms.Exhausted, "too many slow operations are waiting")
	}
	for i, g := range gates {
		select {
		case g <- struct{}{}:
			defer func() { <-g }()
		case <-ctx.Done():
			<-p.waiting
			return kms.Errorf(kms.Unavailable, "gave up waiting for a processor: %w", ctx.Err())
		}
		if i == len(gates)-1 {
			<-p.waiting
		}
	}
	return work()
}

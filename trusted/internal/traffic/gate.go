package traffic

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// GateConfig says when a Gate refuses work.
type GateConfig struct {
	// Delay is how long what arrives waits of late before anything is done for it.
	// nil: nobody knows, and Most alone counts.
	Delay func() time.Duration
	// Target is the delay that is too long; zero: DefaultTarget.
	Target time.Duration
	// Patience is how many readings in a row must be; zero: DefaultPatience.
	Patience int
	// Most is how many requests are let in at once; zero: DefaultMost.
	Most int
}

// Defaults of GateConfig. Readings are a tenth of a second apart, see Interval. A
// node that is merely busy has delays of a millisecond or two: sixty clients that
// each wait for their answer do not come near the target.
const (
	Interval        = 100 * time.Millisecond
	DefaultTarget   = 50 * time.Millisecond
	DefaultPatience = 5
	DefaultMost     = 8192
)

// shedRetry is what a refused client is told: by then the node has had ten
// readings to find out what it can take.
const shedRetry = time.Second

// holdFor is for how many readings a refusal is kept back, and maxHeld how many
// at once. A client that asks again at once is refused at nearly the price of an
// answer, TLS and all: a thousand of those would take the whole node. Kept
// waiting, it costs a few kilobytes.
const (
	holdFor = 5
	maxHeld = 4096
)

// Shares are counted in thousandths.
const (
	whole    = 1000
	least    = 50 // some are always let in, or nobody would see that it goes again
	recovery = 20 // added at each reading without delay
)

// A Gate bounds what a node takes on: how many requests are under way, which
// waiting for a disk or a vendor may make many, and, while what arrives waits too
// long for a processor, which share of what arrives is let in. The share falls by
// an eighth at each reading above the target, once there were some in a row: a
// burst is worked off, a standing queue is not allowed to stand. It comes back
// in steps. Whom it refuses it lets wait for the refusal, see holdFor. So a node that
// is offered more than it can do serves what it can, and those whom it lets in
// hardly wait.
type Gate struct {
	cfg GateConfig

	underWay atomic.Int64
	share    atomic.Int64 // that is let in, in thousandths
	turn     atomic.Int64 // spreads refusals evenly
	delay    atomic.Int64 // ns, as it was last read
	shed     atomic.Uint64
	late     atomic.Int64 // readings in a row that were over the target

	mu    sync.Mutex
	held  int
	turns [holdFor]chan struct{} // closed by the Adjust at which those who wait in it go
	next  int                    // of turns: the one to be closed next
	ended bool
}

// NewGate makes a Gate that lets everything in.
func NewGate(cfg GateConfig) *Gate {
	if cfg.Target == 0 {
		cfg.Target = DefaultTarget
	}
	if cfg.Patience == 0 {
		cfg.Patience = DefaultPatience
	}
	if cfg.Most == 0 {
		cfg.Most = DefaultMost
	}
	g := &Gate{cfg: cfg}
	g.share.Store(whole)
	for i := range g.turns {
		g.turns[i] = make(chan struct{})
	}
	return g
}

// Enter lets a request in, who must Leave, at once. The error is Exhausted; it
// comes after holdFor readings, or when ctx ends.
func (g *Gate) Enter(ctx context.Context) error {
	if g.underWay.Add(1) <= int64(g.cfg.Most) && g.takes() {
		return nil
	}
	g.underWay.Add(-1)
	g.shed.Add(1)
	g.hold(ctx)
	return kms.Errorf(kms.Exhausted, "the node has more work than it can do").WithRetry(shedRetry).
		WithHint("ask again later, or ask another node")
}

// takes reports whether the next request is of the share that is let in: where
// the sum of shares so far passes a whole.
func (g *Gate) takes() bool {
	share := g.share.Load()
	if share >= whole {
		return true
	}
	return g.turn.Add(share)%whole < share
}

// hold keeps a refused request for a while.
func (g *Gate) hold(ctx context.Context) {
	g.mu.Lock()
	if g.ended || g.held >= maxHeld || g.cfg.Delay == nil {
		g.mu.Unlock()
		return
	}
	g.held++
	turn := g.turns[(g.next+holdFor-1)%holdFor]
	g.mu.Unlock()
	select {
	case <-turn:
	case <-ctx.Done():
	}
	g.mu.Lock()
	g.held--
	g.mu.Unlock()
}

// release lets those go whose time has come.
func (g *Gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return
	}
	close(g.turns[g.next])
	g.turns[g.next] = make(chan struct{})
	g.next = (g.next + 1) % holdFor
}

// End lets everybody go who is kept, and keeps nobody any more.
func (g *Gate) End() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return
	}
	g.ended = true
	for _, turn := range g.turns {
		close(turn)
	}
}

// Leave gives a place back.
func (g *Gate) Leave() { g.underWay.Add(-1) }

// Adjust is to be called every Interval, by one goroutine.
func (g *Gate) Adjust() {
	if g.cfg.Delay == nil {
		return
	}
	g.release()
	delay, share := g.cfg.Delay(), g.share.Load()
	falling := int64(delay) < g.delay.Swap(int64(delay))*7/8
	if delay < g.cfg.Target {
		g.late.Store(0)
		g.share.Store(min(whole, share+recovery))
		return
	}
	if g.late.Add(1) >= int64(g.cfg.Patience) && !falling { // else the share that there is will do
		g.share.Store(max(least, share-share/8))
	}
}

// Load is what the gate knows.
func (g *Gate) Load() kms.Load {
	g.mu.Lock()
	held := g.held
	g.mu.Unlock()
	return kms.Load{Held: held, UnderWay: int(g.underWay.Load()), Share: float64(g.share.Load()) / whole, Delay: time.Duration(g.delay.Load()), Shed: g.shed.Load()}
}

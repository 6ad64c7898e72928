package traffic

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// DefaultMost is how many requests a node takes on at once.
const DefaultMost = 4096

// AppShare is what part of them one app's may be.
const AppShare = 4

// shedRetry is what a refused client is told.
const shedRetry = time.Second

// A Gate bounds how many requests are under way, which waiting for a disk, a
// vendor or another node may make many: who is over the bound is refused at once.
// And it keeps the queue for the processors short: where it stays long, requests of
// apps that ask for most are refused, after a while.
type Gate struct {
	most     int64
	underWay atomic.Int64
	shed     atomic.Uint64
	crowd    *crowd
}

// NewGate makes a Gate that lets so many in; zero: DefaultMost.
func NewGate(most int) *Gate {
	if most == 0 {
		most = DefaultMost
	}
	return &Gate{most: int64(most), crowd: newCrowd()}
}

// Enter lets a request in, who must Leave. The error is Exhausted. It returns when
// it is the request's turn.
func (g *Gate) Enter() error {
	if g.underWay.Add(1) > g.most {
		g.underWay.Add(-1)
		g.shed.Add(1)
		return kms.Errorf(kms.Exhausted, "the node has as many requests under way as it takes on").WithRetry(shedRetry).
			WithHint("ask again later, or ask another node")
	}
	g.crowd.arrive()
	runtime.Gosched() // behind whoever waits for a processor, so that who comes now sees how many do
	g.crowd.begin()
	return nil
}

// Admit is asked when it is known whose request it is that was let in. The error is
// Exhausted, of a node that is asked for more than its processors can do, to an app
// that asks for no less than others; it comes within two seconds, or when ctx ends.
func (g *Gate) Admit(ctx context.Context, app kms.AppID) error {
	if !g.crowd.overfull(app) {
		return nil
	}
	g.crowd.hold(ctx, g.shed.Add(1), max(1, g.most/heldShare))
	return kms.Errorf(kms.Exhausted, "the node is asked for more than it can do").WithRetry(shedRetry).
		WithHint("ask again later, with less at once, or ask another node")
}

// Leave gives a place back.
func (g *Gate) Leave() { g.underWay.Add(-1) }

// AppMost is how many requests of one app may be under way.
func (g *Gate) AppMost() int { return int(max(1, g.most/AppShare)) }

// Load is what the gate knows.
func (g *Gate) Load() kms.Load {
	return kms.Load{UnderWay: int(g.underWay.Load()), Shed: g.shed.Load()}
}

package traffic

import (
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
// vendor or another node may make many. Who is over the bound is refused at once.
// It does not look at how long work waits for a processor: a refusal costs nearly
// what an answer does, TLS and all, so to refuse more than the bound costs those
// whom one lets in more than it gives them.
type Gate struct {
	most     int64
	underWay atomic.Int64
	shed     atomic.Uint64
}

// NewGate makes a Gate that lets so many in; zero: DefaultMost.
func NewGate(most int) *Gate {
	if most == 0 {
		most = DefaultMost
	}
	return &Gate{most: int64(most)}
}

// Enter lets a request in, who must Leave. The error is Exhausted.
func (g *Gate) Enter() error {
	if g.underWay.Add(1) <= g.most {
		return nil
	}
	g.underWay.Add(-1)
	g.shed.Add(1)
	return kms.Errorf(kms.Exhausted, "the node has as many requests under way as it takes on").WithRetry(shedRetry).
		WithHint("ask again later, or ask another node")
}

// Leave gives a place back.
func (g *Gate) Leave() { g.underWay.Add(-1) }

// AppMost is how many requests of one app may be under way.
func (g *Gate) AppMost() int { return int(max(1, g.most/AppShare)) }

// Load is what the gate knows.
func (g *Gate) Load() kms.Load {
	return kms.Load{UnderWay: int(g.underWay.Load()), Shed: g.shed.Load()}
}

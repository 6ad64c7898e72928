package traffic

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// Where work waits for processors the queue is Go's own: of goroutines that have a
// request to read, parse and answer. Nobody can see how long it is; but a request
// that has been read and steps back once behind all others that can run is counted
// meanwhile by who comes after it, and the count is a measure of the queue. It is
// the same on a fast machine and a slow one, and needs no clock.
//
// To refuse a request costs nearly what an answer does, TLS and all, and who is
// refused at once comes again at once. So a refusal is held back for a second or
// two, in which its client's connection costs nothing: that, and not the refusal,
// makes the queue short.
const (
	queuePerProcessor = 24   // a queue that is longer, on the average and now, is too long
	memory            = 1024 // arrivals that the average is of: a burst of a few hundred does not move it far
	recentArrivals    = 256  // of which each app's share is known
	heldShare         = 4    // part of Gate.most that may be held back at once; others are refused at once
	holdSteps         = 32   // lengths that a hold has, so that those held do not come back together
)

// A crowd is the queue for the processors, and who is in it.
type crowd struct {
	long    int64 // what is a long queue
	waiting atomic.Int64
	// average of waiting as arrivals find it, times memory². Two who write at once
	// may lose one of their readings, which an average does not mind.
	average atomic.Int64
	held    atomic.Int64

	mu     sync.Mutex
	recent [recentArrivals]kms.AppID
	next   int               // where the oldest of recent is, once all are used
	share  map[kms.AppID]int // of recent
	used   int
}

func newCrowd() *crowd {
	return &crowd{long: int64(queuePerProcessor * runtime.GOMAXPROCS(0)), share: map[kms.AppID]int{}}
}

// arrive notes a request that waits for a processor, until begin.
func (c *crowd) arrive() {
	n := c.waiting.Add(1)
	was := c.average.Load()
	c.average.Store(was + n*memory - was/memory)
}

func (c *crowd) begin() { c.waiting.Add(-1) }

func (c *crowd) usual() int64 { return c.average.Load() / (memory * memory) }

// overfull reports whether there are too many, now and for some time, and an app's
// part of them is no less than that of others.
func (c *crowd) overfull(app kms.AppID) bool {
	usual := c.usual()
	if usual <= c.long/2 { // far from it, and shares do not matter
		return false
	}
	greedy := c.note(app)
	return greedy && usual > c.long && c.waiting.Load() > c.long
}

// note counts an arrival, and reports whether the app has its even share of the
// last ones, or more.
func (c *crowd) note(app kms.AppID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used < recentArrivals {
		c.used++
	} else if old := c.recent[c.next]; c.share[old] > 1 {
		c.share[old]--
	} else {
		delete(c.share, old)
	}
	c.recent[c.next] = app
	c.next = (c.next + 1) % recentArrivals
	c.share[app]++
	return c.share[app]*len(c.share) >= c.used
}

// hold waits for one to two times a second, or until ctx ends, unless that many wait
// already.
func (c *crowd) hold(ctx context.Context, turn uint64, most int64) {
	defer c.held.Add(-1)
	if c.held.Add(1) > most {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, shedRetry+shedRetry*time.Duration(turn%holdSteps)/holdSteps)
	defer cancel()
	<-ctx.Done()
}

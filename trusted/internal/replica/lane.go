package replica

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A lane shares what costs a round trip among all who wait for it. One round is
// under way at a time; who comes meanwhile waits for the next.
//
// Where many come, the next one waits for more of them, since a round costs what
// a request does. It does so for a moment only, and never for the few who ask
// one after the other.
type lane struct {
	attempt func(context.Context) (point, error)
	limit   time.Duration
	spawn   func(func()) bool
	ctx     context.Context // of the owner
	logger  *slog.Logger
	failing *atomic.Bool // the owner's last round did

	mu     sync.Mutex
	next   *round        // that who comes now waits for
	busy   bool          // one is under way, or about to be
	crowd  int           // how many wait lately, in the round under way and for the next
	enough chan struct{} // holds one token when the next need not wait for more
}

const (
	crowdFrom   = 3                    // who come in fewer are not waited for
	crowdEnough = 32                   // with so many a round costs each of them little
	crowdWait   = 2 * time.Millisecond // for more to come
)

// A round is one attempt. It began after all who wait for it came.
type round struct {
	done    chan struct{}
	at      point
	err     error
	callers int
}

func newLane(owner *Replica, limit time.Duration, attempt func(context.Context) (point, error)) *lane {
	return &lane{attempt: attempt, limit: limit, spawn: owner.spawn, ctx: owner.own, logger: owner.cfg.Logger, failing: &owner.unconfirmed, enough: make(chan struct{}, 1)}
}

// join returns the next round. Where none is under way it makes that round before it
// returns, however long that takes, if own is set: he who is alone makes his round
// himself, since to wake another goroutine costs about what a message does.
func (l *lane) join(own bool) *round {
	rd, idle := l.enter()
	switch {
	case idle && own:
		l.serve()
	case idle:
		l.handOn()
	}
	return rd
}

// enter joins the next round. Where idle is true it is up to the caller that it is
// made.
func (l *lane) enter() (rd *round, idle bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.next = &round{done: make(chan struct{})}
	}
	rd, idle = l.next, !l.busy
	l.busy = true
	if rd.callers++; rd.callers == l.wanted() {
		select {
		case l.enough <- struct{}{}:
		default: // a token is there
		}
	}
	return rd, idle
}

// serve makes the next round. Another goroutine makes those after it.
func (l *lane) serve() {
	defer l.handOn() // also if the round panics: who serves requests recovers
	l.attend(l.begin())
}

// handOn has another goroutine make the next round, if somebody waits for it.
func (l *lane) handOn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.busy = false
		return
	}
	if l.spawn(l.run) {
		return
	}
	rd := l.next
	l.next, l.busy = nil, false
	rd.err = errStopping
	close(rd.done)
}

// wanted is how many are to wait for a round that begins at once: most of those
// who were there lately.
func (l *lane) wanted() int {
	if l.crowd < crowdFrom {
		return 1
	}
	return min(crowdEnough, l.crowd*3/4)
}

// run makes rounds until nobody waits for one.
func (l *lane) run() {
	for rd := l.begin(); rd != nil; rd = l.begin() {
		l.attend(rd)
	}
}

func (l *lane) attend(rd *round) {
	ctx, cancel := context.WithTimeout(l.ctx, l.limit)
	defer cancel()
	rd.err = errStopping // should attempt panic
	defer l.end(rd)
	rd.at, rd.err = l.attempt(ctx)
	l.heed(rd.err)
}

// heed logs when rounds begin to fail, and when they succeed again.
func (l *lane) heed(err error) {
	if l.ctx.Err() != nil || l.failing.Swap(err != nil) == (err != nil) {
		return
	}
	if err != nil {
		l.logger.Warn("reads cannot be confirmed", "cause", err)
	} else {
		l.logger.Info("reads are confirmed again")
	}
}

// begin takes up the round that somebody waits for, nil if nobody does. Nobody
// joins it any more.
func (l *lane) begin() *round {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next != nil && l.next.callers < l.wanted() {
		l.mu.Unlock()
		pause(l.ctx, crowdWait, l.enough)
		l.mu.Lock()
	}
	rd := l.next
	l.next, l.busy = nil, rd != nil
	select {
	case <-l.enough: // it was for this round
	default:
	}
	return rd
}

func (l *lane) end(rd *round) {
	l.mu.Lock()
	now := rd.callers
	if l.next != nil {
		now += l.next.callers
	}
	l.crowd = max(now, l.crowd*7/8)
	l.mu.Unlock()
	close(rd.done)
}

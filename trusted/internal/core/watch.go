package core

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Limits of streams. Each costs some 20 KB, whatever its reader does: what it has
// not read is in the ring of events, once for all.
const (
	MaxWatches         = 1024 // of a node
	MaxStrangerWatches = 256  // of those, for callers that are no app
	MaxAppWatches      = 32   // of one app
)

// KeepAlive is after how many beats without a message a stream says that it is
// still there.
const KeepAlive = 15

// Watches are the streams of a node. The zero value is not ready.
type Watches struct {
	beats atomic.Uint64

	mu      sync.Mutex
	serving int // servers that take requests
	end     chan struct{}
	ended   bool
	seats   map[*Seat]struct{}
	perApp  map[kms.AppID]int
}

func newWatches() *Watches {
	return &Watches{end: make(chan struct{}), seats: map[*Seat]struct{}{}, perApp: map[kms.AppID]int{}}
}

// A Seat is the place of one stream.
type Seat struct {
	C     chan struct{}   // holds a token when there may be something to do
	Ended <-chan struct{} // closed when the node ends its streams

	watches *Watches
	app     kms.AppID
}

// Enter takes a place for a stream of an app, or of a stranger for the zero app.
// The caller must Leave it. The errors are Exhausted and Unavailable.
func (w *Watches) Enter(app kms.AppID) (*Seat, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := MaxAppWatches
	if app == (kms.AppID{}) {
		limit = MaxStrangerWatches
	}
	switch {
	case w.ended:
		return nil, ErrWatchesEnded
	case w.perApp[app] >= limit:
		return nil, kms.Errorf(kms.Exhausted, "%d streams of the caller's are open already", limit).WithHint("close some, or read from one for all")
	case len(w.seats) >= MaxWatches:
		return nil, kms.Errorf(kms.Exhausted, "%d streams are open already", MaxWatches).WithHint("ask another node, or later")
	}
	s := &Seat{C: make(chan struct{}, 1), Ended: w.end, watches: w, app: app}
	w.seats[s] = struct{}{}
	w.perApp[app]++
	return s, nil
}

// Leave gives the place back.
func (s *Seat) Leave() {
	w := s.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, there := w.seats[s]; !there {
		return
	}
	delete(w.seats, s)
	if w.perApp[s.app]--; w.perApp[s.app] == 0 {
		delete(w.perApp, s.app)
	}
}

// Wait waits until there may be something to do. The error is that of ctx, or
// ErrWatchesEnded.
func (s *Seat) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.Ended:
		return ErrWatchesEnded
	case <-s.C:
		return nil
	}
}

// ErrWatchesEnded ends the streams of a node that stops.
var ErrWatchesEnded = kms.Errorf(kms.Unavailable, "the node is stopping").WithHint("resume at another node, or when it is back")

// Beat wakes all streams: what changes with time alone is looked at, and who has
// heard nothing for long hears something. The node calls it every second.
func (w *Watches) Beat() {
	w.beats.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.seats {
		select {
		case s.C <- struct{}{}:
		default:
		}
	}
}

// Beats is how many there were.
func (w *Watches) Beats() uint64 { return w.beats.Load() }

// Open is how many streams there are.
func (w *Watches) Open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seats)
}

// Serve takes streams, again where they were ended, until stop is called for
// the last server: then they all end, and no new one begins.
func (w *Watches) Serve() (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		w.ended, w.end = false, make(chan struct{})
	}
	w.serving++
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.serving--; w.serving == 0 {
			w.finish()
		}
	})
}

// End ends all streams.
func (w *Watches) End() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finish()
}

func (w *Watches) finish() {
	if !w.ended {
		w.ended = true
		close(w.end)
	}
}

// Watches are the streams of the node.
func (c *Core) Watches() *Watches { return c.watches }

// WatchEvents sends the domain's events to somebody who is nobody, and what
// becomes of this node, until ctx or the node ends; see Caller.WatchEvents for
// the rest. It is served, as status is, by a node that serves nothing else.
func (c *Core) WatchEvents(ctx context.Context, r kms.WatchRequest, send func(kms.Events) error) error {
	view, err := c.cfg.Replica.Local()
	if err != nil {
		return err
	}
	w := &watch{core: c, request: r, send: send, may: func(*state.View) error { return nil }, node: true}
	return w.run(ctx, view)
}

// WatchEvents sends events of the domain and of the caller's app, in order and
// none twice, until ctx ends, the node does, or the caller may not see them any
// more: its credential was revoked or has expired, its session does not hold, or
// this node may not serve. Nothing that came after that is sent. send may block: a
// reader that is so slow that what it has to read leaves the ring is dropped.
// Where there was nothing to send for KeepAlive seconds it is called without
// events. The errors are that of send, Invalid, Denied, Expired and Conflict (the
// position; see state.Events), Exhausted (too many streams, or too slow a reader),
// Unauthenticated, Stale and Unavailable.
func (c *Caller) WatchEvents(ctx context.Context, r kms.WatchRequest, send func(kms.Events) error) error {
	if err := c.mayWatch(); err != nil {
		return err
	}
	w := &watch{core: c.core, app: c.app(), request: r, send: send, may: c.stillMayWatch}
	return w.run(ctx, c.view)
}

// mayWatch asks for the right to list what an app has. A workload without an app
// sees what everybody sees.
func (c *Caller) mayWatch() error {
	if c.who.Credential == nil {
		return nil
	}
	return c.mayRead()
}

// stillMayWatch judges the caller again, in a newer state.
func (c *Caller) stillMayWatch(view *state.View) error {
	now := c.core.now(view)
	if err := c.core.cfg.Serving(view, now); err != nil {
		return err
	}
	c.view = view
	if old := c.who.Credential; old != nil {
		cred, there := view.Credential(old.ID)
		if !there || cred.App != old.App || cred.Expired(now.UnixNano()) {
			return kms.Errorf(kms.Unauthenticated, "the credential was revoked, or has expired")
		}
		c.who.Credential = cred
	}
	if c.ticket != "" {
		if err := c.judge(); kms.KindOf(err) == kms.Stale {
			return kms.Errorf(kms.Unauthenticated, "the session has ended")
		} else if err != nil {
			return err
		}
	}
	return c.mayWatch()
}

// A watch is one stream of events. It pulls: nothing is kept for its reader.
type watch struct {
	core    *Core
	app     kms.AppID
	request kms.WatchRequest
	may     func(*state.View) error // whether what a state holds may be sent
	node    bool                    // tell what becomes of this node
	send    func(kms.Events) error

	at      kms.Position
	refused string // why the node did not serve when that was last told
	begun   bool
	beat    uint64 // of the last message
}

func (w *watch) run(ctx context.Context, view *state.View) error {
	if err := w.begin(view); err != nil {
		return err
	}
	seat, err := w.core.watches.Enter(w.app)
	if err != nil {
		return err
	}
	defer seat.Leave()
	defer view.Events().Subscribe(w.app, seat.C)()
	for {
		more, err := w.step(view.Events())
		if err != nil {
			return err
		}
		switch {
		case more:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		case w.request.UntilNow:
			return nil
		}
		if err := seat.Wait(ctx); err != nil {
			return err
		}
	}
}

// begin finds where to begin.
func (w *watch) begin(view *state.View) error {
	r := w.request
	switch {
	case r.Earliest && r.After != (kms.Position{}):
		return kms.Errorf(kms.Invalid, "either after a position or from the earliest").WithField("after")
	case r.Earliest:
		w.at = view.Events().Earliest()
	case r.After == (kms.Position{}):
		w.at = kms.After(view.Events().Head())
	default:
		w.at = r.After
	}
	w.beat = w.core.watches.Beats()
	return nil
}

// step sends what there is, if there is anything to say.
func (w *watch) step(events *state.Events) (more bool, err error) {
	next, more, err := events.Read(w.at, w.app)
	if err != nil {
		return false, w.unread(err)
	}
	// The state is at least as new as what was read, so that nothing is sent that
	// came after the end of the right to see it.
	view, err := w.core.cfg.Replica.Local()
	if err == nil {
		err = w.may(view)
	}
	if err != nil {
		return false, err
	}
	if w.node && !more {
		next.Events = append(next.Events, w.transition(view)...)
	}
	beat := w.core.watches.Beats()
	if len(next.Events) == 0 && w.begun && beat-w.beat < KeepAlive {
		w.at = next.At
		return false, nil
	}
	if err := w.send(next); err != nil {
		return false, err
	}
	w.at, w.begun, w.beat = next.At, true, beat
	return more, nil
}

// unread says so where it is the reader's fault that what comes next is gone.
func (w *watch) unread(err error) error {
	if !w.begun || kms.KindOf(err) != kms.Expired {
		return err
	}
	return kms.Errorf(kms.Exhausted, "the reader is too slow: what it has not read is not kept any more").
		WithHint("read what you need of the state, then resume from the earliest event")
}

// transition is what became of this node since that was last told.
func (w *watch) transition(view *state.View) []kms.Event {
	now, reason := w.core.now(view), ""
	if err := w.core.cfg.Serving(view, now); err != nil {
		reason = err.Error()
	}
	if reason == w.refused {
		return nil
	}
	w.refused = reason
	e := kms.Event{Time: now.UTC(), Kind: kms.EventNodeServes}
	if reason != "" {
		e.Kind, e.Reason = kms.EventNodeRefuses, reason
	}
	return []kms.Event{e}
}

package collateral

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// An entry keeps one item.
type entry struct {
	client  *Client
	item    item
	wanted  time.Time              // when a platform was last made of it; under Client.mu
	current atomic.Pointer[answer] // nil: nothing is kept

	turn   chan struct{} // held by the one who fetches or looks into the folder
	looked bool          // the folder or the bundle was looked into; under turn

	mu     sync.Mutex
	tried  attempts
	warned time.Time
}

// attempts are what came of asking the service.
type attempts struct {
	last     time.Time // zero: it was never asked
	failures int       // since it last answered
	err      error     // of the last attempt; nil: it went well
	next     time.Time // not before this is it asked again
}

// How long a service is left alone after one, two, … failures in a row.
const (
	firstPause = 15 * time.Second
	longPause  = time.Hour
)

// need is what is kept, if it is in force, and otherwise what the service says
// now. Callers that come together ask once.
func (e *entry) need(ctx context.Context) (*answer, error) {
	if a := e.current.Load(); a.inForce(e.client.cfg.Now()) {
		return a, nil
	}
	if err := e.take(ctx); err != nil {
		return nil, err
	}
	defer e.release()
	e.look()
	now := e.client.cfg.Now()
	if a := e.current.Load(); a.inForce(now) {
		return a, nil
	}
	if e.client.web == nil {
		return nil, e.notInBundle()
	}
	if tried := e.attempts(); tried.err != nil && now.Before(tried.next) {
		return nil, tried.err
	}
	if err := e.fetch(ctx); err != nil {
		return nil, err
	}
	return e.current.Load(), nil
}

func (e *entry) take(ctx context.Context) error {
	select {
	case e.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return kms.Errorf(kms.Unavailable, "waiting for the %s: %w", e.item.title, ctx.Err())
	}
}

func (e *entry) release() { <-e.turn }

func (e *entry) attempts() attempts {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tried
}

// look reads what was kept by an earlier process, or was put into the bundle.
func (e *entry) look() {
	if e.looked {
		return
	}
	e.looked = true
	kept, from := record{}, ""
	switch c := e.client; {
	case c.bundle != nil:
		kept, from = c.bundle[e.item.name], "bundle"
	case c.cache != nil:
		kept, from = c.cache.load(e.item.name), "cache"
	}
	if kept.Name == "" {
		return
	}
	a, err := e.item.read(kept.said())
	if err != nil {
		e.client.cfg.Logger.Warn("kept collateral is of no use and was ignored", "item", e.item.name, "from", from, "error", err)
		return
	}
	e.current.Store(a)
}

func (e *entry) notInBundle() error {
	hint := "make a new bundle with `holdfast collateral bundle`, where there is a network"
	if a := e.current.Load(); a != nil {
		return kms.Errorf(kms.Unavailable, "the %s in the bundle was in force from %s until %s", e.item.title, stamp(a.from), stamp(a.until)).WithHint(hint)
	}
	return kms.Errorf(kms.Unavailable, "the bundle does not have the %s", e.item.title).WithHint(hint)
}

// fetch asks the service, and keeps what it says if it is any better. The
// caller has the turn.
func (e *entry) fetch(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, e.client.cfg.Timeout)
	defer cancel()
	a, f := e.client.web.ask(limited, e.item, e.client.cfg.Now)
	if f == nil {
		f = e.accept(a)
	}
	switch {
	case f == nil:
		e.note(nil, 0)
		return nil
	case ctx.Err() != nil: // no fault of the service's
		return kms.Errorf(kms.Unavailable, "fetching the %s: %w", e.item.title, ctx.Err())
	}
	err := kms.Errorf(f.kind, "fetching the %s: %w", e.item.title, f.err).WithHint(f.hint)
	e.note(err, f.pause)
	return err
}

// accept puts a in the place of what is kept.
func (e *entry) accept(a *answer) *fault {
	now := e.client.cfg.Now()
	if now.After(a.until) {
		return failed("have the caching service refresh what it keeps, and check this machine's clock", "what is handed out ended %s", stamp(a.until))
	}
	if now.Before(a.from) {
		return failed("check this machine's clock", "what is handed out begins %s", stamp(a.from))
	}
	if err := a.replaces(e.current.Load()); err != nil {
		return failed("have the caching service refresh what it keeps", "what is handed out is %w", err)
	}
	e.current.Store(a)
	if e.client.cache != nil {
		e.client.cache.store(recordOf(e.item.name, a))
	}
	return nil
}

// note records an attempt. pause is how long the service wants to be left alone.
func (e *entry) note(err error, pause time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.client.cfg.Now()
	if err == nil {
		e.tried = attempts{last: now}
		return
	}
	wait := min(firstPause<<min(e.tried.failures, 10), longPause)
	wait = max(wait/2+rand.N(wait/2), min(pause, longPause))
	e.tried = attempts{last: now, failures: e.tried.failures + 1, err: err, next: now.Add(wait)}
	log := e.client.cfg.Logger.Info
	if !e.current.Load().inForce(now) {
		log = e.client.cfg.Logger.Warn
	}
	log("fetching collateral did not work", "item", e.item.name, "failures", e.tried.failures, "again", stamp(e.tried.next), "error", err)
}

// due reports whether it is time to ask for news. From half its life on that is
// every hour: sooner would not help, and a service that has nothing newer would
// be asked without end.
func (e *entry) due(now time.Time) bool {
	a := e.current.Load()
	if now.Before(e.attempts().next) {
		return false
	}
	if !a.inForce(now) || a.at.After(now) {
		return true
	}
	every := e.client.cfg.RefreshEvery
	switch {
	case !now.Before(a.half()):
		every = min(every, longPause)
	case e.item.lasting:
		return false
	}
	return now.Sub(a.at) >= every
}

// refresh asks for news whether or not there is need.
func (e *entry) refresh(ctx context.Context) error {
	if err := e.take(ctx); err != nil {
		return err
	}
	defer e.release()
	e.look()
	return e.fetch(ctx)
}

// warnEvery is how often the same warning is repeated.
const warnEvery = 6 * time.Hour

// warn tells of what ends soon, or has ended.
func (e *entry) warn(now time.Time) {
	s := e.status(now)
	if s.State != Ageing && s.State != Ended {
		return
	}
	e.mu.Lock()
	again := now.Sub(e.warned) >= warnEvery || now.Before(e.warned)
	if again {
		e.warned = now
	}
	e.mu.Unlock()
	if !again {
		return
	}
	text, log := "collateral is past half its life and was not renewed", e.client.cfg.Logger.Warn
	if s.State == Ended {
		text, log = "collateral has ended: verifiers refuse evidence of this platform", e.client.cfg.Logger.Error
	}
	log(text, "item", s.Item, "from", s.From, "until", s.Until, "error", s.Err, "do", s.Advice)
}

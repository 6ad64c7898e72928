package collateral

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

const (
	// tick is how often Run looks whether there is something to do.
	tick = time.Minute
	// unused is how long nobody asks about a platform before it is not kept up
	// any more. What there is serves until its end.
	unused = 7 * 24 * time.Hour
	// unwanted is the same for what belongs to no platform, because something
	// else of it was not to be had.
	unwanted = time.Hour
)

// Run keeps up everything in use, and warns of what ends, until ctx does. It
// returns when its last request has ended.
func (c *Client) Run(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for ctx.Err() == nil {
		c.keepUp(ctx)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// keepUp is one turn of Run. It asks for one thing at a time: what it does is
// never urgent.
func (c *Client) keepUp(ctx context.Context) {
	c.forget(c.cfg.Now())
	for _, e := range c.kept(c.keptUp(c.cfg.Now())) {
		if c.web != nil && e.due(c.cfg.Now()) {
			e.refresh(ctx) // noted, and told of by warn once it matters
		}
		if ctx.Err() != nil {
			return
		}
		e.warn(c.cfg.Now())
	}
}

// Refresh asks for news about everything in use at once, whatever its age: to
// learn of a revocation, say. What could not be renewed keeps serving; the
// error is that of the first such thing. With a bundle it is Invalid.
func (c *Client) Refresh(ctx context.Context) error {
	if c.web == nil {
		return kms.Errorf(kms.Invalid, "there is nothing to refresh: all collateral is from a bundle").
			WithHint("make a new bundle with `holdfast collateral bundle`, where there is a network")
	}
	var failed []error
	for _, e := range c.kept(c.keptUp(c.cfg.Now())) {
		failed = append(failed, e.refresh(ctx))
	}
	return first(failed)
}

// kept are the entries that pass, in the order of their names.
func (c *Client) kept(pass func(*entry) bool) []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*entry
	for _, e := range c.entries {
		if pass(e) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *entry) int { return strings.Compare(a.item.name, b.item.name) })
	return all
}

func everything(*entry) bool { return true }

// keptUp says of an entry whether somebody still asks about a platform of it,
// or it belongs to none: then somebody just did, and did not get all of it.
func (c *Client) keptUp(now time.Time) func(*entry) bool {
	used := map[*entry]bool{}
	for _, p := range *c.platforms.Load() {
		for _, e := range p.entries {
			used[e] = used[e] || !p.idle(now)
		}
	}
	return func(e *entry) bool {
		kept, owned := used[e]
		return kept || !owned
	}
}

func (p *platform) idle(now time.Time) bool {
	return now.Unix()-p.used.Load() > int64(unused/time.Second)
}

// ended reports whether what there is of p serves nobody.
func (p *platform) ended(now time.Time) bool {
	return slices.ContainsFunc(p.entries, func(e *entry) bool { return !e.current.Load().inForce(now) })
}

// forget drops platforms that nobody asks about and that have ended, and what
// is kept for them alone. It stays in the folder.
func (c *Client) forget(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := maps.Clone(*c.platforms.Load())
	maps.DeleteFunc(left, func(_ platformKey, p *platform) bool { return p.idle(now) && p.ended(now) })
	c.platforms.Store(&left)
	c.sweep(unwanted)
}

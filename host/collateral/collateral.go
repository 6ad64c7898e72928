// Package collateral fetches what the makers of TEEs publish about platforms:
// from Intel's provisioning certification service (PCS) or a caching service
// of one's own (PCCS), and from AMD's key distribution service (KDS).
//
// Nothing here is trusted, and nothing that it returns is to be: the verifiers
// of package attest check all of it again. What this package is for is that
// there is something to check, also while the services are down:
//
//   - What was fetched is kept, in memory and in a folder, and serves until its
//     end, which is the end that the verifiers will see.
//   - It is renewed in the background long before, and from half its life on
//     there are warnings. Status says how everything in use stands.
//   - What does not read as what was asked for, is not signed under the root
//     that the platform's own certificates end in, or is older than what is kept,
//     never replaces it.
//   - With a bundle there is no network at all.
//
// Each service is given a bounded time, a bounded number of attempts and a
// bounded length of answer; for each thing one request is under way at a time.
// Redirects are not followed.
//
// Sources: PCS API version 4; Intel SGX and TDX DCAP PCCS design; AMD 57230
// (certificates and KDS).
package collateral

import (
	"bytes"
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// A Client gets collateral and keeps it. It is safe for concurrent use.
type Client struct {
	cfg    Config
	web    *web
	cache  *cache            // nil: memory only
	bundle map[string]record // nil: there is a network

	// platforms is replaced, never changed, so that to look one up takes no lock.
	platforms atomic.Pointer[map[platformKey]*platform]

	mu      sync.Mutex // to change platforms and entries
	entries map[string]*entry
}

// maxPlatforms is how many platforms are remembered. A node asks about its own
// and its peers'; who asks about more gets an answer too, and those that were
// not asked about for the longest are forgotten.
const maxPlatforms = 256

// maxEntries is from how many on the things of forgotten platforms are dropped
// at once.
const maxEntries = 8 * maxPlatforms

// New makes a client. It opens no connection; the error is Invalid for a
// setting or a bundle that makes no sense, and what the system says about a
// cache folder that cannot be made.
func New(cfg Config) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, entries: map[string]*entry{}}
	c.platforms.Store(&map[platformKey]*platform{})
	var err error
	if cfg.Bundle != nil {
		c.bundle, err = parseBundle(cfg.Bundle)
		return c, err
	}
	if c.web, err = newWeb(cfg); err != nil {
		return nil, err
	}
	if cfg.CacheDir != "" {
		c.cache, err = openCache(cfg.CacheDir, cfg.Logger)
	}
	return c, err
}

// Collateral is what the verifier of ev needs besides its quote, in the form of
// attest.Evidence.Collateral. What ev carries already is looked at for SNP only:
// the certificates in it are kept if they fit the report.
//
// What is in memory is returned at once. Otherwise the services are asked, for
// at most Config.Timeout each; the error is Invalid if the quote does not say
// what to ask for, NotFound if a service does not know the platform, and
// Unavailable if there is nothing in force and nothing to be had.
func (c *Client) Collateral(ctx context.Context, ev attest.Evidence) ([]byte, error) {
	_, made, err := c.assembled(ctx, ev)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(made.document), nil
}

func (c *Client) assembled(ctx context.Context, ev attest.Evidence) (*platform, *assembly, error) {
	subject, err := subjectOf(ev)
	if err != nil {
		return nil, nil, err
	}
	now := c.cfg.Now()
	p := (*c.platforms.Load())[subject.key()]
	if p == nil {
		if p, err = c.admit(ctx, subject); err != nil {
			return nil, nil, err
		}
	}
	p.touch(now)
	made := p.assembled(now)
	if made == nil {
		made, err = p.renew(ctx)
	}
	return p, made, err
}

// A subject is what is asked about: what can be read in evidence.
type subject interface {
	key() platformKey
	// platform says what to fetch and how to put it together. To know that it
	// may have to fetch something itself.
	platform(ctx context.Context, c *Client) (*platform, error)
}

// A platformKey tells subjects apart for which different things are fetched.
type platformKey struct {
	tee attest.TEE
	sum [32]byte
}

func subjectOf(ev attest.Evidence) (subject, error) {
	tee := ev.TEE
	if tee == "" {
		tee = attest.Recognize(ev.Quote)
	}
	switch tee {
	case attest.SGX, attest.TDX:
		return newIntelSubject(tee, ev.Quote)
	case attest.SNP:
		return newAMDSubject(ev)
	}
	return nil, kms.Errorf(kms.Invalid, "the evidence is neither an SGX or TDX quote nor an SNP report")
}

// A platform is a subject whose collateral is kept up.
type platform struct {
	key     platformKey
	entries []*entry
	// assemble makes the document of what the entries hold, in their order.
	assemble func([]*answer) ([]byte, error)
	ready    atomic.Pointer[assembly]
	used     atomic.Int64 // Unix time in seconds
}

// An assembly is a document with what it was made of.
type assembly struct {
	answers  []*answer
	document []byte
}

func (p *platform) touch(now time.Time) {
	const coarse = 60 // seconds: so that callers rarely write to the same memory
	if s := now.Unix(); s-p.used.Load() >= coarse {
		p.used.Store(s)
	}
}

// assembled is nil if there is nothing, or if something in it has been renewed
// or is not in force.
func (p *platform) assembled(now time.Time) *assembly {
	made := p.ready.Load()
	if made == nil {
		return nil
	}
	for i, e := range p.entries {
		if e.current.Load() != made.answers[i] || !made.answers[i].inForce(now) {
			return nil
		}
	}
	return made
}

// renew gets what is missing and makes the document.
func (p *platform) renew(ctx context.Context) (*assembly, error) {
	made := &assembly{answers: make([]*answer, len(p.entries))}
	failed := make([]error, len(p.entries))
	var wg sync.WaitGroup
	for i, e := range p.entries {
		wg.Go(func() { made.answers[i], failed[i] = e.need(ctx) })
	}
	wg.Wait()
	if err := first(failed); err != nil {
		return nil, err
	}
	var err error
	if made.document, err = p.assemble(made.answers); err != nil {
		return nil, kms.Errorf(kms.Internal, "putting collateral together: %w", err)
	}
	p.ready.Store(made)
	return made, nil
}

// first is the first error: the others are seldom different ones.
func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// admit remembers a platform.
func (c *Client) admit(ctx context.Context, s subject) (*platform, error) {
	p, err := s.platform(ctx, c)
	if err != nil {
		return nil, err
	}
	p.key = s.key()
	c.mu.Lock()
	defer c.mu.Unlock()
	old := *c.platforms.Load()
	if there := old[p.key]; there != nil {
		return there, nil
	}
	p.used.Store(c.cfg.Now().Unix())
	all := make(map[platformKey]*platform, len(old)+1)
	maps.Copy(all, old)
	all[p.key] = p
	if len(all) > maxPlatforms {
		delete(all, leastUsed(all, p.key))
	}
	c.platforms.Store(&all)
	return p, nil
}

func leastUsed(all map[platformKey]*platform, but platformKey) platformKey {
	var least platformKey
	used := int64(0)
	for k, p := range all {
		if u := p.used.Load(); k != but && (used == 0 || u < used) {
			least, used = k, u
		}
	}
	return least
}

// entry is the one that keeps what i is, made when it is first asked for.
func (c *Client) entry(i item) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[i.name]
	if e == nil {
		if len(c.entries) >= maxEntries {
			c.sweep(0)
		}
		e = &entry{client: c, item: i, turn: make(chan struct{}, 1)}
		c.entries[i.name] = e
	}
	e.wanted = c.cfg.Now()
	return e
}

// sweep drops the entries of no platform that nobody has wanted for so long.
// The caller has the lock.
func (c *Client) sweep(unwanted time.Duration) {
	used := map[*entry]bool{}
	for _, p := range *c.platforms.Load() {
		for _, e := range p.entries {
			used[e] = true
		}
	}
	now := c.cfg.Now()
	for name, e := range c.entries {
		if !used[e] && now.Sub(e.wanted) >= unwanted {
			delete(c.entries, name)
		}
	}
}

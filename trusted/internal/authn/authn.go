// Package authn decides who sent a request: it computes the MAC under the
// credential's secret, compares it in constant time, and refuses what is too
// old or was accepted before. An unknown credential and a wrong MAC look alike
// and take as long as each other.
package authn

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/replay"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Config says how an Authenticator decides.
type Config struct {
	Root  *root.Root
	Start time.Time // v1 requests that are older are refused: what was accepted before the start is forgotten
	// ReplayLimit is how many accepted requests are remembered; zero means DefaultReplayLimit.
	ReplayLimit int
	// CacheLimit is how many credentials are kept ready; zero means DefaultCache.
	CacheLimit int
}

// Defaults of Config. A remembered request costs some 40 bytes.
const (
	DefaultReplayLimit = 1 << 21
	DefaultCache       = 1 << 14
)

// An Authenticator authenticates requests.
type Authenticator struct {
	root  *root.Root
	start time.Time
	cache *lru.Cache[cacheKey, *macs]
	decoy *macs // for unknown credentials

	mu   sync.Mutex
	seen *replay.Table

	replayed atomic.Uint64
}

type cacheKey struct {
	id       kms.CredentialID
	revision uint64
	scheme   kms.Scheme
}

// New makes an Authenticator.
func New(cfg Config) (*Authenticator, error) {
	if cfg.ReplayLimit == 0 {
		cfg.ReplayLimit = DefaultReplayLimit
	}
	if cfg.CacheLimit == 0 {
		cfg.CacheLimit = DefaultCache
	}
	cache, err := lru.New[cacheKey, *macs](cfg.CacheLimit)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "credential cache: %w", err)
	}
	decoy, err := newMACs(secret.Random(apiKeySize), kms.SchemeEHSMv1)
	if err != nil {
		return nil, err
	}
	return &Authenticator{root: cfg.Root, start: cfg.Start, cache: cache, decoy: decoy,
		seen: replay.NewTable(cfg.ReplayLimit, cfg.Start.Unix())}, nil
}

// A Principal is who sent a request, as the state had it then.
type Principal struct {
	Credential *state.Credential
	Mark       replay.Mark // of the request
	Time       time.Time   // that the request was signed at, by its own account
}

var errUnauthenticated = kms.Errorf(kms.Unauthenticated, "no valid credential")

// Authenticate decides who sent a request. The errors are Unauthenticated,
// Stale, Replayed and Exhausted.
func (a *Authenticator) Authenticate(view *state.View, c kms.Credential, now time.Time) (Principal, error) {
	if !c.Scheme.Signs() {
		return Principal{}, errUnauthenticated
	}
	cred, m := a.lookup(view, c)
	if good := m.verify(c.Signed, c.MAC); !good || cred == nil {
		return Principal{}, errUnauthenticated
	}
	if cred.Expired(now.UnixNano()) || view.CredentialRefused(cred, now) {
		return Principal{}, errUnauthenticated
	}
	p := Principal{Credential: cred, Time: c.Time}
	copy(p.Mark[:], c.MAC)
	return p, a.remember(p, now)
}

// lookup finds the credential and its MACs; for one that there is not, nil and
// the decoy's, so that the same work is done.
func (a *Authenticator) lookup(view *state.View, c kms.Credential) (*state.Credential, *macs) {
	cred, ok := view.Credential(c.ID)
	if !ok || !c.Known {
		return nil, a.decoy
	}
	key := cacheKey{cred.ID, cred.Revision, c.Scheme}
	if m, hot := a.cache.Get(key); hot {
		return cred, m
	}
	apiKey, err := a.root.Unwrap(CredentialSlot(cred), cred.Wrapped)
	if err != nil {
		return nil, a.decoy // damaged state authenticates nobody
	}
	m, err := newMACs(apiKey, c.Scheme)
	if err != nil {
		return nil, a.decoy
	}
	a.cache.Add(key, m)
	return cred, m
}

// remember refuses a request that was accepted before. It comes last: only who
// holds the API key can fill the table.
func (a *Authenticator) remember(p Principal, now time.Time) error {
	if p.Time.Before(a.start) {
		return kms.Errorf(kms.Stale, "the request is older than this node's start")
	}
	a.mu.Lock()
	verdict := a.seen.Add(p.Mark, p.Time, now)
	a.mu.Unlock()
	switch verdict {
	case replay.Fresh:
		return nil
	case replay.Seen:
		a.replayed.Add(1)
		return kms.Errorf(kms.Replayed, "this request was accepted before")
	case replay.Crowded:
		return kms.Errorf(kms.Exhausted, "too many requests at that time")
	}
	return kms.Errorf(kms.Stale, "the request's time is outside what is accepted")
}

// ReplayAge is how old a v1 request may be at time now.
func (a *Authenticator) ReplayAge(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen.Age(now)
}

// Replayed is how many requests were refused because they had been accepted before.
func (a *Authenticator) Replayed() uint64 { return a.replayed.Load() }

// MAC is the MAC of a text under a credential's API key, in eHSM's scheme. It
// must never be one that could be a request's. The error is that of a record
// that does not open.
func (a *Authenticator) MAC(cred *state.Credential, text []byte) ([]byte, error) {
	apiKey, err := a.root.Unwrap(CredentialSlot(cred), cred.Wrapped)
	if err != nil {
		return nil, err
	}
	m, err := newMACs(apiKey, kms.SchemeEHSMv1)
	if err != nil {
		return nil, err
	}
	return m.mac(text), nil
}

// CredentialSlot is where a credential's secret is wrapped: moved to another
// app or given other permissions, it does not open.
func CredentialSlot(c *state.Credential) root.Slot {
	facts := append([]byte{byte(c.Permissions)}, c.App[:]...)
	facts = binary.BigEndian.AppendUint64(facts, uint64(c.Expires))
	return root.Slot{Purpose: root.WrapCredential, Generation: c.Generation, ID: c.ID[:], Version: 1, Facts: facts}
}

// macs computes MACs under one API key. The hashes hold the key; they live in
// a pool behind a func, where nothing prints them.
type macs struct {
	mac    func(message []byte) []byte
	verify func(message, mac []byte) bool
}

func newMACs(apiKey secret.Bytes, scheme kms.Scheme) (*macs, error) {
	defer apiKey.Wipe()
	var m macs
	err := apiKey.Use(func(b []byte) error {
		key := schemeKey(b, scheme) // hmac.New needs the bytes for as long as the pool lives
		pool := sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}
		sum := func(dst, message []byte) []byte {
			h := pool.Get().(hash.Hash)
			defer pool.Put(h)
			h.Reset()
			h.Write(message)
			return h.Sum(dst)
		}
		m.mac = func(message []byte) []byte { return sum(nil, message) }
		m.verify = func(message, mac []byte) bool {
			var space [sha256.Size]byte
			return hmac.Equal(sum(space[:0], message), mac)
		}
		return nil
	})
	return &m, err
}

// schemeKey is the key of a scheme: the API key, or derived from it, so that a
// MAC of one scheme means nothing in another.
func schemeKey(apiKey []byte, scheme kms.Scheme) []byte {
	if scheme.KeyLabel() == "" {
		return bytes.Clone(apiKey)
	}
	h := hmac.New(sha256.New, apiKey)
	h.Write([]byte(scheme.KeyLabel()))
	return h.Sum(nil)
}

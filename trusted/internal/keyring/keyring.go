// Package keyring makes, wraps and lends keys. A key is lent for the length of
// a callback, never handed out; what is kept of it between two loans is an
// alg.Key in a bounded cache.
package keyring

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// DefaultCache is how many parsed keys are kept. An AES key costs some 1 kB.
const DefaultCache = 1 << 14

// slot names what is cached. A version's material never changes, so an entry
// is good for as long as it is there; whether it may be used is asked of the
// state, each time.
type slot struct {
	id      kms.KeyID
	version kms.KeyVersion
}

// A Keyring lends keys.
type Keyring struct {
	root  *root.Root
	cache *lru.Cache[slot, *lent]
	epoch atomic.Int64 // when the present one began

	mu     sync.Mutex
	meters map[slot]*Meter // of what was used since the start, cached or not
}

// lent is what is kept of a version between two loans.
type lent struct {
	key   alg.Key
	meter *Meter
}

// New makes a Keyring that keeps at most cache parsed keys; zero means DefaultCache.
func New(r *root.Root, cache int) (*Keyring, error) {
	if cache == 0 {
		cache = DefaultCache
	}
	c, err := lru.New[slot, *lent](cache)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "key cache: %w", err)
	}
	return &Keyring{root: r, cache: c, meters: map[slot]*Meter{}}, nil
}

// Lend lends version n of a key record to use; zero is the current version.
// The loan ends when use returns. It is not asked here whether the caller may
// use the key. The errors are NotFound and Damaged, and those of use.
func (r *Keyring) Lend(rec *state.Key, n kms.KeyVersion, use func(alg.Key) error) error {
	l, err := r.find(rec, n)
	if err != nil {
		return err
	}
	l.meter.touch(r.epoch.Load())
	return use(l.key)
}

// Show is Lend for what is no use of the key: to show its public half.
func (r *Keyring) Show(rec *state.Key, n kms.KeyVersion, use func(alg.Key) error) error {
	l, err := r.find(rec, n)
	if err != nil {
		return err
	}
	return use(l.key)
}

// find parses a version, or finds it parsed.
func (r *Keyring) find(rec *state.Key, n kms.KeyVersion) (*lent, error) {
	v, ok := rec.Version(n)
	if !ok {
		return nil, kms.Errorf(kms.NotFound, "the key has no such version")
	}
	s := slot{rec.ID, v.Number}
	if l, hot := r.cache.Get(s); hot {
		return l, nil
	}
	material, err := r.root.Unwrap(wrapSlot(rec, v.Number, v.Generation), v.Wrapped)
	if err != nil {
		return nil, err
	}
	defer material.Wipe()
	k, err := alg.Parse(rec.Spec, material)
	if err != nil {
		return nil, err
	}
	l := &lent{k, r.Meter(kms.KeyRef{ID: rec.ID, Version: v.Number})}
	r.cache.Add(s, l)
	return l, nil
}

// first is the number of a key's first version.
const first = 1

// Generate gives rec, whose other members are set, a first version of new
// material, wrapped under the newest master secret.
func (r *Keyring) Generate(rec *state.Key, now int64) error {
	material, err := alg.Generate(rec.Spec)
	if err != nil {
		return err
	}
	defer material.Wipe()
	v, err := r.wrap(rec, first, material, now)
	if err != nil {
		return err
	}
	rec.Current, rec.Versions = first, []state.Version{v}
	return nil
}

// Next makes the version that is to follow a key's current one, of new material.
func (r *Keyring) Next(rec *state.Key, now int64) (state.Version, error) {
	material, err := alg.Generate(rec.Spec)
	if err != nil {
		return state.Version{}, err
	}
	defer material.Wipe()
	return r.wrap(rec, rec.Current+1, material, now)
}

func (r *Keyring) wrap(rec *state.Key, n kms.KeyVersion, material secret.Bytes, now int64) (state.Version, error) {
	g := r.root.Current()
	wrapped, err := r.root.Wrap(wrapSlot(rec, n, g), material)
	return state.Version{Number: n, Generation: g, Created: now, Wrapped: wrapped, State: kms.VersionEnabled}, err
}

// Export returns version n of a key as it leaves: PKCS #8 DER of asymmetric
// keys, the raw key of others. It is not asked here whether it may. The errors
// are NotFound and Damaged.
func (r *Keyring) Export(rec *state.Key, n kms.KeyVersion) (secret.Bytes, error) {
	v, ok := rec.Version(n)
	if !ok {
		return secret.Bytes{}, kms.Errorf(kms.NotFound, "the key has no such version")
	}
	material, err := r.root.Unwrap(wrapSlot(rec, v.Number, v.Generation), v.Wrapped)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer material.Wipe()
	return alg.Export(rec.Spec, material)
}

// Forget drops what is cached of a key.
func (r *Keyring) Forget(rec *state.Key) {
	for _, v := range rec.Versions {
		r.ForgetVersion(kms.KeyRef{ID: rec.ID, Version: v.Number})
	}
}

// ForgetVersion drops what is cached of one version.
func (r *Keyring) ForgetVersion(ref kms.KeyRef) {
	s := slot{ref.ID, ref.Version}
	r.cache.Remove(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.meters, s)
}

// wrapSlot binds everything about a key version that must not be altered: a
// blob that is moved to another key, app or version, or whose spec, usages,
// origin or exportability were edited, does not open.
func wrapSlot(rec *state.Key, n kms.KeyVersion, generation uint32) root.Slot {
	facts := make([]byte, 0, 24)
	facts = append(facts, rec.App[:]...)
	facts = append(facts, byte(rec.Spec), byte(rec.Origin))
	facts = binary.BigEndian.AppendUint16(facts, uint16(rec.Usages))
	if rec.Exportable {
		facts = append(facts, 1)
	} else {
		facts = append(facts, 0)
	}
	return root.Slot{Purpose: root.WrapKey, Generation: generation, ID: rec.ID[:], Version: uint32(n), Facts: facts}
}

// Rewrap wraps a version of a key under another generation. The error is
// Damaged.
func (r *Keyring) Rewrap(rec *state.Key, v *state.Version, to uint32) ([]byte, error) {
	return r.root.Rewrap(wrapSlot(rec, v.Number, v.Generation), wrapSlot(rec, v.Number, to), v.Wrapped)
}

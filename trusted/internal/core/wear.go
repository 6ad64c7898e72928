package core

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/keyring"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A key that encrypts with random nonces may do so a limited number of times.
// The limit holds for all nodes together and over crashes: before a node
// encrypts, it has the log set a block of invocations aside, and what it does
// not use of it by the time it stops is lost. From half of the limit on the key
// is given a new version, which starts at nothing.
//
// A block is small at first and grows with use, so that little is lost by a
// restart, and a busy key goes through the log every few seconds at most.
const (
	firstBlock  = 1 << 10
	blockGrowth = 4
	// blockShare is what part of the limit a block is at most.
	blockShare = 1 << 8
	// firstShare is what part a first block is at most, which matters where the
	// limit was lowered.
	firstShare = 1 << 4
)

// wear is what a Core knows of keys that are to be replaced.
type wear struct {
	mu   sync.Mutex
	keys map[kms.KeyID]bool
	wake chan struct{}
}

func newWear() *wear { return &wear{keys: map[kms.KeyID]bool{}, wake: make(chan struct{}, 1)} }

func (w *wear) add(id kms.KeyID) {
	w.mu.Lock()
	w.keys[id] = true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default: // who rotates is about to look
	}
}

// take lists up to n keys.
func (w *wear) take(n int) (ids []kms.KeyID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.keys {
		if len(ids) == n {
			break
		}
		ids = append(ids, id)
		delete(w.keys, id)
	}
	return ids
}

// Worn is ready when there may be keys to rotate before the next look.
func (c *Core) Worn() <-chan struct{} { return c.wear.wake }

// maxInvocations is the limit of a version of a key of this spec; 0: there is none.
func (c *Core) maxInvocations(row *kms.Capability) uint64 {
	if c.cfg.MaxInvocations == 0 {
		return row.MaxInvocations
	}
	return min(c.cfg.MaxInvocations, row.MaxInvocations)
}

// threshold is from when on a version is replaced.
func threshold(limit uint64) uint64 { return max(1, limit/2) }

func smallest(limit uint64) uint64 { return min(firstBlock, max(1, limit/firstShare)) }

// first is how much a new version has set aside for the node that makes it.
func (c *Core) first(spec kms.Spec) uint64 {
	row, ok := spec.Capability()
	if !ok || row.MaxInvocations == 0 {
		return 0
	}
	return smallest(c.maxInvocations(row))
}

// credit gives this node what a version that it made came with.
func (c *Core) credit(ref kms.KeyRef, n uint64) {
	if n > 0 {
		m := c.cfg.Keyring.Meter(ref)
		m.Turn() <- struct{}{}
		m.Fill(n, n*blockGrowth)
		<-m.Turn()
	}
}

// errSpent says that a version may encrypt no more.
var errSpent = kms.Errorf(kms.Exhausted, "the key has encrypted as often as is safe")

// spend lends a key for one encryption, and sees to it that it is counted. The
// errors are errSpent and Unavailable, and those of the loan.
func (c *Core) spend(ctx context.Context, rec *state.Key, row *kms.Capability, use func(alg.Key) error) error {
	if row.MaxInvocations == 0 {
		return c.cfg.Keyring.Lend(rec, rec.Current, use)
	}
	for {
		meter, err := c.cfg.Keyring.Spend(rec, use)
		if meter == nil {
			return err
		}
		if err := c.refill(ctx, meter, rec, row); err != nil {
			return err
		}
	}
}

// refill has the log set invocations aside. One request at a time does so for a
// version; the others wait for it.
func (c *Core) refill(ctx context.Context, m *keyring.Meter, rec *state.Key, row *kms.Capability) error {
	select {
	case m.Turn() <- struct{}{}:
		defer func() { <-m.Turn() }()
	case <-ctx.Done():
		return kms.Errorf(kms.Unavailable, "waiting for invocations to be set aside: %w", ctx.Err())
	}
	if !m.Empty() {
		return nil
	}
	limit := c.maxInvocations(row)
	n, reserved, err := c.reserve(ctx, kms.KeyRef{ID: rec.ID, Version: rec.Current}, max(smallest(limit), m.Block()), limit)
	if err != nil {
		return err
	}
	m.Fill(n, min(n*blockGrowth, max(smallest(limit), limit/blockShare)))
	if reserved >= threshold(limit) {
		c.wear.add(rec.ID)
	}
	return nil
}

// reserve sets up to want invocations of a version aside, and says how many they
// are, and how many are with them. Others may reserve at the same time.
func (c *Core) reserve(ctx context.Context, ref kms.KeyRef, want, limit uint64) (n, reserved uint64, err error) {
	for try := 1; try <= maxTries; try++ {
		view, err := c.cfg.Replica.Local()
		if err != nil {
			return 0, 0, err
		}
		v, ok := versionIn(view, ref)
		if !ok {
			return 0, 0, kms.Errorf(kms.NotFound, "the key has no such version")
		}
		if v.Reserved >= limit {
			return 0, 0, errSpent
		}
		n = min(want, limit-v.Reserved)
		cmd := c.command(c.now(view).UnixNano())
		cmd.Op = &command.Command_Reserve{Reserve: &command.Reserve{Key: ref.ID[:], Version: uint32(ref.Version), Count: n, Limit: limit}}
		res, err := c.cfg.Replica.Propose(ctx, cmd)
		if errors.Is(err, kms.Exhausted) { // others were faster
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		now, _ := res.Key.Version(ref.Version)
		return n, now.Reserved, nil
	}
	return 0, 0, errSpent
}

func versionIn(view *state.View, ref kms.KeyRef) (*state.Version, bool) {
	k, ok := view.Key(ref.ID)
	if !ok {
		return nil, false
	}
	return k.Version(ref.Version)
}

// successor is a key whose current version is spent, with another one. The
// errors are Exhausted where it cannot have one, those of using a key, and
// Unavailable.
func (c *Core) successor(ctx context.Context, rec *state.Key) (*state.Key, error) {
	for try := 1; ; try++ {
		view, err := c.cfg.Replica.Local()
		if err != nil {
			return nil, err
		}
		k, err := authz.UseKey(view, rec.App, rec.ID, kms.UseEncrypt, c.now(view))
		switch {
		case err != nil:
			return nil, err
		case k.Current > rec.Current:
			return k, nil
		case !k.Rotates():
			return nil, errWornOut(k)
		}
		if err := c.rotate(ctx, view, []*state.Key{k}); err != nil && (!errors.Is(err, kms.Conflict) || try == maxTries) {
			return nil, err
		}
	}
}

// errWornOut is the answer where a key is spent and is not rotated.
func errWornOut(k *state.Key) error {
	if k.Origin == kms.Generated {
		return errSpent.WithHint("re-encrypt what is under the oldest versions and destroy them, so that the key can have another one")
	}
	return errSpent.WithHint("import a new key, and have the alias name it; what this one encrypted opens as before")
}

// RotateWorn gives new versions to the keys whose period has passed, where this
// node leads, and to those that it found worn itself, a batch at a time. The error is Unavailable, or of
// this node's part in the domain; it is safe to go on after it.
func (c *Core) RotateWorn(ctx context.Context) (rotated int, err error) {
	for ctx.Err() == nil {
		view, now, err := c.serving()
		if err != nil {
			return rotated, err
		}
		var due []*state.Key
		if c.leads() {
			due = view.RotationsDue(now, state.MaxRotated)
		}
		for _, id := range c.wear.take(state.MaxRotated - len(due)) {
			if k, ok := view.Key(id); ok && k.Rotates() && c.isWorn(k) {
				due = append(due, k)
			}
		}
		if len(due) == 0 {
			return rotated, nil
		}
		switch err := c.rotate(ctx, view, due); {
		case err == nil:
			rotated += len(due)
		case !errors.Is(err, kms.Conflict): // another node was faster
			return rotated, err
		}
	}
	return rotated, ctx.Err()
}

// isWorn reports whether a key's current version is over the threshold.
func (c *Core) isWorn(k *state.Key) bool {
	row, _ := k.Spec.Capability()
	v, ok := k.Version(0)
	return ok && v.Reserved >= threshold(c.maxInvocations(row))
}

// rotate makes new versions of keys and proposes them. Those that changed
// meanwhile stay as they are.
func (c *Core) rotate(ctx context.Context, view *state.View, keys []*state.Key) error {
	cmd := c.command(c.now(view).UnixNano())
	op := &command.RotateDue{}
	for _, k := range keys {
		v, err := c.cfg.Keyring.Next(k, cmd.GetTime())
		if err != nil {
			return err
		}
		row, _ := k.Spec.Capability()
		op.Keys = append(op.Keys, &command.NewVersion{Key: k.ID[:], Revision: k.Revision, Threshold: threshold(c.maxInvocations(row)),
			Version: c.newVersion(k.Spec, v)})
	}
	cmd.Op = &command.Command_RotateDue{RotateDue: op}
	if _, err := c.cfg.Replica.Propose(ctx, cmd); err != nil {
		return err
	}
	newer, err := c.cfg.Replica.Local()
	if err != nil {
		return err
	}
	for _, made := range op.GetKeys() {
		ref := kms.KeyRef{ID: kms.KeyID(made.GetKey()), Version: kms.KeyVersion(made.GetVersion().GetNumber())}
		if v, ok := versionIn(newer, ref); ok && bytes.Equal(v.Wrapped, made.GetVersion().GetWrapped()) { // it is this node's
			c.credit(ref, made.GetVersion().GetReserved())
		}
	}
	return nil
}

// newVersion is a version as it is proposed by the node that made it.
func (c *Core) newVersion(spec kms.Spec, v state.Version) *command.KeyVersion {
	return &command.KeyVersion{Number: uint32(v.Number), Generation: v.Generation, Created: v.Created, Wrapped: v.Wrapped, Reserved: c.first(spec)}
}

// Reckon tells the keyring which epoch it is.
func (c *Core) Reckon() {
	view, err := c.cfg.Replica.Local()
	if err != nil {
		return
	}
	if calendar := view.Calendar(); calendar.Length > 0 {
		c.cfg.Keyring.SetEpoch(calendar.Begins(calendar.At(c.now(view))).UnixNano())
	}
}

// NoteUse puts on record which keys this node used in which epoch. Each costs
// one record for each epoch in which it was used. The error is Unavailable.
func (c *Core) NoteUse(ctx context.Context) error {
	since := map[int64][]keyring.Note{}
	for _, n := range c.cfg.Keyring.Notes() {
		since[n.Since] = append(since[n.Since], n)
	}
	for at, notes := range since {
		for len(notes) > 0 {
			batch := notes[:min(len(notes), state.MaxNoted)]
			notes = notes[len(batch):]
			if err := c.note(ctx, at, batch); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Core) note(ctx context.Context, since int64, notes []keyring.Note) error {
	view, err := c.cfg.Replica.Local()
	if err != nil {
		return err
	}
	op := &command.NoteUse{Since: since}
	for _, n := range notes {
		if k, ok := view.Key(n.Key); ok && k.LastUsed < since { // else another node was first
			op.Keys = append(op.Keys, n.Key[:]...)
		}
	}
	if len(op.GetKeys()) == 0 {
		c.cfg.Keyring.Noted(notes)
		return nil
	}
	cmd := c.command(c.now(view).UnixNano())
	cmd.Op = &command.Command_NoteUse{NoteUse: op}
	if _, err := c.cfg.Replica.Propose(ctx, cmd); err != nil {
		return err
	}
	c.cfg.Keyring.Noted(notes)
	return nil
}

// SetRotation says how often a key is to get a new version by itself. The errors
// are Invalid, NotFound, Foreign, Denied, Misused (as of RotateKey), Replayed,
// Conflict and Unavailable.
func (c *Caller) SetRotation(ctx context.Context, r kms.SetRotationRequest) (kms.KeyDescription, error) {
	if err := kms.CheckRotation(r.Period); err != nil {
		return kms.KeyDescription{}, err
	}
	return c.changeKey(ctx, r.Key, authz.Administer, func(rec *state.Key, cmd *command.Command) error {
		if err := inPlace(rec.Spec, rec.Origin); err != nil {
			return err
		}
		cmd.Op = &command.Command_SetRotation{SetRotation: &command.SetRotation{Key: rec.ID[:], Revision: rec.Revision, Period: int64(r.Period)}}
		return nil
	})
}

// inPlace asks whether a key may have another version under its id. The error is
// Misused, with the advice.
func inPlace(spec kms.Spec, origin kms.Origin) error {
	row, ok := spec.Capability()
	switch {
	case !ok:
		return kms.Errorf(kms.Damaged, "stored key has unknown spec %d", spec)
	case !row.InPlace:
		return errInPlace(row)
	case origin != kms.Generated:
		return kms.Errorf(kms.Misused, "an imported key has the material that was brought").
			WithHint("import a new key, and have the alias name it")
	}
	return nil
}

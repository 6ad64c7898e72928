package core

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authn"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A Link is what the domain is told of a new generation.
type Link struct {
	Checksum   []byte
	SigningKey []byte
	Holders    [][]byte // ids of the nodes that have its secret durably
	Recovery   []byte   // its secret, sealed to the recovery key; nil: there is none
}

// Rotate puts the next generation of the master secret in use: as an order says,
// or without one when the policy's interval has passed. prepare makes its secret
// and has it safe before the domain knows of it. The errors are those of
// state.CheckRotation and of prepare, and Unavailable.
func (c *Core) Rotate(ctx context.Context, order []byte, prepare func(ctx context.Context, view *state.View, next uint32, previous []byte) (Link, error)) (uint32, error) {
	if len(order) == 0 { // the node itself; events tell of it
		return c.rotateMaster(ctx, order, prepare, nil)
	}
	g, err := openly(ctx, c, "RotateMasterSecret", false, func(e *audit.Entry) (generation, error) {
		g, err := c.rotateMaster(ctx, order, prepare, e)
		return generation(g), err
	})
	return uint32(g), err
}

func (c *Core) rotateMaster(ctx context.Context, order []byte, prepare func(ctx context.Context, view *state.View, next uint32, previous []byte) (Link, error), e *audit.Entry) (uint32, error) {
	view, now, err := c.serving()
	if err != nil {
		return 0, err
	}
	next := view.Generation() + 1
	if err := view.CheckRotation(next, order, now); err != nil {
		return 0, err
	}
	link, err := prepare(ctx, view, next, view.Generations()[next-1].Checksum)
	if err != nil {
		return 0, err
	}
	cmd := c.command(now.UnixNano())
	cmd.Op = &command.Command_PutGeneration{PutGeneration: &command.PutGeneration{Generation: next,
		Checksum: link.Checksum, SigningKey: link.SigningKey, Holders: link.Holders, Recovery: link.Recovery, Order: order,
		Removals: uint64(view.Departures()), Since: view.Index()}}
	_, err = c.propose(ctx, cmd, e)
	return next, err
}

// RotationDue reports whether the policy's interval has passed.
func (c *Core) RotationDue() bool {
	view, now, err := c.serving()
	if err != nil {
		return false
	}
	due := view.NextRotation()
	return view.GenerationDue() || !due.IsZero() && !now.Before(due)
}

// Retire ends all use of the generation that the signers' order names. The
// errors are those of state.CheckRetirement, and Unavailable.
func (c *Core) Retire(ctx context.Context, order []byte) (uint32, error) {
	g, err := openly(ctx, c, "RetireGeneration", false, func(e *audit.Entry) (generation, error) {
		g, err := c.retire(ctx, order, e)
		return generation(g), err
	})
	return uint32(g), err
}

func (c *Core) retire(ctx context.Context, order []byte, e *audit.Entry) (uint32, error) {
	view, now, err := c.serving()
	if err != nil {
		return 0, err
	}
	rule := view.Rule()
	o, err := rule.Standing.OpenOrder(rule.Policy, order, govern.DeedRetire)
	if err != nil {
		return 0, err
	}
	if err := view.CheckRetirement(o.Generation, order, now); err != nil {
		return 0, err
	}
	cmd := c.command(now.UnixNano())
	cmd.Op = &command.Command_RetireGeneration{RetireGeneration: &command.RetireGeneration{Generation: o.Generation, Order: order}}
	_, err = c.propose(ctx, cmd, e)
	return o.Generation, err
}

// serving is the newest state and the time, if this node may serve.
func (c *Core) serving() (*state.View, time.Time, error) {
	view, err := c.cfg.Replica.Local()
	if err != nil {
		return nil, time.Time{}, err
	}
	now := c.now(view)
	return view, now, c.cfg.Serving(view, now)
}

// Sizes of a step of re-wrapping: what is put through the log at once, and how
// far the state is searched for it.
const (
	stepSecrets = 32
	stepBytes   = 32 << 10
	stepRecords = 8192
)

// A Rewrapping moves what is wrapped under older generations to the newest, step
// by step, from the first record to the last. It keeps only its place: what is
// still to be done is what the state says.
type Rewrapping struct {
	core      *Core
	authority func(a *state.Authority, generation uint32) root.Slot

	key        kms.KeyID
	credential kms.CredentialID
	secret     string // its place
	stage      stage
	moved      int // in this walk
	stuck      error
}

// A stage is what a walk is at.
type stage uint8

const (
	atAuthority stage = iota
	atCredentials
	atKeys
	atSecrets
	atEnd
)

// NewRewrapping starts at the first record. authority is the slot of the
// certificate authority's key in a generation.
func (c *Core) NewRewrapping(authority func(*state.Authority, uint32) root.Slot) *Rewrapping {
	return &Rewrapping{core: c, authority: authority}
}

// Step moves what it finds next, and reports whether the walk is over. Records
// that others change meanwhile are left to the next walk. The error is
// Unavailable; it is safe to go on after it.
func (w *Rewrapping) Step(ctx context.Context) (over bool, err error) {
	view, err := w.core.cfg.Replica.Local()
	if err != nil {
		return false, err
	}
	key, credential, secret, at := w.key, w.credential, w.secret, w.stage
	batch := &batch{rewrap: &command.Rewrap{Generation: view.Generation()}}
	w.collect(view, batch)
	if batch.secrets == 0 {
		return w.stage == atEnd, nil
	}
	cmd := w.core.command(w.core.now(view).UnixNano())
	cmd.Op = &command.Command_Rewrap{Rewrap: batch.rewrap}
	_, err = w.core.cfg.Replica.Propose(ctx, cmd)
	if err != nil {
		w.key, w.credential, w.secret, w.stage = key, credential, secret, at // again from there
		if errors.Is(err, kms.Conflict) {                                    // to another generation, then
			err = nil
		}
		return false, err
	}
	w.moved += batch.secrets
	return w.stage == atEnd, nil
}

// Moved is how much this walk has moved, and why something could not be; nil: all could.
func (w *Rewrapping) Moved() (int, error) { return w.moved, w.stuck }

// A batch is what goes through the log at once.
type batch struct {
	rewrap         *command.Rewrap
	secrets, bytes int
	visited        int
}

func (b *batch) full() bool {
	b.visited++
	return b.secrets >= stepSecrets || b.bytes >= stepBytes || b.visited >= stepRecords
}

func (b *batch) add(wrapped []byte) {
	b.secrets++
	b.bytes += len(wrapped)
}

func (w *Rewrapping) collect(view *state.View, b *batch) {
	if w.stage == atAuthority {
		w.collectAuthority(view, b)
		w.stage = atCredentials
	}
	if w.stage == atCredentials {
		w.stage = atKeys
		view.CredentialsAfter(w.credential, func(c *state.Credential) bool {
			if b.full() {
				w.stage = atCredentials
				return false
			}
			w.collectCredential(c, b)
			w.credential = c.ID
			return true
		})
	}
	if w.stage == atKeys {
		w.stage = atSecrets
		view.KeysAfter(w.key, func(k *state.Key) bool {
			if b.full() {
				w.stage = atKeys
				return false
			}
			w.collectKey(k, b)
			w.key = k.ID
			return true
		})
	}
	if w.stage == atSecrets {
		w.stage = atEnd
		view.SecretsAfter(w.secret, func(place string, s *state.Secret) bool {
			if b.full() {
				w.stage = atSecrets
				return false
			}
			w.collectSecret(s, b)
			w.secret = place
			return true
		})
	}
}

func (w *Rewrapping) collectAuthority(view *state.View, b *batch) {
	a, to := view.Authority(), b.rewrap.GetGeneration()
	if a.Generation == to {
		return
	}
	wrapped, err := w.core.cfg.Root.Rewrap(w.authority(a, a.Generation), w.authority(a, to), a.WrappedKey)
	if err != nil {
		w.stuck = kms.Errorf(kms.KindOf(err), "the certificate authority's key: %w", err)
		return
	}
	b.rewrap.Authority = &command.Rewrapped{From: a.Generation, Wrapped: wrapped}
	b.add(wrapped)
}

func (w *Rewrapping) collectCredential(c *state.Credential, b *batch) {
	to := b.rewrap.GetGeneration()
	if c.Generation == to {
		return
	}
	moved := *c
	moved.Generation = to
	wrapped, err := w.core.cfg.Root.Rewrap(authn.CredentialSlot(c), authn.CredentialSlot(&moved), c.Wrapped)
	if err != nil {
		w.stuck = kms.Errorf(kms.KindOf(err), "credential %s: %w", c.ID, err)
		return
	}
	b.rewrap.Credentials = append(b.rewrap.Credentials,
		&command.Rewrapped{Id: c.ID[:], Revision: c.Revision, From: c.Generation, Wrapped: wrapped})
	b.add(wrapped)
}

func (w *Rewrapping) collectKey(k *state.Key, b *batch) {
	to := b.rewrap.GetGeneration()
	for i := range k.Versions {
		v := &k.Versions[i]
		if v.Generation == to || len(v.Wrapped) == 0 { // destroyed material is nowhere
			continue
		}
		if len(b.rewrap.GetKeys()) == state.MaxRewrapped { // the next walk moves the others
			return
		}
		wrapped, err := w.core.cfg.Keyring.Rewrap(k, v, to)
		if err != nil {
			w.stuck = kms.Errorf(kms.KindOf(err), "key %s, version %d: %w", k.ID, v.Number, err)
			continue
		}
		b.rewrap.Keys = append(b.rewrap.Keys,
			&command.Rewrapped{Id: k.ID[:], Revision: k.Revision, Version: uint32(v.Number), From: v.Generation, Wrapped: wrapped})
		b.add(wrapped)
	}
}

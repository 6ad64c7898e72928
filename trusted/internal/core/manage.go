package core

import (
	"context"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// CreateKey makes a key of the caller's app. It is durable when CreateKey
// returns. The errors are Invalid, Misused, Exists (the alias), Denied, Replayed
// and Unavailable.
func (c *Caller) CreateKey(ctx context.Context, r kms.CreateKeyRequest) (kms.Key, error) {
	rec, err := c.makeKey(ctx, r)
	if err != nil {
		return kms.Key{}, err
	}
	return rec.Info(), nil
}

// MakeKey is CreateKey for who wants to be told all of the key.
func (c *Caller) MakeKey(ctx context.Context, r kms.CreateKeyRequest) (kms.KeyDescription, error) {
	rec, err := c.makeKey(ctx, r)
	if err != nil {
		return kms.KeyDescription{}, err
	}
	return c.described(rec), nil
}

// newRecord is the record that a request asks for, without an id and material.
func (c *Caller) newRecord(r kms.CreateKeyRequest) (*state.Key, *kms.Capability, error) {
	row, ok := r.Spec.Capability()
	if !ok {
		return nil, nil, kms.Errorf(kms.Invalid, "unknown key spec").WithField("spec")
	}
	if r.Usages == 0 {
		r.Usages = row.UsageSets[0]
	}
	if !row.Admits(r.Usages) {
		return nil, nil, kms.Errorf(kms.Misused, "keys of spec %s cannot be for %s", row.Name, r.Usages).WithField("usages")
	}
	if !r.Origin.Valid() {
		return nil, nil, kms.Errorf(kms.Invalid, "unknown origin").WithField("origin")
	}
	cond, err := parseCondition(r.Condition, kms.Invalid)
	if err != nil {
		return nil, nil, err
	}
	rec := &state.Key{App: c.app(), Spec: r.Spec, Origin: r.Origin, Exportable: r.Exportable, Usages: r.Usages, Condition: canonicalOf(cond)}
	if rec.Labels, err = firstLabels(r); err != nil {
		return nil, nil, err
	}
	if rec.Expires, err = c.expiry(r.Expires); err != nil {
		return nil, nil, err
	}
	if rec.Rotation, err = firstRotation(r); err != nil {
		return nil, nil, err
	}
	return rec, row, nil
}

func (c *Caller) makeKey(ctx context.Context, r kms.CreateKeyRequest) (*state.Key, error) {
	rec, row, err := c.newRecord(r)
	if err != nil {
		return nil, err
	}
	if r.Alias != "" {
		if err := kms.CheckAlias(r.Alias); err != nil {
			return nil, err
		}
	}
	res, err := c.change(ctx, func(cmd *command.Command) error {
		if err := c.roomForKey(); err != nil {
			return err
		}
		if _, taken := c.view.Alias(c.app(), r.Alias); taken && r.Alias != "" {
			return kms.Errorf(kms.Exists, "the alias exists")
		}
		if err := c.newKey(ctx, rec, row, cmd.GetTime()); err != nil {
			return err
		}
		cmd.Op = &command.Command_PutKey{PutKey: &command.PutKey{Key: rec.Proto(), Alias: r.Alias}}
		return nil
	})
	if err == nil && len(rec.Versions) > 0 {
		c.core.credit(kms.KeyRef{ID: rec.ID, Version: rec.Current}, rec.Versions[0].Reserved)
	}
	return res.Key, err
}

// firstRotation is how often a new key is to be rotated; nil: not.
func firstRotation(r kms.CreateKeyRequest) (*state.Rotation, error) {
	if r.RotationPeriod == 0 {
		return nil, nil
	}
	if err := kms.CheckRotation(r.RotationPeriod); err != nil {
		return nil, err
	}
	return &state.Rotation{Period: int64(r.RotationPeriod)}, inPlace(r.Spec, r.Origin)
}

// expiry is when a new key is to expire, in the future; 0 for never.
func (c *Caller) expiry(at time.Time) (int64, error) {
	if at.IsZero() {
		return 0, nil
	}
	if !at.After(c.core.now(c.view)) || at.Year() > maxYear {
		return 0, kms.Errorf(kms.Invalid, "the time is over already, or after the year %d", maxYear).WithField("expires")
	}
	return at.UnixNano(), nil
}

// maxYear is the last one that is counted in nanoseconds since 1970.
const maxYear = 2261

// newKey gives rec an id, and material unless that is to be imported. A second
// try under the same request finds it done: making an RSA key takes seconds.
func (c *Caller) newKey(ctx context.Context, rec *state.Key, row *kms.Capability, now int64) error {
	outlived := len(rec.Versions) > 0 && rec.Versions[0].Generation != c.core.cfg.Root.Current()
	if rec.ID != (kms.KeyID{}) && !outlived { // wrapped under a generation that may be retired by now
		return nil
	}
	id := kms.KeyID(kms.NewUUID(random16()))
	fresh := *rec
	fresh.Versions = nil
	fresh.ID, fresh.Created, fresh.State = id, now, kms.PendingImport
	if fresh.Origin == kms.Generated {
		fresh.State = kms.Enabled
		generate := func() error { return c.core.cfg.Keyring.Generate(&fresh, now) }
		run := generate
		if row.Slow {
			run = func() error { return c.core.slow.generate(ctx, generate) }
		}
		if err := run(); err != nil {
			return err
		}
		fresh.Versions[0].Reserved = c.core.first(fresh.Spec)
	}
	if rec.Rotation != nil {
		fresh.Rotation = &state.Rotation{Period: rec.Rotation.Period, Next: now + rec.Rotation.Period}
	}
	*rec = fresh
	return nil
}

// SetKeyEnabled enables or disables a key. Once it returns nobody can use the
// key in its former state. The errors are NotFound, Foreign, Disabled (the key
// is in a state that has no such switch), Denied, Conflict and Unavailable.
func (c *Caller) SetKeyEnabled(ctx context.Context, id kms.KeyID, enabled bool) error {
	to := kms.KeyDisabled
	if enabled {
		to = kms.Enabled
	}
	_, err := c.change(ctx, func(cmd *command.Command) error {
		rec, err := c.ownKey(id, authz.Administer)
		if err != nil {
			return err
		}
		if rec.State != kms.Enabled && rec.State != kms.KeyDisabled {
			return kms.Errorf(kms.Disabled, "the key is %s", rec.State)
		}
		cmd.Op = &command.Command_SetKeyState{SetKeyState: &command.SetKeyState{
			Key: id[:], Revision: rec.Revision, State: uint32(to)}}
		return nil
	})
	return err
}

// DeleteKey destroys a key of the caller's app for good. An id that is unknown
// or another app's is no error, and changes nothing. The errors are Denied,
// Replayed and Unavailable.
func (c *Caller) DeleteKey(ctx context.Context, id kms.KeyID) error {
	res, err := c.change(ctx, func(cmd *command.Command) error {
		rec, err := c.ownKey(id, authz.Destroy)
		if err != nil {
			return err
		}
		if err := c.notHeld(rec); err != nil {
			return err
		}
		cmd.Op = &command.Command_DeleteKey{DeleteKey: &command.DeleteKey{Key: id[:], Revision: rec.Revision}}
		return nil
	})
	switch kms.KindOf(err) {
	case kms.NotFound, kms.Foreign:
		return nil
	}
	if err == nil && res.Key != nil {
		c.core.cfg.Keyring.Forget(res.Key)
	}
	return err
}

// DeleteAllKeys destroys every key of the caller's app for good. If one of them
// has a condition, it destroys none: the error is Denied.
func (c *Caller) DeleteAllKeys(ctx context.Context) error {
	_, err := c.change(ctx, func(cmd *command.Command) error {
		if err := c.destroyable(); err != nil {
			return err
		}
		cmd.Op = &command.Command_DeleteAppKeys{DeleteAppKeys: &command.DeleteAppKeys{}}
		return nil
	})
	return err
}

// destroyable asks whether every key of the caller's app may be destroyed.
func (c *Caller) destroyable() (err error) {
	c.view.KeysOf(c.app(), kms.KeyID{}, func(k *state.Key) bool {
		if err = authz.Deeds(k, authz.Destroy); err == nil {
			err = c.notHeld(k)
		}
		return err == nil
	})
	return err
}

// ListKeys lists the caller's keys, a page at a time, in order of their ids.
func (c *Caller) ListKeys(_ context.Context, r kms.ListKeysRequest) (kms.KeyPage, error) {
	if err := c.mayRead(); err != nil {
		return kms.KeyPage{}, err
	}
	if r.Limit <= 0 || r.Limit > kms.MaxKeysPage {
		r.Limit = kms.MaxKeysPage
	}
	var page kms.KeyPage
	c.view.KeysOf(c.app(), r.After, func(k *state.Key) bool {
		if len(page.Keys) == r.Limit {
			page.Next = page.Keys[r.Limit-1].ID
			return false
		}
		page.Keys = append(page.Keys, k.Info())
		return true
	})
	return page, nil
}

// publicKeyRecord is useKey for an operation that every usage implies. The owner
// may see the public half of a key whatever its condition; a workload without an
// app, where the condition names it for anything.
func (c *Caller) publicKeyRecord(ref kms.KeyRef) (*state.Key, error) {
	rec, err := c.visibleKey(ref.ID)
	if err != nil {
		return nil, err
	}
	if row, ok := rec.Spec.Capability(); !ok || row.Family != kms.Asymmetric {
		return nil, kms.Errorf(kms.Misused, "the key has no public half")
	}
	return rec, authz.State(rec, kms.UseVerify, c.core.now(c.view))
}

func (c *Caller) visibleKey(id kms.KeyID) (*state.Key, error) {
	if c.who.Credential != nil {
		if err := c.mayDo(kms.AsymmetricWork); err != nil {
			return nil, err
		}
		return c.ownKey(id, authz.Administer)
	}
	rec, ok := c.view.Key(id)
	for _, u := range kms.AllUsages() {
		if ok && len(rec.Condition) > 0 && rec.Usages.Has(u) && c.meets(rec, u) == nil {
			return rec, nil
		}
	}
	return nil, errUnnamed
}

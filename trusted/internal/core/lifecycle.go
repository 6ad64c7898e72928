package core

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// DescribeKey tells the owner everything about a key but its material. The
// errors are NotFound, Foreign and Denied.
func (c *Caller) DescribeKey(_ context.Context, id kms.KeyID) (kms.KeyDescription, error) {
	if err := c.mayRead(); err != nil {
		return kms.KeyDescription{}, err
	}
	rec, err := c.ownKey(id, authz.Administer)
	if err != nil {
		return kms.KeyDescription{}, err
	}
	return c.describe(rec), nil
}

// describe is what the state says of a key, and when this node used it.
func (c *Caller) describe(rec *state.Key) kms.KeyDescription {
	d := c.view.Describe(rec)
	if used := c.core.cfg.Keyring.UsedIn(rec); used > rec.LastUsed {
		d.LastUsed = time.Unix(0, used).UTC()
	}
	return d
}

// DescribeKeys lists the caller's keys that a filter lets through, a page at a
// time, in order of their ids. One call looks at kms.MaxKeysPage keys at most, so
// a page may be short and not the last one. The error is Denied.
func (c *Caller) DescribeKeys(_ context.Context, r kms.ListKeysRequest) (page kms.KeyDescriptionPage, err error) {
	if err := c.mayRead(); err != nil {
		return page, err
	}
	if r.Limit <= 0 || r.Limit > kms.MaxKeysPage {
		r.Limit = kms.MaxKeysPage
	}
	var last kms.KeyID
	seen := 0
	c.view.KeysOf(c.app(), r.After, func(k *state.Key) bool {
		if seen == kms.MaxKeysPage || len(page.Keys) == r.Limit {
			page.Next = last
			return false
		}
		seen, last = seen+1, k.ID
		if passes(k, r) && (!r.Exposed || c.view.KeyExposed(k)) {
			page.Keys = append(page.Keys, c.describe(k))
		}
		return true
	})
	return page, nil
}

// passes reports whether a filter lets a key through.
func passes(k *state.Key, r kms.ListKeysRequest) bool {
	if r.State != 0 && k.State != r.State {
		return false
	}
	if r.Tag == nil {
		return true
	}
	return k.Labels != nil && slices.ContainsFunc(k.Labels.Tags, func(t kms.Tag) bool {
		return t.Name == r.Tag.Name && (r.Tag.Value == "" || t.Value == r.Tag.Value)
	})
}

// errInPlace is the answer to who asks to rotate a key that is not rotated in
// place.
func errInPlace(row *kms.Capability) error {
	return kms.Errorf(kms.Misused, "keys of spec %s are not rotated in place", row.Name).
		WithHint("make a new key, and have the alias name it")
}

// RotateKey makes a new version of a key, which is used for everything new from
// then on; what was encrypted under older ones opens as before. The errors are
// NotFound, Foreign, Denied, Disabled, Expired, Misused (the spec's ciphertexts
// do not tell versions apart, or the key was imported), Exhausted
// (kms.MaxKeyVersions), Replayed, Conflict and Unavailable.
func (c *Caller) RotateKey(ctx context.Context, id kms.KeyID) (kms.KeyDescription, error) {
	var made *command.KeyVersion
	d, err := c.changeKey(ctx, id, authz.Administer, func(rec *state.Key, cmd *command.Command) error {
		if err := inPlace(rec.Spec, rec.Origin); err != nil {
			return err
		}
		if err := authz.State(rec, kms.UseEncrypt, c.core.now(c.view)); err != nil { // a new version is for new use
			return err
		}
		if len(rec.Versions) >= kms.MaxKeyVersions {
			return kms.Errorf(kms.Exhausted, "the key has %d versions", len(rec.Versions)).
				WithHint("re-encrypt what is under the oldest ones, and destroy them")
		}
		v, err := c.core.cfg.Keyring.Next(rec, cmd.GetTime())
		if err != nil {
			return err
		}
		made = c.core.newVersion(rec.Spec, v)
		cmd.Op = &command.Command_PutKeyVersion{PutKeyVersion: &command.PutKeyVersion{Key: id[:], Revision: rec.Revision, Version: made}}
		return nil
	})
	if err == nil {
		c.core.credit(kms.KeyRef{ID: id, Version: kms.KeyVersion(made.GetNumber())}, made.GetReserved())
	}
	return d, err
}

// SetVersionState enables, disables or destroys a version of a key that is not
// its current one. A destroyed version does not come back, and must have been
// disabled before. The errors are Invalid, NotFound, Foreign, Denied, Misused,
// Replayed, Conflict and Unavailable.
func (c *Caller) SetVersionState(ctx context.Context, r kms.SetVersionStateRequest) (kms.KeyDescription, error) {
	if !r.State.Valid() {
		return kms.KeyDescription{}, kms.Errorf(kms.Invalid, "unknown version state").WithField("state")
	}
	deed := authz.Administer
	if r.State == kms.VersionDestroyed {
		deed = authz.Destroy
	}
	d, err := c.changeKey(ctx, r.Key.ID, deed, func(rec *state.Key, cmd *command.Command) error {
		if err := mayChangeVersion(rec, r); err != nil {
			return err
		}
		if r.State == kms.VersionDestroyed && c.view.Protects(rec.ID, r.Key.Version) {
			return c.notHeld(rec)
		}
		cmd.Op = &command.Command_SetVersionState{SetVersionState: &command.SetVersionState{Key: rec.ID[:], Revision: rec.Revision,
			Version: uint32(r.Key.Version), State: uint32(r.State)}}
		return nil
	})
	if err == nil && r.State == kms.VersionDestroyed {
		c.core.cfg.Keyring.ForgetVersion(r.Key)
	}
	return d, err
}

func mayChangeVersion(rec *state.Key, r kms.SetVersionStateRequest) error {
	v, ok := rec.Version(r.Key.Version)
	switch {
	case r.Key.Version == 0:
		return kms.Errorf(kms.Invalid, "no version is named").WithField("version")
	case !ok:
		return kms.Errorf(kms.NotFound, "the key has no such version")
	case v.Number == rec.Current:
		return kms.Errorf(kms.Misused, "the version is the current one").WithHint("rotate the key first, or disable the key as a whole")
	case r.State == kms.VersionDestroyed && v.State != kms.VersionDisabled:
		return kms.Errorf(kms.Misused, "the version is in use").WithHint("disable it first, and see what still needs it")
	}
	return nil
}

// ScheduleDeletion takes a key out of use, and destroys it for good, with its
// aliases, when domain time passes the end of the window. The errors are Invalid,
// NotFound, Foreign, Denied, Exists (it is scheduled already), Replayed, Conflict
// and Unavailable.
func (c *Caller) ScheduleDeletion(ctx context.Context, r kms.ScheduleDeletionRequest) (kms.KeyDescription, error) {
	if r.Days == 0 {
		r.Days = kms.DefaultDeletionDays
	}
	if r.Days < kms.MinDeletionDays || r.Days > kms.MaxDeletionDays {
		return kms.KeyDescription{}, kms.Errorf(kms.Invalid, "a deletion waits %d to %d days", kms.MinDeletionDays, kms.MaxDeletionDays).WithField("days")
	}
	var rec *state.Key
	d, err := c.changeKey(ctx, r.Key, authz.Destroy, func(k *state.Key, cmd *command.Command) error {
		if rec = k; k.Deletion != nil {
			return kms.Errorf(kms.Exists, "the key's deletion is scheduled already")
		}
		if err := c.notHeld(k); err != nil {
			return err
		}
		cmd.Op = &command.Command_ScheduleDeletion{ScheduleDeletion: &command.ScheduleDeletion{Key: k.ID[:], Revision: k.Revision,
			Due: cmd.GetTime() + int64(r.Days)*int64(kms.Day)}}
		return nil
	})
	if err == nil { // from now on nobody uses it, so it is not to lie in memory until it is gone
		c.core.cfg.Keyring.Forget(rec)
	}
	return d, err
}

// CancelDeletion gives a key back in the state that it was in before its
// deletion was scheduled. That works until it is due, and never after. The
// errors are NotFound (it is destroyed), Foreign, Denied, Misused (no deletion is
// scheduled), Replayed, Conflict and Unavailable.
func (c *Caller) CancelDeletion(ctx context.Context, id kms.KeyID) (kms.KeyDescription, error) {
	return c.changeKey(ctx, id, authz.Administer, func(rec *state.Key, cmd *command.Command) error {
		if rec.Deletion == nil {
			return kms.Errorf(kms.Misused, "no deletion of the key is scheduled")
		}
		cmd.Op = &command.Command_CancelDeletion{CancelDeletion: &command.CancelDeletion{Key: rec.ID[:], Revision: rec.Revision}}
		return nil
	})
}

// changeKey changes a key of the caller's app, and describes it as it is then.
func (c *Caller) changeKey(ctx context.Context, id kms.KeyID, d authz.Deed, build func(*state.Key, *command.Command) error) (kms.KeyDescription, error) {
	res, err := c.change(ctx, func(cmd *command.Command) error {
		rec, err := c.ownKey(id, d)
		if err != nil {
			return err
		}
		return build(rec, cmd)
	})
	if err != nil {
		return kms.KeyDescription{}, err
	}
	return c.described(res.Key), nil
}

// described describes a key that a change returned, by the aliases that it has
// now. The change stands, whether or not a newer state can be had.
func (c *Caller) described(k *state.Key) kms.KeyDescription {
	if view, err := c.core.cfg.Replica.Local(); err == nil {
		c.view = view
	}
	return c.describe(k)
}

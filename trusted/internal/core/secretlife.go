package core

import (
	"context"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

func infoOf(s *state.Secret, err error) (kms.SecretInfo, error) {
	if err != nil {
		return kms.SecretInfo{}, err
	}
	return s.Info(), nil
}

// UpdateSecret changes description and rotation interval.
func (c *Caller) UpdateSecret(ctx context.Context, r kms.UpdateSecretRequest) (kms.SecretInfo, error) {
	set := &command.SetSecret{Name: string(r.Name), Description: r.Description}
	if r.Description != nil {
		if err := kms.CheckSecretDescription(*r.Description); err != nil {
			return kms.SecretInfo{}, err
		}
	}
	if r.Rotation != nil {
		if err := r.Rotation.Check(); err != nil {
			return kms.SecretInfo{}, err
		}
		set.Rotation = (*string)(r.Rotation)
	}
	return infoOf(c.changeSecret(ctx, r.Name, func(s *state.Secret, cmd *command.Command) error {
		if s.Due != 0 {
			return kms.Errorf(kms.Disabled, "the secret's deletion is scheduled").WithHint("restore it first")
		}
		set.Revision = s.Revision
		cmd.Op = &command.Command_SetSecret{SetSecret: set}
		return nil
	}))
}

// LabelSecret puts a label on a version, wherever it was before. The label current
// promotes the version: it is what is read from then on, and what was current is
// the previous one.
func (c *Caller) LabelSecret(ctx context.Context, r kms.LabelSecretRequest) (kms.SecretInfo, error) {
	if promotes := r.Label == kms.LabelCurrent && r.Version != 0; !promotes {
		if err := checkLabels([]string{r.Label}); err != nil {
			return kms.SecretInfo{}, err
		}
	}
	return infoOf(c.changeLive(ctx, r.Name, func(s *state.Secret, key *state.Key, cmd *command.Command) error {
		if _, ok := s.Version(r.Version); !ok {
			return kms.Errorf(kms.NotFound, "the secret has no such version").WithField(versionField)
		}
		cmd.Op = &command.Command_LabelSecret{LabelSecret: &command.LabelSecret{Name: string(s.Name), Revision: s.Revision,
			Label: r.Label, Version: uint32(r.Version), KeyRevision: revisionOf(key)}}
		return nil
	}))
}

// DestroySecretVersion takes away a version that is not the current one, for good.
// The error is Misused for that.
func (c *Caller) DestroySecretVersion(ctx context.Context, r kms.SecretVersionRef) (kms.SecretInfo, error) {
	return infoOf(c.changeLive(ctx, r.Name, func(s *state.Secret, key *state.Key, cmd *command.Command) error {
		switch _, ok := s.Version(r.Version); {
		case r.Version == 0:
			return kms.Errorf(kms.Invalid, "no version is named").WithField(versionField)
		case !ok:
			return kms.Errorf(kms.NotFound, "the secret has no such version").WithField(versionField)
		case r.Version == s.Current:
			return kms.Errorf(kms.Misused, "the version is the current one").WithHint("put or promote another one first, or delete the secret")
		}
		cmd.Op = &command.Command_DestroySecretVersion{DestroySecretVersion: &command.DestroySecretVersion{Name: string(s.Name), Revision: s.Revision,
			Version: uint32(r.Version), KeyRevision: revisionOf(key)}}
		return nil
	}))
}

// SetSecretKey protects all versions of a secret by another key, in one step; by
// the same one: by its current version. From a key with a condition, or to one,
// nothing moves but to the same key.
func (c *Caller) SetSecretKey(ctx context.Context, r kms.SetSecretKeyRequest) (kms.SecretInfo, error) {
	return infoOf(c.changeLive(ctx, r.Name, func(s *state.Secret, _ *state.Key, cmd *command.Command) error {
		from, err := c.secretKey(s.Key, kms.UseDecrypt)
		if err != nil {
			return err
		}
		to, err := c.secretKey(r.Key, kms.UseEncrypt)
		if err != nil {
			return err
		}
		if s.Key != r.Key {
			for _, k := range []*state.Key{from, to} {
				if k != nil && authz.Deeds(k, authz.Transfer) != nil {
					return ofKey(authz.ErrCondition())
				}
			}
		}
		wraps, err := c.rewrapAll(ctx, s, from, to)
		if err != nil {
			return err
		}
		set := &command.SetSecretKey{Name: string(s.Name), Revision: s.Revision, KeyRevision: revisionOf(to), OldKeyRevision: revisionOf(from), Versions: wraps}
		if to != nil {
			set.Key = to.ID[:]
		}
		cmd.Op = &command.Command_SetSecretKey{SetSecretKey: set}
		return nil
	}))
}

// rewrapAll wraps the data key of each version of a secret anew.
func (c *Caller) rewrapAll(ctx context.Context, s *state.Secret, from, to *state.Key) ([]*command.SecretWrap, error) {
	moved := *s
	if moved.Key = (kms.KeyID{}); to != nil {
		moved.Key = to.ID
	}
	wraps := make([]*command.SecretWrap, 0, len(s.Versions))
	for _, v := range s.Versions {
		if err := ctx.Err(); err != nil {
			return nil, kms.Errorf(kms.Unavailable, "re-wrapping: %w", err)
		}
		w, err := c.rewrapVersion(ctx, s, from, v, &moved, to)
		if err != nil {
			return nil, err
		}
		wraps = append(wraps, w)
	}
	return wraps, nil
}

// DeleteSecret schedules the deletion of a secret, again where it was scheduled
// before, or, forced, deletes it at once: no version is left, and its name is free.
// The secret is returned as it is then, or as it was.
func (c *Caller) DeleteSecret(ctx context.Context, r kms.DeleteSecretRequest) (kms.SecretInfo, error) {
	if r.Days == 0 {
		r.Days = kms.DefaultRecoveryDays
	}
	if r.Days < kms.MinRecoveryDays || r.Days > kms.MaxRecoveryDays {
		return kms.SecretInfo{}, kms.Errorf(kms.Invalid, "a deletion waits %d to %d days", kms.MinRecoveryDays, kms.MaxRecoveryDays).WithField("days")
	}
	return infoOf(c.changeSecret(ctx, r.Name, func(s *state.Secret, cmd *command.Command) error {
		key, err := c.heldKey(s)
		if err != nil {
			return err
		}
		d := &command.DeleteSecret{Name: string(s.Name), Revision: s.Revision, KeyRevision: revisionOf(key)}
		if !r.Force {
			d.Due = cmd.GetTime() + int64(r.Days)*int64(kms.Day)
		}
		cmd.Op = &command.Command_DeleteSecret{DeleteSecret: d}
		return nil
	}))
}

// RestoreSecret takes a scheduled deletion back. That works until it is due, and
// never after. One whose deletion is not scheduled stays as it is.
func (c *Caller) RestoreSecret(ctx context.Context, name kms.SecretName) (kms.SecretInfo, error) {
	return infoOf(c.changeSecret(ctx, name, func(s *state.Secret, cmd *command.Command) error {
		cmd.Op = &command.Command_RestoreSecret{RestoreSecret: &command.RestoreSecret{Name: string(s.Name), Revision: s.Revision}}
		return nil
	}))
}

// notHeld refuses to let a key go that protects secrets of the caller's app, and
// says which.
func (c *Caller) notHeld(keys ...*state.Key) error {
	for _, k := range keys {
		if held := c.view.Held(k.ID); held != nil {
			return kms.ErrKeyHeld(held)
		}
	}
	return nil
}

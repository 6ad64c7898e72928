package core

import (
	"context"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authn"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// ListCredentials lists the credentials of the caller's app that have not
// expired, in order of their ids. The error is Denied.
func (c *Caller) ListCredentials(context.Context) ([]kms.CredentialInfo, error) {
	if err := c.mayRead(); err != nil {
		return nil, err
	}
	now := c.core.now(c.view).UnixNano()
	var all []kms.CredentialInfo
	for _, cred := range c.view.CredentialsOf(c.app()) {
		if !cred.Expired(now) {
			all = append(all, cred.Info())
		}
	}
	return all, nil
}

// CreateCredential makes another credential of the caller's app. It can do, and
// lasts, no more than the caller's own. Where the reply is lost the secret is
// too: the credential is there, to be listed and revoked. The errors are
// Invalid, Denied, Exhausted (kms.MaxCredentials), Replayed and Unavailable.
func (c *Caller) CreateCredential(ctx context.Context, r kms.CreateCredentialRequest) (kms.NewCredential, error) {
	if !r.Permissions.Valid() {
		return kms.NewCredential{}, kms.Errorf(kms.Invalid, "unknown or no permissions").WithField("permissions")
	}
	if !kms.ValidCredentialName(r.Name) {
		return kms.NewCredential{}, kms.Errorf(kms.Invalid, "a name has at most %d printable ASCII characters", kms.MaxCredentialName).WithField("name")
	}
	var fresh freshCredential
	defer fresh.wipe()
	_, err := c.change(ctx, func(cmd *command.Command) error {
		expires, err := expiry(r.Expires, cmd.GetTime())
		if err != nil {
			return err
		}
		if err := c.mayGrant(r.Permissions, expires); err != nil {
			return err
		}
		rec := &state.Credential{App: c.app(), Name: r.Name, Permissions: r.Permissions, Created: cmd.GetTime(), Expires: expires}
		if err := fresh.make(c.core.cfg.Root, rec); err != nil {
			return err
		}
		cmd.Op = &command.Command_PutCredential{PutCredential: &command.PutCredential{
			Credential: rec.Proto(), MaxCredentials: kms.MaxCredentials}}
		return nil
	})
	if err != nil {
		return kms.NewCredential{}, err
	}
	return fresh.reveal()
}

// RotateCredential makes a successor of a credential of the caller's app, with
// its name, permissions and expiry; the old one ends after the grace time, or
// when it would have ended. That happens in one step. For a lost reply see
// CreateCredential. The errors are those of CreateCredential, NotFound and
// Foreign.
func (c *Caller) RotateCredential(ctx context.Context, r kms.RotateCredentialRequest) (kms.NewCredential, error) {
	if r.Grace < 0 || r.Grace > kms.MaxGrace {
		return kms.NewCredential{}, kms.Errorf(kms.Invalid, "a grace time is at most %s", kms.MaxGrace).WithField("grace_seconds")
	}
	var fresh freshCredential
	defer fresh.wipe()
	_, err := c.change(ctx, func(cmd *command.Command) error {
		old, err := c.ownCredential(r.ID)
		if err != nil {
			return err
		}
		if err := c.mayGrant(old.Permissions, old.Expires); err != nil {
			return err
		}
		rec := &state.Credential{App: old.App, Name: old.Name, Permissions: old.Permissions, Created: cmd.GetTime(), Expires: old.Expires}
		if err := fresh.make(c.core.cfg.Root, rec); err != nil {
			return err
		}
		ended, err := c.core.endAt(old, cmd.GetTime()+int64(r.Grace))
		if err != nil {
			return err
		}
		cmd.Op = &command.Command_PutCredential{PutCredential: &command.PutCredential{
			Credential: rec.Proto(), MaxCredentials: kms.MaxCredentials, Replaces: ended}}
		return nil
	})
	if err != nil {
		return kms.NewCredential{}, err
	}
	return fresh.reveal()
}

// RevokeCredential ends a credential of the caller's app. Once it returns no
// node accepts another request of it. The errors are NotFound, Foreign, Misused
// (it is the last one that may manage and does not expire), Denied, Replayed and
// Unavailable.
func (c *Caller) RevokeCredential(ctx context.Context, id kms.CredentialID) error {
	_, err := c.change(ctx, func(cmd *command.Command) error {
		cred, err := c.ownCredential(id)
		if err != nil {
			return err
		}
		cmd.Op = &command.Command_RevokeCredential{RevokeCredential: &command.RevokeCredential{Id: id[:], Revision: cred.Revision}}
		return nil
	})
	return err
}

// ownCredential finds a credential of the caller's app.
func (c *Caller) ownCredential(id kms.CredentialID) (*state.Credential, error) {
	cred, ok := c.view.Credential(id)
	if !ok || cred.Expired(c.core.now(c.view).UnixNano()) {
		return nil, kms.Errorf(kms.NotFound, "no such credential").WithField("id")
	}
	if cred.App != c.app() {
		return nil, kms.Errorf(kms.Foreign, "the credential belongs to another app").WithField("id")
	}
	return cred, nil
}

// mayGrant asks whether the caller can hand out a credential: one that can do,
// or lasts, more than its own would be a way to more than it was given.
func (c *Caller) mayGrant(p kms.Permissions, expires int64) error {
	own := c.who.Credential
	if !own.Permissions.Has(p) {
		return kms.Errorf(kms.Denied, "the credential has not all these permissions itself").WithField("permissions")
	}
	if own.Expires != 0 && (expires == 0 || expires > own.Expires) {
		return kms.Errorf(kms.Denied, "the credential ends before that itself").WithField("expires")
	}
	return nil
}

// expiry is at in ns since 1970; 0 is never. The error is Invalid.
func expiry(at time.Time, now int64) (int64, error) {
	const farthest = 1 << 62 // ns since 1970: the year 2116
	switch {
	case at.IsZero():
		return 0, nil
	case !at.Before(time.Unix(0, farthest)):
		return 0, kms.Errorf(kms.Invalid, "the expiry is too far away").WithField("expires")
	case !at.After(time.Unix(0, now)):
		return 0, kms.Errorf(kms.Invalid, "the expiry is not in the future").WithField("expires")
	}
	return at.UnixNano(), nil
}

// endAt re-wraps a credential's secret for another expiry, which is bound into
// the wrapping. It never makes one last longer.
func (c *Core) endAt(old *state.Credential, end int64) (*command.SetCredential, error) {
	if old.Expires != 0 && old.Expires < end {
		end = old.Expires
	}
	rec := *old
	rec.Expires, rec.Generation = end, c.cfg.Root.Current()
	apiKey, err := c.cfg.Root.Unwrap(authn.CredentialSlot(old), old.Wrapped)
	if err != nil {
		return nil, err
	}
	defer apiKey.Wipe()
	wrapped, err := c.cfg.Root.Wrap(authn.CredentialSlot(&rec), apiKey)
	return &command.SetCredential{Id: old.ID[:], Revision: old.Revision, Expires: end,
		Wrapped: wrapped, Generation: rec.Generation}, err
}

// A freshCredential is a credential being made, with its secret in clear.
type freshCredential struct {
	rec    *state.Credential
	apiKey secret.Bytes
}

// make gives rec an id, unless it has one, and a secret of its own. A second
// try makes another one: the first was refused.
func (f *freshCredential) make(r *root.Root, rec *state.Credential) (err error) {
	f.wipe()
	if rec.ID == (kms.CredentialID{}) {
		rec.ID = kms.CredentialID(kms.NewUUID(random16()))
	}
	rec.Generation = r.Current()
	f.rec, f.apiKey = rec, authn.NewAPIKey()
	rec.Wrapped, err = r.Wrap(authn.CredentialSlot(rec), f.apiKey)
	return err
}

// reveal returns the credential with its secret, to be shown once.
func (f *freshCredential) reveal() (out kms.NewCredential, err error) {
	out.CredentialInfo = f.rec.Info()
	err = f.apiKey.Use(func(b []byte) error { out.APIKey = string(b); return nil })
	return out, err
}

func (f *freshCredential) wipe() {
	if f.rec != nil {
		f.apiKey.Wipe()
	}
}

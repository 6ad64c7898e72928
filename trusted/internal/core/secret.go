package core

import (
	"context"
	"errors"
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// The errors that any operation on a secret may have: Invalid, NotFound, Denied,
// Exhausted, Unavailable; one that changes it: Disabled (its deletion is
// scheduled), Replayed and Conflict as well. One that uses the key which protects
// the secret has that key's errors too, with the field "key": NotFound, Foreign,
// Disabled, Expired, Misused, Denied (a permission of the app, or the key's
// condition).

// keyField marks errors that are about a secret's key and not the secret.
const keyField = "key"

func ofKey(err error) error {
	if err == nil {
		return nil
	}
	return kms.Errorf(kms.KindOf(err), "the key that protects the secret: %w", err).WithField(keyField)
}

// maySecret is the first line of every operation on secrets.
func (c *Caller) maySecret(p kms.Permissions) error {
	if err := c.charge(kms.SecretWork); err != nil {
		return err
	}
	return authz.Permission(c.who.Credential, p)
}

// mayListSecrets is that of operations that only look, and tell no value.
func (c *Caller) mayListSecrets() error {
	if err := c.maySecret(kms.PermRead); err == nil || !errors.Is(err, kms.Denied) {
		return err
	}
	return authz.Permission(c.who.Credential, kms.PermSecrets)
}

// secret finds a secret of the caller's app. The errors are Invalid and NotFound.
func (c *Caller) secret(name kms.SecretName) (*state.Secret, error) {
	if err := name.Check(); err != nil {
		return nil, err
	}
	s, ok := c.view.Secret(c.app(), name)
	if !ok {
		return nil, kms.Errorf(kms.NotFound, "no such secret")
	}
	return s, nil
}

// liveSecret is secret for what needs one that is not to be deleted. The errors
// are Disabled too.
func (c *Caller) liveSecret(name kms.SecretName) (*state.Secret, error) {
	s, err := c.secret(name)
	if err == nil && s.Due != 0 {
		return nil, kms.Errorf(kms.Disabled, "the secret's deletion is scheduled").WithHint("restore it first")
	}
	return s, err
}

// secretKey finds the key that protects a secret, which may be used for u now; nil
// for the domain's own. A credential that may have secrets may use the key for
// them, and for nothing else.
func (c *Caller) secretKey(id kms.KeyID, u kms.Usage) (*state.Key, error) {
	if id == (kms.KeyID{}) {
		return nil, nil
	}
	rec, err := authz.UseKey(c.view, c.app(), id, u, c.core.now(c.view))
	if err != nil {
		return nil, ofKey(err)
	}
	row, ok := rec.Spec.Capability()
	if !ok || row.Family != kms.Symmetric || !rec.Usages.Has(kms.UseEncrypt) || !rec.Usages.Has(kms.UseDecrypt) {
		return nil, ofKey(kms.Errorf(kms.Misused, "secrets are protected by symmetric keys that encrypt and decrypt"))
	}
	return rec, ofKey(c.meets(rec, u))
}

func revisionOf(k *state.Key) uint64 {
	if k == nil {
		return 0
	}
	return k.Revision
}

// changeSecret authorises and proposes a change to a secret, and returns it as it
// is then.
func (c *Caller) changeSecret(ctx context.Context, name kms.SecretName, build func(*state.Secret, *command.Command) error) (*state.Secret, error) {
	if err := c.maySecret(kms.PermSecrets); err != nil {
		return nil, err
	}
	leave, err := c.core.secretTurns.wait(ctx, string(c.who.Credential.App[:])+string(name), func() error { return c.refresh(ctx) })
	if err != nil {
		return nil, err
	}
	defer leave()
	res, err := c.changeAs(ctx, kms.PermSecrets, func(cmd *command.Command) error {
		s, err := c.secret(name)
		if err != nil {
			return err
		}
		return build(s, cmd)
	})
	if err != nil || res.Secret != nil {
		return res.Secret, err
	}
	return c.newestSecret(name)
}

// newestSecret is a secret after a change that was done under a command that was
// sent before.
func (c *Caller) newestSecret(name kms.SecretName) (*state.Secret, error) {
	view, err := c.core.cfg.Replica.Local()
	if err != nil {
		return nil, err
	}
	c.view = view
	return c.secret(name)
}

// changeLive is changeSecret for what is not to be deleted. The owner changes what
// programs read, where the key has a condition, only as one of those whom it lets
// encrypt.
func (c *Caller) changeLive(ctx context.Context, name kms.SecretName, build func(*state.Secret, *state.Key, *command.Command) error) (*state.Secret, error) {
	return c.changeSecret(ctx, name, func(s *state.Secret, cmd *command.Command) error {
		if s.Due != 0 {
			return kms.Errorf(kms.Disabled, "the secret's deletion is scheduled").WithHint("restore it first")
		}
		key, err := c.heldKey(s)
		if err != nil {
			return err
		}
		return build(s, key, cmd)
	})
}

// heldKey is the key of a secret whose versions or labels are to change. Unless it
// has a condition its state does not matter: nothing is encrypted.
func (c *Caller) heldKey(s *state.Secret) (*state.Key, error) {
	if s.Key == (kms.KeyID{}) {
		return nil, nil
	}
	key, err := authz.OwnKey(c.view, c.app(), s.Key)
	if err != nil {
		return nil, ofKey(err)
	}
	return key, ofKey(c.meets(key, kms.UseEncrypt))
}

// CreateSecret makes a secret of the caller's app, durable when it returns. A name
// is taken also while the deletion of its secret is scheduled. The error is Exists
// besides.
func (c *Caller) CreateSecret(ctx context.Context, r kms.CreateSecretRequest) (kms.SecretInfo, error) {
	if err := c.maySecret(kms.PermSecrets); err != nil {
		return kms.SecretInfo{}, err
	}
	if err := checkSecret(r); err != nil {
		return kms.SecretInfo{}, err
	}
	res, err := c.changeAs(ctx, kms.PermSecrets, func(cmd *command.Command) error {
		if _, taken := c.view.Secret(c.app(), r.Name); taken {
			return kms.Errorf(kms.Exists, "the secret exists")
		}
		key, err := c.secretKey(r.Key, kms.UseEncrypt)
		if err != nil {
			return err
		}
		s := &state.Secret{ID: random16(), App: c.app(), Name: r.Name, Description: r.Description, Created: cmd.GetTime(), Changed: cmd.GetTime(),
			Key: r.Key, Rotation: r.Rotation, Current: firstSecret, Last: firstSecret}
		v, err := c.sealSecret(ctx, s, key, firstSecret, r.Value)
		if err != nil {
			return err
		}
		v.Created = cmd.GetTime()
		cmd.Op = &command.Command_PutSecret{PutSecret: &command.PutSecret{Secret: s.Proto(), Version: v.Proto(), KeyRevision: revisionOf(key)}}
		return nil
	})
	if err != nil {
		return kms.SecretInfo{}, err
	}
	if res.Secret == nil {
		if res.Secret, err = c.newestSecret(r.Name); err != nil {
			return kms.SecretInfo{}, err
		}
	}
	return res.Secret.Info(), nil
}

// firstSecret is the number of a secret's first version.
const firstSecret kms.SecretVersion = 1

func checkSecret(r kms.CreateSecretRequest) error {
	if err := r.Name.Check(); err != nil {
		return err
	}
	if err := checkSize("value", len(r.Value), kms.MaxSecretValue); err != nil {
		return err
	}
	if err := kms.CheckSecretDescription(r.Description); err != nil {
		return err
	}
	return r.Rotation.Check()
}

// PutSecret gives a secret another version, the current one unless it is pending.
// That is one step: whatever fails, there is always a current version.
func (c *Caller) PutSecret(ctx context.Context, r kms.PutSecretRequest) (kms.SecretVersionInfo, error) {
	if err := c.maySecret(kms.PermSecrets); err != nil {
		return kms.SecretVersionInfo{}, err
	}
	if err := checkSize("value", len(r.Value), kms.MaxSecretValue); err != nil {
		return kms.SecretVersionInfo{}, err
	}
	if err := checkLabels(r.Labels); err != nil {
		return kms.SecretVersionInfo{}, err
	}
	var put *state.SecretVersion
	s, err := c.changeLive(ctx, r.Name, func(s *state.Secret, _ *state.Key, cmd *command.Command) error {
		key, err := c.secretKey(s.Key, kms.UseEncrypt)
		if err != nil {
			return err
		}
		if put, err = c.sealSecret(ctx, s, key, s.Last+1, r.Value); err != nil {
			return err
		}
		cmd.Op = &command.Command_PutSecretVersion{PutSecretVersion: &command.PutSecretVersion{Name: string(s.Name), Revision: s.Revision,
			Version: put.Proto(), KeyRevision: revisionOf(key), Pending: r.Pending, Labels: r.Labels}}
		return nil
	})
	if err != nil {
		return kms.SecretVersionInfo{}, err
	}
	if v, ok := s.Version(put.Number); ok {
		return s.VersionInfo(v), nil
	}
	return kms.SecretVersionInfo{}, kms.Errorf(kms.Conflict, "the version was put, and is gone again")
}

func checkLabels(labels []string) error {
	if len(labels) > kms.MaxSecretLabels || slices.ContainsFunc(labels, func(l string) bool { return !kms.OwnSecretLabel(l) }) {
		return kms.Errorf(kms.Invalid, "a label is up to %d letters, digits and / _ - . : +, and neither %s nor %s; a secret has at most %d",
			kms.MaxSecretLabel, kms.LabelCurrent, kms.LabelPrevious, kms.MaxSecretLabels).WithField("label")
	}
	return nil
}

// GetSecret opens a version of a secret: the current one, where the request names
// none. It takes the permission to read values, and the key's condition.
func (c *Caller) GetSecret(ctx context.Context, r kms.GetSecretRequest) (kms.SecretValue, error) {
	if err := c.maySecret(kms.PermValues); err != nil {
		return kms.SecretValue{}, err
	}
	s, err := c.liveSecret(r.Name)
	if err != nil {
		return kms.SecretValue{}, err
	}
	v, err := askedVersion(s, r)
	if err != nil {
		return kms.SecretValue{}, err
	}
	key, err := c.secretKey(s.Key, kms.UseDecrypt)
	if err != nil {
		return kms.SecretValue{}, err
	}
	data, err := c.openSecret(ctx, s, key, v)
	return kms.SecretValue{SecretVersionInfo: s.VersionInfo(v), Name: s.Name, Data: data}, err
}

// versionField marks errors that are about a version and not the secret.
const versionField = "version"

// askedVersion is the version that a request is about. The errors are Invalid and NotFound.
func askedVersion(s *state.Secret, r kms.GetSecretRequest) (*state.SecretVersion, error) {
	n := r.Version
	if r.Label != "" {
		if n != 0 {
			return nil, kms.Errorf(kms.Invalid, "name a version or a label, not both").WithField("label")
		}
		labelled, ok := s.Labelled(r.Label)
		if !ok {
			return nil, kms.Errorf(kms.NotFound, "the secret has no such label").WithField("label")
		}
		n = labelled
	}
	v, ok := s.Version(n)
	if !ok {
		return nil, kms.Errorf(kms.NotFound, "the secret has no such version").WithField(versionField)
	}
	return v, nil
}

// DescribeSecret tells all of a secret but its values, also while its deletion is
// scheduled.
func (c *Caller) DescribeSecret(_ context.Context, name kms.SecretName) (kms.SecretInfo, error) {
	if err := c.mayListSecrets(); err != nil {
		return kms.SecretInfo{}, err
	}
	s, err := c.secret(name)
	if err != nil {
		return kms.SecretInfo{}, err
	}
	return s.Info(), nil
}

// ListSecrets lists the app's secrets in order of their names, a page at a time.
// One call looks at kms.MaxSecretsPage secrets at most, so a page may be short and
// not the last one.
func (c *Caller) ListSecrets(_ context.Context, r kms.ListSecretsRequest) (page kms.SecretPage, err error) {
	if err := c.mayListSecrets(); err != nil {
		return page, err
	}
	if r.Limit <= 0 || r.Limit > kms.MaxSecretsPage {
		r.Limit = kms.MaxSecretsPage
	}
	now := c.core.now(c.view).UnixNano()
	var last kms.SecretName
	seen := 0
	c.view.SecretsOf(c.app(), r.After, func(s *state.Secret) bool {
		if seen == kms.MaxSecretsPage || len(page.Secrets) == r.Limit {
			page.Next = last
			return false
		}
		seen, last = seen+1, s.Name
		overdue := s.Due == 0 && s.Rotation != "" && s.NextRotation() <= now
		if (r.Key == (kms.KeyID{}) || r.Key == s.Key) && (overdue || !r.Overdue) {
			page.Secrets = append(page.Secrets, s.Info())
		}
		return true
	})
	return page, nil
}

// ListSecretVersions lists the versions of a secret, oldest first.
func (c *Caller) ListSecretVersions(_ context.Context, r kms.ListSecretVersionsRequest) (page kms.SecretVersionPage, err error) {
	if err := c.mayListSecrets(); err != nil {
		return page, err
	}
	s, err := c.liveSecret(r.Name)
	if err != nil {
		return page, err
	}
	if r.Limit <= 0 || r.Limit > kms.MaxSecretVersions {
		r.Limit = kms.MaxSecretVersions
	}
	page.Total = len(s.Versions)
	for _, v := range s.Versions {
		if v.Number <= r.After {
			continue
		}
		if len(page.Versions) == r.Limit {
			page.Next = page.Versions[r.Limit-1].Number
			break
		}
		page.Versions = append(page.Versions, s.VersionInfo(v))
	}
	return page, nil
}

package core

import (
	"context"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/keyring"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Rewrap opens what is sealed under one key and encrypts it to another, which
// must be asymmetric; the plaintext does not leave. The errors are those of
// Decrypt and Encrypt, and Misused for keys that were not made here.
func (c *Caller) Rewrap(ctx context.Context, r kms.RewrapRequest) (kms.Ciphertext, error) {
	target, err := c.useKey(r.Target, kms.UseEncrypt)
	if err != nil {
		return kms.Ciphertext{}, err
	}
	source, err := c.useKey(r.Key, kms.UseDecrypt)
	if err != nil {
		return kms.Ciphertext{}, err
	}
	for _, rec := range []*state.Key{target, source} {
		if err := authz.Deeds(rec, authz.Transfer); err != nil {
			return kms.Ciphertext{}, err
		}
	}
	if row, ok := target.Spec.Capability(); !ok || row.Family != kms.Asymmetric {
		return kms.Ciphertext{}, kms.Errorf(kms.Misused, "data keys leave to asymmetric keys only")
	}
	if row, ok := source.Spec.Capability(); !ok || !row.DataKeys || source.Origin != kms.Generated || target.Origin != kms.Generated {
		return kms.Ciphertext{}, kms.Errorf(kms.Misused, "the key does not protect data keys")
	}
	plain, err := c.open(ctx, source, kms.DecryptRequest{Key: r.Key, Data: r.Data, Binding: r.Binding, Layout: r.Layout})
	if err != nil {
		return kms.Ciphertext{}, err
	}
	defer clear(plain.Data)
	return c.seal(ctx, target, kms.EncryptRequest{Plaintext: plain.Data, Layout: kms.LayoutEHSM, Padding: r.Padding})
}

// ImportParameters makes a key to wrap the material of another to. It changes
// nothing: what it returns is good once, for a day, for the key as it is now.
// The errors are NotFound, Foreign, Misused (the key is not one to import, or has
// its material), Denied and those of slow work.
func (c *Caller) ImportParameters(ctx context.Context, r kms.ImportParametersRequest) (kms.ImportParameters, error) {
	rec, err := c.importKey(r.Key)
	if err != nil {
		return kms.ImportParameters{}, err
	}
	row, ok := r.Spec.Capability()
	if !ok || row.Family != kms.Asymmetric || !row.Serves(kms.UseEncrypt) {
		return kms.ImportParameters{}, kms.Errorf(kms.Misused, "key material is wrapped to an RSA or SM2 key").WithField("spec")
	}
	expires := c.core.now(c.view).Add(keyring.TokenLife)
	out := kms.ImportParameters{Key: kms.KeyRef{ID: rec.ID}, Expires: expires.Truncate(time.Second)}
	intake := func() error {
		out.PublicKey, out.Token, err = c.core.cfg.Keyring.NewIntake(rec, r.Spec, expires.UnixNano())
		return err
	}
	if row.Slow {
		err = c.core.slow.generate(ctx, intake)
	} else {
		err = intake()
	}
	return out, err
}

// ImportKey gives a key that waits for it the material that the tenant brings.
// It cannot touch a key that has material. The errors are those of
// ImportParameters, and Unauthenticated (the token is not one for this key as it
// is), Expired and DecryptFailed (the material, whatever is wrong with it).
func (c *Caller) ImportKey(ctx context.Context, r kms.ImportRequest) (kms.Key, error) {
	res, err := c.change(ctx, func(cmd *command.Command) error {
		rec, err := c.importKey(r.Key)
		if err != nil {
			return err
		}
		var v state.Version
		err = c.core.slow.use(ctx, func() error {
			v, err = c.core.cfg.Keyring.Import(rec, r, cmd.GetTime())
			return err
		})
		if err != nil {
			return err
		}
		cmd.Op = &command.Command_ImportKey{ImportKey: &command.ImportKey{Key: rec.ID[:], Revision: rec.Revision,
			Version: &command.KeyVersion{Number: uint32(v.Number), Generation: v.Generation, Created: v.Created, Wrapped: v.Wrapped}}}
		return nil
	})
	if err != nil {
		return kms.Key{}, err
	}
	return res.Key.Info(), nil
}

// importKey finds a key of the app that waits for its material.
func (c *Caller) importKey(id kms.KeyID) (*state.Key, error) {
	if err := c.charge(kms.ManagementWork); err != nil {
		return nil, err
	}
	if err := authz.Permission(c.who.Credential, kms.PermManage); err != nil {
		return nil, err
	}
	rec, err := c.ownKey(id, authz.Transfer)
	if err != nil {
		return nil, err
	}
	if rec.Origin != kms.Imported || rec.State != kms.PendingImport {
		return nil, kms.Errorf(kms.Misused, "the key does not wait for material")
	}
	return rec, nil
}

// ExportKey returns the material of a key that was made exportable. The errors
// are those of using a key, and Misused for a key that is not exportable.
func (c *Caller) ExportKey(_ context.Context, ref kms.KeyRef) (kms.ExportedKey, error) {
	if err := c.chargeUse(ref.ID); err != nil {
		return kms.ExportedKey{}, err
	}
	if err := authz.Permission(c.who.Credential, kms.PermManage|kms.PermUse); err != nil {
		return kms.ExportedKey{}, err
	}
	rec, err := c.ownKey(ref.ID, authz.Transfer)
	if err != nil {
		return kms.ExportedKey{}, err
	}
	if !rec.Exportable {
		return kms.ExportedKey{}, kms.Errorf(kms.Misused, "the key was not made exportable")
	}
	if err := authz.State(rec, kms.UseEncrypt, c.core.now(c.view)); err != nil { // enabled: leaving is new use
		return kms.ExportedKey{}, err
	}
	if err := authz.Version(rec, ref.Version); err != nil {
		return kms.ExportedKey{}, err
	}
	ref = refOf(rec, ref.Version)
	material, err := c.core.cfg.Keyring.Export(rec, ref.Version)
	if err != nil {
		return kms.ExportedKey{}, err
	}
	defer material.Wipe()
	out := kms.ExportedKey{Key: ref, Spec: rec.Spec}
	err = material.Use(func(b []byte) error { out.Material = append([]byte(nil), b...); return nil })
	return out, err
}

package core

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Encrypt encrypts under the key's current version. The errors are those of
// using a key (NotFound, Foreign, Disabled, Expired, Misused, Denied), Invalid,
// TooLarge, Exhausted (the key has encrypted as often as is safe and cannot be
// rotated) and Unavailable.
func (c *Caller) Encrypt(ctx context.Context, r kms.EncryptRequest) (kms.Ciphertext, error) {
	rec, err := c.useKey(r.Key, kms.UseEncrypt)
	if err != nil {
		return kms.Ciphertext{}, err
	}
	if err := checkFamily(rec, r.Family); err != nil {
		return kms.Ciphertext{}, err
	}
	if err := checkSize("plaintext", len(r.Plaintext), kms.MaxPlaintext); err != nil {
		return kms.Ciphertext{}, err
	}
	return c.seal(ctx, rec, r)
}

// Decrypt opens what Encrypt and GenerateDataKey sealed. Every reason why it
// does not open is DecryptFailed; the other errors are those of using a key.
func (c *Caller) Decrypt(ctx context.Context, r kms.DecryptRequest) (kms.Plaintext, error) {
	rec, r, err := c.sourceKey(r)
	if err != nil {
		return kms.Plaintext{}, err
	}
	if err := checkFamily(rec, r.Family); err != nil {
		return kms.Plaintext{}, err
	}
	return c.open(ctx, rec, r)
}

// sourceKey finds the key that is to open a ciphertext, and the request with
// everything that the ciphertext says.
func (c *Caller) sourceKey(r kms.DecryptRequest) (*state.Key, kms.DecryptRequest, error) {
	if r.Layout == kms.LayoutOwn && c.native(r.Key.ID) {
		r.Layout = kms.LayoutNative
	}
	if r.Layout == kms.LayoutNative {
		ref, err := nativeKey(r.Data)
		if err != nil || (r.Key.ID != kms.KeyID{} && r.Key.ID != ref.ID) {
			return nil, r, errDecrypt
		}
		r.Key = ref
	}
	rec, err := c.useKey(r.Key, kms.UseDecrypt)
	return rec, r, err
}

// native reports whether LayoutOwn means that the ciphertext names its key: it
// does where no key is named beside it. Whose the key is, is not asked here.
func (c *Caller) native(id kms.KeyID) bool {
	rec, ok := c.view.Key(id)
	if !ok {
		return true
	}
	row, ok := rec.Spec.Capability()
	return !ok || row.Binds
}

// checkFamily refuses a key of another family than an operation is for.
func checkFamily(rec *state.Key, want kms.Family) error {
	if row, ok := rec.Spec.Capability(); want == 0 || ok && row.Family == want {
		return nil
	}
	return kms.Errorf(kms.Misused, "the operation is for keys of another family than %s", rec.Spec)
}

// GenerateDataKey makes random bytes and seals them under the key, so that
// Decrypt opens them. The errors are those of Encrypt.
func (c *Caller) GenerateDataKey(ctx context.Context, r kms.DataKeyRequest) (kms.DataKey, error) {
	rec, err := c.useKey(r.Key, kms.UseEncrypt)
	if err != nil {
		return kms.DataKey{}, err
	}
	if row, ok := rec.Spec.Capability(); !ok || !row.DataKeys || rec.Origin != kms.Generated {
		return kms.DataKey{}, kms.Errorf(kms.Misused, "the key does not protect data keys")
	}
	if err := checkSize("length", r.Length, kms.MaxDataKey); err != nil {
		return kms.DataKey{}, err
	}
	plain := make([]byte, r.Length)
	rand.Read(plain)
	wrapped, err := c.seal(ctx, rec, kms.EncryptRequest{Plaintext: plain, Binding: r.Binding, Layout: r.Layout})
	if err != nil {
		return kms.DataKey{}, err
	}
	out := kms.DataKey{Key: wrapped.Key, Plaintext: plain, Wrapped: wrapped.Data}
	if r.NoPlaintext {
		clear(plain)
		out.Plaintext = nil
	}
	return out, nil
}

// Sign signs with the key's current version. The errors are those of using a
// key, Invalid and TooLarge.
func (c *Caller) Sign(ctx context.Context, r kms.SignRequest) (kms.Signature, error) {
	rec, err := c.useKey(r.Key, kms.UseSign)
	if err != nil {
		return kms.Signature{}, err
	}
	in, err := signingInput(rec, r.Input, kms.UseSign)
	if err != nil {
		return kms.Signature{}, err
	}
	out := kms.Signature{Key: refOf(rec, 0)}
	err = c.lendPrivate(ctx, rec, rec.Current, func(k alg.Key) error {
		out.Data, err = k.Sign(in)
		return err
	})
	return out, err
}

// refOf names the version of a key that is asked for; zero asks for the current one.
func refOf(rec *state.Key, n kms.KeyVersion) kms.KeyRef {
	if n == 0 {
		n = rec.Current
	}
	return kms.KeyRef{ID: rec.ID, Version: n}
}

// lendPrivate lends a key for an operation with its private half, which waits
// for its turn where the spec is slow.
func (c *Caller) lendPrivate(ctx context.Context, rec *state.Key, n kms.KeyVersion, use func(alg.Key) error) error {
	lend := func() error { return c.core.cfg.Keyring.Lend(rec, n, use) }
	if row, ok := rec.Spec.Capability(); ok && row.Slow {
		return c.core.slow.use(ctx, lend)
	}
	return lend()
}

// Verify reports whether a signature is good. The errors are those of Sign.
func (c *Caller) Verify(_ context.Context, r kms.VerifyRequest) (kms.Verification, error) {
	rec, err := c.useKey(r.Key, kms.UseVerify)
	if err != nil {
		return kms.Verification{}, err
	}
	in, err := signingInput(rec, r.Input, kms.UseVerify)
	if err != nil {
		return kms.Verification{}, err
	}
	if err := authz.Version(rec, r.Key.Version); err != nil {
		return kms.Verification{}, err
	}
	ref := refOf(rec, r.Key.Version)
	out := kms.Verification{Key: ref}
	err = c.core.cfg.Keyring.Lend(rec, ref.Version, func(k alg.Key) error {
		out.Valid, err = k.Verify(in, r.Signature)
		return err
	})
	return out, err
}

// PublicKey returns the public half of an asymmetric key. The errors are those
// of using a key.
func (c *Caller) PublicKey(_ context.Context, ref kms.KeyRef) (kms.PublicKey, error) {
	rec, err := c.publicKeyRecord(ref)
	if err != nil {
		return kms.PublicKey{}, err
	}
	if err := authz.Version(rec, ref.Version); err != nil {
		return kms.PublicKey{}, err
	}
	ref = refOf(rec, ref.Version)
	out := kms.PublicKey{Key: ref, Spec: rec.Spec}
	err = c.core.cfg.Keyring.Show(rec, ref.Version, func(k alg.Key) error {
		out.DER, err = k.Public()
		return err
	})
	return out, err
}

const (
	nativeFormat = 1
	nativeHeader = 1 + 16 + 4 // format, key id, version
	nativeLabel  = "holdfast/v1/ciphertext"
)

var errDecrypt = kms.Errorf(kms.DecryptFailed, "ciphertext does not open")

// seal encrypts under a key's current version; where that is spent, under the one
// that takes its place. The result names it.
func (c *Caller) seal(ctx context.Context, rec *state.Key, r kms.EncryptRequest) (kms.Ciphertext, error) {
	for {
		data, err := c.sealUnder(ctx, rec, r)
		if err != error(errSpent) {
			return kms.Ciphertext{Key: refOf(rec, 0), Data: data}, err
		}
		if rec, err = c.core.successor(ctx, rec); err != nil {
			return kms.Ciphertext{}, err
		}
	}
}

func (c *Caller) sealUnder(ctx context.Context, rec *state.Key, r kms.EncryptRequest) (out []byte, err error) {
	row, err := layoutRow(rec, &r.Layout, r.Binding)
	if err != nil {
		return nil, err
	}
	if row.Family == kms.Asymmetric {
		err = c.core.cfg.Keyring.Lend(rec, rec.Current, func(k alg.Key) error {
			out, err = k.AsymmetricEncrypt(r.Plaintext, r.Padding)
			return err
		})
		return out, err
	}
	aad, err := additionalData(rec.ID, rec.Current, r.Binding, r.Layout)
	if err != nil {
		return nil, err
	}
	if r.Layout == kms.LayoutNative {
		out = appendHeader(make([]byte, 0, nativeHeader+len(r.Plaintext)+row.Overhead), rec.ID, rec.Current)
	}
	err = c.core.spend(ctx, rec, row, func(k alg.Key) error {
		out, err = k.Encrypt(out, r.Plaintext, aad)
		return err
	})
	return out, err
}

// layoutRow is the row of a key's spec, which can have ciphertexts in a layout
// with a binding. It settles what LayoutOwn means.
func layoutRow(rec *state.Key, l *kms.Layout, b kms.Binding) (row *kms.Capability, err error) {
	row, ok := rec.Spec.Capability()
	if !ok {
		return nil, kms.Errorf(kms.Damaged, "stored key has unknown spec %d", rec.Spec)
	}
	if *l, err = row.Layout(*l, b); err != nil {
		return nil, err
	}
	return row, row.CheckLayout(*l, b)
}

// open tries the version that the ciphertext names, or, where the layout names
// none, the newest ones in turn: only the right one verifies. Ciphertexts
// without integrity and asymmetric ones are opened with the current version. A
// version that was destroyed opens nothing, and does not say so; one that is
// disabled does, to who may use the key.
func (c *Caller) open(ctx context.Context, rec *state.Key, r kms.DecryptRequest) (kms.Plaintext, error) {
	row, err := layoutRow(rec, &r.Layout, r.Binding)
	if err != nil {
		return kms.Plaintext{}, err
	}
	if err := authz.Version(rec, r.Key.Version); errors.Is(err, kms.Disabled) {
		return kms.Plaintext{}, err
	}
	versions := []kms.KeyVersion{r.Key.Version}
	if r.Key.Version == 0 {
		versions = trialVersions(rec, row)
	}
	for _, n := range versions {
		data, err := c.openWith(ctx, rec, n, r)
		if err == nil {
			return kms.Plaintext{Key: kms.KeyRef{ID: rec.ID, Version: n}, Data: data}, nil
		}
		if !errors.Is(err, kms.DecryptFailed) && !errors.Is(err, kms.NotFound) {
			return kms.Plaintext{}, err
		}
	}
	return kms.Plaintext{}, errDecrypt
}

func (c *Caller) openWith(ctx context.Context, rec *state.Key, n kms.KeyVersion, r kms.DecryptRequest) (out []byte, err error) {
	if row, ok := rec.Spec.Capability(); ok && row.Family == kms.Asymmetric {
		err = c.lendPrivate(ctx, rec, n, func(k alg.Key) error {
			out, err = k.AsymmetricDecrypt(r.Data, r.Padding)
			return err
		})
		return out, err
	}
	body := r.Data
	if r.Layout == kms.LayoutNative {
		body = r.Data[nativeHeader:]
	}
	aad, err := additionalData(rec.ID, n, r.Binding, r.Layout)
	if err != nil {
		return nil, err
	}
	err = c.core.cfg.Keyring.Lend(rec, n, func(k alg.Key) error {
		out, err = k.Decrypt(nil, body, aad)
		return err
	})
	return out, err
}

func trialVersions(rec *state.Key, row *kms.Capability) []kms.KeyVersion {
	if len(rec.Versions) == 1 || !row.Integrity {
		return []kms.KeyVersion{rec.Current}
	}
	all := make([]kms.KeyVersion, 0, min(len(rec.Versions), kms.MaxTrials))
	for _, v := range slices.Backward(rec.Versions) { // oldest first, as they are kept
		if v.State == kms.VersionEnabled && len(all) < kms.MaxTrials {
			all = append(all, v.Number)
		}
	}
	return all
}

func appendHeader(dst []byte, id kms.KeyID, n kms.KeyVersion) []byte {
	dst = append(append(dst, nativeFormat), id[:]...)
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

func nativeKey(data []byte) (ref kms.KeyRef, err error) {
	if len(data) < nativeHeader || data[0] != nativeFormat {
		return ref, errDecrypt
	}
	copy(ref.ID[:], data[1:17])
	ref.Version = kms.KeyVersion(binary.BigEndian.Uint32(data[17:]))
	if ref.Version == 0 { // elsewhere zero asks for any version; a ciphertext names one
		return ref, errDecrypt
	}
	return ref, nil
}

// additionalData is what the ciphertext is bound to: in eHSM's layout the raw
// aad alone, as eHSM has it; in ours a label, the header and the typed binding.
func additionalData(id kms.KeyID, n kms.KeyVersion, b kms.Binding, l kms.Layout) ([]byte, error) {
	switch l {
	case kms.LayoutEHSM:
		raw, ok := b.Raw()
		if !ok || len(raw) > kms.MaxBinding {
			return nil, kms.Errorf(kms.Invalid, "this layout binds raw data of at most %d bytes", kms.MaxBinding).WithField("aad")
		}
		return raw, nil
	case kms.LayoutNative:
		if b.Size() > kms.MaxBinding {
			return nil, kms.Errorf(kms.TooLarge, "a binding of %d bytes, at most %d", b.Size(), kms.MaxBinding).WithField("binding")
		}
		return b.AppendTo(appendHeader([]byte(nativeLabel), id, n)), nil
	}
	return nil, kms.Errorf(kms.Invalid, "unknown ciphertext layout")
}

// signingInput fills in what is left to the spec and refuses what it does not
// sign.
func signingInput(rec *state.Key, in kms.SigningInput, u kms.Usage) (kms.SigningInput, error) {
	row, ok := rec.Spec.Capability()
	if !ok {
		return in, kms.Errorf(kms.Damaged, "stored key has unknown spec %d", rec.Spec)
	}
	in, err := row.SigningInput(in, u)
	if err != nil {
		return in, err
	}
	return in, checkSize("message", len(in.Message), kms.MaxPlaintext)
}

func checkSize(field string, n, limit int) error {
	if n < 1 {
		return kms.Errorf(kms.Invalid, "is empty").WithField(field)
	}
	if n > limit {
		return kms.Errorf(kms.TooLarge, "%d bytes, at most %d", n, limit).WithField(field)
	}
	return nil
}

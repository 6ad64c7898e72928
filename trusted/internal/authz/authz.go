// Package authz decides what a principal may do. It is pure: a view, a
// principal and a time in, a key record or a refusal out.
package authz

import (
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Permission asks for a permission of the credential. The error is Denied.
func Permission(c *state.Credential, p kms.Permissions) error {
	if c == nil || !c.Permissions.Has(p) {
		return kms.Errorf(kms.Denied, "the credential does not have this permission")
	}
	return nil
}

// OwnKey finds a key of the app. The errors are NotFound and Foreign.
func OwnKey(view *state.View, app kms.AppID, id kms.KeyID) (*state.Key, error) {
	k, ok := view.Key(id)
	if !ok {
		return nil, kms.Errorf(kms.NotFound, "no such key")
	}
	if k.App != app {
		return nil, kms.Errorf(kms.Foreign, "the key belongs to another app")
	}
	return k, nil
}

// UseKey finds a key of the app that may be used for u now. The errors are
// those of OwnKey, Disabled, Expired and Misused, in this order.
func UseKey(view *state.View, app kms.AppID, id kms.KeyID, u kms.Usage, now time.Time) (*state.Key, error) {
	k, err := OwnKey(view, app, id)
	if err != nil {
		return nil, err
	}
	if err := State(k, u, now); err != nil {
		return nil, err
	}
	if !k.Usages.Has(u) {
		return nil, kms.Errorf(kms.Misused, "the key is not for this use")
	}
	return k, nil
}

// Version asks whether a version of a key may be used: zero is the current one.
// The errors are NotFound and Disabled.
func Version(k *state.Key, n kms.KeyVersion) error {
	if n == 0 || n == k.Current {
		return nil
	}
	v, ok := k.Version(n)
	if !ok {
		return kms.Errorf(kms.NotFound, "the key has no such version")
	}
	if v.State != kms.VersionEnabled {
		return kms.Errorf(kms.Disabled, "version %d of the key is %s", n, v.State)
	}
	return nil
}

// State asks whether the key's state and expiry allow u now. The errors are
// Disabled and Expired, and Misused for a key without material.
func State(k *state.Key, u kms.Usage, now time.Time) error {
	if k.State == kms.PendingImport {
		return kms.Errorf(kms.Misused, "the key waits for its material")
	}
	if !k.State.Allows(u) {
		return kms.Errorf(kms.Disabled, "the key is %s", k.State)
	}
	if k.Expires != 0 && now.UnixNano() >= k.Expires {
		return kms.Errorf(kms.Expired, "the key has expired")
	}
	return nil
}

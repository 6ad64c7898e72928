package core

import (
	"context"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// SecretRecord is a secret of the caller's app as it is stored, with its key.
func SecretRecord(a *Audited, name kms.SecretName) (*state.Secret, *state.Key) {
	s, _ := a.caller.view.Secret(a.caller.app(), name)
	k, _ := a.caller.view.Key(s.Key)
	return s, k
}

// OpenSecret opens a version as that of a secret, whatever is stored.
func OpenSecret(a *Audited, s *state.Secret, k *state.Key, v *state.SecretVersion) ([]byte, error) {
	return a.caller.openSecret(context.Background(), s, k, v)
}

package core_test

import (
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/core"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// TestMovedSecretsDoNotOpen: whoever could write to the state could not have one
// value read in the place of another: not under another name, version, app, key or
// domain, nor with another data key, nor altered.
func TestMovedSecretsDoNotOpen(t *testing.T) {
	node := trustedtest.NewDomain(t, 1).Nodes[0]
	elsewhere := trustedtest.NewDomain(t, 1).Nodes[0].Enrol()
	app := node.Enrol()
	keys := map[string]kms.KeyID{"the domain's": {}, "a key": secretsKey(t, app, kms.AES256GCM), "an SM4 key": secretsKey(t, app, kms.SM4CBC)}
	for protection, id := range keys {
		t.Run(protection, func(t *testing.T) {
			name := kms.SecretName("of " + protection)
			createSecret(t, app, name, "one", id)
			if _, err := putSecret(app, name, "two"); err != nil {
				t.Fatal(err)
			}
			createSecret(t, app, name+"2", "other", id)
			caller := app.MustCaller()
			s, k := core.SecretRecord(caller, name)
			other, _ := core.SecretRecord(caller, name+"2")
			v := s.Versions[0]
			if got, err := core.OpenSecret(caller, s, k, v); err != nil || string(got) != "one" {
				t.Fatalf("in its place: %q, %v", got, err)
			}
			moved := func(what string, in *state.Secret, edit func(s *state.Secret, v *state.SecretVersion)) {
				t.Helper()
				place, version := *in, *v
				edit(&place, &version)
				if got, err := core.OpenSecret(caller, &place, k, &version); err == nil {
					t.Errorf("%s: opens to %q", what, got)
				} else {
					wantKind(t, what, err, kms.Damaged)
				}
			}
			moved("another secret", other, func(*state.Secret, *state.SecretVersion) {})
			moved("another name", s, func(s *state.Secret, _ *state.SecretVersion) { s.Name += "x" })
			moved("the name again", s, func(s *state.Secret, _ *state.SecretVersion) { s.ID[0] ^= 1 })
			moved("another app", s, func(s *state.Secret, _ *state.SecretVersion) { s.App[0] ^= 1 })
			moved("another version", s, func(_ *state.Secret, v *state.SecretVersion) { v.Number = 2 })
			moved("another data key", s, func(_ *state.Secret, v *state.SecretVersion) { v.Wrapped = s.Versions[1].Wrapped })
			moved("another value", s, func(_ *state.Secret, v *state.SecretVersion) { v.Sealed = s.Versions[1].Sealed })
			for i := range v.Sealed {
				moved("an altered value", s, func(_ *state.Secret, v *state.SecretVersion) {
					v.Sealed = append([]byte(nil), v.Sealed...)
					v.Sealed[i] ^= 1
				})
			}
			for n := range v.Sealed {
				moved("a cut value", s, func(_ *state.Secret, v *state.SecretVersion) { v.Sealed = v.Sealed[:n] })
			}
			if got, err := core.OpenSecret(elsewhere.MustCaller(), s, k, v); err == nil {
				t.Errorf("another domain: opens to %q", got)
			}
		})
	}
}

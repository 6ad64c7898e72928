package govern_test

import (
	"slices"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// amendment is the next one, edited.
func (r *realm) amendment(s govern.Standing, p *govern.Policy, edit func(*govern.Amendment)) *govern.Amendment {
	a := s.DraftAmendment(p)
	edit(a)
	return a
}

func (r *realm) amend(s govern.Standing, a *govern.Amendment, keys ...*govern.PrivateKey) (govern.Standing, error) {
	return s.Amend(signed(r.tb, govern.AmendmentType, a, keys...))
}

func TestAmendEverything(t *testing.T) {
	r := newRealm(t)
	fresh, owner, recovery := p256Key(t), key(t, 21), p256Key(t)
	a := r.amendment(r.founding.Standing, r.founding.Policy, func(a *govern.Amendment) {
		a.Owner, a.Signers, a.Threshold = owner.Public(), append(a.Signers[1:], fresh.Public()), 3
		a.RecoveryKeys, a.RecoveryThreshold = publics(r.recovery, recovery), 2
		a.RestartMode, a.Intervals.Epoch = govern.Rejoin, a.Intervals.Epoch*2
	})
	s, err := r.amend(r.founding.Standing, a, r.signers[0], r.signers[1], owner, fresh, recovery)
	if err != nil {
		t.Fatal(err)
	}
	if s.Owner != a.Owner || s.Threshold != 3 || !slices.Equal(s.Signers, a.Signers) || s.RestartMode != govern.Rejoin || s.Intervals != a.Intervals ||
		!slices.Equal(s.RecoveryKeys, a.RecoveryKeys) || s.RecoveryThreshold != 2 || s.Amendments != 1 || s.LastAmendment != a.Digest() {
		t.Errorf("%+v", s)
	}
	if s.Domain != r.founding.Domain || s.Charter != r.charter.Digest() {
		t.Error("the domain has another name")
	}
	if r.founding.Standing.Amendments != 0 || len(r.founding.Standing.Signers) != 3 || r.founding.Standing.Signers[0] != r.signers[0].Public() {
		t.Error("the old standing changed")
	}
	next := r.after(r.founding.Policy)
	_, err = s.NextPolicy(r.founding.Policy, signed(t, govern.PolicyType, next, r.signers[0], r.signers[1], r.signers[2]))
	checkError(t, err, kms.Denied, "signatures/0", "no say") // the first signer is none any more
	_, err = s.NextPolicy(r.founding.Policy, signed(t, govern.PolicyType, next, r.signers[1], r.signers[2]))
	checkError(t, err, kms.Denied, "signatures", "2 of the signers, and it takes 3")
	env := signed(t, govern.PolicyType, next, r.signers[1], r.signers[2], fresh)
	if _, err = s.NextPolicy(r.founding.Policy, env); err != nil {
		t.Error(err)
	}
	checkError(t, s.CheckSubmission(signed(t, govern.PolicyType, next, r.owner)), kms.Denied, "signatures", "not submitted")
	if err := s.CheckSubmission(signed(t, govern.PolicyType, next, owner)); err != nil {
		t.Error(err)
	}
	if _, err = r.founding.Standing.OpenPolicy(env); err == nil {
		t.Error("who knows no amendment takes a policy of the new signers")
	}
}

func TestAmendRefused(t *testing.T) {
	r := newRealm(t)
	zero, p := r.founding.Standing, r.founding.Policy
	a, b, c := r.signers[0], r.signers[1], r.signers[2]
	fresh := key(t, 30)
	rejoin := func(am *govern.Amendment) { am.RestartMode = govern.Rejoin }
	first := r.amendment(zero, p, rejoin)
	s, err := r.amend(zero, first, a, b)
	if err != nil {
		t.Fatal(err)
	}
	longer := func(am *govern.Amendment) { am.Intervals.Epoch += attest.Age(1e9) }
	with := func(edits ...func(*govern.Amendment)) *govern.Amendment {
		return r.amendment(s, p, func(am *govern.Amendment) {
			for _, edit := range edits {
				edit(am)
			}
		})
	}
	swap := func(am *govern.Amendment) { am.Signers[2] = fresh.Public() }
	two := []*govern.PrivateKey{a, b}
	tests := []struct {
		name        string
		amendment   *govern.Amendment
		keys        []*govern.PrivateKey
		kind        kms.Kind
		field, text string
	}{
		{"changes nothing", with(), two, kms.Invalid, "", "changes nothing"},
		{"back to sealed", with(func(a *govern.Amendment) { a.RestartMode = govern.Sealed }), two, kms.Denied, "restart_mode", "no way back"},
		{"other domain", with(longer, func(a *govern.Amendment) { a.Domain[0]++ }), two, kms.Denied, "domain", "another domain"},
		{"other charter", with(longer, func(a *govern.Amendment) { a.CharterDigest[0]++ }), two, kms.Denied, "charter_digest", "another charter"},
		{"the very amendment", first, two, kms.Exists, "serial", "this very amendment"},
		{"same serial, other content", r.amendment(zero, p, longer), two, kms.Conflict, "serial", "is another amendment"},
		{"serial skips one", with(longer, func(a *govern.Amendment) { a.Serial = 3 }), two, kms.Conflict, "serial", "does not follow"},
		{"wrong previous digest", with(longer, func(a *govern.Amendment) { a.Previous[0]++ }), two, kms.Conflict, "previous", "follows"},
		{"other policy under the endorsed serial", with(longer, func(a *govern.Amendment) { a.Policy.Digest[0]++ }), two, kms.Conflict, "policy", "endorsed before"},
		{"nobody signed", with(longer), nil, kms.Denied, "signatures", "0 of the signers"},
		{"one signature short", with(longer), []*govern.PrivateKey{a, r.owner}, kms.Denied, "signatures", "1 of the signers"},
		{"a stranger signed too", with(longer), []*govern.PrivateKey{a, b, fresh}, kms.Denied, "signatures/2", "no say"},
		{"new signer did not sign", with(swap), two, kms.Denied, "signatures", "the new key"},
		{"new signer does not count", with(swap), []*govern.PrivateKey{a, fresh}, kms.Denied, "signatures", "1 of the signers"},
		{"new owner did not sign", with(func(a *govern.Amendment) { a.Owner = fresh.Public() }), two, kms.Denied, "signatures", "the new key"},
		{"new recovery key did not sign", with(func(a *govern.Amendment) { a.RecoveryKeys[0] = fresh.Public() }), two, kms.Denied, "signatures", "the new key"},
		{"recovery key that becomes a signer did not sign", with(func(a *govern.Amendment) { a.Signers[2] = r.recovery.Public() }), two, kms.Denied, "signatures", "the new key"},
		{"owner becomes signer", with(func(a *govern.Amendment) { a.Signers[2] = a.Owner }), two, kms.Invalid, "signers", "the owner is a signer"},
		{"no signers", with(func(a *govern.Amendment) { a.Signers = nil }), two, kms.Invalid, "signers", "no signer"},
		{"threshold 0", with(func(a *govern.Amendment) { a.Threshold = 0 }), two, kms.Invalid, "threshold", ""},
		{"threshold 4 of 3", with(func(a *govern.Amendment) { a.Threshold = 4 }), two, kms.Invalid, "threshold", ""},
		{"no restart mode", with(func(a *govern.Amendment) { a.RestartMode = 0 }), two, kms.Invalid, "restart_mode", ""},
		{"no epoch", with(func(a *govern.Amendment) { a.Intervals.Epoch = 0 }), two, kms.Invalid, "intervals/epoch", ""},
		{"no policy", with(func(a *govern.Amendment) { a.Policy = govern.Endorsement{} }), two, kms.Invalid, "policy", ""},
		{"no previous", with(func(a *govern.Amendment) { a.Previous = govern.Digest{} }), two, kms.Invalid, "previous", ""},
		{"serial 0", with(func(a *govern.Amendment) { a.Serial = 0 }), two, kms.Invalid, "serial", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := r.amend(s, tt.amendment, tt.keys...)
			if got.Threshold != 0 || got.Domain != (kms.DomainID{}) {
				t.Error("a standing came back")
			}
			checkError(t, err, tt.kind, tt.field, tt.text)
		})
	}
	third, err := r.amend(s, with(longer), c, a)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.amend(third, first, a, b)
	checkError(t, err, kms.Stale, "serial", "amendment 2 is there")
	_, err = r.amend(govern.Standing{}, first, a, b)
	checkError(t, err, kms.Denied, "domain", "")
}

// The chain of those who ruled: a policy signed by signers who left stays in
// force while the amendments name it, and only while they do.
func TestEndorsedPolicyOutlivesItsSigners(t *testing.T) {
	r := newRealm(t)
	second, err := r.founding.Standing.NextPolicy(r.founding.Policy, r.signed(r.after(r.founding.Policy)))
	if err != nil {
		t.Fatal(err)
	}
	env := r.signed(second)
	s := r.founding.Standing
	old := r.signers[:2]
	for i := range byte(3) { // each time all signers go
		fresh := []*govern.PrivateKey{key(t, 40+2*i), key(t, 41+2*i)}
		am := r.amendment(s, second, func(a *govern.Amendment) { a.Signers = publics(fresh...) })
		if s, err = s.NextAmendment(second, signed(t, govern.AmendmentType, am, append(old, fresh...)...)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.OpenPolicy(env); err != nil {
			t.Fatalf("after %d amendments: %v", s.Amendments, err)
		}
		_, err := s.OpenPolicy(signed(t, govern.PolicyType, second, fresh...))
		checkError(t, err, kms.Denied, "signatures/0", "no say") // it is judged by those who ruled then
		_, err = s.OpenPolicy(r.signed(r.after(second)))
		checkError(t, err, kms.Denied, "signatures/0", "no say") // and they rule no more
		old = fresh
	}
	third, err := s.NextPolicy(second, signed(t, govern.PolicyType, r.after(second), old...))
	if err != nil {
		t.Fatal(err)
	}
	longer := func(a *govern.Amendment) { a.Intervals.Epoch += attest.Age(1e9) }
	am := signed(t, govern.AmendmentType, r.amendment(s, third, longer), old...)
	_, err = s.NextAmendment(second, am)
	checkError(t, err, kms.Conflict, "policy", "rests on policy 3")
	_, err = s.NextAmendment(nil, am)
	checkError(t, err, kms.Invalid, "", "not opened")
	if s, err = s.NextAmendment(third, am); err != nil {
		t.Fatal(err)
	}
	_, err = s.OpenPolicy(env)
	checkError(t, err, kms.Stale, "serial", "rests on policy 3")
	_, err = r.amend(s, r.amendment(s, second, func(a *govern.Amendment) { a.RestartMode = govern.Rejoin }), old...)
	checkError(t, err, kms.Conflict, "policy", "endorsed before")
}

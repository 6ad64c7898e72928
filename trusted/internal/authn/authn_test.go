package authn_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authn"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

var now = time.Unix(1_700_000_000, 0)

const apiKey = "0123456789ABCDEFGHJKLMNPQRSTUVWX"

// fixture is a state with apps 1 and 2 that share no secret; app 3's
// credential has expired, app 4's record was edited after it was wrapped.
func fixture(t *testing.T) (*authn.Authenticator, *state.View) {
	t.Helper()
	r := root.New(root.NewSet(secret.New(bytes.Repeat([]byte{5}, 32))), kms.DomainID{1}, root.HoldfastLabels)
	m := state.New()
	rulers := governtest.New(t)
	bootstrap, policy := rulers.Found(kms.NodeID{1}, rulers.Policy(make([]byte, 32), now))
	apply(t, m, 1, &command.Command{Op: &command.Command_Found{Found: &command.Found{Domain: rulers.Founding.Domain[:], FeatureLevel: 1,
		Charter: rulers.Charter.Canonical(), Bootstrap: bootstrap, Policy: policy}}})
	for n := byte(1); n <= 4; n++ {
		c := &state.Credential{ID: kms.CredentialID{n}, App: kms.AppID{n}, Permissions: kms.PermUse}
		key := apiKey
		if n == 2 {
			key = strings.Repeat("z", 32)
		}
		if n == 3 {
			c.Expires = now.UnixNano()
		}
		wrapped, err := r.Wrap(authn.CredentialSlot(c), secret.New([]byte(key)))
		if err != nil {
			t.Fatal(err)
		}
		if n == 4 {
			c.Permissions = kms.PermAll
		}
		apply(t, m, n+1, &command.Command{Op: &command.Command_PutApp{PutApp: &command.PutApp{App: &command.App{Id: c.App[:]},
			Credential: &command.Credential{Id: c.ID[:], App: c.App[:], Permissions: uint32(c.Permissions), Expires: c.Expires, Wrapped: wrapped}}}})
	}
	m.Publish()
	a, err := authn.New(authn.Config{Root: r, Start: now.Add(-time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	return a, m.View()
}

func apply(t *testing.T, m *state.Machine, n byte, c *command.Command) {
	t.Helper()
	c.Id = bytes.Repeat([]byte{n}, 16)
	data, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if r := m.Apply(uint64(n), data); r.Err != nil {
		t.Fatal(r.Err)
	}
}

// sign makes app n's credential over a message, with app 1's API key.
func sign(n byte, message string, at time.Time) kms.Credential {
	h := hmac.New(sha256.New, []byte(apiKey))
	h.Write([]byte(message))
	return kms.Credential{Scheme: kms.SchemeEHSMv1, ID: kms.CredentialID{n}, Known: true, Signed: []byte(message), MAC: h.Sum(nil), Time: at}
}

func TestAuthenticate(t *testing.T) {
	a, view := fixture(t)
	edit := func(f func(*kms.Credential)) kms.Credential {
		c := sign(1, "edited", now)
		f(&c)
		return c
	}
	for _, c := range []struct {
		name string
		cred kms.Credential
		want error
	}{
		{"good", sign(1, "m", now), nil},
		{"the very same again", sign(1, "m", now), kms.Replayed},
		{"another message at the same time", sign(1, "n", now), nil},
		{"another app's secret", sign(2, "m", now), kms.Unauthenticated},
		{"unknown credential", sign(9, "m", now), kms.Unauthenticated},
		{"expired credential", sign(3, "m", now), kms.Unauthenticated},
		{"edited record", sign(4, "m", now), kms.Unauthenticated},
		{"id that is none", edit(func(c *kms.Credential) { c.Known = false }), kms.Unauthenticated},
		{"no scheme", edit(func(c *kms.Credential) { c.Scheme = 0 }), kms.Unauthenticated},
		{"no MAC", edit(func(c *kms.Credential) { c.MAC = nil }), kms.Unauthenticated},
		{"short MAC", edit(func(c *kms.Credential) { c.MAC = c.MAC[:16] }), kms.Unauthenticated},
		{"long MAC", edit(func(c *kms.Credential) { c.MAC = append(c.MAC, 0) }), kms.Unauthenticated},
		{"altered message", edit(func(c *kms.Credential) { c.Signed = []byte("Edited") }), kms.Unauthenticated},
		{"older than the start", sign(1, "o", now.Add(-time.Minute-time.Millisecond)), kms.Stale},
		{"as old as the start", sign(1, "o", now.Add(-time.Minute)), nil},
		{"9:50 ahead", sign(1, "f", now.Add(9*time.Minute+50*time.Second)), nil},
		{"10:10 ahead", sign(1, "f", now.Add(10*time.Minute+10*time.Second)), kms.Stale},
	} {
		p, err := a.Authenticate(view, c.cred, now)
		if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if err == nil && p.Credential.App != (kms.AppID{1}) {
			t.Errorf("%s: authenticated as %v", c.name, p.Credential.App)
		}
	}
}

// A wrong signature must not burn anything for the real owner (eHSM's did).
func TestFailuresLeaveNoTrace(t *testing.T) {
	a, view := fixture(t)
	forged := sign(1, "m", now)
	forged.Signed = []byte("x")
	for range 10 {
		if _, err := a.Authenticate(view, forged, now); !errors.Is(err, kms.Unauthenticated) {
			t.Fatal(err)
		}
	}
	if _, err := a.Authenticate(view, sign(1, "m", now), now); err != nil {
		t.Errorf("the owner's own request: %v", err)
	}
}

func TestFailuresLookAlike(t *testing.T) {
	a, view := fixture(t)
	wrong := sign(1, "m", now)
	wrong.MAC[0] ^= 1
	_, one := a.Authenticate(view, wrong, now)
	_, two := a.Authenticate(view, sign(9, "m", now), now)
	_, three := a.Authenticate(view, sign(3, "m", now), now)
	if one.Error() != two.Error() || one.Error() != three.Error() {
		t.Errorf("%q, %q, %q", one, two, three)
	}
}

func TestNewAPIKey(t *testing.T) {
	const alphabet = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz"
	count := map[byte]int{}
	seen := map[string]bool{}
	for range 2000 {
		_ = authn.NewAPIKey().Use(func(b []byte) error {
			if len(b) != 32 || seen[string(b)] {
				t.Fatalf("%d characters, seen before: %t", len(b), seen[string(b)])
			}
			seen[string(b)] = true
			for _, c := range b {
				count[c]++
			}
			return nil
		})
	}
	if len(count) != len(alphabet) {
		t.Errorf("%d different characters, want %d", len(count), len(alphabet))
	}
	for c, n := range count { // 64,000 draws of 58: 1,103 each, standard deviation 33
		if !strings.ContainsRune(alphabet, rune(c)) || n < 900 || n > 1300 {
			t.Errorf("%q was drawn %d times", c, n)
		}
	}
}

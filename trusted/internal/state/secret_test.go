package state_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

func putSecret(app uint64, name string, edit ...func(*command.PutSecret)) *command.Command {
	p := &command.PutSecret{
		Secret:  &command.Secret{Id: id(app<<32 | uint64(len(name))), App: id(app), Name: name, Created: start, Changed: start, Current: 1, Last: 1},
		Version: secretVersion(1, 0),
	}
	for _, e := range edit {
		e(p)
	}
	return &command.Command{Op: &command.Command_PutSecret{PutSecret: p}}
}

func secretVersion(number, under uint32) *command.SecretVersion {
	return &command.SecretVersion{Number: number, Created: start, Under: under, Wrapped: []byte("key"), Sealed: []byte("value")}
}

// under has a key protect a new secret.
func under(k *state.Key) func(*command.PutSecret) {
	return func(p *command.PutSecret) {
		p.Secret.Key, p.KeyRevision, p.Version.Under = k.ID[:], k.Revision, uint32(k.Current)
	}
}

func every(interval string) func(*command.PutSecret) {
	return func(p *command.PutSecret) { p.Secret.Rotation = interval }
}

func putValue(s *state.Secret, number uint32, edit ...func(*command.PutSecretVersion)) *command.Command {
	p := &command.PutSecretVersion{Name: string(s.Name), Revision: s.Revision, Version: secretVersion(number, 0)}
	for _, e := range edit {
		e(p)
	}
	return &command.Command{Op: &command.Command_PutSecretVersion{PutSecretVersion: p}}
}

func labelSecret(s *state.Secret, label string, n uint32) *command.Command {
	return &command.Command{Op: &command.Command_LabelSecret{LabelSecret: &command.LabelSecret{Name: string(s.Name), Revision: s.Revision, Label: label, Version: n}}}
}

func destroySecret(s *state.Secret, n uint32) *command.Command {
	return &command.Command{Op: &command.Command_DestroySecretVersion{DestroySecretVersion: &command.DestroySecretVersion{Name: string(s.Name), Revision: s.Revision, Version: n}}}
}

func endSecret(s *state.Secret, due int64) *command.Command {
	return &command.Command{Op: &command.Command_DeleteSecret{DeleteSecret: &command.DeleteSecret{Name: string(s.Name), Revision: s.Revision, Due: due}}}
}

func restoreSecret(s *state.Secret) *command.Command {
	return &command.Command{Op: &command.Command_RestoreSecret{RestoreSecret: &command.RestoreSecret{Name: string(s.Name), Revision: s.Revision}}}
}

func setRotation(s *state.Secret, interval string) *command.Command {
	return &command.Command{Op: &command.Command_SetSecret{SetSecret: &command.SetSecret{Name: string(s.Name), Revision: s.Revision, Rotation: &interval}}}
}

func (m *machine) mustSecret(r state.Result) *state.Secret {
	m.t.Helper()
	if r.Err != nil {
		m.t.Fatal(r.Err)
	}
	if r.Secret == nil {
		m.t.Fatal("no secret")
	}
	return r.Secret
}

// secrets is everything of the secrets that owners can be told.
func secrets(v *state.View) map[string]any {
	all := map[string]any{}
	for _, app := range []uint64{1, 2} {
		v.SecretsOf(kms.AppID(id(app)), "", func(s *state.Secret) bool {
			versions := []string{}
			for _, n := range s.Versions {
				versions = append(versions, fmt.Sprintf("%+v of %d under %d", s.VersionInfo(n), n.Created, n.Under))
			}
			all[fmt.Sprintf("%d/%s", app, s.Name)] = []any{s.Info(), versions}
			return true
		})
		all[fmt.Sprint("bytes ", app)] = v.SecretBytes(kms.AppID(id(app)))
		all[fmt.Sprint("usage ", app)] = v.UsageOf(kms.AppID(id(app)))
	}
	return all
}

// refusedSecret refuses a command and looks that nothing changed.
func (m *machine) refusedSecret(name string, by *command.Principal, c *command.Command, want kms.Kind) {
	m.t.Helper()
	before, keys := secrets(m.View()), descriptions(m.View())
	r := m.do(by, c)
	if r.Err == nil || r.Err.Kind != want {
		m.t.Errorf("%s: %v, want %v", name, r.Err, want)
	}
	if diff := cmp.Diff(before, secrets(m.View())); diff != "" {
		m.t.Errorf("%s: changed all the same: %s", name, diff)
	}
	if diff := cmp.Diff(keys, descriptions(m.View())); diff != "" {
		m.t.Errorf("%s: keys changed all the same: %s", name, diff)
	}
}

// TestSecretVersions: numbers only grow, each put is one step, and labels go where
// they are put.
func TestSecretVersions(t *testing.T) {
	m := newMachine(t)
	s := m.mustSecret(m.do(m.by(1), putSecret(1, "db")))
	m.refusedSecret("the name again", m.by(1), putSecret(1, "db"), kms.Exists)
	other := m.mustSecret(m.do(m.by(2), putSecret(2, "db")))
	m.time += hour
	old := s
	s = m.mustSecret(m.do(m.by(1), putValue(s, 2)))
	if s.Current != 2 || s.Previous != 1 || s.Rotated != m.time || len(s.Versions) != 2 {
		t.Errorf("after a put: %+v", s)
	}
	m.refusedSecret("a put at the same time", m.by(1), putValue(old, 2), kms.Conflict)
	m.refusedSecret("a number again", m.by(1), putValue(s, 2), kms.Invalid)
	m.refusedSecret("a gap", m.by(1), putValue(s, 4), kms.Invalid)
	m.refusedSecret("another app's", m.by(2), putValue(s, 3), kms.Conflict) // the app has one of the same name
	m.refusedSecret("nobody's", nil, putValue(s, 3), kms.Invalid)
	m.refusedSecret("not there", m.by(1), putValue(&state.Secret{Name: "x"}, 1), kms.NotFound)
	m.refusedSecret("under a generation that is not", m.by(1), putValue(s, 3, func(p *command.PutSecretVersion) { p.Version.Under = 1 }), kms.Conflict)
	m.refusedSecret("with a wrong label", m.by(1), putValue(s, 3, func(p *command.PutSecretVersion) { p.Labels = []string{"current"} }), kms.Invalid)
	m.refusedSecret("without a value", m.by(1), putValue(s, 3, func(p *command.PutSecretVersion) { p.Version.Sealed = nil }), kms.Invalid)

	s = m.mustSecret(m.do(m.by(1), putValue(s, 3, func(p *command.PutSecretVersion) { p.Pending, p.Labels = true, []string{"next", "blue"} })))
	if s.Current != 2 || s.Last != 3 || len(s.Labels) != 2 {
		t.Errorf("after a pending put: %+v", s)
	}
	rotated := s.Rotated
	m.time += hour
	s = m.mustSecret(m.do(m.by(1), labelSecret(s, kms.LabelCurrent, 1)))
	if s.Current != 1 || s.Previous != 2 || s.Rotated != rotated || s.Changed != m.time {
		t.Errorf("an old version promoted: %+v", s)
	}
	s = m.mustSecret(m.do(m.by(1), labelSecret(s, kms.LabelCurrent, 3)))
	if s.Current != 3 || s.Previous != 1 || s.Rotated != m.time {
		t.Errorf("a pending one promoted: %+v", s)
	}
	s = m.mustSecret(m.do(m.by(1), labelSecret(s, "next", 2)))
	s = m.mustSecret(m.do(m.by(1), labelSecret(s, "blue", 0)))
	if n, ok := s.Labelled("next"); n != 2 || !ok || len(s.Labels) != 1 {
		t.Errorf("labels %+v", s.AllLabels())
	}
	m.refusedSecret("a label on nothing", m.by(1), labelSecret(s, "next", 9), kms.NotFound)
	m.refusedSecret("current taken away", m.by(1), labelSecret(s, kms.LabelCurrent, 0), kms.Invalid)
	m.refusedSecret("previous moved", m.by(1), labelSecret(s, kms.LabelPrevious, 2), kms.Invalid)
	m.refusedSecret("the current one destroyed", m.by(1), destroySecret(s, 3), kms.Misused)
	m.refusedSecret("none destroyed", m.by(1), destroySecret(s, 9), kms.NotFound)
	s = m.mustSecret(m.do(m.by(1), destroySecret(s, 2)))
	s = m.mustSecret(m.do(m.by(1), destroySecret(s, 1)))
	if len(s.Versions) != 1 || len(s.AllLabels()) != 1 || s.Last != 3 {
		t.Errorf("destroyed, and there is %+v", s)
	}
	m.mustSecret(m.do(m.by(1), putValue(s, 4)))
	for name, again := range map[string]*state.Machine{"the log": replayed(m), "a snapshot": restore(t, snapshot(t, m.Machine))} {
		if diff := cmp.Diff(secrets(m.View()), secrets(again.View())); diff != "" {
			t.Errorf("after %s: %s", name, diff)
		}
	}
	if got, _ := m.View().Secret(kms.AppID(id(2)), "db"); got != other {
		t.Error("another app's secret was touched")
	}
}

// TestFullSecret: one that has all the versions that it may drops the oldest that
// bears no label, once that is old.
func TestFullSecret(t *testing.T) {
	m := newMachine(t)
	s := m.mustSecret(m.do(m.by(1), putSecret(1, "db")))
	s = m.mustSecret(m.do(m.by(1), labelSecret(s, "first", 1)))
	for n := uint32(2); n <= kms.MaxSecretVersions; n++ {
		s = m.mustSecret(m.do(m.by(1), putValue(s, n)))
	}
	m.refusedSecret("one more at once", m.by(1), putValue(s, kms.MaxSecretVersions+1), kms.Exhausted)
	m.time += day
	s = m.mustSecret(m.do(m.by(1), putValue(s, kms.MaxSecretVersions+1)))
	_, first := s.Version(1)
	_, second := s.Version(2)
	if len(s.Versions) != kms.MaxSecretVersions || !first || second {
		t.Errorf("%d versions, the labelled one kept: %t, the oldest other: %t", len(s.Versions), first, second)
	}
	if again := restore(t, snapshot(t, m.Machine)); cmp.Diff(secrets(m.View()), secrets(again.View())) != "" {
		t.Error("a snapshot restores to something else")
	}
}

// TestSecretDeletion: what is scheduled goes when it is due, unless it was
// restored before, however often it was scheduled (D3, D6).
func TestSecretDeletion(t *testing.T) {
	for _, c := range []struct {
		name     string
		restored bool
		after    int64 // the last command before that
		gone     bool
	}{
		{"left alone", false, 7 * day, true},
		{"not due yet", false, 7*day - 1, false},
		{"restored just in time", true, 7*day - 1, false},
		{"restored too late", true, 7 * day, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			s := m.mustSecret(m.do(m.by(1), putSecret(1, "db")))
			s = m.mustSecret(m.do(m.by(1), endSecret(s, m.time+300*day)))
			s = m.mustSecret(m.do(m.by(1), endSecret(s, m.time+7*day))) // again, sooner
			m.refusedSecret("the name while it is reserved", m.by(1), putSecret(1, "db"), kms.Exists)
			m.refusedSecret("a put", m.by(1), putValue(s, 2), kms.Disabled)
			m.refusedSecret("a label", m.by(1), labelSecret(s, "x", 1), kms.Disabled)
			m.refusedSecret("an interval", m.by(1), setRotation(s, "7d"), kms.Disabled)
			m.time += c.after
			if c.restored {
				r := m.do(m.by(1), restoreSecret(s))
				if gone := r.Err != nil && r.Err.Kind == kms.NotFound; gone != c.gone {
					t.Fatalf("restored: %v", r.Err)
				}
			} else {
				m.do(nil, pass())
			}
			if _, there := m.View().Secret(s.App, s.Name); there == c.gone {
				t.Errorf("there: %t", there)
			}
			if c.restored && !c.gone {
				m.time += 400 * day
				m.do(nil, pass())
				if back, ok := m.View().Secret(s.App, s.Name); !ok || back.Due != 0 {
					t.Error("restored, and gone all the same")
				}
			}
		})
	}
}

func TestSecretDeletionRefused(t *testing.T) {
	m := newMachine(t)
	s := m.mustSecret(m.do(m.by(1), putSecret(1, "db")))
	m.refusedSecret("too soon", m.by(1), endSecret(s, m.time+day-hour-1), kms.Conflict)
	m.refusedSecret("too late", m.by(1), endSecret(s, m.time+365*day+1), kms.Conflict)
	m.refusedSecret("in the past", m.by(1), endSecret(s, -1), kms.Conflict)
	m.refusedSecret("another app's", m.by(2), endSecret(s, 0), kms.NotFound)
	m.refusedSecret("nobody's", nil, endSecret(s, 0), kms.Invalid)
	if again := m.mustSecret(m.do(m.by(1), restoreSecret(s))); again.Revision != s.Revision {
		t.Error("restoring what is not deleted changes it")
	}
	m.mustSecret(m.do(m.by(1), endSecret(s, 0)))
	if n := m.View().UsageOf(kms.AppID(id(1))).Secrets; n != 0 || m.View().SecretBytes(kms.AppID(id(1))) != 0 {
		t.Errorf("deleted, and %d are counted", n)
	}
	s = m.mustSecret(m.do(m.by(1), putSecret(1, "db")))
	if len(s.Versions) != 1 || s.Last != 1 {
		t.Errorf("the name again has %+v", s)
	}
}

// TestSecretRotationDates: they are true, and each due date is told once.
func TestSecretRotationDates(t *testing.T) {
	m := newMachine(t)
	s := m.mustSecret(m.do(m.by(1), putSecret(1, "db", every("2d"))))
	m.mustSecret(m.do(m.by(2), putSecret(2, "db")))
	if s.Rotated != 0 || s.NextRotation() != start+2*day {
		t.Errorf("at first: %d, %d", s.Rotated, s.NextRotation())
	}
	rounds := func(want string) {
		t.Helper()
		from := m.index + 1
		for range 3 {
			m.do(nil, pass())
		}
		if got := m.told(from, 1); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		if got := m.told(from, 2); got != "" {
			t.Errorf("another app is told %q", got)
		}
	}
	m.time += 2*day - 1
	rounds("")
	m.time++
	rounds("secret_rotation_due 1 at 48h0m0s")
	m.time += 5 * day
	rounds("") // late, and told
	s, _ = m.View().Secret(s.App, s.Name)
	s = m.mustSecret(m.do(m.by(1), putValue(s, 2)))
	if s.Rotated != m.time || s.NextRotation() != m.time+2*day {
		t.Errorf("rotated at %d: %d, %d", m.time, s.Rotated, s.NextRotation())
	}
	s = m.mustSecret(m.do(m.by(1), putValue(s, 3, func(p *command.PutSecretVersion) { p.Pending = true })))
	m.time += 2 * day
	rounds("secret_rotation_due 2 at 216h0m0s") // a pending value is none yet
	s, _ = m.View().Secret(s.App, s.Name)
	s = m.mustSecret(m.do(m.by(1), setRotation(s, "")))
	m.time += 10 * day
	rounds("")
	s = m.mustSecret(m.do(m.by(1), setRotation(s, "6h"))) // long over
	rounds("secret_rotation_due 2 at 174h0m0s")
	s, _ = m.View().Secret(s.App, s.Name)
	m.refusedSecret("too often", m.by(1), setRotation(s, "359m"), kms.Invalid)
	m.refusedSecret("too seldom", m.by(1), setRotation(s, "366d"), kms.Invalid)
	m.refusedSecret("no interval", m.by(1), setRotation(s, "often"), kms.Invalid)
}

// TestKeyOfSecrets: a key that protects secrets stays, in whatever way it is to go,
// and so does each of its versions.
func TestKeyOfSecrets(t *testing.T) {
	m := newMachine(t)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	m.refusedSecret("under another app's key", m.by(2), putSecret(2, "db", under(k)), kms.Conflict)
	m.refusedSecret("under a key that is not", m.by(1), putSecret(1, "db", under(k), func(p *command.PutSecret) { p.Secret.Key = id(7) }), kms.Conflict)
	m.refusedSecret("under a key that moved", m.by(1), putSecret(1, "db", under(k), func(p *command.PutSecret) { p.KeyRevision-- }), kms.Conflict)
	m.refusedSecret("under a version that is not", m.by(1), putSecret(1, "db", under(k), func(p *command.PutSecret) { p.Version.Under = 2 }), kms.Conflict)
	s := m.mustSecret(m.do(m.by(1), putSecret(1, "db", under(k))))
	all := func() *command.Command {
		return &command.Command{Op: &command.Command_DeleteAppKeys{DeleteAppKeys: &command.DeleteAppKeys{}}}
	}
	m.refusedSecret("deleted", m.by(1), deleteKey(100, k.Revision), kms.Misused)
	m.refusedSecret("scheduled", m.by(1), schedule(100, k.Revision, m.time+7*day), kms.Misused)
	m.refusedSecret("all deleted", m.by(1), all(), kms.Misused)
	k = m.must(m.do(m.by(1), putVersion(100, k.Revision, 2)))
	k = m.must(m.do(m.by(1), setVersion(100, k.Revision, 1, kms.VersionDisabled)))
	m.refusedSecret("a version destroyed", m.by(1), setVersion(100, k.Revision, 1, kms.VersionDestroyed), kms.Misused)

	behind := 0
	m.View().SecretsBehind(func(*state.Key, *state.Secret) bool { behind++; return true })
	held := m.View().Held(k.ID)
	if behind != 1 || held == nil || held.Total != 1 || held.Secrets[0] != "db" {
		t.Errorf("%d are behind, held by %+v", behind, held)
	}
	move := func(edit func(*command.SecretRewrapped)) *command.Command {
		r := &command.SecretRewrapped{App: id(1), Name: "db", Revision: s.Revision, Versions: []*command.SecretWrap{{Number: 1, From: 1, To: 2, Wrapped: []byte("new")}}}
		if edit != nil {
			edit(r)
		}
		return &command.Command{Op: &command.Command_RewrapSecrets{RewrapSecrets: &command.RewrapSecrets{Secrets: []*command.SecretRewrapped{r}}}}
	}
	for name, edit := range map[string]func(*command.SecretRewrapped){
		"of another revision": func(r *command.SecretRewrapped) { r.Revision++ },
		"of another app":      func(r *command.SecretRewrapped) { r.App = id(2) },
		"from elsewhere":      func(r *command.SecretRewrapped) { r.Versions[0].From = 2 },
		"to an old version":   func(r *command.SecretRewrapped) { r.Versions[0].To = 1 },
		"to nothing":          func(r *command.SecretRewrapped) { r.Versions[0].Wrapped = nil },
		"of no version":       func(r *command.SecretRewrapped) { r.Versions[0].Number = 9 },
	} {
		m.do(nil, move(edit))
		if got, _ := m.View().Secret(s.App, s.Name); got != s {
			t.Errorf("re-wrapped %s", name)
		}
	}
	m.refusedSecret("re-wrapped by an app", m.by(1), move(nil), kms.Invalid)
	if r := m.do(nil, move(nil)); r.Err != nil {
		t.Fatal(r.Err)
	}
	s, _ = m.View().Secret(s.App, s.Name)
	if v, _ := s.Version(1); v.Under != 2 || string(v.Wrapped) != "new" || string(v.Sealed) != "value" {
		t.Errorf("re-wrapped to %+v", v)
	}
	m.View().SecretsBehind(func(*state.Key, *state.Secret) bool { t.Error("still behind"); return false })
	k = m.must(m.do(m.by(1), setVersion(100, k.Revision, 1, kms.VersionDestroyed)))
	if diff := cmp.Diff(secrets(m.View()), secrets(restore(t, snapshot(t, m.Machine)).View())); diff != "" {
		t.Error(diff)
	}

	other := m.must(m.do(m.by(1), putKey(1, 101)))
	to := func(key *state.Key, edit func(*command.SetSecretKey)) *command.Command {
		p := &command.SetSecretKey{Name: "db", Revision: s.Revision, OldKeyRevision: k.Revision, Versions: []*command.SecretWrap{{Number: 1, From: 2, To: 0, Wrapped: []byte("w")}}}
		if key != nil {
			p.Key, p.KeyRevision, p.Versions[0].To = key.ID[:], key.Revision, uint32(key.Current)
		}
		if edit != nil {
			edit(p)
		}
		return &command.Command{Op: &command.Command_SetSecretKey{SetSecretKey: p}}
	}
	m.refusedSecret("the old key moved", m.by(1), to(other, func(p *command.SetSecretKey) { p.OldKeyRevision++ }), kms.Conflict)
	m.refusedSecret("the new key moved", m.by(1), to(other, func(p *command.SetSecretKey) { p.KeyRevision++ }), kms.Conflict)
	m.refusedSecret("a version missing", m.by(1), to(other, func(p *command.SetSecretKey) { p.Versions = nil }), kms.Invalid)
	m.refusedSecret("re-wrapped meanwhile", m.by(1), to(other, func(p *command.SetSecretKey) { p.Versions[0].From = 1 }), kms.Conflict)
	s = m.mustSecret(m.do(m.by(1), to(other, nil)))
	m.must(m.do(m.by(1), deleteKey(100, k.Revision)))
	k = other
	s = m.mustSecret(m.do(m.by(1), to(nil, func(p *command.SetSecretKey) { p.Versions[0].From = 1 })))
	if w := m.View().Wrapped()[0]; m.View().Held(other.ID) != nil || w < 3 { // two credentials, the authority, and it
		t.Errorf("under the master secret there are %d", w)
	}
	m.must(m.do(m.by(1), all()))
}

// TestSecretsAreRewrapped: what the master secret wraps moves with its generations.
func TestSecretsAreRewrapped(t *testing.T) {
	m := newMachine(t)
	s := m.mustSecret(m.do(m.by(1), putSecret(1, "db")))
	s = m.mustSecret(m.do(m.by(1), putValue(s, 2)))
	before := m.View().Wrapped()[0]
	m.must(m.do(nil, putGeneration(1, m.orderTo(govern.DeedRotate, 1, 1))))
	c := rewrapKeys(1)
	c.GetRewrap().Secrets = []*command.SecretRewrapped{{App: id(1), Name: "db", Revision: s.Revision, Versions: []*command.SecretWrap{
		{Number: 1, From: 0, To: 1, Wrapped: []byte("one")}, {Number: 2, From: 1, To: 1, Wrapped: []byte("no")}}}}
	m.must(m.do(nil, c))
	got, _ := m.View().Secret(s.App, s.Name)
	if got.Versions[0].Under != 1 || string(got.Versions[0].Wrapped) != "one" || got.Versions[1].Under != 0 || got.Revision != s.Revision {
		t.Errorf("%+v %+v", got.Versions[0], got.Versions[1])
	}
	if w := m.View().Wrapped(); w[0] != before-1 || w[1] != 1 {
		t.Errorf("%v, before %d", w, before)
	}
}

// TestSecretLimits: an app's secrets take so much room and no more.
func TestSecretLimits(t *testing.T) {
	m := newMachine(t)
	large := func(p *command.PutSecret) { p.Version.Sealed = make([]byte, kms.MaxSecretValue) }
	n := 0
	for ; ; n++ {
		r := m.do(m.by(1), putSecret(1, fmt.Sprint("s", n), large))
		if r.Err != nil {
			if r.Err.Kind != kms.Exhausted {
				t.Fatal(r.Err)
			}
			break
		}
	}
	if n != kms.MaxSecretBytes/kms.MaxSecretValue-1 {
		t.Errorf("%d fit", n)
	}
	m.mustSecret(m.do(m.by(2), putSecret(2, "db", large))) // another app has its own room
	huge := putSecret(2, "x", func(p *command.PutSecret) { p.Version.Sealed = make([]byte, kms.MaxSecretValue+257) })
	m.refusedSecret("a huge value", m.by(2), huge, kms.Invalid)
	for name, edit := range map[string]func(*command.PutSecret){
		"a long name": func(p *command.PutSecret) { p.Secret.Name = strings.Repeat("é", kms.MaxSecretName+1) },
		"no name":     func(p *command.PutSecret) { p.Secret.Name = "" },
		"a long description": func(p *command.PutSecret) {
			p.Secret.Description = strings.Repeat("𝄞", kms.MaxSecretDescription/2+1)
		},
		"another app":            func(p *command.PutSecret) { p.Secret.App = id(1) },
		"a second version first": func(p *command.PutSecret) { p.Version.Number = 2 },
		"labels":                 func(p *command.PutSecret) { p.Secret.Labels = []*command.SecretLabel{{Name: "x", Version: 1}} },
		"a due time":             func(p *command.PutSecret) { p.Secret.Due = start + day },
		"no id":                  func(p *command.PutSecret) { p.Secret.Id = nil },
	} {
		m.refusedSecret(name, m.by(2), putSecret(2, "y", edit), kms.Invalid)
	}
}

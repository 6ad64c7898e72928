package state_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// keeps applies n random commands about secrets, some of which are refused.
func (m *machine) keeps(r *rand.Rand, n int) {
	for range n {
		m.time += int64(r.IntN(int(day)))
		app := 1 + r.Uint64N(2)
		name := fmt.Sprint("s", r.IntN(5))
		s, ok := m.View().Secret(kms.AppID(id(app)), kms.SecretName(name))
		k, keyed := m.View().Key(kms.KeyID(id(100 + app)))
		by := m.by(app)
		switch {
		case !keyed:
			m.do(by, putKey(app, 100+app))
		case !ok && r.IntN(2) == 0:
			m.do(by, putSecret(app, name, every("2d"), under(k)))
		case !ok:
			m.do(by, putSecret(app, name))
		default:
			m.keep(r, by, s, k)
		}
	}
}

func (m *machine) keep(r *rand.Rand, by *command.Principal, s *state.Secret, k *state.Key) {
	n := 1 + uint32(r.IntN(int(s.Last)))
	under, revision := uint32(0), uint64(0)
	if s.Key != (kms.KeyID{}) {
		under, revision = uint32(k.Current), k.Revision
	}
	switch r.IntN(8) {
	case 0, 1, 2:
		m.do(by, putValue(s, uint32(s.Last)+1, func(p *command.PutSecretVersion) {
			p.Version.Under, p.KeyRevision, p.Pending, p.Labels = under, revision, r.IntN(3) == 0, []string{"a"}
		}))
	case 3:
		c := labelSecret(s, []string{"a", "b", kms.LabelCurrent}[r.IntN(3)], n)
		c.GetLabelSecret().KeyRevision = revision
		m.do(by, c)
	case 4:
		c := destroySecret(s, n)
		c.GetDestroySecretVersion().KeyRevision = revision
		m.do(by, c)
	case 5:
		c := endSecret(s, []int64{0, m.time + 3*day, m.time + 4*day}[r.IntN(3)])
		c.GetDeleteSecret().KeyRevision = revision
		m.do(by, c)
	case 6:
		m.do(by, restoreSecret(s))
	case 7:
		m.do(by, putVersion(100+uint64(s.App[7]), k.Revision, uint32(k.Current)+1))
	}
}

// TestSecretsAreDeterministic: the same log gives the same bytes and events, in one
// go, on another machine, and from a snapshot on; and the indexes follow.
func TestSecretsAreDeterministic(t *testing.T) {
	seen := map[kms.EventKind]int{}
	for seed := range uint64(6) {
		a := newMachine(t)
		a.keeps(rand.New(rand.NewPCG(seed, 3)), 400)
		indexed(t, a.View())
		for name, m := range a.others(t) {
			if diff := cmp.Diff(secrets(a.View()), secrets(m.View())); diff != "" {
				t.Errorf("seed %d, %s: %s", seed, name, diff)
			}
			indexed(t, m.View())
		}
		for _, e := range eventsOf(t, a.View(), 1) {
			seen[e.Kind]++
		}
	}
	for _, k := range []kms.EventKind{kms.EventSecretCreated, kms.EventSecretVersionPut, kms.EventSecretPromoted, kms.EventSecretVersionDestroyed, kms.EventSecretChanged,
		kms.EventSecretRotationDue, kms.EventSecretDeletionScheduled, kms.EventSecretRestored, kms.EventSecretDeleted} {
		if seen[k] == 0 {
			t.Errorf("no %v was ever made", k)
		}
	}
}

func eventsOf(t *testing.T, v *state.View, app uint64) []kms.Event { return seen(t, v.Events(), app) }

// indexed checks that every index says what the secrets say.
func indexed(t *testing.T, v *state.View) {
	t.Helper()
	for _, app := range []uint64{1, 2} {
		total, under := uint32(0), 0
		key := kms.KeyID(id(100 + app))
		v.SecretsOf(kms.AppID(id(app)), "", func(s *state.Secret) bool {
			total++
			if s.Key == key {
				under++
			}
			return true
		})
		if got := v.UsageOf(kms.AppID(id(app))).Secrets; got != total {
			t.Errorf("%d secrets are counted, there are %d", got, total)
		}
		held := v.Held(key)
		if held == nil && under > 0 || held != nil && held.Total != under {
			t.Errorf("%d are under the key, said to be %+v", under, held)
		}
	}
}

// FuzzRestoreSecrets: what restores writes a snapshot that restores to the same.
func FuzzRestoreSecrets(f *testing.F) {
	m := newMachine(f)
	m.keeps(rand.New(rand.NewPCG(4, 4)), 60)
	f.Add(snapshot(f, m.Machine))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := state.New()
		if x.Restore(bytes.NewReader(b)) != nil {
			return
		}
		y := restore(t, snapshot(t, x))
		if diff := cmp.Diff(secrets(x.View()), secrets(y.View())); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzApplySecrets: no command about secrets stops a machine, or leaves an index
// behind.
func FuzzApplySecrets(f *testing.F) {
	m := newMachine(f)
	m.keeps(rand.New(rand.NewPCG(5, 5)), 40)
	for _, data := range m.log {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMachine(t)
		m.keeps(rand.New(rand.NewPCG(6, 6)), 6)
		m.Apply(m.index+1, data)
		m.Publish()
		indexed(t, m.View())
		if m.Fatal() == nil {
			restore(t, snapshot(t, m.Machine))
		}
	})
}

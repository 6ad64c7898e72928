package state_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

const day = int64(kms.Day)

func putVersion(key, revision uint64, number uint32) *command.Command {
	return &command.Command{Op: &command.Command_PutKeyVersion{PutKeyVersion: &command.PutKeyVersion{Key: id(key), Revision: revision,
		Version: &command.KeyVersion{Number: number, Created: start, Wrapped: []byte("material")}}}}
}

func setVersion(key, revision uint64, number uint32, to kms.VersionState) *command.Command {
	return &command.Command{Op: &command.Command_SetVersionState{SetVersionState: &command.SetVersionState{Key: id(key), Revision: revision,
		Version: number, State: uint32(to)}}}
}

func schedule(key, revision uint64, due int64) *command.Command {
	return &command.Command{Op: &command.Command_ScheduleDeletion{ScheduleDeletion: &command.ScheduleDeletion{Key: id(key), Revision: revision, Due: due}}}
}

func cancel(key, revision uint64) *command.Command {
	return &command.Command{Op: &command.Command_CancelDeletion{CancelDeletion: &command.CancelDeletion{Key: id(key), Revision: revision}}}
}

func setLabels(key, revision uint64, description string, tags ...kms.Tag) *command.Command {
	return &command.Command{Op: &command.Command_SetLabels{SetLabels: &command.SetLabels{Key: id(key), Revision: revision,
		Description: description, Tags: state.TagsProto(tags)}}}
}

func pass() *command.Command {
	return &command.Command{Op: &command.Command_Tick{Tick: &command.Tick{}}}
}

// descriptions is everything that owners can be told.
func descriptions(v *state.View) map[string]kms.KeyDescription {
	all := map[string]kms.KeyDescription{}
	for _, app := range []uint64{1, 2} {
		v.KeysOf(kms.AppID(id(app)), kms.KeyID{}, func(k *state.Key) bool {
			all[k.ID.String()] = v.Describe(k)
			return true
		})
	}
	return all
}

// unchanged refuses a command and looks that nothing changed.
func (m *machine) unchanged(name string, by *command.Principal, c *command.Command, want kms.Kind) {
	m.t.Helper()
	before := descriptions(m.View())
	r := m.do(by, c)
	if r.Err == nil || r.Err.Kind != want {
		m.t.Errorf("%s: %v, want %v", name, r.Err, want)
	}
	if diff := cmp.Diff(before, descriptions(m.View())); diff != "" {
		m.t.Errorf("%s: state changed: %s", name, diff)
	}
}

// TestVersions: numbers only grow, the current one stays, and what is destroyed
// is gone from record and snapshot.
func TestVersions(t *testing.T) {
	m := newMachine(t)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	for n := uint32(2); n <= 4; n++ {
		k = m.must(m.do(m.by(1), putVersion(100, k.Revision, n)))
		if uint32(k.Current) != n || len(k.Versions) != int(n) {
			t.Fatalf("after version %d: %+v", n, k)
		}
	}
	sm4 := putKey(1, 101)
	sm4.GetPutKey().Key.Spec = uint32(kms.SM4CTR)
	other := m.must(m.do(m.by(1), sm4))
	brought := putKey(1, 102)
	brought.GetPutKey().Key.Origin = uint32(kms.Imported)
	imported := m.must(m.do(m.by(1), brought))
	off := m.must(m.do(m.by(1), putKey(1, 103)))
	off = m.must(m.do(m.by(1), setState(103, off.Revision, kms.KeyDisabled)))
	empty := putVersion(100, k.Revision, 5)
	empty.GetPutKeyVersion().Version.Wrapped = nil
	disabled := putVersion(100, k.Revision, 5)
	disabled.GetPutKeyVersion().Version.State = uint32(kms.VersionDisabled)
	for _, c := range []struct {
		name string
		by   *command.Principal
		cmd  *command.Command
		want kms.Kind
	}{
		{"a version again", m.by(1), putVersion(100, k.Revision, 4), kms.Invalid},
		{"a gap", m.by(1), putVersion(100, k.Revision, 6), kms.Invalid},
		{"no material", m.by(1), empty, kms.Invalid},
		{"a disabled one", m.by(1), disabled, kms.Invalid},
		{"another app", m.by(2), putVersion(100, k.Revision, 5), kms.Foreign},
		{"nobody", nil, putVersion(100, k.Revision, 5), kms.Invalid},
		{"an old revision", m.by(1), putVersion(100, k.Revision-1, 5), kms.Conflict},
		{"SM4", m.by(1), putVersion(101, other.Revision, 2), kms.Misused},
		{"an imported key", m.by(1), putVersion(102, imported.Revision, 2), kms.Misused},
		{"a disabled key", m.by(1), putVersion(103, off.Revision, 2), kms.Disabled},
		{"the current one disabled", m.by(1), setVersion(100, k.Revision, 4, kms.VersionDisabled), kms.Misused},
		{"the current one destroyed", m.by(1), setVersion(100, k.Revision, 4, kms.VersionDestroyed), kms.Misused},
		{"an enabled one destroyed", m.by(1), setVersion(100, k.Revision, 2, kms.VersionDestroyed), kms.Misused},
		{"a version that is not there", m.by(1), setVersion(100, k.Revision, 9, kms.VersionDisabled), kms.NotFound},
		{"no state", m.by(1), setVersion(100, k.Revision, 2, 0), kms.Invalid},
		{"an unknown state", m.by(1), setVersion(100, k.Revision, 2, 9), kms.Invalid},
		{"another app's version", m.by(2), setVersion(100, k.Revision, 2, kms.VersionDisabled), kms.Foreign},
	} {
		m.unchanged(c.name, c.by, c.cmd, c.want)
	}

	k = m.must(m.do(m.by(1), setVersion(100, k.Revision, 2, kms.VersionDisabled)))
	if v, _ := k.Version(2); v.State != kms.VersionDisabled {
		t.Errorf("%+v", v)
	}
	if again, _ := restore(t, snapshot(t, m.Machine)).View().Key(k.ID); !cmp.Equal(again, k) {
		t.Errorf("restored: %s", cmp.Diff(k, again))
	}
	k = m.must(m.do(m.by(1), setVersion(100, k.Revision, 2, kms.VersionEnabled)))
	k = m.must(m.do(m.by(1), setVersion(100, k.Revision, 2, kms.VersionDisabled)))
	k = m.must(m.do(m.by(1), setVersion(100, k.Revision, 2, kms.VersionDestroyed)))
	if _, ok := k.Version(2); ok || len(k.Versions) != 3 {
		t.Errorf("destroyed, and there is %+v", k.Versions)
	}
	m.unchanged("a destroyed one enabled", m.by(1), setVersion(100, k.Revision, 2, kms.VersionEnabled), kms.NotFound)
	k = m.must(m.do(m.by(1), putVersion(100, k.Revision, 5)))
	for k.Current < kms.MaxKeyVersions+1 { // one was destroyed
		k = m.must(m.do(m.by(1), putVersion(100, k.Revision, uint32(k.Current)+1)))
	}
	m.unchanged("one too many", m.by(1), putVersion(100, k.Revision, uint32(k.Current)+1), kms.Exhausted)
	restore(t, snapshot(t, m.Machine))
}

// TestScheduledDeletion: until it is due it can be cancelled, from then on never,
// whichever command brings the time.
func TestScheduledDeletion(t *testing.T) {
	for name, c := range map[string]struct {
		passes int64 // from when it was scheduled
		gone   bool
	}{"at once": {0, false}, "a nanosecond before": {7*day - 1, false}, "when it is due": {7 * day, true}, "long after": {100 * day, true}} {
		for how, brings := range map[string]func(*machine, *state.Key) state.Result{
			"cancelling": func(m *machine, k *state.Key) state.Result { return m.do(m.by(1), cancel(100, k.Revision)) },
			"a tick first": func(m *machine, k *state.Key) state.Result {
				m.do(nil, pass())
				return m.do(m.by(1), cancel(100, k.Revision))
			},
			"a refusal first": func(m *machine, k *state.Key) state.Result {
				m.do(m.by(2), deleteKey(100, k.Revision))
				return m.do(m.by(1), cancel(100, k.Revision))
			},
			"from a snapshot": func(m *machine, k *state.Key) state.Result {
				m.Machine = restore(m.t, snapshot(m.t, m.Machine))
				return m.do(m.by(1), cancel(100, k.Revision))
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				m := newMachine(t)
				k := m.must(m.do(m.by(1), putKey(1, 100)))
				k = m.must(m.do(m.by(1), setState(100, k.Revision, kms.KeyDisabled)))
				k = m.must(m.do(m.by(1), schedule(100, k.Revision, m.time+7*day)))
				if k.State != kms.PendingDeletion {
					t.Fatalf("scheduled, and it is %v", k.State)
				}
				m.time += c.passes
				r := brings(m, k)
				back, there := m.View().Key(k.ID)
				if c.gone != !there || c.gone != (r.Err != nil) {
					t.Fatalf("there: %t, cancelling: %v", there, r.Err)
				}
				if c.gone && r.Err.Kind != kms.NotFound {
					t.Errorf("%v", r.Err)
				}
				if there && (back.State != kms.KeyDisabled || back.Deletion != nil) {
					t.Errorf("cancelled, and it is %+v", back)
				}
				m.time += 100 * day
				m.do(nil, pass())
				if _, still := m.View().Key(k.ID); still == c.gone {
					t.Errorf("a hundred days later: %t", still)
				}
			})
		}
	}
}

func TestScheduledDeletionRefused(t *testing.T) {
	m := newMachine(t)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	conditional := putKey(1, 101)
	conditional.GetPutKey().Key.Condition = programs(1)
	held := m.must(m.do(m.by(1), conditional))
	pending := putKey(1, 102)
	pending.GetPutKey().Key.State = uint32(kms.PendingDeletion)
	due := putKey(1, 102)
	due.GetPutKey().Key.Due = start + day
	m.unchanged("too soon", m.by(1), schedule(100, k.Revision, m.time+day-day/24-1), kms.Conflict)
	m.unchanged("too late", m.by(1), schedule(100, k.Revision, m.time+30*day+1), kms.Conflict)
	m.unchanged("in the past", m.by(1), schedule(100, k.Revision, -1), kms.Conflict)
	m.unchanged("another app", m.by(2), schedule(100, k.Revision, m.time+7*day), kms.Foreign)
	m.unchanged("a condition", m.by(1), schedule(101, held.Revision, m.time+7*day), kms.Denied)
	held = m.must(m.do(m.by(1), putVersion(101, held.Revision, 2)))
	held = m.must(m.do(m.by(1), setVersion(101, held.Revision, 1, kms.VersionDisabled)))
	m.unchanged("a version of a key with a condition", m.by(1), setVersion(101, held.Revision, 1, kms.VersionDestroyed), kms.Denied)
	m.unchanged("by its state alone", m.by(1), setState(100, k.Revision, kms.PendingDeletion), kms.Invalid)
	m.unchanged("a new key that is pending", m.by(1), pending, kms.Invalid)
	m.unchanged("a new key that is due", m.by(1), due, kms.Invalid)
	m.unchanged("cancelled without need", m.by(1), cancel(100, k.Revision), kms.Misused)
	k = m.must(m.do(m.by(1), schedule(100, k.Revision, m.time+30*day)))
	m.unchanged("twice", m.by(1), schedule(100, k.Revision, m.time+day), kms.Exists)
	m.unchanged("enabled meanwhile", m.by(1), setState(100, k.Revision, kms.Enabled), kms.Disabled)
	m.unchanged("rotated meanwhile", m.by(1), putVersion(100, k.Revision, 2), kms.Disabled)
	m.unchanged("cancelled by another app", m.by(2), cancel(100, k.Revision), kms.Foreign)
	m.must(m.do(m.by(1), deleteKey(100, k.Revision))) // sooner than it was due
	m.time += 60 * day
	m.must(m.do(m.by(1), putKey(1, 100))) // the id again: nothing is left that would destroy it
	m.do(nil, pass())
	if _, ok := m.View().Key(kms.KeyID(id(100))); !ok {
		t.Error("a key was destroyed by what was scheduled for another one")
	}
}

func TestLabels(t *testing.T) {
	m := newMachine(t)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	tags := []kms.Tag{{Name: "a", Value: "1"}, {Name: "b"}}
	many := make([]kms.Tag, kms.MaxTags+1)
	for i := range many {
		many[i].Name = fmt.Sprintf("%03d", i)
	}
	for name, c := range map[string]*command.Command{
		"a long description":     setLabels(100, k.Revision, strings.Repeat("x", kms.MaxDescription+1)),
		"a control character":    setLabels(100, k.Revision, "a\x1b[31m"),
		"no UTF-8":               setLabels(100, k.Revision, "a\xff"),
		"too many":               setLabels(100, k.Revision, "", many...),
		"out of order":           setLabels(100, k.Revision, "", tags[1], tags[0]),
		"twice":                  setLabels(100, k.Revision, "", tags[0], tags[0]),
		"without a name":         setLabels(100, k.Revision, "", kms.Tag{Value: "x"}),
		"a long name":            setLabels(100, k.Revision, "", kms.Tag{Name: strings.Repeat("x", kms.MaxTagName+1)}),
		"a long value":           setLabels(100, k.Revision, "", kms.Tag{Name: "x", Value: strings.Repeat("x", kms.MaxTagValue+1)}),
		"a value of two lines":   setLabels(100, k.Revision, "", kms.Tag{Name: "x", Value: "a\nb"}),
		"a name of another line": setLabels(100, k.Revision, "", kms.Tag{Name: "a\u2028b"}),
	} {
		if strings.Contains(name, "UTF-8") {
			continue // proto.Marshal refuses it already; the parser of the log does too
		}
		m.unchanged(name, m.by(1), c, kms.Invalid)
	}
	m.unchanged("another app", m.by(2), setLabels(100, k.Revision, "mine"), kms.Foreign)
	k = m.must(m.do(m.by(1), setLabels(100, k.Revision, "für Rechnungen", tags...)))
	k = m.must(m.do(m.by(1), setState(100, k.Revision, kms.KeyDisabled)))
	for name, again := range map[string]*state.Machine{"the log": replayed(m), "a snapshot": restore(t, snapshot(t, m.Machine))} {
		got, _ := again.View().Key(k.ID)
		if !cmp.Equal(got, k) || got.Labels.Description != "für Rechnungen" || !slices.Equal(got.Labels.Tags, tags) {
			t.Errorf("after %s: %s", name, cmp.Diff(k, got))
		}
	}
	if k = m.must(m.do(m.by(1), setLabels(100, k.Revision, ""))); k.Labels != nil {
		t.Errorf("none, and there is %+v", k.Labels)
	}
}

// lives applies n random commands of keys' lives, some of which are refused.
func (m *machine) lives(r *rand.Rand, n int) {
	for range n {
		m.time += int64(r.IntN(int(6 * day / 10)))
		app, key := 1+r.Uint64N(2), 100+r.Uint64N(8)
		var revision, aliasRevision uint64
		var current uint32
		if k, ok := m.View().Key(kms.KeyID(id(key))); ok {
			revision, current = k.Revision, uint32(k.Current)
			app = uint64(k.App[7])
		}
		name := fmt.Sprintf("alias/%d", r.IntN(6))
		if a, ok := m.View().Alias(kms.AppID(id(app)), name); ok && r.IntN(3) > 0 {
			aliasRevision = a.Revision
		}
		switch by := m.by(app); r.IntN(10) {
		case 0, 1:
			c := putKey(app, key)
			if r.IntN(2) == 0 {
				c.GetPutKey().Alias = name
			}
			m.do(by, c)
		case 2:
			m.do(by, putVersion(key, revision, current+1))
		case 3:
			m.do(by, setVersion(key, revision, 1+uint32(r.IntN(4)), kms.VersionState(1+r.IntN(3))))
		case 4:
			m.do(by, schedule(key, revision, m.time+day+int64(r.IntN(int(3*day)))))
		case 5:
			m.do(by, cancel(key, revision))
		case 6:
			m.do(by, setLabels(key, revision, name, kms.Tag{Name: name}))
		case 7:
			m.do(by, putAlias(name, key, aliasRevision))
		case 8:
			m.do(by, deleteAlias(name, aliasRevision))
		case 9:
			m.do(by, deleteKey(key, revision))
		}
	}
}

// TestLivesAreDeterministic: the same log gives the same bytes, in one go, on
// another machine, and from a snapshot on; aliases name keys that are there.
func TestLivesAreDeterministic(t *testing.T) {
	aliases, pending := 0, 0
	for seed := range uint64(8) {
		a := newMachine(t)
		a.lives(rand.New(rand.NewPCG(seed, 2)), 400)
		a.others(t)
		for _, d := range descriptions(a.View()) {
			aliases += len(d.Aliases)
			if d.State == kms.PendingDeletion {
				pending++
			}
			for _, name := range d.Aliases {
				if got, ok := a.View().Alias(d.App, name); !ok || got.Key != d.ID {
					t.Errorf("alias %s of %s names %+v", name, d.ID, got)
				}
			}
		}
		a.View().AliasesOf(kms.AppID(id(1)), "", func(x *state.Alias) bool {
			if k, ok := a.View().Key(x.Key); !ok || k.App != x.App {
				t.Errorf("%s names no key", x.Name)
			}
			return true
		})
	}
	if aliases == 0 || pending == 0 {
		t.Errorf("%d aliases, %d pending keys: this proves nothing", aliases, pending)
	}
}

// TestRecordsFailClosed: a record that no command makes does not restore.
func TestRecordsFailClosed(t *testing.T) {
	m := newMachine(t)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	k = m.must(m.do(m.by(1), putVersion(100, k.Revision, 2)))
	good := k.Proto()
	for name, edit := range map[string]func(*command.Key){
		"versions out of order":         func(p *command.Key) { slices.Reverse(p.Versions) },
		"the current is not last":       func(p *command.Key) { p.Current = 1 },
		"the current is disabled":       func(p *command.Key) { p.Versions[1].State = uint32(kms.VersionDisabled) },
		"a version is destroyed":        func(p *command.Key) { p.Versions[0].State = uint32(kms.VersionDestroyed) },
		"a version is unknown":          func(p *command.Key) { p.Versions[0].State = 300 },
		"due without being pending":     func(p *command.Key) { p.Due = 1 },
		"pending without being due":     func(p *command.Key) { p.State = uint32(kms.PendingDeletion) },
		"goes back to what is no state": func(p *command.Key) { p.State, p.Due, p.StateBefore = uint32(kms.PendingDeletion), 1, 99 },
		"goes back to pending": func(p *command.Key) {
			p.State, p.Due, p.StateBefore = uint32(kms.PendingDeletion), 1, uint32(kms.PendingDeletion)
		},
		"tags twice": func(p *command.Key) { p.Tags = []*command.Tag{{Name: "a"}, {Name: "a"}} },
	} {
		p := proto.Clone(good).(*command.Key)
		edit(p)
		c := &command.Command{Op: &command.Command_PutKey{PutKey: &command.PutKey{Key: p}}}
		p.Id = id(101)
		m.unchanged(name, m.by(1), c, kms.Invalid)
	}
}

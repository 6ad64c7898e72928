package state_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

func putAlias(name string, key, revision uint64) *command.Command {
	return &command.Command{Op: &command.Command_PutAlias{PutAlias: &command.PutAlias{Name: name, Key: id(key), Revision: revision}}}
}

func deleteAlias(name string, revision uint64) *command.Command {
	return &command.Command{Op: &command.Command_DeleteAlias{DeleteAlias: &command.DeleteAlias{Name: name, Revision: revision}}}
}

// alias is what an app's alias names, 0 for nothing.
func (m *machine) alias(app uint64, name string) (key, revision uint64) {
	a, ok := m.View().Alias(kms.AppID(id(app)), name)
	if !ok {
		return 0, 0
	}
	for k := range uint64(1000) {
		if a.Key == kms.KeyID(id(k)) {
			return k, a.Revision
		}
	}
	return 0, a.Revision
}

// TestAliases: one name names one key of one app, moves in one step, and goes
// with its key.
func TestAliases(t *testing.T) {
	m := newMachine(t)
	for _, c := range []*command.Command{putKey(1, 100), putKey(1, 101), putKey(2, 200)} {
		m.must(m.do(m.by(uint64(c.GetPutKey().Key.App[7])), c))
	}
	m.must(m.do(m.by(1), putAlias("alias/a", 100, 0)))
	m.must(m.do(m.by(2), putAlias("alias/a", 200, 0))) // each app has names of its own
	key, revision := m.alias(1, "alias/a")
	if other, _ := m.alias(2, "alias/a"); key != 100 || other != 200 {
		t.Fatalf("alias/a names %d and %d", key, other)
	}
	for _, c := range []struct {
		name string
		by   *command.Principal
		cmd  *command.Command
		want kms.Kind
	}{
		{"taken", m.by(1), putAlias("alias/a", 101, 0), kms.Exists},
		{"moved meanwhile", m.by(1), putAlias("alias/a", 101, revision+1), kms.Conflict},
		{"gone meanwhile", m.by(1), putAlias("alias/b", 101, revision), kms.Conflict},
		{"of another app's key", m.by(1), putAlias("alias/b", 200, 0), kms.Foreign},
		{"of no key", m.by(1), putAlias("alias/b", 999, 0), kms.NotFound},
		{"by nobody", nil, putAlias("alias/b", 100, 0), kms.Invalid},
		{"no prefix", m.by(1), putAlias("b", 100, 0), kms.Invalid},
		{"nothing behind it", m.by(1), putAlias("alias/", 100, 0), kms.Invalid},
		{"a space", m.by(1), putAlias("alias/a b", 100, 0), kms.Invalid},
		{"long", m.by(1), putAlias("alias/"+strings.Repeat("a", kms.MaxAlias+1), 100, 0), kms.Invalid},
		{"deleted by who does not have it", m.by(2), deleteAlias("alias/b", revision), kms.NotFound},
		{"deleted at another revision", m.by(2), deleteAlias("alias/a", revision), kms.Conflict},
		{"deleted by nobody", nil, deleteAlias("alias/a", revision), kms.Invalid},
	} {
		m.unchanged(c.name, c.by, c.cmd, c.want)
	}
	m.must(m.do(m.by(1), putAlias("alias/a", 101, revision)))
	key, revision = m.alias(1, "alias/a")
	if k, _ := m.View().Key(kms.KeyID(id(100))); key != 101 || m.View().AliasesFor(k) != nil {
		t.Errorf("moved: it names %d", key)
	}
	m.must(m.do(m.by(1), putAlias("alias/z", 101, 0)))
	for name, v := range map[string]*state.View{"here": m.View(), "the log": replayed(m).View(), "a snapshot": restore(t, snapshot(t, m.Machine)).View()} {
		k, _ := v.Key(kms.KeyID(id(101)))
		if got := v.AliasesFor(k); !slices.Equal(got, []string{"alias/a", "alias/z"}) {
			t.Errorf("%s: %v", name, got)
		}
	}
	m.must(m.do(m.by(1), deleteAlias("alias/a", revision)))
	k, _ := m.View().Key(kms.KeyID(id(101)))
	m.must(m.do(m.by(1), deleteKey(101, k.Revision)))
	if key, _ := m.alias(1, "alias/z"); key != 0 {
		t.Error("an alias outlived its key")
	}
	if key, _ := m.alias(2, "alias/a"); key != 200 {
		t.Error("another app's alias went too")
	}
}

func TestAliasOfNewKey(t *testing.T) {
	m := newMachine(t)
	named := func(key uint64, name string) *command.Command {
		c := putKey(1, key)
		c.GetPutKey().Alias = name
		return c
	}
	m.must(m.do(m.by(1), named(100, "alias/a")))
	m.unchanged("taken", m.by(1), named(101, "alias/a"), kms.Exists)
	m.unchanged("malformed", m.by(1), named(101, "a"), kms.Invalid)
	if key, _ := m.alias(1, "alias/a"); key != 100 {
		t.Errorf("it names %d", key)
	}
	for i := 1; i < kms.MaxAliases; i++ {
		m.must(m.do(m.by(1), putAlias(fmt.Sprintf("alias/%d", i), 100, 0)))
	}
	m.unchanged("one too many", m.by(1), putAlias("alias/more", 100, 0), kms.Exhausted)
	_, revision := m.alias(1, "alias/1")
	m.must(m.do(m.by(1), putAlias("alias/1", 100, revision))) // to where it is
}

func TestAliasesOfPages(t *testing.T) {
	m := newMachine(t)
	m.must(m.do(m.by(1), putKey(1, 100)))
	m.must(m.do(m.by(2), putKey(2, 200)))
	want := []string{"alias/a", "alias/b", "alias/b/c", "alias/d"}
	for _, name := range want {
		m.must(m.do(m.by(1), putAlias(name, 100, 0)))
		m.must(m.do(m.by(2), putAlias(name, 200, 0)))
	}
	for after := range want {
		var got []string
		m.View().AliasesOf(kms.AppID(id(1)), want[after], func(a *state.Alias) bool { got = append(got, a.Name); return true })
		if diff := cmp.Diff(append([]string(nil), want[after+1:]...), got); diff != "" {
			t.Errorf("after %s: %s", want[after], diff)
		}
	}
}

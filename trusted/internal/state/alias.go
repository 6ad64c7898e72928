package state

import (
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// An Alias is a name that an app gave one of its keys. Records are immutable.
type Alias struct {
	App      kms.AppID
	Name     string
	Key      kms.KeyID
	Created  int64
	Updated  int64 // when it came to name this key
	Revision uint64
}

// Info is what may be told of the alias.
func (a *Alias) Info() kms.Alias {
	return kms.Alias{Name: a.Name, Key: a.Key, Created: time.Unix(0, a.Created).UTC(), Updated: time.Unix(0, a.Updated).UTC()}
}

// aliasKey puts an app's aliases side by side, in order of their names.
func aliasKey(app kms.AppID, name string) string { return string(app[:]) + name }

// Alias finds an alias of an app.
func (v *View) Alias(app kms.AppID, name string) (*Alias, bool) {
	return v.aliases.Get(aliasKey(app, name))
}

// AliasesOf calls f with the aliases of an app in order of their names, from the
// first one after `after`, until f returns false.
func (v *View) AliasesOf(app kms.AppID, after string, f func(*Alias) bool) {
	v.aliases.Ascend(aliasKey(app, after), func(_ string, a *Alias) bool {
		if a.App != app {
			return false
		}
		return a.Name == after || f(a)
	})
}

// AliasesFor lists the aliases of a key in order of their names: at most
// kms.MaxAliases.
func (v *View) AliasesFor(k *Key) (names []string) {
	id := string(k.ID[:])
	v.aliasesByKey.Ascend(id, func(entry string, _ struct{}) bool {
		name, ok := strings.CutPrefix(entry, id)
		if ok {
			names = append(names, name)
		}
		return ok
	})
	return names
}

// putAlias makes an alias, or has it name another key of the app.
func (m *Machine) putAlias(by *command.Principal, p *command.PutAlias) Result {
	k, r, ok := m.namedKey(by, p.GetKey())
	if !ok {
		return r
	}
	if !kms.ValidAlias(p.GetName()) {
		return refuse(kms.Invalid, "alias is malformed")
	}
	old, taken := m.next.Alias(k.App, p.GetName())
	switch {
	case taken && p.GetRevision() == 0:
		return refuse(kms.Exists, "the alias exists")
	case !taken && p.GetRevision() != 0:
		return refuse(kms.Conflict, "the alias is gone meanwhile")
	case taken && old.Revision != p.GetRevision():
		return refuse(kms.Conflict, "the alias changed meanwhile")
	case taken && old.Key == k.ID:
		return Result{Key: k}
	case len(m.next.AliasesFor(k)) >= kms.MaxAliases:
		return refuse(kms.Exhausted, "the key has its full number of aliases")
	}
	a := &Alias{App: k.App, Name: p.GetName(), Key: k.ID, Created: m.next.time, Updated: m.next.time, Revision: m.revise()}
	if taken {
		a.Created = old.Created
		m.dropAlias(old)
	}
	m.setAlias(a)
	return Result{Key: k}
}

func (m *Machine) deleteAlias(by *command.Principal, p *command.DeleteAlias) Result {
	var app kms.AppID
	if by == nil || !fill(app[:], by.GetApp()) {
		return refuse(kms.Invalid, "no app is named")
	}
	a, ok := m.next.Alias(app, p.GetName())
	switch {
	case !ok:
		return refuse(kms.NotFound, "no such alias")
	case a.Revision != p.GetRevision():
		return refuse(kms.Conflict, "the alias changed meanwhile")
	}
	m.dropAlias(a)
	return Result{}
}

// namedKey finds a key of the principal's app, whatever its revision.
func (m *Machine) namedKey(by *command.Principal, rawID []byte) (*Key, Result, bool) {
	var revision uint64
	var id kms.KeyID
	if fill(id[:], rawID) {
		if k, ok := m.next.Key(id); ok {
			revision = k.Revision
		}
	}
	return m.ownKey(by, rawID, revision)
}

// nameNew makes the alias that a new key comes with.
func (m *Machine) nameNew(k *Key, name string) {
	if name != "" {
		m.setAlias(&Alias{App: k.App, Name: name, Key: k.ID, Created: k.Created, Updated: k.Created, Revision: k.Revision})
	}
}

// nameFree asks whether a new key of an app can come with an alias.
func (m *Machine) nameFree(app kms.AppID, name string) (Result, bool) {
	if name == "" {
		return Result{}, true
	}
	if !kms.ValidAlias(name) {
		return refuse(kms.Invalid, "alias is malformed"), false
	}
	if _, taken := m.next.Alias(app, name); taken {
		return refuse(kms.Exists, "the alias exists"), false
	}
	return Result{}, true
}

func (m *Machine) setAlias(a *Alias) {
	old, _ := m.next.aliases.Set(aliasKey(a.App, a.Name), a)
	count(m, old, a)
	m.next.aliasesByKey.Set(string(a.Key[:])+a.Name, struct{}{})
}

func (m *Machine) dropAlias(a *Alias) {
	gone, _ := m.next.aliases.Delete(aliasKey(a.App, a.Name))
	count(m, gone, nil)
	m.next.aliasesByKey.Delete(string(a.Key[:]) + a.Name)
}

// dropAliases takes the names of a key that goes: they name nothing any more.
func (m *Machine) dropAliases(k *Key) {
	for _, name := range m.next.AliasesFor(k) {
		if a, ok := m.next.Alias(k.App, name); ok {
			m.dropAlias(a)
		}
	}
}

func (a *Alias) proto() *command.Alias {
	return &command.Alias{App: a.App[:], Name: a.Name, Key: a.Key[:], Created: a.Created, Updated: a.Updated, Revision: a.Revision}
}

// loadAlias restores an alias from a snapshot, where it comes after its key.
func (m *Machine) loadAlias(p *command.Alias) error {
	a := &Alias{Name: p.GetName(), Created: p.GetCreated(), Updated: p.GetUpdated(), Revision: p.GetRevision()}
	if !fill(a.App[:], p.GetApp()) || !fill(a.Key[:], p.GetKey()) || !kms.ValidAlias(a.Name) {
		return malformed("alias record")
	}
	if k, ok := m.next.Key(a.Key); !ok || k.App != a.App {
		return malformed("snapshot: alias of no key")
	}
	if _, twice := m.next.Alias(a.App, a.Name); twice {
		return malformed("snapshot: alias")
	}
	m.setAlias(a)
	return nil
}

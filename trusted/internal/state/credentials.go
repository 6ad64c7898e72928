package state

import (
	"bytes"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// App finds an app.
func (v *View) App(id kms.AppID) (*App, bool) { return v.apps.Get(string(id[:])) }

// CredentialsOf lists the credentials of an app in order of their ids, those
// that have expired and were not swept yet among them.
func (v *View) CredentialsOf(app kms.AppID) []*Credential {
	a, ok := v.App(app)
	if !ok {
		return nil
	}
	all := make([]*Credential, 0, len(a.Credentials))
	for _, id := range a.Credentials {
		if c, ok := v.Credential(id); ok {
			all = append(all, c)
		}
	}
	return all
}

// Info is what may be told of the credential.
func (c *Credential) Info() kms.CredentialInfo {
	info := kms.CredentialInfo{ID: c.ID, App: c.App, Name: c.Name, Permissions: c.Permissions, Created: time.Unix(0, c.Created).UTC()}
	if c.Expires != 0 {
		info.Expires = time.Unix(0, c.Expires).UTC()
	}
	return info
}

// Expired reports whether the credential is over at now, ns since 1970.
func (c *Credential) Expired(now int64) bool { return c.Expires != 0 && now >= c.Expires }

// keeps reports whether the credential keeps its app manageable for good.
func (c *Credential) keeps() bool { return c.Expires == 0 && c.Permissions.Has(kms.PermManage) }

// putCredential gives an app another credential and, where that succeeds one,
// ends that one: both or neither. What has expired makes room for it.
func (m *Machine) putCredential(by *command.Principal, p *command.PutCredential) Result {
	fresh, err := credentialFrom(p.GetCredential())
	if err != nil || by == nil || string(fresh.App[:]) != string(by.GetApp()) || fresh.Expired(m.next.time) {
		return refuse(kms.Invalid, "credential record is malformed")
	}
	if _, taken := m.next.Credential(fresh.ID); taken {
		return refuse(kms.Exists, "credential id is taken")
	}
	var old, ended *Credential
	if p.GetReplaces() != nil {
		var r Result
		var ok bool
		if old, ended, r, ok = m.ending(by, p.GetReplaces()); !ok {
			return r
		}
	}
	live := m.live(fresh.App, old)
	if ended != nil {
		live++
	}
	if live >= int(p.GetMaxCredentials()) {
		return refuse(kms.Exhausted, "the app has its full number of credentials")
	}
	if old != nil && !m.keptWithout(old, ended, fresh) {
		return refuseLast()
	}
	m.sweep(fresh.App)
	fresh.Revision = m.revise()
	m.addCredential(fresh)
	if old != nil {
		m.replaceCredential(old, ended)
	}
	return Result{}
}

// setCredential changes when a credential ends.
func (m *Machine) setCredential(by *command.Principal, p *command.SetCredential) Result {
	old, ended, r, ok := m.ending(by, p)
	if !ok {
		return r
	}
	if !m.keptWithout(old, ended) {
		return refuseLast()
	}
	m.replaceCredential(old, ended)
	return Result{}
}

// revokeCredential ends a credential at once.
func (m *Machine) revokeCredential(by *command.Principal, p *command.RevokeCredential) Result {
	old, r, ok := m.ownCredential(by, p.GetId(), p.GetRevision())
	if !ok {
		return r
	}
	if !m.keptWithout(old, nil) {
		return refuseLast()
	}
	m.dropCredential(old)
	return Result{}
}

// refuseLast refuses what would leave an app that nobody can manage any more.
func refuseLast() Result {
	return Result{Err: kms.Errorf(kms.Misused, "it is the app's last credential that may manage and does not expire").
		WithHint("create another credential that may manage and does not expire, then try again")}
}

// ending finds the credential that p is about, and what becomes of it: nil
// where it is over already.
func (m *Machine) ending(by *command.Principal, p *command.SetCredential) (old, ended *Credential, r Result, ok bool) {
	if old, r, ok = m.ownCredential(by, p.GetId(), p.GetRevision()); !ok {
		return nil, nil, r, false
	}
	c := *old
	if p.GetGeneration() != old.Generation { // the same secret, wrapped again
		c.Once = onceOf(old.Once, old.Generation)
	}
	c.Expires, c.Wrapped, c.Generation = p.GetExpires(), exact(p.GetWrapped()), p.GetGeneration()
	if c.Expired(m.next.time) {
		return old, nil, Result{}, true
	}
	if c.Expires < 0 || len(c.Wrapped) == 0 {
		return nil, nil, refuse(kms.Invalid, "credential record is malformed"), false
	}
	return old, &c, Result{}, true
}

// ownCredential finds a credential of the principal's app, at the revision it
// was seen at.
func (m *Machine) ownCredential(by *command.Principal, rawID []byte, revision uint64) (*Credential, Result, bool) {
	var id kms.CredentialID
	if !fill(id[:], rawID) || by == nil {
		return nil, refuse(kms.Invalid, "credential id is malformed"), false
	}
	c, ok := m.next.Credential(id)
	switch {
	case !ok:
		return nil, refuse(kms.NotFound, "no such credential"), false
	case c.Expired(m.next.time): // and stays so
		return nil, refuse(kms.NotFound, "no such credential"), false
	case string(c.App[:]) != string(by.GetApp()):
		return nil, refuse(kms.Foreign, "the credential belongs to another app"), false
	case c.Revision != revision:
		return nil, refuse(kms.Conflict, "the credential changed meanwhile"), false
	}
	return c, Result{}, true
}

// keptWithout reports whether the app can still be managed for good when old
// has gone and instead has come. An app that could not be before has nothing
// to lose.
func (m *Machine) keptWithout(old *Credential, instead ...*Credential) bool {
	if !old.keeps() {
		return true
	}
	for _, c := range instead {
		if c != nil && c.keeps() {
			return true
		}
	}
	return slices.ContainsFunc(m.next.CredentialsOf(old.App), func(c *Credential) bool { return c.ID != old.ID && c.keeps() })
}

// live counts an app's credentials that have not expired, but for one.
func (m *Machine) live(app kms.AppID, but *Credential) (n int) {
	for _, c := range m.next.CredentialsOf(app) {
		if c != but && !c.Expired(m.next.time) {
			n++
		}
	}
	return n
}

// sweep drops an app's credentials that have expired by domain time.
func (m *Machine) sweep(app kms.AppID) {
	for _, c := range m.next.CredentialsOf(app) {
		if c.Expired(m.next.time) {
			m.dropCredential(c)
		}
	}
}

// addCredential puts a credential into the state and into its app's list, which
// is in order of ids: so that it does not depend on how it came about.
func (m *Machine) addCredential(c *Credential) {
	m.setCredentialRecord(c)
	m.listCredential(c)
}

// listCredential reports false where there is no such app.
func (m *Machine) listCredential(c *Credential) bool {
	old, ok := m.next.App(c.App)
	if !ok {
		return false
	}
	app := *old
	at, there := slices.BinarySearchFunc(app.Credentials, c.ID, compareIDs)
	if !there {
		app.Credentials = slices.Insert(slices.Clip(slices.Clone(app.Credentials)), at, c.ID)
	}
	m.setApp(&app)
	return true
}

// replaceCredential puts ended in old's place, or nothing where it is over.
func (m *Machine) replaceCredential(old, ended *Credential) {
	if ended == nil {
		m.dropCredential(old)
		return
	}
	ended.Revision = m.revise()
	m.setCredentialRecord(ended)
}

func (m *Machine) dropCredential(c *Credential) {
	gone, _ := m.next.credentials.Delete(string(c.ID[:]))
	count(m, gone, nil)
	old, ok := m.next.App(c.App)
	if !ok {
		return
	}
	app := *old
	if at, there := slices.BinarySearchFunc(app.Credentials, c.ID, compareIDs); there {
		app.Credentials = slices.Delete(slices.Clone(app.Credentials), at, at+1)
	}
	m.setApp(&app)
}

func (m *Machine) setCredentialRecord(c *Credential) {
	old, _ := m.next.credentials.Set(string(c.ID[:]), c)
	count(m, old, c)
}

func (m *Machine) setApp(a *App) {
	old, _ := m.next.apps.Set(string(a.ID[:]), a)
	count(m, old, a)
}

func compareIDs(a, b kms.CredentialID) int { return bytes.Compare(a[:], b[:]) }

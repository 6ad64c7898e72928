package state

import (
	"slices"
	"strings"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// ownSecret finds a secret of the principal's app, at the revision it was seen
// at, that is not to be deleted.
func (m *Machine) ownSecret(by *command.Principal, name string, revision uint64) (*Secret, Result, bool) {
	s, r, ok := m.anySecret(by, name, revision)
	if ok && s.Due != 0 {
		return nil, refuse(kms.Disabled, "the secret's deletion is scheduled"), false
	}
	return s, r, ok
}

// anySecret is ownSecret for those that are to be deleted as well.
func (m *Machine) anySecret(by *command.Principal, name string, revision uint64) (*Secret, Result, bool) {
	var app kms.AppID
	if by == nil || !fill(app[:], by.GetApp()) {
		return nil, refuse(kms.Invalid, "no app is named"), false
	}
	s, ok := m.next.Secret(app, kms.SecretName(name))
	switch {
	case !ok:
		return nil, refuse(kms.NotFound, "no such secret"), false
	case s.Revision != revision:
		return nil, refuse(kms.Conflict, "the secret changed meanwhile"), false
	}
	return s, Result{}, true
}

// keyAsUsed asks whether a secret's key is still as it was when its use was
// authorised. For the domain's own there is nothing to ask.
func (m *Machine) keyAsUsed(app kms.AppID, id kms.KeyID, revision uint64) (Result, bool) {
	if id == (kms.KeyID{}) {
		return Result{}, true
	}
	k, ok := m.next.Key(id)
	if !ok || k.App != app || k.Revision != revision {
		return refuse(kms.Conflict, "the key that protects the secret changed meanwhile"), false
	}
	return Result{}, true
}

// wrapsNow asks whether what was wrapped for a secret can be opened: by a version
// that its key has, or a generation in use.
func (m *Machine) wrapsNow(key kms.KeyID, under uint32) bool {
	if key == (kms.KeyID{}) {
		return m.next.InUse(under)
	}
	k, ok := m.next.Key(key)
	if !ok {
		return false
	}
	_, ok = k.Version(kms.KeyVersion(under))
	return ok && under != 0
}

func (m *Machine) putSecret(by *command.Principal, p *command.PutSecret) Result {
	s, err := secretFrom(p.GetSecret())
	if err != nil || by == nil || string(s.App[:]) != string(by.GetApp()) {
		return refuse(kms.Invalid, "secret record is malformed")
	}
	v, err := secretVersionFrom(p.GetVersion())
	if err != nil || v.Number != 1 || s.Current != 1 || s.Last != 1 || s.Previous != 0 || len(s.Labels) > 0 || s.Due != 0 || s.Told != 0 || s.Rotated != 0 {
		return refuse(kms.Invalid, "secret record is malformed")
	}
	if _, taken := m.next.Secret(s.App, s.Name); taken {
		return refuse(kms.Exists, "the secret exists")
	}
	if r, ok := m.keyAsUsed(s.App, s.Key, p.GetKeyRevision()); !ok {
		return r
	}
	if !m.wrapsNow(s.Key, v.Under) {
		return refuse(kms.Conflict, "what this is wrapped under is gone meanwhile")
	}
	s.Versions, s.Revision = []*SecretVersion{v}, m.revise()
	s.measure()
	if err := m.next.RoomForSecret(s.App); err != nil {
		return refuseAs(err)
	}
	if err := m.next.RoomForValue(s.App, s.bytes); err != nil {
		return refuseAs(err)
	}
	m.setSecret(s)
	m.secretEvent(kms.EventSecretCreated, s, 1)
	return Result{Secret: s}
}

// putSecretVersion gives a secret another version, in one step with all that
// follows from it: there is no moment without a current one.
func (m *Machine) putSecretVersion(by *command.Principal, p *command.PutSecretVersion) Result {
	old, r, ok := m.ownSecret(by, p.GetName(), p.GetRevision())
	if !ok {
		return r
	}
	v, err := secretVersionFrom(p.GetVersion())
	if err != nil || v.Number != old.Last+1 || len(p.GetLabels()) > kms.MaxSecretLabels {
		return refuse(kms.Invalid, "secret version is malformed")
	}
	if r, ok := m.keyAsUsed(old.App, old.Key, p.GetKeyRevision()); !ok {
		return r
	}
	if !m.wrapsNow(old.Key, v.Under) {
		return refuse(kms.Conflict, "what this is wrapped under is gone meanwhile")
	}
	if err := m.next.RoomForValue(old.App, len(v.Wrapped)+len(v.Sealed)); err != nil {
		return refuseAs(err)
	}
	s := *old
	v.Created = m.next.time
	if s.Versions, ok = old.withRoom(m.next.time); !ok {
		return refuse(kms.Exhausted, "the secret has its full number of versions")
	}
	s.Versions, s.Last, s.Revision = append(s.Versions, v), v.Number, m.revise()
	for _, l := range p.GetLabels() {
		if r, ok := s.label(l, v.Number); !ok {
			return r
		}
	}
	if !p.GetPending() {
		s.promote(v.Number, m.next.time, old.newest())
	}
	m.setSecret(&s)
	m.secretEvent(kms.EventSecretVersionPut, &s, uint64(v.Number))
	return Result{Secret: &s}
}

// withRoom is a copy of a secret's versions with room for one more: if there are
// too many the oldest goes that bears no label, and is old enough.
func (s *Secret) withRoom(now int64) ([]*SecretVersion, bool) {
	all := slices.Clone(s.Versions)
	if len(all) < kms.MaxSecretVersions {
		return all, true
	}
	i := slices.IndexFunc(all, func(v *SecretVersion) bool { return !s.bears(v.Number) })
	if i < 0 || now-all[i].Created < int64(kms.SecretVersionAge) {
		return nil, false
	}
	return slices.Delete(all, i, i+1), true
}

// newest is the newest version that was current.
func (s *Secret) newest() kms.SecretVersion { return max(s.Current, s.Previous) }

// promote makes a version the current one. It counts as a rotation if it is newer
// than what was current before: going back to an old value is none.
func (s *Secret) promote(n kms.SecretVersion, now int64, newest kms.SecretVersion) {
	if n == s.Current {
		return
	}
	s.Previous, s.Current, s.Changed = s.Current, n, now
	if n > newest {
		s.Rotated, s.Told = now, 0
	}
}

// label puts a label of the app's own on a version; 0 takes it away.
func (s *Secret) label(name string, n kms.SecretVersion) (Result, bool) {
	if !kms.OwnSecretLabel(name) {
		return refuse(kms.Invalid, "label is malformed"), false
	}
	i, there := slices.BinarySearchFunc(s.Labels, name, func(l kms.SecretLabel, name string) int { return strings.Compare(l.Name, name) })
	labels := slices.Clone(s.Labels)
	switch {
	case n == 0 && there:
		labels = slices.Delete(labels, i, i+1)
	case n == 0:
	case there:
		labels[i].Version = n
	case len(labels) >= kms.MaxSecretLabels:
		return refuse(kms.Exhausted, "the secret has its full number of labels"), false
	default:
		labels = slices.Insert(labels, i, kms.SecretLabel{Name: name, Version: n})
	}
	s.Labels = labels
	return Result{}, true
}

func (m *Machine) setSecretFacts(by *command.Principal, p *command.SetSecret) Result {
	old, r, ok := m.ownSecret(by, p.GetName(), p.GetRevision())
	if !ok {
		return r
	}
	s := *old
	if p.Description != nil {
		s.Description = p.GetDescription()
	}
	if p.Rotation != nil {
		s.Rotation, s.Told = kms.RotationInterval(p.GetRotation()), 0
	}
	if kms.CheckSecretDescription(s.Description) != nil || s.Rotation.Check() != nil {
		return refuse(kms.Invalid, "description or interval is malformed")
	}
	if err := m.next.RoomForValue(s.App, len(s.Description)-len(old.Description)); err != nil && len(s.Description) > len(old.Description) {
		return refuseAs(err)
	}
	s.Revision = m.revise()
	m.setSecret(&s)
	m.secretEvent(kms.EventSecretChanged, &s, 0)
	return Result{Secret: &s}
}

// labelSecret moves a label. The label current promotes.
func (m *Machine) labelSecret(by *command.Principal, p *command.LabelSecret) Result {
	old, r, ok := m.ownSecret(by, p.GetName(), p.GetRevision())
	if !ok {
		return r
	}
	if r, ok := m.keyAsUsed(old.App, old.Key, p.GetKeyRevision()); !ok {
		return r
	}
	n := kms.SecretVersion(p.GetVersion())
	if _, there := old.Version(n); !there && n != 0 {
		return refuse(kms.NotFound, "the secret has no such version")
	}
	s := *old
	switch {
	case p.GetLabel() == kms.LabelCurrent && n != 0:
		s.promote(n, m.next.time, old.newest())
	default:
		if r, ok := s.label(p.GetLabel(), n); !ok {
			return r
		}
	}
	s.Revision = m.revise()
	m.setSecret(&s)
	if s.Current != old.Current {
		m.secretEvent(kms.EventSecretPromoted, &s, uint64(s.Current))
	} else {
		m.secretEvent(kms.EventSecretChanged, &s, uint64(n))
	}
	return Result{Secret: &s}
}

// destroySecretVersion takes away a version that is not current, with its labels.
func (m *Machine) destroySecretVersion(by *command.Principal, p *command.DestroySecretVersion) Result {
	old, r, ok := m.ownSecret(by, p.GetName(), p.GetRevision())
	if !ok {
		return r
	}
	if r, ok := m.keyAsUsed(old.App, old.Key, p.GetKeyRevision()); !ok {
		return r
	}
	n := kms.SecretVersion(p.GetVersion())
	i := slices.IndexFunc(old.Versions, func(v *SecretVersion) bool { return v.Number == n })
	switch {
	case i < 0:
		return refuse(kms.NotFound, "the secret has no such version")
	case n == old.Current:
		return refuse(kms.Misused, "the version is the current one")
	}
	s := *old
	s.Versions = slices.Delete(slices.Clone(old.Versions), i, i+1)
	s.Labels = slices.DeleteFunc(slices.Clone(old.Labels), func(l kms.SecretLabel) bool { return l.Version == n })
	if s.Previous == n {
		s.Previous = 0
	}
	s.Revision = m.revise()
	m.setSecret(&s)
	m.secretEvent(kms.EventSecretVersionDestroyed, &s, uint64(n))
	return Result{Secret: &s}
}

// setSecretKey protects all versions of a secret by another key.
func (m *Machine) setSecretKey(by *command.Principal, p *command.SetSecretKey) Result {
	old, r, ok := m.ownSecret(by, p.GetName(), p.GetRevision())
	if !ok {
		return r
	}
	s := *old
	s.Key = kms.KeyID{}
	if len(p.GetKey()) > 0 && !fill(s.Key[:], p.GetKey()) || len(p.GetVersions()) != len(old.Versions) {
		return refuse(kms.Invalid, "the change of key is malformed")
	}
	if r, ok := m.keyAsUsed(s.App, old.Key, p.GetOldKeyRevision()); !ok {
		return r
	}
	if r, ok := m.keyAsUsed(s.App, s.Key, p.GetKeyRevision()); !ok {
		return r
	}
	s.Versions = slices.Clone(old.Versions)
	for i, w := range p.GetVersions() {
		v := *old.Versions[i]
		switch {
		case uint32(v.Number) != w.GetNumber() || v.Under != w.GetFrom():
			return refuse(kms.Conflict, "the secret was re-wrapped meanwhile")
		case len(w.GetWrapped()) == 0 || len(w.GetWrapped()) > maxWrapped:
			return refuse(kms.Invalid, "the change of key is malformed")
		case !m.wrapsNow(s.Key, w.GetTo()):
			return refuse(kms.Conflict, "what this is wrapped under is gone meanwhile")
		}
		v.Under, v.Wrapped = w.GetTo(), exact(w.GetWrapped())
		s.Versions[i] = &v
	}
	s.Revision = m.revise()
	m.setSecret(&s)
	m.secretEvent(kms.EventSecretKeyChanged, &s, 0)
	return Result{Secret: &s}
}

// deleteSecret schedules a deletion, again where it was scheduled, or deletes at
// once: name, versions and labels together.
func (m *Machine) deleteSecret(by *command.Principal, p *command.DeleteSecret) Result {
	old, r, ok := m.anySecret(by, p.GetName(), p.GetRevision())
	if !ok {
		return r
	}
	if r, ok := m.keyAsUsed(old.App, old.Key, p.GetKeyRevision()); !ok {
		return r
	}
	if p.GetDue() == 0 {
		m.dropSecret(old)
		m.secretEvent(kms.EventSecretDeleted, old, 0)
		return Result{Secret: old}
	}
	window := p.GetDue() - m.next.time
	if window < int64(kms.MinRecoveryDays*kms.Day)-int64(deletionSlack) || window > int64(kms.MaxRecoveryDays*kms.Day) {
		return refuse(kms.Conflict, "the due time is out of range by now")
	}
	s := *old
	s.Due, s.Revision = p.GetDue(), m.revise()
	m.setSecret(&s)
	m.secretEvent(kms.EventSecretDeletionScheduled, &s, 0)
	return Result{Secret: &s}
}

// restoreSecret takes a scheduled deletion back. Apply deletes what is due before
// it does anything else, so nothing is restored too late.
func (m *Machine) restoreSecret(by *command.Principal, p *command.RestoreSecret) Result {
	old, r, ok := m.anySecret(by, p.GetName(), p.GetRevision())
	if !ok {
		return r
	}
	if old.Due == 0 {
		return Result{Secret: old}
	}
	s := *old
	s.Due, s.Revision = 0, m.revise()
	m.setSecret(&s)
	m.secretEvent(kms.EventSecretRestored, &s, 0)
	return Result{Secret: &s}
}

package state

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// A SecretID is given to each secret when it is made: a name that is used again
// is another secret, under which nothing of the old one opens.
type SecretID [16]byte

// A Secret is a secret of an app, with all its versions sealed. Records are
// immutable: a change makes a new one.
type Secret struct {
	ID          SecretID
	App         kms.AppID
	Name        kms.SecretName
	Description string
	Created     int64
	Changed     int64     // when the value was, last
	Key         kms.KeyID // that wraps the data keys; zero: the master secret does
	Rotation    kms.RotationInterval
	Rotated     int64 // when it last got a newer value; 0: never
	Told        int64 // the rotation's time that an event was made of
	Due         int64 // of the deletion; 0: none is scheduled
	Current     kms.SecretVersion
	Previous    kms.SecretVersion // 0: none
	Last        kms.SecretVersion // the newest number that was given out
	Labels      []kms.SecretLabel // of the app's own, in order of their names
	Revision    uint64
	Versions    []*SecretVersion // oldest first

	bytes int // of all that is sealed or noted
}

// A SecretVersion is a sealed value, and the data key that it is sealed under.
type SecretVersion struct {
	Number  kms.SecretVersion
	Created int64
	Under   uint32 // the generation, or the version of the secret's key, that wraps
	Wrapped []byte
	Sealed  []byte
}

// secretPlace puts an app's secrets side by side, in order of their names.
func secretPlace(app kms.AppID, name kms.SecretName) string { return string(app[:]) + string(name) }

func (s *Secret) place() string { return secretPlace(s.App, s.Name) }

// Version finds a version; zero asks for the current one.
func (s *Secret) Version(n kms.SecretVersion) (*SecretVersion, bool) {
	if n == 0 {
		n = s.Current
	}
	i, ok := slices.BinarySearchFunc(s.Versions, n, func(v *SecretVersion, n kms.SecretVersion) int { return int(v.Number) - int(n) })
	if !ok {
		return nil, false
	}
	return s.Versions[i], true
}

// Labelled finds the version that a label is on.
func (s *Secret) Labelled(label string) (kms.SecretVersion, bool) {
	for _, l := range s.AllLabels() {
		if l.Name == label {
			return l.Version, true
		}
	}
	return 0, false
}

// AllLabels are all of them, current and previous among them, in order.
func (s *Secret) AllLabels() []kms.SecretLabel {
	all := append([]kms.SecretLabel{{Name: kms.LabelCurrent, Version: s.Current}}, s.Labels...)
	if s.Previous != 0 {
		all = append(all, kms.SecretLabel{Name: kms.LabelPrevious, Version: s.Previous})
	}
	slices.SortFunc(all, func(a, b kms.SecretLabel) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (s *Secret) bears(n kms.SecretVersion) bool {
	return slices.ContainsFunc(s.AllLabels(), func(l kms.SecretLabel) bool { return l.Version == n })
}

// NextRotation is when it is to get a new value; 0: it has no interval.
func (s *Secret) NextRotation() int64 {
	every, err := s.Rotation.Duration()
	if err != nil || every == 0 {
		return 0
	}
	return max(s.Created, s.Rotated) + int64(every)
}

// Info is what may be told of the secret.
func (s *Secret) Info() kms.SecretInfo {
	return kms.SecretInfo{Name: s.Name, Description: s.Description, Created: when(s.Created), Changed: when(s.Changed), Due: when(s.Due), Key: s.Key,
		Rotation: s.Rotation, Rotated: when(s.Rotated), NextRotated: when(s.NextRotation()), Current: s.Current, Versions: len(s.Versions),
		Labels: s.AllLabels(), Revision: s.Revision}
}

// VersionInfo is what may be told of one of its versions.
func (s *Secret) VersionInfo(v *SecretVersion) kms.SecretVersionInfo {
	info := kms.SecretVersionInfo{Number: v.Number, Created: when(v.Created), Labels: []string{}}
	for _, l := range s.AllLabels() {
		if l.Version == v.Number {
			info.Labels = append(info.Labels, l.Name)
		}
	}
	if s.Key != (kms.KeyID{}) {
		info.Key = kms.KeyRef{ID: s.Key, Version: kms.KeyVersion(v.Under)}
	}
	return info
}

// when is a time as records keep it; zero is none.
func when(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// Secret finds a secret of an app.
func (v *View) Secret(app kms.AppID, name kms.SecretName) (*Secret, bool) {
	return v.secrets.Get(secretPlace(app, name))
}

// SecretsOf calls f with the secrets of an app in order of their names, from the
// first one after `after`, until f returns false.
func (v *View) SecretsOf(app kms.AppID, after kms.SecretName, f func(*Secret) bool) {
	v.secrets.Ascend(secretPlace(app, after), func(_ string, s *Secret) bool {
		if s.App != app {
			return false
		}
		return s.Name == after || f(s)
	})
}

// SecretsAfter calls f with the secrets of all apps in order of apps and names,
// from the first one after a place, until f returns false. f is given each one's
// place.
func (v *View) SecretsAfter(after string, f func(place string, s *Secret) bool) {
	v.secrets.Ascend(after, func(place string, s *Secret) bool { return place == after || f(place, s) })
}

// SecretsUnder calls f with the secrets that a key protects, some of them twice
// where versions of the key differ, until f returns false.
func (v *View) SecretsUnder(key kms.KeyID, f func(under kms.KeyVersion, s *Secret) bool) {
	v.secretsByKey.Ascend(string(key[:]), func(entry, place string) bool {
		id, under := splitUnder(entry)
		if id != key {
			return false
		}
		s, ok := v.secrets.Get(place)
		return !ok || f(under, s)
	})
}

// Protects reports whether a key protects a secret, or, for a version that is not
// zero, whether that version does.
func (v *View) Protects(key kms.KeyID, version kms.KeyVersion) (yes bool) {
	v.SecretsUnder(key, func(under kms.KeyVersion, _ *Secret) bool {
		yes = version == 0 || under == version
		return !yes && under < version
	})
	return yes
}

// Held says which secrets a key protects, nil: none.
func (v *View) Held(key kms.KeyID) *kms.KeyHeldError {
	held, seen := &kms.KeyHeldError{}, map[kms.SecretName]bool{}
	v.SecretsUnder(key, func(_ kms.KeyVersion, s *Secret) bool {
		if !seen[s.Name] {
			seen[s.Name] = true
			held.Secrets = append(held.Secrets, s.Name)
		}
		return true
	})
	if held.Total = len(held.Secrets); held.Total == 0 {
		return nil
	}
	slices.Sort(held.Secrets)
	held.Secrets = held.Secrets[:min(held.Total, kms.MaxHeld)]
	return held
}

// SecretsBehind calls f with secrets whose data keys are wrapped under another
// version of a key than its current one, until f returns false. It looks at one
// entry of each key that has none.
func (v *View) SecretsBehind(f func(*Key, *Secret) bool) {
	for from := ""; ; {
		entry, place, ok := ceiling(&v.secretsByKey, from)
		if !ok {
			return
		}
		id, under := splitUnder(entry)
		k, known := v.Key(id)
		s, there := v.secrets.Get(place)
		if !known || !there || under >= k.Current {
			from = string(id[:]) + underEnd
			continue
		}
		if !f(k, s) {
			return
		}
		from = entry + "\x00"
	}
}

// The index of secrets by what protects them: key, its version, the secret's place.
const underEnd = "\xff\xff\xff\xff\xff"

func underEntry(s *Secret, under uint32) string {
	b := make([]byte, 0, 64)
	b = append(b, s.Key[:]...)
	b = append(b, byte(under>>24), byte(under>>16), byte(under>>8), byte(under))
	return string(b) + s.place()
}

func splitUnder(entry string) (id kms.KeyID, under kms.KeyVersion) {
	n := copy(id[:], entry)
	for _, c := range []byte(entry[n : n+4]) {
		under = under<<8 | kms.KeyVersion(c)
	}
	return id, under
}

// Times of secrets: when they are deleted, and when they are to be rotated.
const (
	timeOfDeletion byte = iota
	timeOfRotation
)

// nextTime is when something becomes of a secret by itself; ok is false for one
// of which nothing does.
func (s *Secret) nextTime() (at int64, what byte, ok bool) {
	next := s.NextRotation()
	switch {
	case s.Due != 0:
		return s.Due, timeOfDeletion, true // and none is rotated that is to go
	case next != 0 && next != s.Told:
		return next, timeOfRotation, true
	}
	return 0, 0, false
}

func (s *Secret) timeEntry() (string, bool) {
	at, what, ok := s.nextTime()
	b := make([]byte, 0, 96)
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(uint64(at)>>shift))
	}
	return string(append(append(b, what), s.place()...)), ok
}

// setSecret puts a secret in the place of what there is under its name.
func (m *Machine) setSecret(s *Secret) {
	if old, ok := m.next.Secret(s.App, s.Name); ok {
		m.unindexSecret(old)
	}
	s.measure()
	old, _ := m.next.secrets.Set(s.place(), s)
	count(m, old, s)
	m.indexSecret(s)
}

// dropSecret takes a secret away with all its versions.
func (m *Machine) dropSecret(s *Secret) {
	m.unindexSecret(s)
	old, _ := m.next.secrets.Delete(s.place())
	count(m, old, nil)
}

// Every index follows from the secrets themselves.
func (m *Machine) indexSecret(s *Secret) {
	m.next.countSecret(s.App, 1)
	m.next.addSecretBytes(s.App, s.bytes)
	if entry, ok := s.timeEntry(); ok {
		m.next.secretTimes.Set(entry, s.place())
	}
	for under := range s.unders() {
		m.next.secretsByKey.Set(underEntry(s, under), s.place())
	}
}

func (m *Machine) unindexSecret(s *Secret) {
	m.next.countSecret(s.App, -1)
	m.next.addSecretBytes(s.App, -s.bytes)
	if entry, ok := s.timeEntry(); ok {
		m.next.secretTimes.Delete(entry)
	}
	for under := range s.unders() {
		m.next.secretsByKey.Delete(underEntry(s, under))
	}
}

// unders are the versions of its key that wrap a secret's data keys.
func (s *Secret) unders() map[uint32]bool {
	if s.Key == (kms.KeyID{}) {
		return nil
	}
	all := map[uint32]bool{}
	for _, v := range s.Versions {
		all[v.Under] = true
	}
	return all
}

func (s *Secret) measure() {
	s.bytes = len(s.Name) + len(s.Description)
	for _, v := range s.Versions {
		s.bytes += len(v.Wrapped) + len(v.Sealed)
	}
}

// SecretBytes is how much an app's secrets take.
func (v *View) SecretBytes(app kms.AppID) int {
	n, _ := v.secretBytes.Get(string(app[:]))
	return n
}

func (v *View) addSecretBytes(app kms.AppID, by int) {
	if n := v.SecretBytes(app) + by; n != 0 {
		v.secretBytes.Set(string(app[:]), n)
	} else {
		v.secretBytes.Delete(string(app[:]))
	}
}

// RoomForValue asks whether an app's secrets may grow by some bytes. The error is
// Exhausted.
func (v *View) RoomForValue(app kms.AppID, by int) error {
	if v.SecretBytes(app)+by > kms.MaxSecretBytes {
		return kms.Errorf(kms.Exhausted, "the app's secrets take %d bytes, at most %d", v.SecretBytes(app), kms.MaxSecretBytes).
			WithHint("delete secrets, or destroy versions of them that are not needed")
	}
	return nil
}

// secretsDue does what is due: it deletes secrets whose time has come, and tells
// that others are to be rotated. It runs before each command, by the time that the
// command brought. A secret that was restored has no such time any more.
func (m *Machine) secretsDue() {
	for {
		entry, place, ok := m.next.secretTimes.Min()
		if !ok || timeOfEntry(entry) > m.next.time {
			return
		}
		s, ok := m.next.secrets.Get(place)
		if !ok { // cannot be: dropSecret removes both
			m.next.secretTimes.Delete(entry)
			continue
		}
		if s.Due != 0 {
			m.dropSecret(s)
			m.secretEvent(kms.EventSecretDeleted, s, 0)
			continue
		}
		told := *s
		told.Told = s.NextRotation()
		m.setSecret(&told)
		m.secretEvent(kms.EventSecretRotationDue, &told, uint64(told.Current))
	}
}

func timeOfEntry(entry string) (at int64) {
	for _, c := range []byte(entry[:8]) {
		at = at<<8 | int64(c)
	}
	return at
}

// secretEvent notes what became of a secret.
func (m *Machine) secretEvent(kind kms.EventKind, s *Secret, number uint64) {
	e := kms.Event{App: s.App, Kind: kind, Secret: s.Name, Number: number}
	switch kind {
	case kms.EventSecretDeletionScheduled:
		e.At = when(s.Due)
	case kms.EventSecretRotationDue:
		e.At = when(s.Told)
	}
	m.event(e)
}

// errHeld refuses to destroy a key that protects secrets. Which they are, the
// proposer says.
func errHeld() Result { return refuse(kms.Misused, "the key protects secrets") }

// rewrapSecrets moves secrets to the current version of the key that protects
// them: the node does, by itself. Those whose record moved are left out.
func (m *Machine) rewrapSecrets(by *command.Principal, p *command.RewrapSecrets) Result {
	if by != nil || len(p.GetSecrets()) > MaxRewrapped {
		return refuse(kms.Invalid, "re-wrapping is malformed")
	}
	for _, r := range p.GetSecrets() {
		old, ok := m.rewrapped(r)
		if !ok || old.Key == (kms.KeyID{}) {
			continue
		}
		k, ok := m.next.Key(old.Key)
		if !ok {
			continue
		}
		m.rewrapSecret(old, r, uint32(k.Current))
	}
	return Result{}
}

// rewrapped finds the record that a re-wrapping was made from, if it is still there.
func (m *Machine) rewrapped(r *command.SecretRewrapped) (*Secret, bool) {
	var app kms.AppID
	if !fill(app[:], r.GetApp()) || len(r.GetVersions()) > kms.MaxSecretVersions {
		return nil, false
	}
	s, ok := m.next.Secret(app, kms.SecretName(r.GetName()))
	return s, ok && s.Revision == r.GetRevision()
}

// rewrapSecret takes over what was wrapped under one generation, or version of
// the key.
func (m *Machine) rewrapSecret(old *Secret, r *command.SecretRewrapped, to uint32) {
	s := *old
	s.Versions = slices.Clone(old.Versions)
	changed := false
	for _, w := range r.GetVersions() {
		i, ok := slices.BinarySearchFunc(s.Versions, kms.SecretVersion(w.GetNumber()), func(v *SecretVersion, n kms.SecretVersion) int { return int(v.Number) - int(n) })
		if !ok || s.Versions[i].Under != w.GetFrom() || w.GetTo() != to || len(w.GetWrapped()) == 0 || len(w.GetWrapped()) > maxWrapped {
			continue
		}
		v := *s.Versions[i]
		v.Under, v.Wrapped = to, exact(w.GetWrapped())
		s.Versions[i], changed = &v, true
	}
	if changed {
		m.setSecret(&s)
	}
}

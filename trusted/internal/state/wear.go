package state

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// A Rotation is how often a key gets a new version by itself. Immutable.
type Rotation struct {
	Period int64 // ns
	Next   int64 // domain time from which on it is due
}

// after is the same rotation for a key whose newest version is made now.
func (r *Rotation) after(now int64) *Rotation {
	if r == nil {
		return nil
	}
	return &Rotation{Period: r.Period, Next: now + r.Period}
}

// Bounds of one command. They are part of the protocol.
const (
	maxRotated = 32
	maxNoted   = 4096
)

// reserve sets invocations of a version aside. What is set aside is used as far
// as anybody knows: it is given out once, and never comes back.
func (m *Machine) reserve(by *command.Principal, p *command.Reserve) Result {
	var id kms.KeyID
	if by != nil || !fill(id[:], p.GetKey()) || p.GetCount() == 0 {
		return refuse(kms.Invalid, "reservation is malformed")
	}
	old, ok := m.next.Key(id)
	if !ok {
		return refuse(kms.NotFound, "no such key")
	}
	at := slices.IndexFunc(old.Versions, func(v Version) bool { return uint32(v.Number) == p.GetVersion() })
	row, known := old.Spec.Capability()
	if at < 0 || !known || row.MaxInvocations == 0 {
		return refuse(kms.Misused, "invocations of the key are not counted")
	}
	limit, taken := min(p.GetLimit(), row.MaxInvocations), old.Versions[at].Reserved
	if taken > limit || p.GetCount() > limit-taken {
		return refuse(kms.Exhausted, "the version has not so many invocations left")
	}
	k := *old
	k.Versions = slices.Clone(old.Versions)
	k.Versions[at].Reserved += p.GetCount()
	m.setKey(&k)
	return Result{Key: &k}
}

// setRotation says how often a key is rotated.
func (m *Machine) setRotation(by *command.Principal, p *command.SetRotation) Result {
	old, r, ok := m.ownKey(by, p.GetKey(), p.GetRevision())
	if !ok {
		return r
	}
	if row, known := old.Spec.Capability(); !known || !row.InPlace || old.Origin != kms.Generated {
		return refuse(kms.Misused, "the key is not rotated in place")
	}
	if p.GetPeriod() != 0 && !validPeriod(p.GetPeriod()) {
		return refuse(kms.Invalid, "rotation period is out of range")
	}
	k := *old
	k.Rotation, k.Revision = nil, m.revise()
	if p.GetPeriod() != 0 {
		k.Rotation = (&Rotation{Period: p.GetPeriod()}).after(k.newest())
	}
	m.setKey(&k)
	return Result{Key: &k}
}

func validPeriod(ns int64) bool {
	return ns%int64(kms.Day) == 0 && ns >= int64(kms.MinRotationDays*kms.Day) && ns <= int64(kms.MaxRotationDays*kms.Day)
}

// newest is when the current version was made.
func (k *Key) newest() int64 {
	if v, ok := k.Version(0); ok {
		return v.Created
	}
	return k.Created
}

// rotateDue gives keys new versions, each only if it is as it was seen and its
// time has come. The others are left to who comes next.
func (m *Machine) rotateDue(by *command.Principal, p *command.RotateDue) Result {
	if by != nil || len(p.GetKeys()) > maxRotated {
		return refuse(kms.Invalid, "rotation is malformed")
	}
	var last *Key
	for _, n := range p.GetKeys() {
		if k := m.rotateKey(n); k != nil {
			last = k
		}
	}
	if last == nil {
		return refuse(kms.Conflict, "none of the keys is due any more")
	}
	return Result{Key: last}
}

func (m *Machine) rotateKey(p *command.NewVersion) *Key {
	var id kms.KeyID
	if !fill(id[:], p.GetKey()) {
		return nil
	}
	old, ok := m.next.Key(id)
	v := p.GetVersion()
	if !ok || old.Revision != p.GetRevision() || !old.Rotates() || !old.worn(m.next.time, p.GetThreshold()) ||
		v.GetNumber() != uint32(old.Current)+1 || len(v.GetWrapped()) == 0 || v.GetState() != 0 || !plausible(old.Spec, v) {
		return nil
	}
	k := *old
	k.Versions = append(slices.Clip(old.Versions), versionFrom(v))
	k.Current, k.Revision = kms.KeyVersion(v.GetNumber()), m.revise()
	k.Rotation = old.Rotation.after(m.next.time)
	m.setKey(&k)
	return &k
}

// plausible reports whether a new version has no more set aside than there is.
func plausible(s kms.Spec, v *command.KeyVersion) bool {
	row, ok := s.Capability()
	return ok && v.GetReserved() <= row.MaxInvocations
}

// Rotates reports whether a key can get a new version now.
func (k *Key) Rotates() bool {
	row, ok := k.Spec.Capability()
	return ok && row.InPlace && k.Origin == kms.Generated && k.State == kms.Enabled && len(k.Versions) < kms.MaxKeyVersions
}

// worn reports whether the current version is to be replaced: its period has
// passed, or so much of it is set aside; 0 leaves that out.
func (k *Key) worn(now int64, threshold uint64) bool {
	if k.Rotation != nil && now >= k.Rotation.Next {
		return true
	}
	v, ok := k.Version(0)
	return ok && threshold > 0 && v.Reserved >= threshold
}

// noteUse puts on record in which epoch keys were used last.
func (m *Machine) noteUse(by *command.Principal, p *command.NoteUse) Result {
	const size = len(kms.KeyID{})
	if by != nil || len(p.GetKeys())%size != 0 || len(p.GetKeys()) > size*maxNoted || p.GetSince() <= 0 {
		return refuse(kms.Invalid, "record of use is malformed")
	}
	for ids := p.GetKeys(); len(ids) > 0; ids = ids[size:] {
		if old, ok := m.next.Key(kms.KeyID(ids[:size])); ok && old.LastUsed < p.GetSince() {
			k := *old
			k.LastUsed = p.GetSince()
			m.setKey(&k)
		}
	}
	return Result{}
}

// indexRotation keeps the order of rotations as k is about to take the place of
// the record of its id. Keys that cannot be rotated have no place in it.
func (m *Machine) indexRotation(k *Key) {
	if old, ok := m.next.Key(k.ID); ok {
		m.dropRotation(old)
	}
	if k.Rotation != nil && k.Rotates() {
		m.next.rotations.Set(rotationOf(k), struct{}{})
	}
}

func (m *Machine) dropRotation(k *Key) {
	if k.Rotation != nil {
		m.next.rotations.Delete(rotationOf(k))
	}
}

// rotationOf is where a key stands in the order of rotations: by time, then by id.
func rotationOf(k *Key) string {
	return string(append(binary.BigEndian.AppendUint64(nil, uint64(k.Rotation.Next)), k.ID[:]...))
}

// RotationsDue lists up to n keys whose time to be rotated has come, the ones
// that have waited longest first.
func (v *View) RotationsDue(now time.Time, n int) (due []*Key) {
	v.rotations.Scan(func(at string, _ struct{}) bool {
		if len(due) == n || int64(binary.BigEndian.Uint64([]byte(at))) > now.UnixNano() {
			return false
		}
		if k, ok := v.Key(kms.KeyID([]byte(at[8:]))); ok {
			due = append(due, k)
		}
		return true
	})
	return due
}

// MaxRotated is how many keys one command rotates at most, MaxNoted how many it
// notes the use of.
const (
	MaxRotated = maxRotated
	MaxNoted   = maxNoted
)

// addUse gives a record of a command or snapshot what its use left behind.
func (k *Key) addUse(p *command.Key) error {
	if p.GetRotationPeriod() != 0 {
		k.Rotation = &Rotation{Period: p.GetRotationPeriod(), Next: p.GetNextRotation()}
	}
	row, _ := k.Spec.Capability() // it is known: keyFrom has asked
	switch {
	case k.Rotation == nil && p.GetNextRotation() != 0, p.GetNextRotation() < 0, p.GetLastUsed() < 0:
		return malformed("key record")
	case k.Rotation != nil && (!validPeriod(k.Rotation.Period) || !row.InPlace):
		return malformed("key record")
	}
	for i := range k.Versions {
		if k.Versions[i].Reserved > row.MaxInvocations {
			return malformed("key record")
		}
	}
	k.LastUsed = p.GetLastUsed()
	return nil
}

func (k *Key) putUse(p *command.Key) {
	if k.Rotation != nil {
		p.RotationPeriod, p.NextRotation = k.Rotation.Period, k.Rotation.Next
	}
	p.LastUsed = k.LastUsed
}

// describeUse adds what the owner is told of a key's use, and what they should do.
func (k *Key) describeUse(d *kms.KeyDescription) {
	if k.Rotation != nil {
		d.RotationPeriod, d.NextRotation = time.Duration(k.Rotation.Period), time.Unix(0, k.Rotation.Next).UTC()
	}
	if k.LastUsed != 0 {
		d.LastUsed = time.Unix(0, k.LastUsed).UTC()
	}
	row, ok := k.Spec.Capability()
	if !ok || !row.InPlace {
		return
	}
	if oldest, more := k.outOfReach(); more {
		d.Warnings = append(d.Warnings, kms.WarnOutOfReach(oldest))
	}
	if k.Rotation != nil && len(k.Versions) >= kms.MaxKeyVersions {
		d.Warnings = append(d.Warnings, kms.WarnFull)
	}
}

// outOfReach is the oldest version that is tried on a ciphertext that names none,
// and whether there are older ones that could open something.
func (k *Key) outOfReach() (oldest kms.KeyVersion, more bool) {
	enabled := 0
	for _, v := range slices.Backward(k.Versions) {
		if v.State != kms.VersionEnabled {
			continue
		}
		if enabled == kms.MaxTrials {
			return oldest, true
		}
		enabled, oldest = enabled+1, v.Number
	}
	return oldest, false
}

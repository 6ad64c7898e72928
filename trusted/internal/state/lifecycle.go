package state

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// Labels are what an app notes beside a key. They mean nothing here.
type Labels struct {
	Description string
	Tags        []kms.Tag // in order of their names
}

// A Deletion is scheduled.
type Deletion struct {
	Due    int64        // domain time from which on the key is gone
	Before kms.KeyState // what cancelling goes back to
}

// putKeyVersion gives a key another version, the new current one. Numbers only
// grow: one that was destroyed does not come back as something else.
func (m *Machine) putKeyVersion(by *command.Principal, p *command.PutKeyVersion) Result {
	old, r, ok := m.ownKey(by, p.GetKey(), p.GetRevision())
	if !ok {
		return r
	}
	v := p.GetVersion()
	row, known := old.Spec.Capability()
	switch {
	case !known || !row.InPlace || old.Origin != kms.Generated:
		return refuse(kms.Misused, "the key is not rotated in place")
	case old.State != kms.Enabled:
		return refuse(kms.Disabled, "the key is not enabled")
	case v.GetNumber() != uint32(old.Current)+1 || len(v.GetWrapped()) == 0 || v.GetState() != 0 || !plausible(old.Spec, v):
		return refuse(kms.Invalid, "version is malformed")
	case m.retired(v.GetGeneration()):
		return refuse(kms.Conflict, "the generation that this is wrapped under was retired meanwhile")
	case len(old.Versions) >= kms.MaxKeyVersions:
		return refuse(kms.Exhausted, "the key has its full number of versions")
	}
	k := *old
	k.Versions = append(slices.Clip(old.Versions), versionFrom(v))
	k.Current, k.Revision = kms.KeyVersion(v.GetNumber()), m.revise()
	k.Rotation = old.Rotation.after(m.next.time)
	m.setKey(&k)
	return Result{Key: &k}
}

// retired reports whether what is wrapped under a generation would never open.
func (m *Machine) retired(g uint32) bool {
	return uint64(g) < uint64(len(m.next.generations)) && !m.next.InUse(g)
}

// setVersionState enables, disables or destroys a version that is not current.
// A destroyed one is gone from the record.
func (m *Machine) setVersionState(by *command.Principal, p *command.SetVersionState) Result {
	old, r, ok := m.ownKey(by, p.GetKey(), p.GetRevision())
	if !ok {
		return r
	}
	at := slices.IndexFunc(old.Versions, func(v Version) bool { return uint32(v.Number) == p.GetVersion() })
	to := kms.VersionState(p.GetState())
	switch {
	case p.GetState() > uint32(kms.VersionDestroyed) || !to.Valid():
		return refuse(kms.Invalid, "unknown version state")
	case at < 0:
		return refuse(kms.NotFound, "the key has no such version")
	case old.Versions[at].Number == old.Current:
		return refuse(kms.Misused, "the version is the current one")
	case to == kms.VersionDestroyed && conditioned(old):
		return refuse(kms.Denied, "the key's condition does not allow this")
	case to == kms.VersionDestroyed && old.Versions[at].State != kms.VersionDisabled:
		return refuse(kms.Misused, "the version is not disabled")
	case to == kms.VersionDestroyed && m.next.Protects(old.ID, old.Versions[at].Number):
		return errHeld()
	}
	k := *old
	k.Versions, k.Revision = slices.Clone(old.Versions), m.revise()
	if to == kms.VersionDestroyed {
		k.Versions = slices.Delete(k.Versions, at, at+1)
	} else {
		k.Versions[at].State = to
	}
	m.setKey(&k)
	return Result{Key: &k}
}

func (m *Machine) setLabels(by *command.Principal, p *command.SetLabels) Result {
	old, r, ok := m.ownKey(by, p.GetKey(), p.GetRevision())
	if !ok {
		return r
	}
	labels, err := labelsFrom(p.GetDescription(), p.GetTags())
	if err != nil {
		return refuse(kms.Invalid, "description or tags are malformed")
	}
	k := *old
	k.Labels, k.Revision = labels, m.revise()
	m.setKey(&k)
	return Result{Key: &k}
}

// deletionSlack is how far domain time may have gone on between a request for
// the shortest window and its turn.
const deletionSlack = time.Hour

// scheduleDeletion takes a key out of use, and destroys it when it is due.
func (m *Machine) scheduleDeletion(by *command.Principal, p *command.ScheduleDeletion) Result {
	old, r, ok := m.ownKey(by, p.GetKey(), p.GetRevision())
	if !ok {
		return r
	}
	window := p.GetDue() - m.next.time
	switch {
	case conditioned(old):
		return refuse(kms.Denied, "the key's condition does not allow this")
	case old.Deletion != nil:
		return refuse(kms.Exists, "the key's deletion is scheduled already")
	case m.next.Protects(old.ID, 0):
		return errHeld()
	case window < int64(kms.MinDeletionDays*kms.Day)-int64(deletionSlack) || window > int64(kms.MaxDeletionDays*kms.Day):
		// Domain time may have gone on since the due time was chosen.
		return refuse(kms.Conflict, "the due time is out of range by now")
	}
	k := *old
	k.Deletion = &Deletion{Due: p.GetDue(), Before: old.State}
	k.State, k.Revision = kms.PendingDeletion, m.revise()
	m.setKey(&k)
	m.next.deletions.Set(dueOf(&k), struct{}{})
	return Result{Key: &k}
}

// cancelDeletion gives a key back as it was. Apply destroys what is due before
// it does anything else, so nothing is cancelled too late.
func (m *Machine) cancelDeletion(by *command.Principal, p *command.CancelDeletion) Result {
	old, r, ok := m.ownKey(by, p.GetKey(), p.GetRevision())
	if !ok {
		return r
	}
	if old.Deletion == nil {
		return refuse(kms.Misused, "the key's deletion is not scheduled")
	}
	m.next.deletions.Delete(dueOf(old))
	k := *old
	k.State, k.Deletion, k.Revision = old.Deletion.Before, nil, m.revise()
	m.setKey(&k)
	return Result{Key: &k}
}

// destroyDue destroys the keys whose time has come. It runs before each
// command, by the time that the command brought.
func (m *Machine) destroyDue() {
	for {
		first, _, ok := m.next.deletions.Min()
		if !ok || int64(binary.BigEndian.Uint64([]byte(first))) > m.next.time {
			return
		}
		k, ok := m.next.Key(kms.KeyID([]byte(first[8:])))
		if !ok { // cannot be: dropKey removes both
			m.next.deletions.Delete(first)
			continue
		}
		m.dropKey(k)
	}
}

// forgetKey drops what refers to a key that is about to go.
func (m *Machine) forgetKey(k *Key) {
	if k.Deletion != nil {
		m.next.deletions.Delete(dueOf(k))
	}
	m.dropRotation(k)
	m.dropAliases(k)
}

// dueOf is where a key stands in the order of deletions: by time, then by id.
func dueOf(k *Key) string {
	return string(append(binary.BigEndian.AppendUint64(nil, uint64(k.Deletion.Due)), k.ID[:]...))
}

func labelsFrom(description string, tags []*command.Tag) (*Labels, error) {
	if description == "" && len(tags) == 0 {
		return nil, nil
	}
	l := &Labels{Description: description}
	for _, t := range tags {
		l.Tags = append(l.Tags, kms.Tag{Name: t.GetName(), Value: t.GetValue()})
	}
	if kms.CheckDescription(description) != nil || kms.CheckTags(l.Tags) != nil {
		return nil, malformed("labels")
	}
	return l, nil
}

// TagsProto is tags as commands and snapshots carry them.
func TagsProto(tags []kms.Tag) []*command.Tag {
	var out []*command.Tag
	for _, t := range tags {
		out = append(out, &command.Tag{Name: t.Name, Value: t.Value})
	}
	return out
}

// Describe is what the owner of a key may be told of it.
func (v *View) Describe(k *Key) kms.KeyDescription {
	d := kms.KeyDescription{Key: k.Info(), Aliases: v.AliasesFor(k), Conditioned: len(k.Condition) > 0}
	if k.Labels != nil {
		d.Description, d.Tags = k.Labels.Description, slices.Clone(k.Labels.Tags)
	}
	if k.Deletion != nil {
		d.Due = time.Unix(0, k.Deletion.Due).UTC()
	}
	for _, n := range k.Versions {
		d.Details = append(d.Details, kms.KeyVersionInfo{Number: n.Number, State: n.State, Created: time.Unix(0, n.Created).UTC(), Invocations: n.Reserved, Exposed: v.Exposed(&n)})
	}
	k.describeUse(&d)
	v.warnExposed(k, &d)
	return d
}

// addLife gives a record of a command or snapshot what belongs to its life.
func (k *Key) addLife(p *command.Key) (err error) {
	if k.Labels, err = labelsFrom(p.GetDescription(), p.GetTags()); err != nil {
		return err
	}
	before := kms.KeyState(p.GetStateBefore())
	pending := k.State == kms.PendingDeletion
	switch {
	case pending != (p.GetDue() > 0) || p.GetDue() < 0 || p.GetStateBefore() > 0xff:
		return malformed("key record")
	case pending && (!before.Valid() || before == kms.PendingDeletion || before == kms.Destroyed):
		return malformed("key record")
	case !pending && before != 0:
		return malformed("key record")
	case pending:
		k.Deletion = &Deletion{Due: p.GetDue(), Before: before}
	}
	if err := k.addUse(p); err != nil {
		return err
	}
	return k.checkVersions()
}

// checkVersions asks what everything relies on that walks versions: they ascend,
// and the last one is current and enabled.
func (k *Key) checkVersions() error {
	n := len(k.Versions)
	if n > kms.MaxKeyVersions || n > 0 && (k.Versions[n-1].Number != k.Current || k.Versions[n-1].State != kms.VersionEnabled) {
		return malformed("key record")
	}
	for i := range k.Versions {
		v := &k.Versions[i]
		if v.Number == 0 || i > 0 && k.Versions[i-1].Number >= v.Number || v.State != kms.VersionEnabled && v.State != kms.VersionDisabled {
			return malformed("key record")
		}
	}
	return nil
}

func (k *Key) putLife(p *command.Key) {
	if k.Labels != nil {
		p.Description, p.Tags = k.Labels.Description, TagsProto(k.Labels.Tags)
	}
	if k.Deletion != nil {
		p.Due, p.StateBefore = k.Deletion.Due, uint32(k.Deletion.Before)
	}
	k.putUse(p)
}

// The states of versions as records carry them: 0 is enabled, which is what the
// records of older programs mean.
func versionState(p uint32) kms.VersionState {
	if p > 0xff {
		return 0
	}
	return max(kms.VersionEnabled, kms.VersionState(p))
}

func versionStateProto(s kms.VersionState) uint32 {
	if s == kms.VersionEnabled {
		return 0
	}
	return uint32(s)
}

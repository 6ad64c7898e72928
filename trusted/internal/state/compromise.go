package state

import (
	"bytes"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// A Compromise is a generation of the master secret that others know. What has to
// be replaced for it is not kept: each record says under which generations it has
// been wrapped since it was made, so that the work can be taken up anywhere.
type Compromise struct {
	Generation uint32
	Declared   int64
	Refused    int64 // from when on credentials that were wrapped under it are
	Finished   int64 // 0: there is more to replace
}

// oldest is the first generation that something was wrapped under. It has been
// under every later one since, as far as anybody can tell.
func oldest(once, generation uint32) uint32 {
	if once != 0 {
		return once - 1
	}
	return generation
}

// onceOf is what a record keeps as it moves away from a generation.
func onceOf(once, from uint32) uint32 {
	if once != 0 {
		return once
	}
	return from + 1
}

// Compromises are all that were declared, in order of their generations. The
// caller must not change them.
func (v *View) Compromises() []Compromise { return v.compromises }

// exposed reports whether something that has been wrapped since a generation was
// wrapped under one that others know.
func (v *View) exposed(since uint32) bool {
	n := len(v.compromises)
	return n > 0 && since <= v.compromises[n-1].Generation
}

// Exposed reports whether others may know a version's material.
func (v *View) Exposed(version *Version) bool {
	return len(version.Wrapped) > 0 && v.exposed(oldest(version.Once, version.Generation))
}

// KeyExposed reports whether others may know a version of a key.
func (v *View) KeyExposed(k *Key) bool {
	for i := range k.Versions {
		if v.Exposed(&k.Versions[i]) {
			return true
		}
	}
	return false
}

// warnExposed tells the owner of a key what is to be done about that. A key that
// the domain is about to give a new version counts as having it.
func (v *View) warnExposed(k *Key, d *kms.KeyDescription) {
	if !v.KeyExposed(k) {
		return
	}
	current, ok := k.Version(0)
	if ok && v.Exposed(current) && !k.renews() {
		d.Warnings = append(d.Warnings, kms.WarnKnown)
		return
	}
	d.Warnings = append(d.Warnings, kms.WarnExposed)
}

// ExposedCredential reports whether others may know a credential's secret.
func (v *View) ExposedCredential(c *Credential) bool {
	return v.exposed(oldest(c.Once, c.Generation))
}

// CredentialRefused reports whether a credential is good no more because others
// may know its secret.
func (v *View) CredentialRefused(c *Credential, now time.Time) bool {
	since := oldest(c.Once, c.Generation)
	return slices.ContainsFunc(v.compromises, func(x Compromise) bool { return since <= x.Generation && now.UnixNano() >= x.Refused })
}

// RefusedFrom is when a credential stops being good for that reason; 0: never.
func (v *View) RefusedFrom(c *Credential) (at int64) {
	since := oldest(c.Once, c.Generation)
	for _, x := range v.compromises {
		if since <= x.Generation && (at == 0 || x.Refused < at) {
			at = x.Refused
		}
	}
	return at
}

// ExposedSecret reports whether others may know the value of a version of a
// secret. Values that the master secret protects carry the time that they were
// made at alone: what was made shortly after a generation's end counts as before.
func (v *View) ExposedSecret(s *Secret, version *SecretVersion) bool {
	if len(v.compromises) == 0 {
		return false
	}
	if s.Key != (kms.KeyID{}) {
		k, ok := v.Key(s.Key)
		if !ok {
			return true
		}
		under, ok := k.Version(kms.KeyVersion(version.Under))
		return !ok || v.Exposed(under)
	}
	last := v.compromises[len(v.compromises)-1].Generation
	if version.Under <= last || last >= v.Generation() {
		return true
	}
	return version.Created < v.generations[last+1].Created+int64(time.Minute)
}

// AuthorityDue reports whether the certificate authority is to be replaced.
func (v *View) AuthorityDue() bool {
	return v.authority != nil && (v.authorityDue || v.exposed(oldest(v.authority.Once, v.authority.Generation)))
}

// GenerationDue reports whether the next generation is to be made because others
// know the newest.
func (v *View) GenerationDue() bool {
	n := len(v.compromises)
	return n > 0 && v.compromises[n-1].Generation == v.Generation()
}

// Replaces reports whether a key is to get another version because others may
// know the material of its current one.
func (v *View) Replaces(k *Key) bool {
	current, ok := k.Version(0)
	return ok && v.Exposed(current) && k.renews()
}

// ToReplace counts those keys. It goes through the whole state where a compromise
// is not finished.
func (v *View) ToReplace() (n int) {
	if !slices.ContainsFunc(v.compromises, func(c Compromise) bool { return c.Finished == 0 }) {
		return 0
	}
	v.keys.Scan(func(k *Key) bool {
		if v.Replaces(k) {
			n++
		}
		return true
	})
	return n
}

// renews reports whether a key can get a new version, in use or not.
func (k *Key) renews() bool {
	row, ok := k.Spec.Capability()
	return ok && row.InPlace && k.Origin == kms.Generated && len(k.Versions) < kms.MaxKeyVersions &&
		(k.State == kms.Enabled || k.State == kms.KeyDisabled || k.State == kms.PreActive)
}

// CheckCompromise asks whether an order that declares a generation compromised
// can be obeyed at some time. One that was declared may be again: the grace is the
// new order's. The errors are those of govern, Exists (the order was obeyed
// before), Expired and NotFound.
func (v *View) CheckCompromise(order []byte, at time.Time) (*govern.Order, error) {
	o, err := v.rule.Standing.OpenOrder(v.rule.Policy, order, govern.DeedCompromise)
	if err != nil {
		return nil, err
	}
	if _, err := v.checkOrder(order, govern.DeedCompromise, o.Generation, at); err != nil {
		return nil, err
	}
	if o.Generation > v.Generation() {
		return nil, kms.Errorf(kms.NotFound, "there is no generation %d", o.Generation).WithField("generation")
	}
	return o, nil
}

// CheckReplacement asks whether the certificate authority may be replaced: as an
// order says, or without one where it is due. The errors are those of govern,
// Exists, Expired and Denied.
func (v *View) CheckReplacement(order []byte, at time.Time) error {
	if len(order) > 0 {
		_, err := v.checkOrder(order, govern.DeedReplaceCA, 0, at)
		return err
	}
	if !v.AuthorityDue() {
		return kms.Errorf(kms.Denied, "nothing asks for another certificate authority").WithHint("order it, as an operator or the owner")
	}
	return nil
}

// CheckFinished asks whether all that a compromise asks of the domain is done. The
// errors are NotFound, Exists (it was finished) and Misused.
func (v *View) CheckFinished(generation uint32) error {
	i, known := v.compromise(generation)
	switch {
	case !known:
		return kms.Errorf(kms.NotFound, "generation %d was not declared compromised", generation)
	case v.compromises[i].Finished != 0:
		return kms.Errorf(kms.Exists, "generation %d is dealt with", generation)
	case generation == v.Generation() || v.AuthorityDue() || v.Wrapped()[generation] > 0:
		return kms.Errorf(kms.Misused, "generation %d is still in use", generation)
	}
	left := false
	v.keys.Scan(func(k *Key) bool { left = v.Replaces(k); return !left })
	if left {
		return kms.Errorf(kms.Misused, "keys are still to get new versions")
	}
	return nil
}

// compromise is where a generation is, or belongs, among those that were declared.
func (v *View) compromise(generation uint32) (int, bool) {
	return slices.BinarySearchFunc(v.compromises, generation, func(c Compromise, g uint32) int { return int(int64(c.Generation) - int64(g)) })
}

// declareCompromise puts a compromise on record.
func (m *Machine) declareCompromise(by *command.Principal, p *command.DeclareCompromise) Result {
	if by != nil {
		return refuse(kms.Invalid, "record of a compromise is malformed")
	}
	o, err := m.next.CheckCompromise(p.GetOrder(), m.next.Time())
	if err != nil {
		return refuseAs(err)
	}
	m.spend(p.GetOrder(), govern.DeedCompromise)
	c := Compromise{Generation: o.Generation, Declared: max(m.next.time, 1), Refused: max(m.next.time, 1) + int64(o.Grace)}
	at, again := m.next.compromise(o.Generation)
	all := slices.Clone(m.next.compromises)
	if again {
		all[at].Refused = c.Refused
	} else {
		all = slices.Insert(all, at, c)
	}
	m.next.compromises = all
	m.event(kms.Event{Kind: kms.EventGenerationCompromised, Number: uint64(o.Generation), At: time.Unix(0, c.Refused).UTC()})
	return Result{}
}

// replaceAuthority puts another certificate authority in the place of the one
// that it was made for: of two nodes that make one, one succeeds.
func (m *Machine) replaceAuthority(by *command.Principal, p *command.ReplaceAuthority) Result {
	if by != nil || len(p.GetAuthority().GetCertificate()) == 0 || len(p.GetAuthority().GetWrappedKey()) == 0 {
		return refuse(kms.Invalid, "certificate authority is malformed")
	}
	if err := m.next.CheckReplacement(p.GetOrder(), m.next.Time()); err != nil {
		return refuseAs(err)
	}
	if !bytes.Equal(p.GetReplaces(), m.next.authority.Certificate) || p.GetAuthority().GetGeneration() != m.next.Generation() {
		return refuse(kms.Conflict, "the certificate authority, or the master secret, is another one meanwhile")
	}
	m.spend(p.GetOrder(), govern.DeedReplaceCA)
	a := authorityFrom(p.GetAuthority())
	a.Once = 0
	m.next.authority, m.next.authorityDue = &a, false
	m.event(kms.Event{Kind: kms.EventAuthorityReplaced})
	return Result{}
}

// replaceExposed gives keys new versions, each only if it is as it was seen.
func (m *Machine) replaceExposed(by *command.Principal, p *command.ReplaceExposed) Result {
	if by != nil || len(p.GetKeys()) > maxRotated {
		return refuse(kms.Invalid, "rotation is malformed")
	}
	var last *Key
	for _, n := range p.GetKeys() {
		var id kms.KeyID
		if !fill(id[:], n.GetKey()) {
			continue
		}
		if old, ok := m.next.Key(id); ok && m.next.Replaces(old) && m.succeeds(old, n) {
			last = m.putNext(old, n.GetVersion())
		}
	}
	if last == nil {
		return refuse(kms.Conflict, "none of the keys is to be replaced any more")
	}
	return Result{Key: last}
}

// succeeds reports whether a new version was made for a key as it is.
func (m *Machine) succeeds(k *Key, p *command.NewVersion) bool {
	v := p.GetVersion()
	return k.Revision == p.GetRevision() && v.GetNumber() == uint32(k.Current)+1 && len(v.GetWrapped()) > 0 && v.GetState() == 0 &&
		v.GetGeneration() == m.next.Generation() && plausible(k.Spec, v)
}

// putNext makes a version the current one of its key.
func (m *Machine) putNext(old *Key, v *command.KeyVersion) *Key {
	k := *old
	fresh := versionFrom(v)
	fresh.Once = 0
	k.Versions = append(slices.Clip(old.Versions), fresh)
	k.Current, k.Revision = fresh.Number, m.revise()
	if old.Rotation != nil {
		k.Rotation = old.Rotation.after(m.next.time)
	}
	m.setKey(&k)
	return &k
}

// finishCompromise retires the generation, where that was not done before.
func (m *Machine) finishCompromise(by *command.Principal, p *command.FinishCompromise) Result {
	if by != nil {
		return refuse(kms.Invalid, "record of a compromise is malformed")
	}
	if err := m.next.CheckFinished(p.GetGeneration()); err != nil {
		return refuseAs(err)
	}
	at, _ := m.next.compromise(p.GetGeneration())
	all := slices.Clone(m.next.compromises)
	all[at].Finished = max(m.next.time, 1)
	m.next.compromises = all
	if m.next.InUse(p.GetGeneration()) {
		m.retire(p.GetGeneration())
		m.event(kms.Event{Kind: kms.EventGenerationRetired, Number: uint64(p.GetGeneration())})
	}
	return Result{}
}

// putCompromises writes them into a snapshot's header.
func (v *View) putCompromises(h *command.Header) {
	h.AuthorityDue = v.authorityDue
	for _, c := range v.compromises {
		h.Compromises = append(h.Compromises, &command.Compromise{Generation: c.Generation, Declared: c.Declared, Refused: c.Refused, Finished: c.Finished})
	}
}

// loadCompromises takes them from a snapshot's header.
func (m *Machine) loadCompromises(h *command.Header) error {
	m.next.authorityDue = h.GetAuthorityDue()
	for i, p := range h.GetCompromises() {
		if p.GetGeneration() > m.next.Generation() || i > 0 && p.GetGeneration() <= m.next.compromises[i-1].Generation ||
			p.GetDeclared() <= 0 || p.GetRefused() < p.GetDeclared() {
			return malformed("snapshot: compromises")
		}
		m.next.compromises = append(m.next.compromises, Compromise{Generation: p.GetGeneration(), Declared: p.GetDeclared(),
			Refused: p.GetRefused(), Finished: p.GetFinished()})
	}
	return nil
}

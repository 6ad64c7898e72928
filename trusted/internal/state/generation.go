package state

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// A Generation is what anybody may know of a generation of the master secret.
// Those that were retired stay, so that the chain of checksums can be followed
// and what an old one signed be verified.
type Generation struct {
	Number       uint32
	Checksum     []byte
	SigningKey   []byte // runtime signing key, Ed25519
	Created      int64
	Retired      int64  // 0: in use
	RetiredIndex uint64 // of the entry that retired it
	Sealed       []byte // to the recovery key; nil: there is none, or it is retired
}

const (
	// MaxGenerations is how many generations a domain has in its life: all of them
	// are shown to everybody. At one a day that is eleven years.
	MaxGenerations = 4096
	// MaxRewrapped bounds what one command re-wraps, of each kind.
	MaxRewrapped = 1024
	// CandidateLife is how many entries later a master secret can still become a
	// generation, from when it began to be handed to the nodes. Then it never will.
	CandidateLife = 1 << 15

	checksumSize = 32
)

// Generations are all that there were, in order of their numbers, none before
// the domain was founded. The caller must not change them.
func (v *View) Generations() []Generation { return v.generations }

// Generation is the number of the newest one, which everything new is wrapped under.
func (v *View) Generation() uint32 { return uint32(max(len(v.generations), 1) - 1) }

// InUse reports whether there is such a generation that was not retired.
func (v *View) InUse(generation uint32) bool {
	return uint64(generation) < uint64(len(v.generations)) && v.generations[generation].Retired == 0
}

// Authority is the domain's certificate authority as it is wrapped now, nil
// before the domain was founded.
func (v *View) Authority() *Authority { return v.authority }

// KeysAfter calls f with the keys of all apps in order of their ids, from the
// first one after `after`, until f returns false.
func (v *View) KeysAfter(after kms.KeyID, f func(*Key) bool) {
	v.keys.Ascend(&Key{ID: after}, func(k *Key) bool { return k.ID == after || f(k) })
}

// CredentialsAfter does so with credentials.
func (v *View) CredentialsAfter(after kms.CredentialID, f func(*Credential) bool) {
	v.credentials.Ascend(string(after[:]), func(_ string, c *Credential) bool { return c.ID == after || f(c) })
}

// Wrapped counts what is wrapped under generations: versions of keys and
// secrets, credentials, and the authority.
type Wrapped map[uint32]int

// Before is how much is wrapped under generations before one.
func (w Wrapped) Before(generation uint32) (n int) {
	for g, count := range w {
		if g < generation {
			n += count
		}
	}
	return n
}

// Wrapped goes through the whole state, 0.1 µs a record.
func (v *View) Wrapped() Wrapped {
	w := Wrapped{}
	if v.authority != nil {
		w[v.authority.Generation]++
	}
	v.credentials.Scan(func(_ string, c *Credential) bool { w[c.Generation]++; return true })
	v.keys.Scan(func(k *Key) bool {
		for i := range k.Versions {
			if len(k.Versions[i].Wrapped) > 0 { // of one that is destroyed nothing is left
				w[k.Versions[i].Generation]++
			}
		}
		return true
	})
	v.secrets.Scan(func(_ string, s *Secret) bool {
		for _, n := range s.Versions {
			if s.Key == (kms.KeyID{}) {
				w[n.Under]++
			}
		}
		return true
	})
	return w
}

// NextRotation is when the policy in force has the next generation made; zero:
// not by itself.
func (v *View) NextRotation() time.Time {
	interval := time.Duration(v.Policy().RotationInterval)
	if interval <= 0 {
		return time.Time{}
	}
	return time.Unix(0, v.generations[v.Generation()].Created).Add(interval).UTC()
}

// CheckRotation asks whether a generation may be made at some time: the next
// one, and ordered, or due without an order by the policy's interval. The errors
// are those of govern, Conflict (another generation is next), Exists (the order
// was obeyed before), Expired, Denied (it is not due) and Exhausted.
func (v *View) CheckRotation(generation uint32, order []byte, at time.Time) error {
	if len(order) > 0 {
		if _, err := v.checkOrder(order, govern.DeedRotate, generation, at); err != nil {
			return err
		}
	} else if next := v.NextRotation(); !v.GenerationDue() && (next.IsZero() || at.Before(next)) {
		return kms.Errorf(kms.Denied, "the next generation is not due").WithHint("order it, as an operator or the owner")
	}
	switch {
	case generation != v.Generation()+1:
		return kms.Errorf(kms.Conflict, "generation %d is not the next: the domain is at %d", generation, v.Generation()).WithField("generation")
	case len(v.generations) >= MaxGenerations:
		return kms.Errorf(kms.Exhausted, "the domain has had %d generations, which is all it takes", MaxGenerations)
	}
	return nil
}

// CheckRetirement asks whether a generation may be retired at some time. The
// errors are those of govern, NotFound, Exists (it was retired, or the order
// obeyed, before), Expired, Conflict, and Misused for the newest generation and
// while something is wrapped under it.
func (v *View) CheckRetirement(generation uint32, order []byte, at time.Time) error {
	if _, err := v.checkOrder(order, govern.DeedRetire, generation, at); err != nil {
		return err
	}
	switch {
	case uint64(generation) >= uint64(len(v.generations)):
		return kms.Errorf(kms.NotFound, "there is no generation %d", generation).WithField("generation")
	case !v.InUse(generation):
		return kms.Errorf(kms.Exists, "generation %d is retired already", generation).WithField("generation")
	case generation == v.Generation():
		return kms.Errorf(kms.Misused, "generation %d is the newest", generation).WithField("generation").
			WithHint("rotate first")
	}
	if n := v.Wrapped()[generation]; n > 0 {
		return kms.Errorf(kms.Misused, "%d secrets are still wrapped under generation %d", n, generation).WithField("generation").
			WithHint("the domain re-wraps them by itself: try again when its status says that none is left")
	}
	return nil
}

// checkOrder opens an order and asks whether it can be obeyed.
func (v *View) checkOrder(envelope []byte, deed govern.Deed, generation uint32, at time.Time) (*govern.Order, error) {
	o, err := v.rule.Standing.OpenOrder(v.rule.Policy, envelope, deed)
	if err != nil {
		return nil, err
	}
	if _, spent := v.orders.Get(string(o.Nonce[:])); spent {
		return nil, kms.Errorf(kms.Exists, "the order was obeyed or refused before").WithField("nonce").WithHint("an order is good once: have another one signed")
	}
	if err := o.ValidAt(at); err != nil {
		return nil, err
	}
	if o.Generation != generation {
		return nil, kms.Errorf(kms.Conflict, "the order is for generation %d, and the domain is at %d", o.Generation, v.Generation()).
			WithField("generation").WithHint("have it signed again for the domain as it is now")
	}
	return o, nil
}

// putGeneration puts the next generation in use.
func (m *Machine) putGeneration(by *command.Principal, p *command.PutGeneration) Result {
	if by != nil || len(p.GetChecksum()) != checksumSize || len(p.GetSigningKey()) != ed25519.PublicKeySize {
		return refuse(kms.Invalid, "generation record is malformed")
	}
	if err := m.next.CheckRotation(p.GetGeneration(), p.GetOrder(), m.next.Time()); err != nil {
		return refuseAs(err)
	}
	if err := m.next.untold(p); err != nil {
		return refuseAs(err)
	}
	if err := m.next.CheckHolders(p.GetHolders()); err != nil {
		return refuseAs(err)
	}
	if err := m.next.sealedNext(p.GetRecovery()); err != nil {
		return refuseAs(err)
	}
	m.spend(p.GetOrder(), govern.DeedRotate)
	m.next.generations = append(slices.Clip(slices.Clone(m.next.generations)), Generation{Number: p.GetGeneration(),
		Checksum: exact(p.GetChecksum()), SigningKey: exact(p.GetSigningKey()), Created: m.next.time, Sealed: orNone(p.GetRecovery())})
	return Result{}
}

// untold asks that nobody was removed since a generation's secret was handed out:
// it may have been handed to him. One of long ago may have been dropped by those
// who took it.
func (v *View) untold(p *command.PutGeneration) error {
	if p.GetRemovals() != uint64(v.removed.Len()) {
		return kms.Errorf(kms.Conflict, "a node was removed since the next master secret was handed out").WithHint("rotate again")
	}
	if p.GetSince() >= v.index || v.index-p.GetSince() > CandidateLife {
		return kms.Errorf(kms.Conflict, "the next master secret was handed out too long ago").WithHint("rotate again")
	}
	return nil
}

// Departures is how many nodes were removed.
func (v *View) Departures() int { return v.removed.Len() }

// retireGeneration ends all use of a generation.
func (m *Machine) retireGeneration(by *command.Principal, p *command.RetireGeneration) Result {
	if by != nil {
		return refuse(kms.Invalid, "generation record is malformed")
	}
	if err := m.next.CheckRetirement(p.GetGeneration(), p.GetOrder(), m.next.Time()); err != nil {
		return refuseAs(err)
	}
	m.spend(p.GetOrder(), govern.DeedRetire)
	m.retire(p.GetGeneration())
	return Result{}
}

func (m *Machine) retire(generation uint32) {
	all := slices.Clone(m.next.generations)
	g := &all[generation]
	g.Retired, g.RetiredIndex, g.Sealed = max(m.next.time, 1), m.next.index, nil
	m.next.generations = all
}

// spend remembers an order that is obeyed until it expires. There are at most
// two for each generation, and one for each node.
func (m *Machine) spend(envelope []byte, deed govern.Deed) {
	if len(envelope) == 0 {
		return
	}
	if o, err := m.next.rule.Standing.OpenOrder(m.next.rule.Policy, envelope, deed); err == nil {
		m.spendNonce(o.Nonce, o.Expires)
	}
}

// spendNonce remembers that a document was used until it expires.
func (m *Machine) spendNonce(nonce govern.Nonce, expires time.Time) {
	var over []string
	m.next.orders.Scan(func(nonce string, expires int64) bool {
		if m.next.time >= expires {
			over = append(over, nonce)
		}
		return true
	})
	for _, nonce := range over {
		m.next.orders.Delete(nonce)
	}
	m.next.orders.Set(string(nonce[:]), timeOf(expires))
}

// rewrap puts secrets that are wrapped under the current generation in the place
// of what they were made from. Those whose record moved are left out, for who
// re-wraps to come back to. A revision says that a client's view of a record is
// over, and it is not: what is inside stays the same, so no revision moves.
func (m *Machine) rewrap(by *command.Principal, p *command.Rewrap) Result {
	if by != nil || len(p.GetKeys()) > MaxRewrapped || len(p.GetCredentials()) > MaxRewrapped || len(p.GetSecrets()) > MaxRewrapped {
		return refuse(kms.Invalid, "re-wrapping is malformed")
	}
	if p.GetGeneration() != m.next.Generation() {
		return refuse(kms.Conflict, "another generation is the newest meanwhile")
	}
	for _, r := range p.GetKeys() {
		m.rewrapKey(r, p.GetGeneration())
	}
	for _, r := range p.GetCredentials() {
		m.rewrapCredential(r, p.GetGeneration())
	}
	for _, r := range p.GetSecrets() {
		if s, ok := m.rewrapped(r); ok && s.Key == (kms.KeyID{}) {
			m.rewrapSecret(s, r, p.GetGeneration())
		}
	}
	if r := p.GetAuthority(); r != nil && m.next.authority.Generation == r.GetFrom() && len(r.GetWrapped()) > 0 {
		a := *m.next.authority
		a.Once = onceOf(a.Once, a.Generation)
		a.Generation, a.WrappedKey = p.GetGeneration(), exact(r.GetWrapped())
		m.next.authority = &a
	}
	return Result{}
}

func (m *Machine) rewrapKey(r *command.Rewrapped, generation uint32) {
	var id kms.KeyID
	if !fill(id[:], r.GetId()) || len(r.GetWrapped()) == 0 {
		return
	}
	old, ok := m.next.Key(id)
	if !ok || old.Revision != r.GetRevision() {
		return
	}
	i := slices.IndexFunc(old.Versions, func(v Version) bool { return v.Number == kms.KeyVersion(r.GetVersion()) })
	if i < 0 || old.Versions[i].Generation != r.GetFrom() {
		return
	}
	k := *old
	k.Versions = slices.Clone(old.Versions)
	k.Versions[i].Once = onceOf(k.Versions[i].Once, k.Versions[i].Generation)
	k.Versions[i].Generation, k.Versions[i].Wrapped = generation, exact(r.GetWrapped())
	m.setKey(&k)
}

func (m *Machine) rewrapCredential(r *command.Rewrapped, generation uint32) {
	var id kms.CredentialID
	if !fill(id[:], r.GetId()) || len(r.GetWrapped()) == 0 {
		return
	}
	old, ok := m.next.Credential(id)
	if !ok || old.Revision != r.GetRevision() || old.Generation != r.GetFrom() {
		return
	}
	c := *old
	c.Once = onceOf(c.Once, c.Generation)
	c.Generation, c.Wrapped = generation, exact(r.GetWrapped())
	m.setCredentialRecord(&c)
}

// wrappedInUse reports whether nothing that a command brings is wrapped under a
// generation that was retired since it was made: that would never open.
func (m *Machine) wrappedInUse(c *command.Command) bool {
	retired := func(g uint32) bool { return uint64(g) < uint64(len(m.next.generations)) && !m.next.InUse(g) }
	switch op := c.GetOp().(type) {
	case *command.Command_PutApp:
		return !retired(op.PutApp.GetCredential().GetGeneration())
	case *command.Command_PutCredential:
		old := op.PutCredential.GetReplaces()
		return !retired(op.PutCredential.GetCredential().GetGeneration()) && (len(old.GetWrapped()) == 0 || !retired(old.GetGeneration()))
	case *command.Command_SetCredential:
		return !retired(op.SetCredential.GetGeneration())
	case *command.Command_ImportKey:
		return !retired(op.ImportKey.GetVersion().GetGeneration())
	case *command.Command_PutKeyVersion:
		return !retired(op.PutKeyVersion.GetVersion().GetGeneration())
	case *command.Command_RotateDue:
		return !slices.ContainsFunc(op.RotateDue.GetKeys(), func(v *command.NewVersion) bool { return retired(v.GetVersion().GetGeneration()) })
	case *command.Command_ReplaceExposed:
		return !slices.ContainsFunc(op.ReplaceExposed.GetKeys(), func(v *command.NewVersion) bool { return retired(v.GetVersion().GetGeneration()) })
	case *command.Command_PutKey:
		return !slices.ContainsFunc(op.PutKey.GetKey().GetVersions(), func(v *command.KeyVersion) bool { return retired(v.GetGeneration()) })
	}
	return true
}

// foundGenerations starts the chain with what the founding says of generation 0.
func (m *Machine) foundGenerations(f *Founding) {
	m.next.generations = []Generation{{Checksum: f.Checksum, SigningKey: f.SigningKey, Created: m.next.time}}
	authority := f.Authority
	m.next.authority = &authority
}

// putGenerations writes them into a snapshot's header.
func (v *View) putGenerations(h *command.Header) {
	for _, g := range v.generations {
		h.Generations = append(h.Generations, &command.Generation{Number: g.Number, Checksum: g.Checksum, SigningKey: g.SigningKey,
			Created: g.Created, Retired: g.Retired, RetiredIndex: g.RetiredIndex, Recovery: g.Sealed})
	}
	if a := v.authority; a != nil {
		h.Authority = &command.Authority{Certificate: a.Certificate, Generation: a.Generation, WrappedKey: a.WrappedKey, Once: a.Once}
	}
	v.putCompromises(h)
}

// loadGenerations takes them from a snapshot's header.
func (m *Machine) loadGenerations(h *command.Header) error {
	if h.GetAuthority() == nil || len(h.GetGenerations()) == 0 || len(h.GetGenerations()) > MaxGenerations ||
		!bytes.Equal(h.GetGenerations()[0].GetChecksum(), m.next.founding.Checksum) {
		return malformed("snapshot: generations")
	}
	for i, g := range h.GetGenerations() {
		if g.GetNumber() != uint32(i) {
			return malformed("snapshot: generations")
		}
		m.next.generations = append(m.next.generations, Generation{Number: g.GetNumber(), Checksum: exact(g.GetChecksum()),
			SigningKey: exact(g.GetSigningKey()), Created: g.GetCreated(), Retired: g.GetRetired(), RetiredIndex: g.GetRetiredIndex(), Sealed: orNone(g.GetRecovery())})
	}
	a := authorityFrom(h.GetAuthority())
	m.next.authority = &a
	return m.loadCompromises(h)
}

func authorityFrom(p *command.Authority) Authority {
	return Authority{Certificate: exact(p.GetCertificate()), Generation: p.GetGeneration(), WrappedKey: exact(p.GetWrappedKey()), Once: p.GetOnce()}
}

// writeOrders writes the orders that were obeyed.
func (v *View) writeOrders(out *recordWriter) {
	v.orders.Scan(func(nonce string, expires int64) bool {
		return out.put(&command.Record{Kind: &command.Record_SpentOrder{SpentOrder: &command.SpentOrder{Nonce: []byte(nonce), Expires: expires}}})
	})
}

func (m *Machine) loadOrder(p *command.SpentOrder) error {
	if len(p.GetNonce()) != len(govern.Nonce{}) {
		return malformed("snapshot: order")
	}
	m.next.orders.Load(string(p.GetNonce()), p.GetExpires())
	return nil
}

package state

import (
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// EventLimit is how many events are kept: some 3 MB.
const EventLimit = 1 << 14

// Events are the last ones that the commands of the log made, in order: the same
// on every node, for each is made of a command and the state that it met. They
// are in no snapshot. A node that starts has those of the entries that it
// replayed, which is those behind its newest snapshot; who wants to resume from
// before that is told so.
//
// One goroutine, the Machine's, writes; any may read.
type Events struct {
	fresh []kms.Event // of entries that are not published yet; the Machine's
	begun bool        // floor is known

	mu    sync.Mutex
	ring  []kms.Event
	first int    // where the oldest one is, once the ring is full
	floor uint64 // the last entry that is not, or not wholly, in the ring
	head  uint64 // the last entry that was published
	wake  map[chan<- struct{}]kms.AppID
}

func newEvents() *Events { return &Events{wake: map[chan<- struct{}]kms.AppID{}} }

// Events are those of the Machine that the view is of: unlike the view they go on.
func (v *View) Events() *Events { return v.events }

// Head is the last entry that was published. A View taken after it was asked for
// holds at least that entry.
func (e *Events) Head() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.head
}

// Earliest is the position that the earliest event kept comes behind.
func (e *Events) Earliest() kms.Position {
	e.mu.Lock()
	defer e.mu.Unlock()
	return kms.After(e.floor)
}

// Subscribe has a token put into c, unless one is there, when there are events of
// the domain or of an app. leave ends that.
func (e *Events) Subscribe(app kms.AppID, c chan<- struct{}) (leave func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wake[c] = app
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.wake, c)
	}
}

// Read returns events behind a position that an app may see: the domain's and
// its own, at most kms.MaxEventBatch. The zero app sees the domain's. more says
// that there are more already. The errors are Expired where what follows the
// position is not kept any more, and Conflict where the log has not come that far.
func (e *Events) Read(after kms.Position, app kms.AppID) (out kms.Events, more bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if after.Before(kms.After(e.floor)) {
		return out, false, kms.Errorf(kms.Expired, "the events of entry %d and before are not kept any more", e.floor).WithField("after").
			WithHint("read what you need of the state, then resume after entry " + strconv.FormatUint(e.floor, 10) + ", or from the earliest")
	}
	if after.Index > e.head {
		return out, false, kms.Errorf(kms.Conflict, "this node's log ends at entry %d", e.head).WithField("after").
			WithHint("is this another domain, was its state set back, or is this node behind?")
	}
	for i := e.search(after.Index); i < len(e.ring); i++ {
		event := e.at(i)
		if event.App != (kms.AppID{}) && event.App != app || !after.Before(event.Position) {
			continue
		}
		if len(out.Events) == kms.MaxEventBatch {
			out.At = out.Events[len(out.Events)-1].Position
			return out, true, nil
		}
		out.Events = append(out.Events, *event)
	}
	out.At = kms.After(e.head)
	return out, false, nil
}

// at is the i-th oldest event.
func (e *Events) at(i int) *kms.Event { return &e.ring[(e.first+i)%len(e.ring)] }

// search finds the first event of an entry, or of the next that has one.
func (e *Events) search(index uint64) int {
	return sort.Search(len(e.ring), func(i int) bool { return e.at(i).Index >= index })
}

// publish shows readers what was made so far. The view that it was made with must
// be there before: who has read an event must not see a state from before it.
func (e *Events) publish(index uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.head = index
	if !e.begun { // a new Machine, or a restored one: what came before is not known
		e.begun, e.floor, e.fresh = true, index, e.fresh[:0]
		e.ring, e.first = nil, 0
		return
	}
	if len(e.fresh) == 0 {
		return
	}
	for i := range e.fresh {
		e.put(&e.fresh[i])
	}
	e.notify()
	clear(e.fresh)
	if e.fresh = e.fresh[:0]; cap(e.fresh) > 1024 {
		e.fresh = nil
	}
}

func (e *Events) put(event *kms.Event) {
	if len(e.ring) < EventLimit {
		e.ring = append(e.ring, *event)
		return
	}
	e.floor = e.ring[e.first].Index
	e.ring[e.first] = *event
	e.first = (e.first + 1) % len(e.ring)
}

// notify wakes those who may see one of the fresh events.
func (e *Events) notify() {
	apps := map[kms.AppID]bool{}
	for i := range e.fresh {
		apps[e.fresh[i].App] = true
	}
	for c, app := range e.wake {
		if !apps[kms.AppID{}] && !apps[app] {
			continue
		}
		select {
		case c <- struct{}{}:
		default: // it has one
		}
	}
}

// A before is what the events of a command are told from, with what it left.
type before struct {
	rule        *Rule
	generations int
}

// begin notes the state before a command.
func (m *Machine) begin() before {
	m.made = m.made[:0]
	return before{rule: m.next.rule, generations: len(m.next.generations)}
}

// tell makes the events of a command that was applied, from what it changed:
// those of keys were noted as they changed.
func (m *Machine) tell(was before, c *command.Command, r Result) {
	if r.Err == nil {
		m.tellOperation(c)
	}
	m.tellRule(was.rule)
	for n := was.generations; n < len(m.next.generations) && was.rule != nil; n++ {
		m.event(kms.Event{Kind: kms.EventGenerationAccepted, Number: uint64(n)})
	}
	m.finishEvents()
}

// event notes an event of the command that is being applied.
func (m *Machine) event(e kms.Event) { m.made = append(m.made, e) }

// finishEvents puts what a command made in order: the domain's events first, then
// those of apps. Positions count what one reader sees, so that a gap in them does
// not tell him how much others had to do.
func (m *Machine) finishEvents() {
	if len(m.made) == 0 {
		return
	}
	slices.SortStableFunc(m.made, func(a, b kms.Event) int { return slices.Compare(a.App[:], b.App[:]) })
	domain := 0
	for domain < len(m.made) && m.made[domain].App == (kms.AppID{}) {
		domain++
	}
	sub := 0
	for i := range m.made {
		if i > domain && m.made[i].App != m.made[i-1].App {
			sub = domain
		}
		m.made[i].Position, m.made[i].Time = kms.Position{Index: m.next.index, Sub: uint32(sub)}, m.next.Time()
		sub++
	}
	m.events.fresh = append(m.events.fresh, m.made...)
}

func (m *Machine) tellRule(was *Rule) {
	is := m.next.rule
	if is == was {
		return
	}
	if was == nil {
		m.event(kms.Event{Kind: kms.EventDomainFounded, Number: is.Policy.Serial})
		return
	}
	if len(is.Amendments) > len(was.Amendments) {
		m.event(kms.Event{Kind: kms.EventCharterAmended, Number: uint64(len(is.Amendments))})
	}
	if was.Next != nil && is.Next == nil && is.Policy.Serial < was.Next.Serial {
		m.event(kms.Event{Kind: kms.EventPolicyDropped, Number: was.Next.Serial})
	}
	// A scheduled one may come into force, and another at once, in one command.
	for serial := was.Policy.Serial + 1; serial <= is.Policy.Serial; serial++ {
		m.event(kms.Event{Kind: kms.EventPolicyActivated, Number: serial})
	}
	if is.Next != nil && is.Next != was.Next {
		m.event(kms.Event{Kind: kms.EventPolicyScheduled, Number: is.Next.Serial, At: is.Next.Activates.UTC()})
	}
}

// tellOperation makes the events of a command that was done, but for those that
// its traces in the state tell better: policies, generations and keys.
func (m *Machine) tellOperation(c *command.Command) {
	var app kms.AppID
	copy(app[:], c.GetPrincipal().GetApp())
	switch op := c.GetOp().(type) {
	case *command.Command_PutApp:
		copy(app[:], op.PutApp.GetApp().GetId())
		m.event(kms.Event{Kind: kms.EventAppEnrolled, Number: uint64(m.next.apps.Len())})
		m.credentialEvent(app, kms.EventCredentialCreated, op.PutApp.GetCredential().GetId())
	case *command.Command_PutCredential:
		m.credentialEvent(app, kms.EventCredentialCreated, op.PutCredential.GetCredential().GetId())
		if old := op.PutCredential.GetReplaces(); old != nil {
			m.credentialEvent(app, kms.EventCredentialChanged, old.GetId())
		}
	case *command.Command_SetCredential:
		m.credentialEvent(app, kms.EventCredentialChanged, op.SetCredential.GetId())
	case *command.Command_RevokeCredential:
		m.credentialEvent(app, kms.EventCredentialRevoked, op.RevokeCredential.GetId())
	case *command.Command_PutKey:
		if name := op.PutKey.GetAlias(); name != "" {
			m.aliasEvent(app, kms.EventAliasSet, name, op.PutKey.GetKey().GetId())
		}
	case *command.Command_PutAlias:
		m.aliasEvent(app, kms.EventAliasSet, op.PutAlias.GetName(), op.PutAlias.GetKey())
	case *command.Command_DeleteAlias:
		m.aliasEvent(app, kms.EventAliasDeleted, op.DeleteAlias.GetName(), nil)
	case *command.Command_DeleteAppKeys:
		m.mergeDeleted(app)
	case *command.Command_PutQuotePolicy:
		m.event(kms.Event{App: app, Kind: kms.EventQuotePolicyStored})
	case *command.Command_PutEphemeral:
		m.event(kms.Event{Kind: kms.EventEphemeralPublished, Number: op.PutEphemeral.GetEpoch()})
	case *command.Command_RetireGeneration:
		m.event(kms.Event{Kind: kms.EventGenerationRetired, Number: uint64(op.RetireGeneration.GetGeneration())})
	case *command.Command_Rewrap:
		m.tellProgress(op.Rewrap.GetKeys())
	}
}

// credentialEvent notes what became of a credential. One that was changed to end
// at once is gone.
func (m *Machine) credentialEvent(app kms.AppID, kind kms.EventKind, rawID []byte) {
	e := kms.Event{App: app, Kind: kind}
	copy(e.Credential[:], rawID)
	cred, there := m.next.Credential(e.Credential)
	switch {
	case kind == kms.EventCredentialChanged && !there:
		e.Kind = kms.EventCredentialRevoked
	case there && cred.Expires != 0:
		e.At = time.Unix(0, cred.Expires).UTC()
	}
	m.event(e)
}

func (m *Machine) aliasEvent(app kms.AppID, kind kms.EventKind, name string, rawKey []byte) {
	e := kms.Event{App: app, Kind: kind, Alias: name}
	copy(e.Key[:], rawKey)
	m.event(e)
}

// mergeDeleted makes one event of the deletion of all keys of an app: else one
// command could push everything else out of the ring.
func (m *Machine) mergeDeleted(app kms.AppID) {
	n := len(m.made)
	m.made = slices.DeleteFunc(m.made, func(e kms.Event) bool { return e.App == app && e.Kind == kms.EventKeyDeleted })
	if n -= len(m.made); n > 0 {
		m.event(kms.Event{App: app, Kind: kms.EventKeysDeleted, Number: uint64(n)})
	}
}

// smallStep is of how many keys a step of re-wrapping always makes an event.
const smallStep = 64

// tellProgress says how far re-wrapping has come. Keys are gone through in order
// of their ids, which are random, so that the last one's first byte says how many
// of 256 parts are done. A step that stays within one part is not told: so a
// rotation makes some hundred events, however many keys there are.
func (m *Machine) tellProgress(keys []*command.Rewrapped) {
	if len(keys) == 0 || len(keys[0].GetId()) == 0 || len(keys[len(keys)-1].GetId()) == 0 {
		return
	}
	from, to := keys[0].GetId()[0], keys[len(keys)-1].GetId()[0]
	if from == to && len(keys) > smallStep {
		return
	}
	m.event(kms.Event{Kind: kms.EventRotationProgress, Number: (uint64(to) + 1) * 100 / 256})
}

// tellKey notes what becomes of a key when k takes the place of what there was
// under its id, nil: nothing. What changes nothing that its owner could see is not
// told.
func (m *Machine) tellKey(old, k *Key) {
	if kind, number := keyEvent(old, k, old != nil); kind != 0 {
		e := kms.Event{App: k.App, Kind: kind, Key: k.ID, Number: number}
		if kind == kms.EventKeyDeletionScheduled {
			e.At = time.Unix(0, k.Deletion.Due).UTC()
		}
		m.event(e)
	}
}

func keyEvent(old, k *Key, there bool) (kind kms.EventKind, number uint64) {
	switch {
	case !there:
		return kms.EventKeyCreated, uint64(k.Current)
	case old.Deletion == nil && k.Deletion != nil:
		return kms.EventKeyDeletionScheduled, 0
	case old.Deletion != nil && k.Deletion == nil:
		return kms.EventKeyDeletionCancelled, 0
	case old.State == kms.PendingImport && k.State != kms.PendingImport:
		return kms.EventKeyImported, uint64(k.Current)
	case old.Current != k.Current:
		return kms.EventKeyRotated, uint64(k.Current)
	case old.State != k.State:
		return stateEvent(k.State), 0
	case string(old.Condition) != string(k.Condition):
		return kms.EventKeyConditionChanged, 0
	case old.Labels != k.Labels:
		return kms.EventKeyLabelsChanged, 0
	case !sameVersions(old.Versions, k.Versions):
		return kms.EventKeyVersionChanged, changedVersion(old, k)
	}
	return 0, 0 // re-wrapped, or set to what it was
}

func stateEvent(s kms.KeyState) kms.EventKind {
	switch s {
	case kms.Enabled:
		return kms.EventKeyEnabled
	case kms.KeyDisabled:
		return kms.EventKeyDisabled
	}
	return kms.EventKeyStateChanged
}

func sameVersions(a, b []Version) bool {
	return slices.EqualFunc(a, b, func(x, y Version) bool { return x.Number == y.Number && x.State == y.State })
}

// changedVersion is the first version of old that is another in k, or is not there.
func changedVersion(old, k *Key) uint64 {
	for i := range old.Versions {
		v, there := k.Version(old.Versions[i].Number)
		if !there || v.State != old.Versions[i].State {
			return uint64(old.Versions[i].Number)
		}
	}
	return 0
}

// tellKeyGone notes that a key is gone for good.
func (m *Machine) tellKeyGone(k *Key) {
	m.event(kms.Event{App: k.App, Kind: kms.EventKeyDeleted, Key: k.ID})
}

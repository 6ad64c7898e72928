package state

import (
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/replay"
)

// FeatureLevel is the newest feature level that this program knows.
const FeatureLevel = 1

// Limits of what the state remembers of requests. They are part of the
// protocol: every node must forget at the same entry.
const (
	replayLimit = 1 << 20 // state-changing v1 requests
	doneLimit   = 1 << 14 // results of commands that may be sent again
)

// A Machine is the state machine. Apply, Snapshot and Restore are called by
// one goroutine; View by any.
type Machine struct {
	view    atomic.Pointer[View]
	next    *View // being changed; published by Publish
	replay  *replay.Table
	done    doneRing
	events  *Events
	made    []kms.Event // by the command that is being applied
	loading secretLoad  // of a snapshot that is being read
	fatal   atomic.Pointer[error]
	known   uint32 // the newest feature level that this program knows

	entering uint64      // the term of the entry that comes next
	was      govern.Head // before the recovery that is being applied

	scratch []byte // what is hashed
}

// New makes a Machine before its first command.
func New() *Machine {
	m := &Machine{events: newEvents(), known: FeatureLevel}
	m.reset()
	m.Publish()
	return m
}

func (m *Machine) reset() {
	m.next = &View{events: m.events}
	m.events.begun = false
	m.next.keys, m.next.byApp = newKeyTrees()
	m.loading = secretLoad{}
	m.replay = replay.NewTable(replayLimit, 0)
	m.done = newDoneRing(doneLimit)
}

// View is the state as of the last Publish.
func (m *Machine) View() *View { return m.view.Load() }

// Publish shows readers everything that was applied so far.
func (m *Machine) Publish() {
	m.next.replayFloor = m.replay.Floor()
	m.view.Store(m.next)
	m.events.publish(m.next.index)
	m.next = m.next.copy()
}

// Fatal is why the machine refuses everything, nil while it does not: an entry
// of the log that does not decode means that this program must not go on.
func (m *Machine) Fatal() error {
	if p := m.fatal.Load(); p != nil {
		return *p
	}
	return nil
}

// A Result is what became of a command.
type Result struct {
	Err    *kms.Error // nil: done
	Index  uint64     // of the entry that did it
	Key    *Key       // the key it made or changed, if any
	Secret *Secret    // the secret that it made, changed or deleted, if any; of a command that was done before it is not known
}

// Apply takes over one command. Every refusal leaves the state as it was,
// except that domain time and index move on.
func (m *Machine) Apply(index uint64, data []byte) Result {
	if err := m.Fatal(); err != nil {
		return Result{Err: kms.Errorf(kms.Damaged, "state machine has stopped: %w", err)}
	}
	var c command.Command
	if err := proto.Unmarshal(data, &c); err != nil {
		return m.stop(kms.Errorf(kms.Damaged, "entry %d of the log does not decode", index))
	}
	var id kms.CommandID
	if !fill(id[:], c.GetId()) {
		return m.stop(kms.Errorf(kms.Damaged, "entry %d of the log has no command id", index))
	}
	if c.GetRecoverDomain() != nil {
		m.was = m.next.headAt(m.replay.Floor())
	}
	m.enter(index)
	if !m.next.QuorumTime() { // a command that comes again tells the time too
		m.next.time = max(m.next.time, c.GetTime())
	}
	if r, again := m.done.get(id); again {
		return m.repeat(r)
	}
	was := m.begin()
	late := m.advance(&c)
	m.activate()
	m.destroyDue()
	m.secretsDue()
	m.forgetWaiting()
	r := m.apply(&c)
	if r.Err == nil {
		r.Err = late
	}
	m.reckon()
	m.tell(was, &c, r)
	r.Index = index
	m.note(id, &r)
	m.done.put(id, r)
	return r
}

// stop refuses everything from now on: a node that cannot read the log must
// not serve a state that others do not have.
func (m *Machine) stop(err *kms.Error) Result {
	var e error = err
	m.fatal.Store(&e)
	return Result{Err: err}
}

// repeat answers a command that was done before with its first result.
func (m *Machine) repeat(d doneEntry) Result {
	r := Result{Index: d.index}
	if d.refused {
		r.Err = kms.Errorf(d.kind, "refused when it was first sent")
	}
	r.Key, _ = m.next.Key(d.key)
	return r
}

func (m *Machine) apply(c *command.Command) Result {
	if m.next.founding == nil {
		if found, ok := c.GetOp().(*command.Command_Found); ok {
			return m.found(found.Found)
		}
		return refuse(kms.Conflict, "the domain is not founded yet")
	}
	if r, ok := m.recent(c); !ok {
		return r
	}
	if r, ok := m.authorise(c.GetPrincipal()); !ok {
		return r
	}
	if !m.wrappedInUse(c) {
		return refuse(kms.Conflict, "the generation that this is wrapped under was retired meanwhile")
	}
	if r, ok := m.owes(c.GetAudit()); !ok {
		return r
	}
	r := m.do(c)
	if r.Err == nil {
		m.owe(c.GetAudit())
	}
	if p := c.GetPrincipal(); r.Err == nil && len(p.GetRequestMac()) > 0 {
		// Only now: a command refused for a conflict is sent again with the
		// same request behind it.
		m.replay.Add(markOf(p), time.Unix(0, p.GetRequestTime()), time.Unix(0, m.next.time))
	}
	return r
}

func (m *Machine) do(c *command.Command) Result {
	switch op := c.GetOp().(type) {
	case *command.Command_PutApp:
		return m.putApp(op.PutApp)
	case *command.Command_PutCredential:
		return m.putCredential(c.GetPrincipal(), op.PutCredential)
	case *command.Command_SetCredential:
		return m.setCredential(c.GetPrincipal(), op.SetCredential)
	case *command.Command_RevokeCredential:
		return m.revokeCredential(c.GetPrincipal(), op.RevokeCredential)
	case *command.Command_PutKey:
		return m.putKey(c.GetPrincipal(), op.PutKey)
	case *command.Command_SetKeyState:
		return m.setKeyState(c.GetPrincipal(), op.SetKeyState)
	case *command.Command_DeleteKey:
		return m.deleteKey(c.GetPrincipal(), op.DeleteKey)
	case *command.Command_DeleteAppKeys:
		return m.deleteAppKeys(c.GetPrincipal())
	case *command.Command_ImportKey:
		return m.importKey(c.GetPrincipal(), op.ImportKey)
	case *command.Command_SetCondition:
		return m.setCondition(c.GetPrincipal(), op.SetCondition)
	case *command.Command_PutKeyVersion:
		return m.putKeyVersion(c.GetPrincipal(), op.PutKeyVersion)
	case *command.Command_SetVersionState:
		return m.setVersionState(c.GetPrincipal(), op.SetVersionState)
	case *command.Command_SetLabels:
		return m.setLabels(c.GetPrincipal(), op.SetLabels)
	case *command.Command_ScheduleDeletion:
		return m.scheduleDeletion(c.GetPrincipal(), op.ScheduleDeletion)
	case *command.Command_Reserve:
		return m.reserve(c.GetPrincipal(), op.Reserve)
	case *command.Command_SetRotation:
		return m.setRotation(c.GetPrincipal(), op.SetRotation)
	case *command.Command_RotateDue:
		return m.rotateDue(c.GetPrincipal(), op.RotateDue)
	case *command.Command_NoteUse:
		return m.noteUse(c.GetPrincipal(), op.NoteUse)
	case *command.Command_CancelDeletion:
		return m.cancelDeletion(c.GetPrincipal(), op.CancelDeletion)
	case *command.Command_PutAlias:
		return m.putAlias(c.GetPrincipal(), op.PutAlias)
	case *command.Command_DeleteAlias:
		return m.deleteAlias(c.GetPrincipal(), op.DeleteAlias)
	case *command.Command_PutQuotePolicy:
		return m.putQuotePolicy(c.GetPrincipal(), op.PutQuotePolicy)
	case *command.Command_SetPolicy:
		return m.setPolicy(op.SetPolicy)
	case *command.Command_SetAmendment:
		return m.setAmendment(op.SetAmendment)
	case *command.Command_PutEphemeral:
		return m.putEphemeral(c.GetPrincipal(), op.PutEphemeral)
	case *command.Command_PutGeneration:
		return m.putGeneration(c.GetPrincipal(), op.PutGeneration)
	case *command.Command_Rewrap:
		return m.rewrap(c.GetPrincipal(), op.Rewrap)
	case *command.Command_RetireGeneration:
		return m.retireGeneration(c.GetPrincipal(), op.RetireGeneration)
	case *command.Command_PutSecret:
		return m.putSecret(c.GetPrincipal(), op.PutSecret)
	case *command.Command_PutSecretVersion:
		return m.putSecretVersion(c.GetPrincipal(), op.PutSecretVersion)
	case *command.Command_SetSecret:
		return m.setSecretFacts(c.GetPrincipal(), op.SetSecret)
	case *command.Command_LabelSecret:
		return m.labelSecret(c.GetPrincipal(), op.LabelSecret)
	case *command.Command_DestroySecretVersion:
		return m.destroySecretVersion(c.GetPrincipal(), op.DestroySecretVersion)
	case *command.Command_SetSecretKey:
		return m.setSecretKey(c.GetPrincipal(), op.SetSecretKey)
	case *command.Command_DeleteSecret:
		return m.deleteSecret(c.GetPrincipal(), op.DeleteSecret)
	case *command.Command_RestoreSecret:
		return m.restoreSecret(c.GetPrincipal(), op.RestoreSecret)
	case *command.Command_RewrapSecrets:
		return m.rewrapSecrets(c.GetPrincipal(), op.RewrapSecrets)
	case *command.Command_AuditHead:
		return m.auditHead(c.GetPrincipal(), op.AuditHead)
	case *command.Command_PutNode:
		return m.putNode(c.GetPrincipal(), op.PutNode)
	case *command.Command_ApproveNode:
		return m.approveNode(c.GetPrincipal(), op.ApproveNode)
	case *command.Command_AnnounceNode:
		return m.announceNode(c.GetPrincipal(), op.AnnounceNode)
	case *command.Command_RemoveNode:
		return m.removeNode(c.GetPrincipal(), op.RemoveNode)
	case *command.Command_RaiseFeature:
		return m.raiseFeature(c.GetPrincipal(), op.RaiseFeature)
	case *command.Command_Checkpoint:
		return m.checkpoint(c.GetPrincipal(), op.Checkpoint)
	case *command.Command_NoteRefusal:
		return m.noteRefusal(c.GetPrincipal(), op.NoteRefusal)
	case *command.Command_SpendOrder:
		return m.spendOrder(c.GetPrincipal(), op.SpendOrder)
	case *command.Command_RecoverDomain:
		return m.recoverDomain(c, m.was)
	case *command.Command_PutRecovery:
		return m.putRecovery(c.GetPrincipal(), op.PutRecovery)
	case *command.Command_OrderBackup:
		return m.orderBackup(c.GetPrincipal(), op.OrderBackup)
	case *command.Command_DeclareCompromise:
		return m.declareCompromise(c.GetPrincipal(), op.DeclareCompromise)
	case *command.Command_ReplaceAuthority:
		return m.replaceAuthority(c.GetPrincipal(), op.ReplaceAuthority)
	case *command.Command_ReplaceExposed:
		return m.replaceExposed(c.GetPrincipal(), op.ReplaceExposed)
	case *command.Command_FinishCompromise:
		return m.finishCompromise(c.GetPrincipal(), op.FinishCompromise)
	case *command.Command_Tick:
		return Result{}
	case *command.Command_Found:
		return refuse(kms.Exists, "the domain is founded already")
	}
	// An operation that this program does not know can only come from a newer
	// one, which must not send it below the feature level that has it.
	return m.stop(kms.Errorf(kms.Damaged, "entry %d of the log has an unknown operation", m.next.index))
}

// authorise checks again, at the moment that counts, what the proposer checked:
// the credential is unchanged, and its request was not done before.
func (m *Machine) authorise(p *command.Principal) (Result, bool) {
	if p == nil { // the node itself
		return Result{}, true
	}
	cred, ok := m.next.credentials.Get(string(p.GetCredential()))
	if !ok || cred.Revision != p.GetCredentialRevision() || string(cred.App[:]) != string(p.GetApp()) {
		return refuse(kms.Conflict, "the credential changed meanwhile"), false
	}
	if r, ok := m.judged(p); !ok {
		return r, false
	}
	if len(p.GetRequestMac()) == 0 {
		return Result{}, true
	}
	if len(p.GetRequestMac()) != len(replay.Mark{}) {
		return refuse(kms.Invalid, "request mark is malformed"), false
	}
	switch m.replay.Judge(markOf(p), time.Unix(0, p.GetRequestTime()), time.Unix(0, m.next.time)) {
	case replay.Fresh:
		return Result{}, true
	case replay.Seen:
		return refuse(kms.Replayed, "this request was done before"), false
	case replay.Crowded:
		return refuse(kms.Exhausted, "too many requests at that time"), false
	}
	return refuse(kms.Stale, "the request's time is outside what is accepted"), false
}

func markOf(p *command.Principal) (mark replay.Mark) {
	copy(mark[:], p.GetRequestMac())
	return mark
}

func (m *Machine) found(p *command.Found) Result {
	f, err := foundingFrom(p)
	if err != nil {
		return refuse(kms.Invalid, "founding record is malformed")
	}
	if p.GetFeatureLevel() == 0 || p.GetFeatureLevel() > m.known {
		return refuse(kms.Invalid, "feature level is unknown")
	}
	rule, err := f.rule(f.Policy)
	if err != nil {
		return refuseAs(err)
	}
	founder, err := founderFrom(f.founder, p)
	if err != nil {
		return refuse(kms.Invalid, "founder's record is malformed")
	}
	recovery, sealed, err := recoveryOf(rule.Standing, []Generation{{}}, p.GetRecovery())
	if err != nil {
		return refuseAs(err)
	}
	rule.Since = m.next.time
	m.next.founding, m.next.feature, m.next.rule = f, p.GetFeatureLevel(), rule
	m.next.simulated = f.Simulated || admitsSimulated(rule.Policy)
	m.next.gathering = forgets(founder.Claims)
	m.foundGenerations(f)
	m.next.recovery, m.next.generations[0].Sealed = recovery, sealed[0].Sealed
	m.setFounder(founder)
	return Result{}
}

func (m *Machine) putKey(by *command.Principal, p *command.PutKey) Result {
	k, err := keyFrom(p.GetKey())
	if err != nil || by == nil || string(k.App[:]) != string(by.GetApp()) {
		return refuse(kms.Invalid, "key record is malformed")
	}
	if _, err := conditionOf(k.Condition); err != nil {
		return refuse(kms.Invalid, "condition is malformed")
	}
	if _, taken := m.next.Key(k.ID); taken {
		return refuse(kms.Exists, "key id is taken")
	}
	if k.State == kms.PendingDeletion {
		return refuse(kms.Invalid, "a new key's deletion is not scheduled")
	}
	if r, ok := m.nameFree(k.App, p.GetAlias()); !ok {
		return r
	}
	if err := m.next.RoomForKey(k.App); err != nil {
		return refuseAs(err)
	}
	k.Revision = m.revise()
	m.setKey(k)
	m.nameNew(k, p.GetAlias())
	return Result{Key: k}
}

func (m *Machine) setKeyState(by *command.Principal, p *command.SetKeyState) Result {
	old, r, ok := m.ownKey(by, p.GetKey(), p.GetRevision())
	if !ok {
		return r
	}
	to := kms.KeyState(p.GetState())
	if !to.Valid() || to == kms.Destroyed || to == kms.PendingDeletion {
		return refuse(kms.Invalid, "unknown key state")
	}
	if old.Deletion != nil {
		return refuse(kms.Disabled, "the key is pending deletion")
	}
	if (old.State == kms.PendingImport) != (to == kms.PendingImport) {
		return refuse(kms.Invalid, "only an import gives a key its material")
	}
	k := *old
	k.State, k.Revision = to, m.revise()
	m.setKey(&k)
	return Result{Key: &k}
}

// importKey never touches a key that has material: so no import can destroy one.
func (m *Machine) importKey(by *command.Principal, p *command.ImportKey) Result {
	old, r, ok := m.ownKey(by, p.GetKey(), p.GetRevision())
	if !ok {
		return r
	}
	if conditioned(old) {
		return refuse(kms.Denied, "the key's condition does not allow this")
	}
	v := p.GetVersion()
	if old.State != kms.PendingImport || len(old.Versions) != 0 || v.GetNumber() == 0 || len(v.GetWrapped()) == 0 {
		return refuse(kms.Exists, "the key has its material already")
	}
	k := *old
	k.State, k.Revision, k.Current = kms.Enabled, m.revise(), kms.KeyVersion(v.GetNumber())
	k.Versions = []Version{versionFrom(v)}
	m.setKey(&k)
	return Result{Key: &k}
}

func (m *Machine) deleteKey(by *command.Principal, p *command.DeleteKey) Result {
	k, r, ok := m.ownKey(by, p.GetKey(), p.GetRevision())
	if !ok {
		return r
	}
	if conditioned(k) {
		return refuse(kms.Denied, "the key's condition does not allow this")
	}
	if m.next.Protects(k.ID, 0) {
		return errHeld()
	}
	m.dropKey(k)
	return Result{Key: k}
}

func (m *Machine) deleteAppKeys(by *command.Principal) Result {
	var app kms.AppID
	if by == nil || !fill(app[:], by.GetApp()) {
		return refuse(kms.Invalid, "no app is named")
	}
	var all []*Key
	m.next.KeysOf(app, kms.KeyID{}, func(k *Key) bool { all = append(all, k); return true })
	if conditioned(all...) {
		return refuse(kms.Denied, "a key's condition does not allow this")
	}
	if slices.ContainsFunc(all, func(k *Key) bool { return m.next.Protects(k.ID, 0) }) {
		return errHeld()
	}
	for _, k := range all {
		m.dropKey(k)
	}
	return Result{}
}

// ownKey finds a key of the principal's app, at the revision it was seen at.
func (m *Machine) ownKey(by *command.Principal, rawID []byte, revision uint64) (*Key, Result, bool) {
	var id kms.KeyID
	if !fill(id[:], rawID) || by == nil {
		return nil, refuse(kms.Invalid, "key id is malformed"), false
	}
	k, ok := m.next.Key(id)
	switch {
	case !ok:
		return nil, refuse(kms.NotFound, "no such key"), false
	case string(k.App[:]) != string(by.GetApp()):
		return nil, refuse(kms.Foreign, "the key belongs to another app"), false
	case k.Revision != revision:
		return nil, refuse(kms.Conflict, "the key changed meanwhile"), false
	}
	return k, Result{}, true
}

func (m *Machine) setKey(k *Key) {
	m.indexRotation(k)
	old, replaced := m.next.keys.Set(k)
	if !replaced {
		m.next.countKey(k.App, 1)
	}
	m.next.byApp.Set(k)
	m.tellKey(old, k)
	count(m, old, k)
}

func (m *Machine) dropKey(k *Key) {
	m.tellKeyGone(k)
	m.forgetKey(k)
	old, deleted := m.next.keys.Delete(k)
	if deleted {
		m.next.countKey(k.App, -1)
	}
	m.next.byApp.Delete(k)
	count(m, old, nil)
}

// revise gives out the next revision. Revisions are unique in the domain.
func (m *Machine) revise() uint64 { m.next.revision++; return m.next.revision }

func refuse(k kms.Kind, why string) Result { return Result{Err: kms.Errorf(k, "%s", why)} }

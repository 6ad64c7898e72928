package state

import (
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/recovery"
	"github.com/holdfast-kms/holdfast/trusted/internal/replay"
)

// MaxPastRecoveries is how many recoveries are remembered.
const MaxPastRecoveries = 256

// A PastRecovery is a recovery that was done.
type PastRecovery struct {
	Envelope []byte
	Index    uint64 // of the entry that it made
	Time     int64

	nonce govern.Nonce
}

// Head is how far the log has come. What it names is the same on every node.
func (v *View) Head() govern.Head { return v.headAt(v.replayFloor) }

func (v *View) headAt(replayFloor int64) govern.Head {
	h := govern.Head{Term: v.term, Index: v.index, Digest: v.digest(replayFloor)}
	if v.rule != nil {
		h.PolicySerial = v.rule.Policy.Serial
	}
	return h
}

// Recovery is the domain's recovery key, nil where there is none. The caller must
// not change it.
func (v *View) Recovery() *backup.Recovery { return v.recovery }

// PastRecoveries are those that were done, oldest first.
func (v *View) PastRecoveries() []PastRecovery { return v.recoveries }

// Recoverable reports whether the domain could be brought back by those who hold
// its recovery keys now, if every node were lost.
func (v *View) Recoverable() bool {
	return v.recovery != nil && !v.RecoveryDue()
}

// RecoveryDue reports whether the recovery key is dealt to others than the charter
// names now, by an amendment.
func (v *View) RecoveryDue() bool {
	s := v.rule.Standing
	if len(s.RecoveryKeys) == 0 {
		return v.recovery != nil
	}
	return v.recovery == nil || recovery.Check(v.recovery, s.RecoveryKeys, s.RecoveryThreshold) != nil
}

// Term says which term the entry is of that is applied next. Its caller is Apply's
// and Configure's.
func (m *Machine) Term(term uint64) { m.entering = term }

// recoverDomain revives the domain on one node. was is the head before this command.
func (m *Machine) recoverDomain(c *command.Command, was govern.Head) Result {
	by, p := c.GetPrincipal(), c.GetRecoverDomain()
	n, err := nodeFrom(p.GetNode())
	if by != nil || err != nil {
		return refuse(kms.Invalid, "recovery is malformed")
	}
	doc, err := m.next.CheckRecovery(p.GetDocument(), was, n.ID)
	if err != nil {
		return refuseAs(err)
	}
	m.next.time = max(m.next.time, c.GetTime()) // no quorum is there to say
	if _, gone := m.next.Removed(n.ID); gone {
		return refuse(kms.Denied, "the node was removed from the domain")
	}
	if _, member := m.next.Member(n.ID); !member {
		if err := admits(m.next.Policy(), n.Claims, m.next.Time()); err != nil {
			return refuseAs(err)
		}
	}
	m.leaveBehind(n.ID)
	n.Wanted, n.Generations, n.Replaces, n.Proven = kms.RoleVoter, m.next.Generation()+1, kms.NodeID{}, false
	n.Boot = nil // it says so itself when it starts
	n.Joined, n.Proved, n.Revision = m.next.time, m.next.time, m.revise()
	m.setNode(n)
	m.next.voters, m.next.learners = []kms.NodeID{n.ID}, nil
	m.next.gathering = forgets(n.Claims)
	if m.replay.Len() == 0 { // from a backup: nobody remembers which requests came before
		m.replay = replay.NewTable(replayLimit, max(m.replay.Floor(), m.next.Time().Unix()))
	}
	past := append(slices.Clone(m.next.recoveries), PastRecovery{Envelope: exact(p.GetDocument()), Index: m.next.index, Time: m.next.time, nonce: doc.Nonce})
	m.next.recoveries = past[max(0, len(past)-MaxPastRecoveries):]
	m.event(kms.Event{Kind: kms.EventDomainRecovered, Node: n.ID, Number: uint64(len(m.next.recoveries))})
	return Result{}
}

// leaveBehind ends the part of every node but one, for good.
func (m *Machine) leaveBehind(survivor kms.NodeID) {
	for _, n := range m.next.nodes {
		if n.ID == survivor || !n.Member() {
			continue
		}
		gone := removed{n.ID, Removal{Reason: kms.NodeLost, Time: m.next.time}}
		m.next.removed.Set(string(n.ID[:]), gone.Removal)
		count(m, nil, &gone)
		m.event(kms.Event{Kind: kms.EventNodeEvicted, Node: n.ID, Reason: kms.NodeLost.String()})
	}
	m.dropNodes(func(n *Node) bool { return n.ID != survivor })
}

// CheckRecovery asks whether a document revives the domain from this head, on this
// node. The errors are those of govern, Exists (it was used before), and Denied.
func (v *View) CheckRecovery(envelope []byte, head govern.Head, survivor kms.NodeID) (*govern.Recovery, error) {
	doc, err := v.rule.Standing.OpenRecovery(envelope)
	if err != nil {
		return nil, err
	}
	if err := v.unused(doc.Nonce); err != nil {
		return nil, err
	}
	switch {
	case doc.Survivor != survivor:
		return nil, kms.Errorf(kms.Denied, "the recovery is for node %s to carry on, not for this one", doc.Survivor).WithField("survivor")
	case doc.Head != head:
		return nil, kms.Errorf(kms.Denied, "the recovery names entry %d of term %d, digest %s, under policy %d; here is entry %d of term %d, digest %s, under policy %d",
			doc.Head.Index, doc.Head.Term, doc.Head.Digest, doc.Head.PolicySerial, head.Index, head.Term, head.Digest, head.PolicySerial).WithField("head").
			WithHint("have owner and signers sign the head that this node shows, if it is the highest that they know of")
	}
	return doc, nil
}

// UnusedRecovery asks that the domain did not come from a recovery already. The
// errors are those of govern, and Exists.
func (v *View) UnusedRecovery(envelope []byte) error {
	doc, err := v.rule.Standing.OpenRecovery(envelope)
	if err != nil {
		return err
	}
	return v.unused(doc.Nonce)
}

func (v *View) unused(nonce govern.Nonce) error {
	for _, past := range v.recoveries {
		if past.nonce == nonce {
			return kms.Errorf(kms.Exists, "the recovery was used before").WithField("nonce").
				WithHint("the domain has gone on since: have another one signed, for the head that it has now")
		}
	}
	return nil
}

// putRecovery deals the recovery key anew, to those whom an amendment names.
func (m *Machine) putRecovery(by *command.Principal, p *command.PutRecovery) Result {
	if by != nil {
		return refuse(kms.Invalid, "recovery key is malformed")
	}
	if err := m.spokenBy(p.GetBy()); err != nil {
		return refuseAs(err)
	}
	if !m.next.RecoveryDue() {
		return refuse(kms.Conflict, "the recovery key is dealt to those who hold recovery keys")
	}
	r, all, err := recoveryOf(m.next.rule.Standing, m.next.generations, p.GetRecovery())
	if err != nil {
		return refuseAs(err)
	}
	m.next.recovery, m.next.generations = r, all
	shares := 0
	if r != nil {
		shares = len(r.Shares)
	}
	m.event(kms.Event{Kind: kms.EventRecoveryDealt, Number: uint64(shares)})
	return Result{}
}

// recoveryOf reads a recovery key that is dealt to those who hold recovery keys, with
// every generation in use sealed to it; nil where there are no recovery keys.
func recoveryOf(s govern.Standing, generations []Generation, p *command.Recovery) (*backup.Recovery, []Generation, error) {
	r, err := recoveryFrom(p)
	if err != nil {
		return nil, nil, err
	}
	if (r == nil) != (len(s.RecoveryKeys) == 0) {
		return nil, nil, kms.Errorf(kms.Conflict, "the recovery key does not go with the recovery keys of the charter")
	}
	if r != nil {
		if err := recovery.Check(r, s.RecoveryKeys, s.RecoveryThreshold); err != nil {
			return nil, nil, err
		}
	}
	all, err := sealedTo(generations, r, p.GetGenerations())
	return r, all, err
}

// orNone copies b, nil where it is empty.
func orNone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return exact(b)
}

// sealedTo are the generations with what is sealed of them to r: of all that are in
// use, and of no other.
func sealedTo(all []Generation, r *backup.Recovery, sealed []*command.SealedGeneration) ([]Generation, error) {
	all = slices.Clone(all)
	for i := range all {
		all[i].Sealed = nil
		if r == nil || all[i].Retired != 0 {
			continue
		}
		if len(sealed) == 0 || sealed[0].GetNumber() != all[i].Number || !recovery.SealedTo(r.Public, sealed[0].GetSealed()) {
			return nil, kms.Errorf(kms.Conflict, "master secret %d is not sealed to the recovery key", i)
		}
		all[i].Sealed, sealed = exact(sealed[0].GetSealed()), sealed[1:]
	}
	if len(sealed) > 0 {
		return nil, kms.Errorf(kms.Conflict, "a master secret is sealed to the recovery key that is not in use")
	}
	return all, nil
}

// sealedNext checks what a new generation brings: sealed to the recovery key, if
// there is one.
func (v *View) sealedNext(sealed []byte) error {
	if v.recovery == nil && len(sealed) == 0 || v.recovery != nil && recovery.SealedTo(v.recovery.Public, sealed) {
		return nil
	}
	return kms.Errorf(kms.Conflict, "the generation is not sealed to the recovery key that there is now").WithHint("try again")
}

// orderBackup spends the order that a backup is made by.
func (m *Machine) orderBackup(by *command.Principal, p *command.OrderBackup) Result {
	if by != nil {
		return refuse(kms.Invalid, "backup is malformed")
	}
	if err := m.next.CheckBackup(p.GetOrder(), m.next.Time()); err != nil {
		return refuseAs(err)
	}
	m.spend(p.GetOrder(), govern.DeedBackup)
	m.next.backupAt = m.next.time
	m.event(kms.Event{Kind: kms.EventBackupMade, Number: uint64(m.next.Generation())})
	return Result{}
}

// LastBackup is when the last backup was ordered; the zero time: none was.
func (v *View) LastBackup() time.Time {
	if v.backupAt == 0 {
		return time.Time{}
	}
	return time.Unix(0, v.backupAt).UTC()
}

// CheckBackup asks whether an order has a backup made, at some time. The errors are
// those of govern, Exists (it was obeyed before) and Expired.
func (v *View) CheckBackup(order []byte, at time.Time) error {
	_, err := v.checkOrder(order, govern.DeedBackup, 0, at)
	return err
}

func recoveryFrom(p *command.Recovery) (*backup.Recovery, error) {
	if p == nil {
		return nil, nil
	}
	r := &backup.Recovery{Public: exact(p.GetPublicKey()), Threshold: int(p.GetThreshold())}
	for _, c := range p.GetCommitments() {
		r.Commitments = append(r.Commitments, exact(c))
	}
	for _, s := range p.GetShares() {
		if len(s.GetKey()) != len(kms.NodeID{}) {
			return nil, malformed("recovery key")
		}
		r.Shares = append(r.Shares, backup.Share{Key: kms.NodeID(s.GetKey()).String(), Sealed: exact(s.GetSealed())})
	}
	return r, nil
}

// RecoveryProto is a recovery key as commands and snapshots carry it; nil of nil.
func RecoveryProto(r *backup.Recovery) *command.Recovery {
	if r == nil {
		return nil
	}
	p := &command.Recovery{PublicKey: r.Public, Threshold: uint32(r.Threshold), Commitments: r.Commitments}
	for _, s := range r.Shares {
		id, _ := kms.ParseNodeID(s.Key) // 32 bytes in hexadecimal
		p.Shares = append(p.Shares, &command.RecoveryShare{Key: id[:], Sealed: s.Sealed})
	}
	return p
}

// putHead writes into a snapshot's header what is about recovery, and the term.
func (v *View) putHead(h *command.Header) {
	h.Term, h.BackupAt, h.Recovery = v.term, v.backupAt, RecoveryProto(v.recovery)
}

func (m *Machine) loadHead(h *command.Header) (err error) {
	m.next.term, m.next.backupAt = h.GetTerm(), h.GetBackupAt()
	m.next.recovery, err = recoveryFrom(h.GetRecovery())
	return err
}

func (v *View) writeRecoveries(out *recordWriter) {
	for _, r := range v.recoveries {
		out.put(&command.Record{Kind: &command.Record_PastRecovery{PastRecovery: &command.PastRecovery{Document: r.Envelope, Index: r.Index, Time: r.Time}}})
	}
}

func (m *Machine) loadRecovery(p *command.PastRecovery) error {
	e, err := govern.ParseEnvelope(p.GetDocument())
	if err != nil || e.Type != govern.RecoveryType || len(m.next.recoveries) >= MaxPastRecoveries {
		return malformed("snapshot: recovery")
	}
	doc, err := govern.ParseRecovery(e.Payload)
	if err != nil {
		return malformed("snapshot: recovery")
	}
	m.next.recoveries = append(m.next.recoveries, PastRecovery{Envelope: exact(p.GetDocument()), Index: p.GetIndex(), Time: p.GetTime(), nonce: doc.Nonce})
	return nil
}

// Backup is a picture of the state for a backup: without what is remembered of
// requests and commands, which mean nothing to a domain that was restored.
func (v *View) Backup() *Snapshot { return &Snapshot{view: v} }

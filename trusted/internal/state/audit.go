package state

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// maxOwed is how many entries of changes one node may owe. A head a second settles
// them; a node that cannot put heads through the log cannot change the state either.
const maxOwed = 1 << 14

// An AuditChain is what the domain knows of a node's audit log. Records are
// immutable: a change makes a new one.
type AuditChain struct {
	Node kms.NodeID
	Head audit.Head // Seq 0: none yet
	// Owed are the changes that no head covers yet, in order of their indices. They
	// are shared by views: one goroutine appends, and nobody changes one in place.
	Owed []OwedEntry
}

// An OwedEntry is a change that must have an audit entry of a node's.
type OwedEntry struct {
	Index uint64
	Time  int64
	Audit *command.Audit
}

// AuditHead is the newest head of a node's audit log; Seq 0: there is none.
func (v *View) AuditHead(node kms.NodeID) audit.Head {
	if c, ok := v.auditChains.Get(string(node[:])); ok {
		return c.Head
	}
	return audit.Head{Node: node}
}

// AuditHeads are the newest heads of all nodes' audit logs, in order of their ids.
func (v *View) AuditHeads() (all []audit.Head) {
	v.auditChains.Scan(func(_ string, c *AuditChain) bool {
		if c.Head.Seq > 0 {
			all = append(all, c.Head)
		}
		return true
	})
	return all
}

// AuditOwed are the changes that a node's audit log owes entries of, as far as the
// domain knows. It is not to be changed.
func (v *View) AuditOwed(node kms.NodeID) []OwedEntry {
	if c, ok := v.auditChains.Get(string(node[:])); ok {
		return c.Owed
	}
	return nil
}

// AuditOrphans are the changes whose entries are owed by nodes that were removed,
// in order of their indices: another node is to write them.
func (v *View) AuditOrphans() (all []OwedEntry) {
	v.auditChains.Scan(func(_ string, c *AuditChain) bool {
		if _, gone := v.Removed(c.Node); gone {
			all = append(all, c.Owed...)
		}
		return true
	})
	slices.SortFunc(all, func(a, b OwedEntry) int { return cmp.Compare(a.Index, b.Index) })
	return all
}

// AuditKeys are the domain's audit keys, oldest first. They are not to be changed.
func (v *View) AuditKeys() []audit.Key { return v.auditKeys }

// AuditKey is that of a generation.
func (v *View) AuditKey(generation uint32) (audit.Key, bool) {
	for _, k := range v.auditKeys {
		if k.Generation == generation {
			return k, true
		}
	}
	return audit.Key{}, false
}

// auditHead takes the next head of a node's chain. That it is signed is for who
// reads it to check: only nodes propose, and the state holds no secret.
func (m *Machine) auditHead(by *command.Principal, p *command.AuditHead) Result {
	h, err := headFrom(p)
	if by != nil || err != nil || h.Seq == 0 || int(h.Generation) >= len(m.next.generations) {
		return refuse(kms.Invalid, "audit head is malformed")
	}
	old := m.auditChain(h.Node)
	if h.Seq < old.Head.Seq || h.Seq == old.Head.Seq && h.Hash != old.Head.Hash {
		return refuse(kms.Conflict, "the node's audit log has a later head")
	}
	if r, ok := m.putAuditKey(h.Generation, p); !ok {
		return r
	}
	m.setAuditChain(&AuditChain{Node: h.Node, Head: h, Owed: owedBehind(old.Owed, p.GetSettled())})
	m.takenOver(p.GetTaken())
	return Result{}
}

// takenOver notes that changes up to an index have their entries that removed
// nodes owed.
func (m *Machine) takenOver(index uint64) {
	if index == 0 {
		return
	}
	var done []*AuditChain
	m.next.auditChains.Scan(func(_ string, c *AuditChain) bool {
		if _, gone := m.next.Removed(c.Node); gone && len(c.Owed) > 0 {
			done = append(done, &AuditChain{Node: c.Node, Head: c.Head, Owed: owedBehind(c.Owed, index)})
		}
		return true
	})
	for _, c := range done {
		m.setAuditChain(c)
	}
}

// owedBehind is what is owed behind an index.
func owedBehind(all []OwedEntry, index uint64) []OwedEntry {
	for len(all) > 0 && all[0].Index <= index {
		all = all[1:]
	}
	if len(all) == 0 {
		return nil // not to keep what is before
	}
	return all
}

// putAuditKey takes the key of a generation that has none yet.
func (m *Machine) putAuditKey(generation uint32, p *command.AuditHead) (Result, bool) {
	_, known := m.next.AuditKey(generation)
	if known {
		return Result{}, true
	}
	k, err := auditKeyFrom(&command.AuditKey{Generation: generation, Key: p.GetKey(), Voucher: p.GetVoucher()})
	if err != nil {
		return refuse(kms.Invalid, "audit head without the key that signed it"), false
	}
	m.addAuditKey(k)
	return Result{}, true
}

func (m *Machine) addAuditKey(k audit.Key) {
	all := append([]audit.Key(nil), m.next.auditKeys...) // views share it
	at := len(all)
	for at > 0 && all[at-1].Generation > k.Generation {
		at--
	}
	all = append(all, audit.Key{})
	copy(all[at+1:], all[at:])
	all[at] = k
	m.next.auditKeys = all
}

// owes asks whether a command may be done that an audit entry is owed of.
func (m *Machine) owes(a *command.Audit) (Result, bool) {
	if a == nil {
		return Result{}, true
	}
	var node kms.NodeID
	if !fill(node[:], a.GetNode()) {
		return refuse(kms.Invalid, "audit note is malformed"), false
	}
	if len(m.auditChain(node).Owed) >= maxOwed {
		return refuse(kms.Exhausted, "too many changes wait for the node's audit log"), false
	}
	return Result{}, true
}

// owe notes that a command was done that an audit entry is owed of.
func (m *Machine) owe(a *command.Audit) {
	if a == nil {
		return
	}
	var node kms.NodeID
	copy(node[:], a.GetNode())
	c := *m.auditChain(node)
	c.Owed = append(c.Owed, OwedEntry{Index: m.next.index, Time: m.next.time, Audit: a})
	m.setAuditChain(&c)
}

// auditChain is that of a node, an empty one where there is none.
func (m *Machine) auditChain(node kms.NodeID) *AuditChain {
	if c, ok := m.next.auditChains.Get(string(node[:])); ok {
		return c
	}
	return &AuditChain{Node: node}
}

func (m *Machine) setAuditChain(c *AuditChain) { m.next.auditChains.Set(string(c.Node[:]), c) }

func headFrom(p *command.AuditHead) (h audit.Head, err error) {
	h.Seq, h.Generation, h.Time = p.GetSeq(), p.GetGeneration(), time.UnixMicro(p.GetTime()).UTC()
	if !fill(h.Node[:], p.GetNode()) || !fill(h.Hash[:], p.GetHash()) || !fill(h.Signature[:], p.GetSignature()) {
		return h, malformed("audit head")
	}
	return h, nil
}

func auditKeyFrom(p *command.AuditKey) (k audit.Key, err error) {
	k.Generation = p.GetGeneration()
	if !fill(k.Public[:], p.GetKey()) || !fill(k.Voucher[:], p.GetVoucher()) {
		return k, malformed("audit key")
	}
	return k, nil
}

// HeadProto is a head as the log has it.
func HeadProto(h *audit.Head) *command.AuditHead {
	return &command.AuditHead{Node: h.Node[:], Seq: h.Seq, Time: h.Time.UnixMicro(), Generation: h.Generation,
		Hash: h.Hash[:], Signature: h.Signature[:]}
}

func (v *View) writeAudit(out *recordWriter) {
	for i := range v.auditKeys {
		k := &v.auditKeys[i]
		out.put(&command.Record{Kind: &command.Record_AuditKey{AuditKey: &command.AuditKey{
			Generation: k.Generation, Key: k.Public[:], Voucher: k.Voucher[:]}}})
	}
	v.auditChains.Scan(func(_ string, c *AuditChain) bool {
		p := &command.AuditChain{Node: c.Node[:]}
		if c.Head.Seq > 0 {
			p.Head = HeadProto(&c.Head)
		}
		for _, o := range c.Owed {
			p.Owed = append(p.Owed, &command.OwedEntry{Index: o.Index, Time: o.Time, Audit: o.Audit})
		}
		return out.put(&command.Record{Kind: &command.Record_AuditChain{AuditChain: p}})
	})
}

func (m *Machine) loadAuditKey(p *command.AuditKey) error {
	k, err := auditKeyFrom(p)
	if err != nil {
		return err
	}
	if n := len(m.next.auditKeys); n > 0 && m.next.auditKeys[n-1].Generation >= k.Generation {
		return malformed("snapshot: audit keys")
	}
	m.addAuditKey(k)
	return nil
}

func (m *Machine) loadAuditChain(p *command.AuditChain) error {
	c := &AuditChain{}
	if !fill(c.Node[:], p.GetNode()) {
		return malformed("snapshot: audit log of a node")
	}
	if p.GetHead() != nil {
		h, err := headFrom(p.GetHead())
		if err != nil || h.Node != c.Node || h.Seq == 0 {
			return malformed("snapshot: audit head")
		}
		c.Head = h
	}
	for _, o := range p.GetOwed() {
		if string(o.GetAudit().GetNode()) != string(c.Node[:]) || len(c.Owed) > 0 && c.Owed[len(c.Owed)-1].Index >= o.GetIndex() {
			return malformed("snapshot: owed audit entries")
		}
		c.Owed = append(c.Owed, OwedEntry{Index: o.GetIndex(), Time: o.GetTime(), Audit: o.GetAudit()})
	}
	m.setAuditChain(c)
	return nil
}

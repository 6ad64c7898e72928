package core

import (
	"context"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// When the audit log's head is put on record, and what else is done now and then.
const (
	headEvery   = time.Second
	headEntries = 1000             // or after so many, if that is sooner
	countsEvery = 10 * time.Second // entries of what is only counted
	// owedAge is after what time a change is taken for one whose entry nobody will
	// write any more: longer than any proposal is waited for.
	owedAge = 30 * time.Second
)

// An auditKeeper is what the core remembers of its audit log's upkeep.
type auditKeeper struct {
	mu       sync.Mutex
	last     audit.Head
	headAt   time.Time // by the host's clock, as the others
	countsAt time.Time
	owed     map[uint64]time.Time // changes without an entry, and since when they were seen
	orphanAt time.Time            // when it was last looked for what removed nodes owe
}

// StartAudit writes the first entries of a node that has started: that it has, and
// of changes that were applied and whose entries it could not write before. It
// waits for no sink.
func (c *Core) StartAudit(ctx context.Context) error {
	view, err := c.cfg.Replica.Local()
	if err != nil || !c.auditing(view) {
		return err
	}
	head := view.AuditHead(c.cfg.Audit.Node())
	c.enter(ctx, view, &audit.Entry{Operation: audit.Start, Head: head.Seq, Index: 0})
	for _, o := range view.AuditOwed(c.cfg.Audit.Node()) {
		c.enter(ctx, view, recovered(o))
	}
	k := &c.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last, k.headAt, k.countsAt = head, c.cfg.Now(), c.cfg.Now()
	return nil
}

// enter writes an entry of the node's own and waits for nothing.
func (c *Core) enter(ctx context.Context, view *state.View, e *audit.Entry) {
	now := c.now(view)
	if e.Time.IsZero() {
		e.Time = now
	}
	e.Time, e.Epoch, e.Outcome = e.Time.Truncate(time.Microsecond), view.Calendar().At(now), audit.OK
	_ = c.cfg.Audit.Record(ctx, e, nil) // waits for none, so nothing can fail
}

// recovered is the entry of a change that the state knows and the audit log may
// not.
func recovered(o state.OwedEntry) *audit.Entry {
	a := o.Audit
	e := &audit.Entry{Time: time.Unix(0, o.Time).UTC(), Operation: a.GetOperation(), Identity: a.GetIdentity(), Name: a.GetName(),
		Object: a.GetObject(), Index: o.Index, Recovered: true}
	copy(e.App[:], a.GetApp())
	copy(e.Credential[:], a.GetCredential())
	copy(e.Key.ID[:], a.GetKey())
	e.Key.Version = kms.KeyVersion(a.GetVersion())
	return e
}

// KeepAudit puts the head of the node's audit log on record, if it is time, and
// does what else its upkeep takes. The node calls it ten times a second.
func (c *Core) KeepAudit(ctx context.Context) error { return c.keepAudit(ctx, false) }

func (c *Core) keepAudit(ctx context.Context, last bool) error {
	view, err := c.cfg.Replica.Local()
	if err != nil || !c.auditing(view) {
		return err
	}
	k := &c.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	now := c.cfg.Now()
	if last || now.Sub(k.countsAt) >= countsEvery || now.Before(k.countsAt) {
		k.countsAt = now
		for _, e := range c.cfg.Audit.TakeCounts() {
			c.enter(ctx, view, &e)
		}
	}
	c.takeOver(ctx, view, now)
	h, fresh := c.cfg.Audit.Next(view.Policy().AuditSinks, k.last.Seq)
	soon := !last && now.Sub(k.headAt) < headEvery && !now.Before(k.headAt)
	if fresh == 0 || soon && fresh < headEntries {
		return nil
	}
	k.headAt = now
	return c.putHead(ctx, view, &h)
}

// putHead signs a head and puts it on record.
func (c *Core) putHead(ctx context.Context, view *state.View, h *audit.Head) error {
	h.Time = c.now(view).UTC().Truncate(time.Microsecond)
	if err := c.cfg.Root.SignAuditHead(h); err != nil {
		return err
	}
	p := state.HeadProto(h)
	p.Settled = c.settled(ctx, view, h.Seq)
	taken, whole := c.taken(view, h.Seq)
	p.Taken = taken
	if _, known := view.AuditKey(h.Generation); !known {
		key, err := c.cfg.Root.AuditKey(h.Generation)
		if err != nil {
			return err
		}
		p.Key, p.Voucher = key.Public[:], key.Voucher[:]
	}
	cmd := c.command(c.now(view).UnixNano())
	cmd.Op = &command.Command_AuditHead{AuditHead: p}
	if _, err := c.cfg.Replica.Propose(ctx, cmd); err != nil {
		return err
	}
	c.keeper.last = *h
	if whole { // else it is still to be known which entries are written
		c.cfg.Audit.Settle(p.GetSettled())
	}
	c.cfg.Audit.PutHead(h)
	return nil
}

// settled is up to which index every change of this node's has an entry that a
// head covers. One that has none for long gets it: its proposer gave up waiting,
// and never heard that it was applied.
func (c *Core) settled(ctx context.Context, view *state.View, seq uint64) uint64 {
	settled, whole := uint64(0), true
	now := c.cfg.Now()
	for _, o := range view.AuditOwed(c.cfg.Audit.Node()) {
		at := c.cfg.Audit.Covered(o.Index)
		if whole = whole && at != 0 && at <= seq; whole {
			settled = o.Index
		}
		if at != 0 {
			delete(c.keeper.owed, o.Index)
			continue
		}
		switch since, seen := c.keeper.owed[o.Index]; {
		case !seen && c.keeper.owed == nil:
			c.keeper.owed = map[uint64]time.Time{o.Index: now}
		case !seen:
			c.keeper.owed[o.Index] = now
		case now.Sub(since) >= owedAge:
			c.enter(ctx, view, recovered(o))
		}
	}
	return settled
}

// takeOver writes the entries that removed nodes owed, where this node leads.
func (c *Core) takeOver(ctx context.Context, view *state.View, now time.Time) {
	k := &c.keeper
	if !c.leads() || now.Sub(k.orphanAt) < headEvery && !now.Before(k.orphanAt) {
		return
	}
	k.orphanAt = now
	for _, o := range view.AuditOrphans() {
		if c.cfg.Audit.Covered(o.Index) == 0 {
			e := recovered(o)
			copy(e.For[:], o.Audit.GetNode())
			c.enter(ctx, view, e)
		}
	}
}

// taken is up to which index every change that removed nodes owed an entry of has
// one in this node's log that a head covers; whole: that is all of them. A node
// that does not lead says nothing of them.
func (c *Core) taken(view *state.View, seq uint64) (index uint64, whole bool) {
	for _, o := range view.AuditOrphans() {
		if at := c.cfg.Audit.Covered(o.Index); at == 0 || at > seq {
			return index, false
		}
		index = o.Index
	}
	return index, true
}

// leads reports whether the domain's background work is this node's.
func (c *Core) leads() bool { return c.cfg.Leads == nil || c.cfg.Leads() }

// StopAudit writes the last entry and puts the last head on record.
func (c *Core) StopAudit(ctx context.Context) error {
	view, err := c.cfg.Replica.Local()
	if err != nil || !c.auditing(view) {
		return err
	}
	now := c.now(view)
	e := &audit.Entry{Operation: audit.Stop, Outcome: audit.OK, Time: now.Truncate(time.Microsecond), Epoch: view.Calendar().At(now)}
	if err := c.cfg.Audit.Record(ctx, e, c.cfg.Audit.Living(view.Policy().AuditSinks)); err != nil {
		return err
	}
	return c.keepAudit(ctx, true)
}

// AuditCheckpoint is what anybody may have of the domain's audit logs: the newest
// head of each node's, and what proves them. The error is Unavailable.
func (c *Core) AuditCheckpoint(context.Context) (*audit.Checkpoint, error) {
	view, err := c.cfg.Replica.Local()
	if err != nil {
		return nil, err
	}
	cp := &audit.Checkpoint{Domain: view.Founding().Domain, Keys: view.AuditKeys(), Heads: view.AuditHeads()}
	for _, g := range view.Generations() {
		k := audit.SigningKey{Generation: g.Number}
		copy(k.Public[:], g.SigningKey)
		cp.SigningKeys = append(cp.SigningKeys, k)
	}
	return cp, nil
}

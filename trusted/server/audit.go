package server

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/auditing"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// auditInterval is how often the node looks whether its audit log's head is to be
// put on record.
const auditInterval = 100 * time.Millisecond

// openAudit goes on with the node's audit log where the domain knows of it.
func (n *Node) openAudit(view *state.View) (err error) {
	n.audit, err = auditing.Open(context.Background(), auditing.Config{Domain: n.who.domain, Node: n.who.node, Sinks: n.cfg.AuditSinks,
		Logger: n.cfg.Logger, Now: n.cfg.Clock.Now, Patience: n.cfg.AuditPatience}, view.AuditHead(n.who.node))
	return err
}

// keepAudit keeps the audit log until ctx ends.
func (n *Node) keepAudit(ctx context.Context) {
	n.cfg.Clock.Every(ctx, auditInterval, func() {
		if err := n.core.KeepAudit(ctx); err != nil && ctx.Err() == nil {
			n.cfg.Logger.Warn("the audit log's head was not put on record", "cause", err)
		}
	})
}

// stopAuditTime is how long a node that stops waits for its last head to be put on
// record. The last nodes of a domain to stop have nobody to put it on record with;
// what they wrote behind the head before is then chained and signed by nobody.
const stopAuditTime = 2 * time.Second

// closeAudit ends the audit log while there is still a log to put its head on.
func (n *Node) closeAudit() {
	if n.audit == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopAuditTime)
	defer cancel()
	if n.core != nil {
		if err := n.core.StopAudit(ctx); err != nil {
			n.cfg.Logger.Warn("the audit log did not end in order", "cause", err)
		}
	}
	n.audit.Close()
}

// admits asks whether this node could serve under a policy.
func (n *Node) admits(p *govern.Policy, now time.Time) error {
	if err := n.standing.judgeUnder(p, now); err != nil {
		return err
	}
	for _, name := range p.AuditSinks {
		if _, ok := n.cfg.AuditSinks[name]; !ok {
			return kms.Errorf(kms.Denied, "this node has no audit sink %q, so it would refuse everything", name)
		}
	}
	return nil
}

// AuditProgress is how far the node's audit log is behind.
func (n *Node) AuditProgress() kms.AuditProgress {
	view, err := n.replica.Local()
	if err != nil {
		return kms.AuditProgress{}
	}
	return n.audit.Progress(view.Policy().AuditSinks)
}

// AuditCheckpoint is what anybody may have of the domain's audit logs.
func (n *Node) AuditCheckpoint(ctx context.Context) (*audit.Checkpoint, error) {
	return n.core.AuditCheckpoint(ctx)
}

// auditStatus says which sinks take nothing, and what that means.
func (n *Node) auditStatus(s *kms.Status, p *govern.Policy) {
	for _, sink := range n.audit.Status() {
		switch {
		case sink.Fault != nil:
			s.Warnings = append(s.Warnings, fmt.Sprintf("audit sink %q takes nothing since %s; %d entries wait for it",
				sink.Name, sink.Since.UTC().Format(time.RFC3339), sink.Behind))
		case sink.Lost > 0:
			s.Warnings = append(s.Warnings, fmt.Sprintf("audit sink %q fell so far behind that entries are missing in it", sink.Name))
		}
	}
	if err := n.audit.Admit(p.AuditSinks); err != nil {
		s.Ready, s.Reason = false, err.Error()
	}
}

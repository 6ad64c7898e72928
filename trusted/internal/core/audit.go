package core

import (
	"context"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// An Audited is an authenticated request whose every operation leaves an entry in
// the audit log: its result is released when every sink that the policy requires
// has the entry. It is what the outside gets of a Caller, and has a method for
// each operation: one that is missing here cannot be reached.
//
// Where an operation's entry cannot be written the operation is refused before it
// begins, with kind Unavailable. Where that shows only when it is done its result
// is kept back: a change has happened then all the same, as with any error of that
// kind.
type Audited struct{ caller *Caller }

// audited does an operation and writes its entry.
func audited[R, Out any](ctx context.Context, a *Audited, operation string, r R, do func(*Caller, context.Context, R) (Out, error)) (out Out, err error) {
	c := a.caller
	leave, err := c.begin(ctx)
	if err != nil {
		return out, err
	}
	defer leave()
	if !c.core.auditing(c.view) {
		return do(c, ctx, r)
	}
	if err := c.core.admit(c.view, operation); err != nil {
		return out, err
	}
	e := c.newEntry(operation)
	describe(e, r)
	out, err = do(c, ctx, r)
	if err == nil {
		describe(e, out)
	}
	if unwritten := c.core.record(ctx, c.view, e, err); unwritten != nil && err == nil {
		withhold(out)
		var none Out
		return none, unwritten
	}
	return out, err
}

// done is audited for an operation without a result.
func done[R any](ctx context.Context, a *Audited, operation string, r R, do func(*Caller, context.Context, R) error) error {
	_, err := audited(ctx, a, operation, r, func(c *Caller, ctx context.Context, r R) (struct{}, error) {
		return struct{}{}, do(c, ctx, r)
	})
	return err
}

// newEntry begins the entry of the caller's operation.
func (c *Caller) newEntry(operation string) *audit.Entry {
	e := &audit.Entry{Operation: operation, Name: c.asked}
	if cred := c.who.Credential; cred != nil {
		e.App, e.Credential = cred.App, cred.ID
	}
	if c.workload != nil {
		e.Identity = c.workload.Program()
	}
	c.entry = e
	return e
}

// auditing reports whether operations leave entries.
func (c *Core) auditing(view *state.View) bool {
	return c.cfg.Audit != nil && c.cfg.Audit.Enabled(view.Policy().AuditSinks)
}

// admit refuses an operation whose entry could not be written.
func (c *Core) admit(view *state.View, operation string) error {
	err := c.cfg.Audit.Admit(view.Policy().AuditSinks)
	if err != nil {
		c.cfg.Audit.CountLost(operation)
	}
	return err
}

// record writes an entry, and waits until it is where it must be.
func (c *Core) record(ctx context.Context, view *state.View, e *audit.Entry, err error) error {
	now := c.now(view)
	e.Time, e.Epoch, e.Outcome, e.Reason = now.Truncate(time.Microsecond), view.Calendar().At(now), audit.Outcome(err), reasonOf(err)
	return c.cfg.Audit.Record(ctx, e, view.Policy().AuditSinks)
}

// maxReason is longer than any code of ours.
const maxReason = 40

// reasonOf is why an operation was refused, in a code of ours: why evidence was,
// or the member at fault. It is never what somebody sent.
func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	if r := attest.ReasonOf(err); r != "" {
		return string(r)
	}
	for ; err != nil; err = unwrap(err) {
		if e, ok := err.(*kms.Error); ok && e.Field != "" {
			if len(e.Field) <= maxReason && strings.Trim(e.Field, "abcdefghijklmnopqrstuvwxyz_0123456789") == "" {
				return e.Field
			}
			return ""
		}
	}
	return ""
}

func unwrap(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}

// propose puts a change through the log, with a note of whose entry it is to have.
// The note stays in the state until the node's audit log says that it has the
// entry: so a change that was applied has one, whatever becomes of the node.
func (c *Core) propose(ctx context.Context, cmd *command.Command, e *audit.Entry) (state.Result, error) {
	if e != nil {
		describeChange(e, cmd)
		node := c.cfg.Audit.Node()
		cmd.Audit = &command.Audit{Node: node[:], Operation: e.Operation, Identity: e.Identity, Name: e.Name, Object: e.Object}
		if e.App != (kms.AppID{}) {
			cmd.Audit.App, cmd.Audit.Credential = e.App[:], e.Credential[:]
		}
		if e.Key.ID != (kms.KeyID{}) {
			cmd.Audit.Key, cmd.Audit.Version = e.Key.ID[:], uint32(e.Key.Version)
		}
	}
	res, err := c.cfg.Replica.Propose(ctx, cmd)
	if e != nil && err == nil {
		e.Index = res.Index
	}
	return res, err
}

// openly does an operation that anybody may ask for, and that shows by itself
// that it may be done: by a document, a ticket or evidence. What is refused is
// counted, so that strangers do not write the log; everything else has its entry.
// ruling operations go on without one where it cannot be written now: they may be
// what mends that, the log and the events show them, and the entry follows.
func openly[Out any](ctx context.Context, c *Core, operation string, ruling bool, do func(*audit.Entry) (Out, error)) (out Out, err error) {
	view, unknown := c.cfg.Replica.Local()
	if unknown != nil || !c.auditing(view) {
		return do(nil)
	}
	if err := c.admit(view, operation); err != nil && !ruling {
		return out, err
	}
	e := &audit.Entry{Operation: operation}
	out, err = do(e)
	if err != nil && kms.KindOf(err) != kms.Unavailable {
		c.cfg.Audit.CountRefused(operation + " " + audit.Outcome(err))
		return out, err
	}
	if err == nil {
		describe(e, out)
	}
	if unwritten := c.record(ctx, view, e, err); unwritten != nil && err == nil && !ruling {
		var none Out
		return none, unwritten
	}
	return out, err
}

// refused counts a request that nobody is known to have sent.
func (c *Core) refused(view *state.View, err error) {
	if c.auditing(view) {
		c.cfg.Audit.CountRefused(audit.Outcome(err))
	}
}

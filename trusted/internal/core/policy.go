package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// SubmitPolicy puts the next policy into force, or schedules it where it says
// when. Who calls does not matter: the document is signed by the threshold, and
// by the owner, who submits it. A policy that this node could not serve under is
// refused unless it says halt. The errors are those of govern's rules of
// succession, Expired, Conflict and Unavailable.
func (c *Core) SubmitPolicy(ctx context.Context, envelope []byte) (kms.SubmittedPolicy, error) {
	return openly(ctx, c, "SubmitPolicy", true, func(e *audit.Entry) (kms.SubmittedPolicy, error) { return c.submitPolicy(ctx, envelope, e) })
}

func (c *Core) submitPolicy(ctx context.Context, envelope []byte, e *audit.Entry) (s kms.SubmittedPolicy, err error) {
	err = c.rule(ctx, e, func(view *state.View, now time.Time) (*command.Command, error) {
		next, err := successor(view, envelope, now)
		if err != nil {
			return nil, err
		}
		if err := c.keepsQuorum(view, next, now); err != nil && !next.Halt {
			return nil, err
		}
		s = submitted(next)
		return &command.Command{Op: &command.Command_SetPolicy{SetPolicy: &command.SetPolicy{Envelope: envelope}}}, nil
	})
	if err != nil {
		return kms.SubmittedPolicy{}, err
	}
	return s, nil
}

// keepsQuorum refuses a policy that would leave the domain without a majority of
// voters that it admits, and says whom it would expel. This node's own evidence is
// newer than what is on record.
func (c *Core) keepsQuorum(view *state.View, next *govern.Policy, now time.Time) error {
	if len(view.Voters()) < 2 {
		if err := c.cfg.Admits(next, now); err != nil {
			return kms.Errorf(kms.Denied, "the policy would expel this node, the only one of its domain: %w", err).WithField("nodes").
				WithHint("list this node's identity, or set halt if the domain is to stop")
		}
		return nil
	}
	refused, kept := view.Quorum(next, now)
	if kept {
		return nil
	}
	names := make([]string, len(refused))
	for i, r := range refused {
		names[i] = fmt.Sprintf("%s (%v)", r.Node.String()[:16], r.Err)
	}
	return kms.Errorf(kms.Denied, "the policy would leave the domain without a quorum; it would expel %s", strings.Join(names, ", ")).WithField("nodes").
		WithHint("have nodes that it admits join first, or set halt if the domain is to stop")
}

// Amend changes who rules. The document is signed by the threshold and every
// new key, and by the owner, who submits it, or the new one. The errors are those
// of govern's rules, Exhausted, Conflict and Unavailable.
func (c *Core) Amend(ctx context.Context, envelope []byte) (kms.Amended, error) {
	return openly(ctx, c, "Amend", true, func(e *audit.Entry) (kms.Amended, error) { return c.amend(ctx, envelope, e) })
}

func (c *Core) amend(ctx context.Context, envelope []byte, e *audit.Entry) (a kms.Amended, err error) {
	err = c.rule(ctx, e, func(view *state.View, _ time.Time) (*command.Command, error) {
		old := view.Rule()
		next, err := old.Amended(envelope)
		if err != nil {
			return nil, err
		}
		if next.Standing.RestartMode != govern.Sealed && len(view.Voters()) < 2 {
			return nil, kms.Errorf(kms.Misused, "a domain of one node cannot restart in mode %q: nobody could bring it up to date", next.Standing.RestartMode).
				WithField("restart_mode").WithHint("let other nodes join first")
		}
		a = kms.Amended{Serial: next.Standing.Amendments, Digest: next.Standing.LastAmendment}
		if old.Next != nil && next.Next == nil {
			a.Dropped = old.Next.Serial
		}
		return &command.Command{Op: &command.Command_SetAmendment{SetAmendment: &command.SetAmendment{Envelope: envelope}}}, nil
	})
	if err != nil {
		return kms.Amended{}, err
	}
	return a, nil
}

// rule proposes what changes the rules, again where the state moved meanwhile
// and the document still holds on the newest.
func (c *Core) rule(ctx context.Context, e *audit.Entry, build func(*state.View, time.Time) (*command.Command, error)) error {
	_, err := c.order(ctx, e, build)
	return err
}

func (c *Core) order(ctx context.Context, e *audit.Entry, build func(*state.View, time.Time) (*command.Command, error)) (state.Result, error) {
	for try := 1; ; try++ {
		view, err := c.cfg.Replica.View(ctx)
		if err != nil {
			return state.Result{}, err
		}
		now := c.now(view)
		cmd, err := build(view, now) // what it refuses stays refused
		if err != nil {
			return state.Result{}, err
		}
		whole := c.command(now.UnixNano())
		whole.Op = cmd.Op
		res, err := c.propose(ctx, whole, e)
		if !errors.Is(err, kms.Conflict) || try == maxTries {
			return res, err
		}
	}
}

// Order proposes what the node itself wants of the domain, again where the state
// moved meanwhile. The errors are those of build, and of the state's rules.
func (c *Core) Order(ctx context.Context, build func(*state.View) (*command.Command, error)) (state.Result, error) {
	return c.order(ctx, nil, func(view *state.View, _ time.Time) (*command.Command, error) { return build(view) })
}

// Announce puts on record what a node says of itself.
func (c *Core) Announce(ctx context.Context, a *command.AnnounceNode) error {
	_, err := c.Order(ctx, func(view *state.View) (*command.Command, error) {
		a.PolicySerial = view.Policy().Serial
		return &command.Command{Op: &command.Command_AnnounceNode{AnnounceNode: a}}, nil
	})
	return err
}

// MayServe is nil while the policy in force lets this node serve.
func (c *Core) MayServe(view *state.View) error { return c.cfg.Serving(view, c.now(view)) }

// successor is the policy that would follow the one in force.
func successor(view *state.View, envelope []byte, now time.Time) (*govern.Policy, error) {
	next, err := view.Rule().Successor(envelope)
	if err != nil {
		return nil, err
	}
	if !now.Before(next.ValidUntil) {
		return nil, kms.Errorf(kms.Expired, "the policy is not valid any more").WithField("valid_until").
			WithHint("sign one that is valid for some time")
	}
	return next, nil
}

func submitted(p *govern.Policy) kms.SubmittedPolicy {
	return kms.SubmittedPolicy{Serial: p.Serial, Digest: p.Digest(), Activates: p.Activates}
}

// CheckPolicy says what SubmitPolicy would say, and who would be locked out as
// far as this node can tell. It asks for the same signatures, for what it tells
// of others is for the rulers alone, and changes nothing.
func (c *Core) CheckPolicy(ctx context.Context, envelope []byte) (kms.CheckedPolicy, error) {
	view, err := c.cfg.Replica.View(ctx)
	if err != nil {
		return kms.CheckedPolicy{}, err
	}
	now := c.now(view)
	next, err := successor(view, envelope, now)
	if err != nil {
		return kms.CheckedPolicy{}, err
	}
	checked := kms.CheckedPolicy{SubmittedPolicy: submitted(next)}
	if err := c.cfg.Admits(next, now); err != nil {
		checked.Lockouts = append(checked.Lockouts, kms.Lockout{Kind: kms.LockoutNode, Who: "this node", Why: err.Error()})
	}
	if refused, _ := view.Quorum(next, now); len(view.Voters()) > 1 {
		for _, r := range refused {
			checked.Lockouts = append(checked.Lockouts, kms.Lockout{Kind: kms.LockoutNode, Who: "node " + r.Node.String(), Why: r.Err.Error()})
		}
	}
	checked.Lockouts = append(checked.Lockouts, runtimeLockouts(view.Policy(), next)...)
	if c.cfg.Sessions != nil {
		for _, l := range c.cfg.Sessions.Refused(next, now) {
			checked.Lockouts = append(checked.Lockouts, kms.Lockout{Kind: kms.LockoutWorkload, Who: l.Program, Why: l.Err.Error()})
		}
	}
	return c.appLockouts(checked, view, next), nil
}

// runtimeLockouts lists the programs that are a runtime under old and not under
// next, and says where a runtime is left with none.
func runtimeLockouts(old, next *govern.Policy) (all []kms.Lockout) {
	before, after := runtimesOf(old), runtimesOf(next)
	for _, r := range before.names {
		for _, id := range before.programs[r] {
			if slices.Contains(after.programs[r], id) {
				continue
			}
			why := "not listed for it any more"
			if len(after.programs[r]) == 0 {
				why = "the runtime has no program any more"
			}
			all = append(all, kms.Lockout{Kind: kms.LockoutRuntime, Who: fmt.Sprintf("%s as runtime %q", id, r), Why: why})
		}
	}
	return all
}

// runtimes are the programs of each runtime, whichever nodes they may ask.
type runtimes struct {
	names    []string // in the order of the policy
	programs map[string][]string
}

func runtimesOf(p *govern.Policy) runtimes {
	all := runtimes{programs: map[string][]string{}}
	for _, n := range p.Nodes {
		for _, r := range n.MayQuery {
			if _, known := all.programs[r.Runtime]; !known {
				all.names = append(all.names, r.Runtime)
			}
			for _, id := range r.Identities {
				if text := id.String(); !slices.Contains(all.programs[r.Runtime], text) {
					all.programs[r.Runtime] = append(all.programs[r.Runtime], text)
				}
			}
		}
	}
	return all
}

// appLockouts adds what would change for apps and operators.
func (c *Core) appLockouts(checked kms.CheckedPolicy, view *state.View, next *govern.Policy) kms.CheckedPolicy {
	old := view.Policy()
	add := func(kind, who, why string) {
		checked.Lockouts = append(checked.Lockouts, kms.Lockout{Kind: kind, Who: who, Why: why})
	}
	if next.RequireV2 && !old.RequireV2 && view.Apps() > 0 {
		add(kms.LockoutApp, fmt.Sprintf("those of the %d apps that sign in eHSM's first scheme", view.Apps()), "require_v2 refuses their requests")
	}
	if was, is := old.Enrolment.Mode, next.Enrolment.Mode; was != is && was != govern.EnrolClosed {
		add(kms.LockoutApp, fmt.Sprintf("apps that would enrol by mode %q", was), fmt.Sprintf("the mode becomes %q", is))
	}
	for _, k := range old.Operators {
		if !slices.Contains(next.Operators, k) {
			add(kms.LockoutOperator, k.String(), "not listed any more: the tickets and documents it signed are void")
		}
	}
	return checked
}

// Policy is the policy with a serial, or the one in force for zero, with what it
// is to be verified by. The errors are NotFound and Unavailable.
func (c *Core) Policy(_ context.Context, serial uint64) (*kms.PolicyShown, error) {
	view, err := c.cfg.Replica.Local()
	if err != nil {
		return nil, err
	}
	f, r := view.Founding(), view.Rule()
	shown := &kms.PolicyShown{Domain: f.Domain, Charter: f.Charter, Bootstrap: f.Bootstrap, Amendments: r.Amendments}
	if serial == 0 || serial == r.Policy.Serial {
		shown.Policy, shown.Since, shown.Next = r.Envelope, timeOf(r.Since), r.NextEnvelope
		return shown, nil
	}
	for _, p := range r.Past {
		if p.Serial == serial {
			shown.Policy, shown.Since = p.Envelope, timeOf(p.Since)
			return shown, nil
		}
	}
	return nil, kms.Errorf(kms.NotFound, "no policy %d among the last %d", serial, state.MaxPast+1).WithField("serial")
}

// Policies are those that were in force, and the one that is. The error is
// Unavailable.
func (c *Core) Policies(context.Context) (kms.PolicyHistory, error) {
	view, err := c.cfg.Replica.Local()
	if err != nil {
		return kms.PolicyHistory{}, err
	}
	var h kms.PolicyHistory
	r := view.Rule()
	for _, p := range r.Past {
		h.Policies = append(h.Policies, kms.PolicyEntry{Serial: p.Serial, Digest: p.Digest, Since: timeOf(p.Since)})
	}
	h.Policies = append(h.Policies, kms.PolicyEntry{Serial: r.Policy.Serial, Digest: r.Policy.Digest(), Since: timeOf(r.Since)})
	if r.Next != nil {
		h.Next = &kms.PolicyEntry{Serial: r.Next.Serial, Digest: r.Next.Digest(), Since: r.Next.Activates}
	}
	return h, nil
}

// timeOf is a time as records keep it; zero is none.
func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// Tick puts domain time on record: so that a host which sets its clock back and
// restarts the node gains little, and what is scheduled comes into force. From
// three voters on it is what their clocks read.
func (c *Core) Tick(ctx context.Context, readings []*command.Reading) error {
	view, err := c.cfg.Replica.Local()
	if err != nil {
		return err
	}
	cmd := c.command(c.now(view).UnixNano())
	cmd.Op = &command.Command_Tick{Tick: &command.Tick{Readings: readings}}
	_, err = c.cfg.Replica.Propose(ctx, cmd)
	return err
}

package core

import (
	"context"
	"errors"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// SubmitPolicy puts the next policy into force, or schedules it where it says
// when. Who calls does not matter: the document is signed by the threshold, and
// by the owner, who submits it. A policy that this node could not serve under is
// refused unless it says halt. The errors are those of govern's rules of
// succession, Conflict and Unavailable.
func (c *Core) SubmitPolicy(ctx context.Context, envelope []byte) (kms.SubmittedPolicy, error) {
	for try := 1; ; try++ {
		view, err := c.cfg.Replica.View()
		if err != nil {
			return kms.SubmittedPolicy{}, err
		}
		submitted, err := c.submitPolicy(ctx, view, envelope)
		if !errors.Is(err, kms.Conflict) || try == maxTries {
			return submitted, err
		}
	}
}

func (c *Core) submitPolicy(ctx context.Context, view *state.View, envelope []byte) (s kms.SubmittedPolicy, err error) {
	rule, now := view.Rule(), c.now(view)
	if err := rule.Standing.CheckSubmission(envelope); err != nil {
		return s, err
	}
	next, err := rule.Standing.NextPolicy(rule.Policy, envelope)
	if err != nil {
		return s, err
	}
	if !now.Before(next.ValidUntil) {
		return s, kms.Errorf(kms.Expired, "the policy is not valid any more").WithField("valid_until")
	}
	if err := c.cfg.Admits(next, now); err != nil && !next.Halt {
		return s, kms.Errorf(kms.Denied, "the policy would expel this node, the only one of its domain: %w", err).WithField("nodes").
			WithHint("list this node's identity, or set halt if the domain is to stop")
	}
	cmd := c.command(now.UnixNano())
	cmd.Op = &command.Command_SetPolicy{SetPolicy: &command.SetPolicy{Envelope: envelope}}
	if _, err := c.cfg.Replica.Propose(ctx, cmd); err != nil {
		return s, err
	}
	return kms.SubmittedPolicy{Serial: next.Serial, Digest: next.Digest()}, nil
}

// Tick puts domain time on record: so that a host which sets its clock back and
// restarts the node gains little, and what is scheduled comes into force. It
// does nothing where the record is fresh.
func (c *Core) Tick(ctx context.Context) error {
	view, err := c.cfg.Replica.View()
	if err != nil {
		return err
	}
	cmd := c.command(c.now(view).UnixNano())
	cmd.Op = &command.Command_Tick{Tick: &command.Tick{}}
	_, err = c.cfg.Replica.Propose(ctx, cmd)
	return err
}

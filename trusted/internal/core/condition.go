package core

import (
	"bytes"
	"context"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// useKey is the first line of every operation that uses a key: permission,
// ownership, state, expiry, usage, and the key's condition. A workload that
// comes without an app may use the keys whose conditions name it, whoever owns
// them, and is told no more of any other than that it may not.
func (c *Caller) useKey(ref kms.KeyRef, u kms.Usage) (*state.Key, error) {
	if c.who.Credential == nil {
		return c.namedKey(ref.ID, u)
	}
	if err := c.chargeUse(ref.ID); err != nil {
		return nil, err
	}
	if err := authz.Permission(c.who.Credential, kms.PermUse); err != nil {
		return nil, err
	}
	rec, err := authz.UseKey(c.view, c.app(), ref.ID, u, c.core.now(c.view))
	if err != nil {
		return nil, err
	}
	if err := c.meets(rec, u); err != nil {
		return nil, err
	}
	return rec, nil
}

// namedKey finds a key for a workload without an app.
func (c *Caller) namedKey(id kms.KeyID, u kms.Usage) (*state.Key, error) {
	rec, ok := c.view.Key(id)
	if !ok || len(rec.Condition) == 0 || c.meets(rec, u) != nil {
		return nil, errUnnamed
	}
	return authz.UseKey(c.view, rec.App, id, u, c.core.now(c.view))
}

// ownKey is the first line of every operation on a key of the caller's app that
// no usage stands for.
func (c *Caller) ownKey(id kms.KeyID, d authz.Deed) (*state.Key, error) {
	if c.who.Credential == nil {
		return nil, errUnnamed
	}
	rec, err := authz.OwnKey(c.view, c.app(), id)
	if err != nil {
		return nil, err
	}
	return rec, authz.Deeds(rec, d)
}

var errUnnamed = kms.Errorf(kms.Denied, "no key that this workload may use")

// meets asks whether the caller's evidence fits a key's condition, if it has one.
// Without evidence, and with one that does not fit, the answer is the same.
func (c *Caller) meets(rec *state.Key, u kms.Usage) error {
	if len(rec.Condition) == 0 {
		return nil
	}
	if c.workload == nil {
		return authz.ErrCondition()
	}
	return c.workload.Fits(rec.ID, rec.Revision, u, func() error {
		cond, err := c.core.condition(rec)
		if err != nil {
			return err
		}
		if cond.Admits(u, c.workload.Claims, c.view.Policy().Attestation, c.core.now(c.view)) != nil {
			return authz.ErrCondition()
		}
		return nil
	})
}

// condition is a key's condition, parsed. The error is Damaged.
func (c *Core) condition(rec *state.Key) (*govern.Condition, error) {
	return parseCondition(rec.Condition, kms.Damaged)
}

// parseCondition reads a condition; nil for none.
func parseCondition(b []byte, kind kms.Kind) (*govern.Condition, error) {
	if len(b) == 0 {
		return nil, nil
	}
	cond, err := govern.ParseCondition(b)
	if err != nil {
		return nil, kms.Errorf(kind, "the key's condition: %w", err).WithField("condition")
	}
	return cond, nil
}

func canonicalOf(cond *govern.Condition) []byte {
	if cond == nil {
		return nil
	}
	return cond.Canonical()
}

// GetCondition tells the owner who may use a key. The errors are NotFound,
// Foreign and Denied.
func (c *Caller) GetCondition(_ context.Context, id kms.KeyID) (kms.Condition, error) {
	if err := c.mayRead(); err != nil {
		return kms.Condition{}, err
	}
	rec, err := c.ownKey(id, authz.Administer)
	if err != nil {
		return kms.Condition{}, err
	}
	return kms.Condition{Condition: bytes.Clone(rec.Condition), Revision: rec.Revision}, nil
}

// SetCondition changes who may use a key of the caller's app. The owner may
// narrow it; to widen it, or take it away, takes a session that meets the
// present one in everything that it names, or an operator's document. The errors
// are Invalid, NotFound, Foreign, Denied, Conflict (the document is for another
// revision of the key), Replayed and Unavailable.
func (c *Caller) SetCondition(ctx context.Context, r kms.SetConditionRequest) (kms.Condition, error) {
	next, err := parseCondition(r.Condition, kms.Invalid)
	if err != nil {
		return kms.Condition{}, err
	}
	canonical := canonicalOf(next)
	res, err := c.change(ctx, func(cmd *command.Command) error {
		rec, err := c.ownKey(r.Key, authz.Administer)
		if err != nil {
			return err
		}
		if err := c.mayChange(rec, canonical, next, r.Order); err != nil {
			return err
		}
		cmd.Op = &command.Command_SetCondition{SetCondition: &command.SetCondition{
			Key: rec.ID[:], Revision: rec.Revision, Condition: canonical, Order: r.Order}}
		return nil
	})
	if err != nil {
		return kms.Condition{}, err
	}
	return kms.Condition{Condition: canonical, Revision: res.Key.Revision}, nil
}

// mayChange asks what Apply asks again, but for the claims, which the log
// carries no more of than the policy they were judged under.
func (c *Caller) mayChange(rec *state.Key, canonical []byte, next *govern.Condition, order []byte) error {
	if len(order) > 0 {
		return c.view.CheckOrder(rec, canonical, order)
	}
	old, err := c.core.condition(rec)
	if err != nil {
		return err
	}
	if next.Narrows(old) {
		return nil
	}
	for _, u := range authz.Named(old) {
		if err := c.meets(rec, u); err != nil {
			return errWiden()
		}
	}
	return nil
}

func errWiden() error {
	return kms.Errorf(kms.Denied, "this would let more programs use the key, or for more").
		WithHint("come with a session of a program that meets the present condition, or with an operator's document")
}

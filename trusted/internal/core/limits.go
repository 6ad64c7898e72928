package core

import (
	"context"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// charge has the caller's app pay for the operation, before anything is done for
// it. The first charge of a request counts, and no other: an operation on secrets
// that changes state pays for a secret. Workloads without an app are bounded by
// the policy that names them, and by what a node takes on. The error is Exhausted.
func (c *Caller) charge(class kms.WorkClass) error {
	if c.charged || c.who.Credential == nil {
		return nil
	}
	c.charged = true
	return c.core.limiter.Take(c.app(), class, c.limits().Rate(class))
}

// begin has the operation be one of those that the app has under way, until leave.
// The error is Exhausted; where the node has too much to do it takes its time.
func (c *Caller) begin(ctx context.Context) (leave func(), err error) {
	most := c.core.cfg.MaxPerApp
	if most == 0 || c.who.Credential == nil {
		return func() {}, nil
	}
	app := c.app()
	if may := c.core.cfg.MayBegin; may != nil {
		if err := may(ctx, app); err != nil {
			return nil, err
		}
	}
	return func() { c.core.limiter.End(app) }, c.core.limiter.Begin(app, most)
}

// limits are those that the policy in force sets for the caller's app.
func (c *Caller) limits() govern.AppLimits { return c.view.Policy().Limits.Of(c.app()) }

// mayRead is the first line of operations that only look.
func (c *Caller) mayRead() error {
	if err := c.charge(kms.ManagementWork); err != nil {
		return err
	}
	return authz.Permission(c.who.Credential, kms.PermRead)
}

// mayDo is the first line of operations that need no key.
func (c *Caller) mayDo(class kms.WorkClass) error {
	if err := c.charge(class); err != nil {
		return err
	}
	return authz.Permission(c.who.Credential, kms.PermUse)
}

// chargeUse is charge for using a key, or for asking for one that is not there.
func (c *Caller) chargeUse(id kms.KeyID) error {
	if c.charged || c.who.Credential == nil {
		return nil
	}
	class := kms.SymmetricWork
	if rec, ok := c.view.Key(id); ok {
		class = workOf(rec)
	}
	return c.charge(class)
}

func workOf(rec *state.Key) kms.WorkClass {
	if row, ok := rec.Spec.Capability(); ok && row.Family == kms.Asymmetric {
		return kms.AsymmetricWork
	}
	return kms.SymmetricWork
}

// roomForKey asks whether the app may have one more key, before one is made.
// Apply asks again.
func (c *Caller) roomForKey() error { return c.view.RoomForKey(c.app()) }

// Limited is how many requests were over their app's rate of a class.
func (c *Core) Limited(class kms.WorkClass) uint64 { return c.limiter.Refused(class) }

// Unconfirmed is how many requests were refused because the node could not know
// that its state is current.
func (c *Core) Unconfirmed() uint64 { return c.unconfirmed.Load() }

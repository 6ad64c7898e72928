package core

import (
	"context"

	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// DisableAllKeys disables every key of the caller's app.
func (c *Caller) DisableAllKeys(ctx context.Context) error {
	_, err := c.change(ctx, func(cmd *command.Command) error {
		cmd.Op = &command.Command_DisableAppKeys{DisableAppKeys: &command.DisableAppKeys{}}
		return nil
	})
	return err
}

// DisableAllKeys is Caller.DisableAllKeys.
func (a *Audited) DisableAllKeys(ctx context.Context) error {
	return done(ctx, a, "DisableAllKeys", nothing{}, func(c *Caller, ctx context.Context, _ nothing) error {
		return c.DisableAllKeys(ctx)
	})
}

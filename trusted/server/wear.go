package server

import (
	"context"
)

// wear looks after what use does to keys until ctx ends: it notes when they were
// used last, and rotates those that have encrypted so often that they are to be
// replaced, as it is its own requests that find that. Two nodes may find it of one
// key; who is second finds the work done. Keys whose period has passed are the
// leader's.
func (n *Node) wear(ctx context.Context) {
	n.core.Reckon()
	n.work.Go(func() { n.cfg.Clock.Every(ctx, epochInterval, n.core.Reckon) })
	n.work.Go(func() { n.cfg.Clock.Every(ctx, tickInterval, func() { n.noteUse(ctx); n.rotateWorn(ctx) }) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.core.Worn():
			n.rotateWorn(ctx)
		}
	}
}

func (n *Node) noteUse(ctx context.Context) {
	if err := n.core.NoteUse(ctx); err != nil {
		n.cfg.Logger.Debug("when keys were used was not put on record", "cause", err)
	}
}

func (n *Node) rotateWorn(ctx context.Context) {
	rotated, err := n.core.RotateWorn(ctx)
	if rotated > 0 {
		n.cfg.Logger.Info("keys were rotated", "keys", rotated)
	}
	if err != nil && ctx.Err() == nil {
		n.cfg.Logger.Warn("keys that are due to be rotated are not", "cause", err)
	}
}

package server

import (
	"context"
	"time"
)

// keepInterval is how often the node looks whether the key of a secret was rotated.
// Where none was, that costs next to nothing.
const keepInterval = 5 * time.Second

// keepSecrets moves secrets to the current versions of the keys that protect them,
// where this node leads: once is enough.
func (n *Node) keepSecrets(ctx context.Context) {
	total := 0
	for ctx.Err() == nil && n.replica.Leads() {
		moved, err := n.core.KeepSecrets(ctx)
		if err != nil {
			n.cfg.Logger.Warn("a secret was not moved to the current version of its key", "cause", err)
		}
		if total += moved; moved == 0 {
			break
		}
	}
	if total > 0 {
		n.cfg.Logger.Info("secrets moved to the current versions of their keys", "secrets", total)
	}
}

// KeepSecrets does at once what the node does by itself every few seconds.
func (n *Node) KeepSecrets(ctx context.Context) { n.keepSecrets(ctx) }

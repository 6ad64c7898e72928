package server

import (
	"context"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/trusted/internal/core"
)

// epochInterval is how often the node looks whether an epoch is about to begin:
// the shortest epoch is as long.
const epochInterval = time.Second

// runtimesConfig is what the core serves runtimes with.
func (n *Node) runtimesConfig() core.Runtimes {
	r := core.Runtimes{Keys: n.runtimes, Self: func() attest.Claims {
		claims, _, _ := n.standing.view()
		return claims
	}}
	if n.members != nil {
		r.Members = epochMembers{n.members}
	}
	return r
}

// turnEpochs keeps the secrets of epochs until ctx ends, and clears them then.
func (n *Node) turnEpochs(ctx context.Context) {
	n.tryTurnEpoch(ctx)
	n.cfg.Clock.Every(ctx, epochInterval, func() { n.tryTurnEpoch(ctx) })
	n.runtimes.Keep(func(uint64) bool { return false })
}

func (n *Node) tryTurnEpoch(ctx context.Context) {
	if err := n.core.TurnEpoch(ctx); err != nil {
		n.cfg.Logger.Debug("the secret of an epoch was not published", "cause", err)
	}
}

// TurnEpoch does at once what the node does by itself every second: it clears the
// secrets of epochs that are past their age, and makes those that are missing.
func (n *Node) TurnEpoch(ctx context.Context) error { return n.core.TurnEpoch(ctx) }

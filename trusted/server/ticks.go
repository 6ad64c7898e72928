package server

import (
	"context"
	"time"
)

// Bounds of how often domain time moves, whatever the charter says: more often
// nobody could tell, and less often a host gains by setting its clock back.
const (
	shortestTick = time.Second
	longestTick  = time.Minute
)

// ticks runs f at the interval that the rules in force name, until ctx ends. An
// amendment of it counts at once.
func (n *Node) ticks(ctx context.Context, f func()) {
	waited := time.Duration(0) // counted, not measured: hosts' clocks jump
	n.cfg.Clock.Every(ctx, shortestTick, func() {
		waited += shortestTick
		interval := time.Duration(n.machine.View().Rule().Standing.Intervals.Tick)
		if waited < min(max(interval, shortestTick), longestTick) {
			return
		}
		waited = 0
		f()
	})
}

// tickAlone puts domain time on record where this node's host tells it.
func (n *Node) tickAlone(ctx context.Context) {
	n.ticks(ctx, func() {
		if n.machine.View().QuorumTime() {
			return // see members.tick
		}
		if err := n.core.Tick(ctx, nil); err != nil && ctx.Err() == nil {
			n.cfg.Logger.Warn("domain time was not put on record", "cause", err)
		}
	})
}

// Package wallclock is the host's clock, as the server is handed it. What it
// says is a claim: whoever runs the host sets it.
package wallclock

import (
	"context"
	"time"
)

// A Clock reads the host's clock. The zero value is ready.
type Clock struct{}

// Now is the host's time. Two readings subtracted give elapsed time that a
// step of the clock does not disturb.
func (Clock) Now() time.Time { return time.Now() }

// Every calls f each time d has passed, until ctx ends, and returns when the
// last call has. Calls never overlap; where one takes longer than d, the turns
// it missed are dropped. It panics if d is not positive.
func (Clock) Every(ctx context.Context, d time.Duration, f func()) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if ctx.Err() != nil { // both were ready, and select took the tick
			return
		}
		f()
	}
}

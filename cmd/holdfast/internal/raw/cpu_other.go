//go:build !linux

package raw

import "time"

var start = time.Now()

// threadTime is the time on the clock, where that of a thread is not told.
func threadTime() time.Duration { return time.Since(start) }

package raw

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the user and system time of this thread so far. getrusage(2)
// tells it only as of the last tick of a thread that runs.
func threadTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return time.Since(start)
	}
	return time.Duration(ts.Nano())
}

var start = time.Now()

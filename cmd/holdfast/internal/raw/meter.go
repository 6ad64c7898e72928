package raw

import (
	"runtime"
	"sync/atomic"
	"time"
)

// A Meter does an operation and adds up the processor time that it takes,
// while the machine does what else it does. It is safe for concurrent use.
type Meter struct {
	op     func() error
	places chan struct{} // nil: no bound on how many are done at once
	own    time.Duration // what measuring adds to each
	calls  atomic.Int64
	nanos  atomic.Int64
}

// NewMeter makes a Meter of op, of which at most places are done at once; zero
// means no bound. Op is done once, so that what is made once is made now.
func NewMeter(op func() error, places int) (*Meter, error) {
	m := &Meter{op: op, own: meterTime()}
	if places > 0 {
		m.places = make(chan struct{}, places)
	}
	return m, op()
}

// meterTime is what it takes to ask what time it took.
func meterTime() time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const times = 1000
	begun := threadTime()
	for range times {
		threadTime()
	}
	return (threadTime() - begun) / times
}

// Do does the operation once it has a place.
func (m *Meter) Do() error {
	if m.places != nil {
		m.places <- struct{}{}
		defer func() { <-m.places }()
	}
	// What is counted is this thread's time.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begun := threadTime()
	err := m.op()
	used := threadTime() - begun - m.own
	m.nanos.Add(int64(max(0, used)))
	m.calls.Add(1)
	return err
}

// Total is how often the operation was done, and the processor time of that:
// where threads have no clock, the time.
func (m *Meter) Total() (calls int64, cpu time.Duration) {
	return m.calls.Load(), time.Duration(m.nanos.Load())
}

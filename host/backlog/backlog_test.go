package backlog_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/host/backlog"
)

// While nothing gets a processor the delay grows, and it is known before the byte
// has arrived.
func TestDelayGrowsWhileProcessorsAreTaken(t *testing.T) {
	p, err := backlog.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	var seen atomic.Int64
	var stop atomic.Bool
	for range 50 * runtime.GOMAXPROCS(0) { // each takes its slice of 10 ms before the byte's reader has his turn
		go func() {
			for !stop.Load() {
			}
		}()
	}
	defer stop.Store(true)
	for range 100_000 {
		if d := p.Delay(); d > 20*time.Millisecond {
			seen.Store(int64(d))
			break
		}
		runtime.Gosched()
	}
	if seen.Load() == 0 {
		t.Error("no delay was seen")
	}
}

func TestCloseEndsIt(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 10 {
		p, err := backlog.Start()
		if err != nil {
			t.Fatal(err)
		}
		if d := p.Delay(); d < 0 {
			t.Errorf("delay %s", d)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if after := runtime.NumGoroutine(); after > before+5 {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

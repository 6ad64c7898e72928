package heap_test

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/holdfast-kms/holdfast/host/heap"
)

var sink []byte

// collections counts how often the collector runs while n bytes are allocated.
func collections(n int) uint32 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n >> 12 {
		sink = make([]byte, 1<<12)
	}
	runtime.ReadMemStats(&after)
	return after.NumGC - before.NumGC
}

func TestFloor(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	const churn = 256 << 20
	runtime.GC()
	without := collections(churn)
	release := heap.Floor(64 << 20)
	runtime.GC()
	with := collections(churn)
	release()
	if with*2 > without {
		t.Errorf("%d collections with a floor, %d without", with, without)
	}
}

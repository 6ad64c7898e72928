package replica_test

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/host/heap"
)

// TestFloor is what test/perf compares the durable writes of three nodes with:
// three of hashicorp/raft's own in one process, over the same sealed stores on
// disk, the same settings, and TLS on the loopback interface, under a state
// machine that does nothing. It serves who started it:
// for each line "callers size milliseconds" on standard input that many callers
// apply entries of that size for as long, and a line of JSON on standard output
// tells how it went.
func TestFloor(t *testing.T) {
	if os.Getenv("HOLDFAST_FLOOR") == "" {
		t.Skip("SKIPPED: it is a part of the figures of test/perf, which starts it with HOLDFAST_FLOOR=1")
	}
	defer heap.Floor(3 * 64 << 20)() // as three nodes have it
	leader := rawRafts(t)
	tell := func(what floorResult) {
		if err := json.NewEncoder(os.Stdout).Encode(what); err != nil {
			t.Fatal(err)
		}
	}
	tell(floorResult{}) // it leads
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var callers, size, millis int
		if _, err := fmt.Sscan(lines.Text(), &callers, &size, &millis); err != nil {
			t.Fatal(err)
		}
		r, err := applyFor(leader, callers, size, time.Duration(millis)*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		tell(r)
	}
}

// A floorResult is what was applied in what time, with what processor time of
// all three together.
type floorResult struct {
	Applied int64         `json:"applied"`
	Elapsed time.Duration `json:"elapsed"`
	CPU     time.Duration `json:"cpu"`
}

func applyFor(leader *raft.Raft, callers, size int, d time.Duration) (r floorResult, failed error) {
	var done atomic.Int64
	var mu sync.Mutex
	var all sync.WaitGroup
	start, before := time.Now(), cpu()
	for range callers {
		all.Go(func() {
			for time.Since(start) < d {
				entry := make([]byte, size)
				_, _ = rand.Read(entry[:16]) // as the id of a command is
				if err := leader.Apply(entry, 0).Error(); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return floorResult{done.Load(), time.Since(start), cpu() - before}, failed
}

//go:build unix

package linear_test

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A history is what was asked and answered, thing by thing.
type history struct {
	start time.Time

	mu     sync.Mutex
	ops    map[thing][]porcupine.Operation
	counts map[string]int // by kind of thing, call and outcome
	open   int            // calls whose outcome is not known
}

func newHistory() *history {
	return &history{start: time.Now(), ops: make(map[thing][]porcupine.Operation), counts: make(map[string]int)}
}

func (h *history) now() int64 { return int64(time.Since(h.start)) }

// add records a call that began at a time and was answered now. One of unknown
// outcome may be done at any later time.
func (h *history) add(who int, x thing, c call, began int64, f finding) {
	op := porcupine.Operation{ClientId: who, Input: c, Call: began, Output: f, Return: h.now()}
	h.mu.Lock()
	defer h.mu.Unlock()
	outcome := "done"
	if f.unknown {
		op.Return, outcome = math.MaxInt64, "unknown"
		h.open++
	} else if f.failed {
		outcome = f.err.Error()
	}
	h.counts[fmt.Sprintf("%s %s: %s", x.kind, c.what, outcome)]++
	h.ops[x] = append(h.ops[x], op)
}

// dropped counts a call that says nothing: it read, and was not answered.
func (h *history) dropped(x thing, c call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[fmt.Sprintf("%s %s: not answered", x.kind, c.what)]++
}

// size is how many calls there were about a thing, and how many of them are open.
func (h *history) size(x thing) (all, open int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, op := range h.ops[x] {
		if op.Return == math.MaxInt64 {
			open++
		}
	}
	return len(h.ops[x]), open
}

func (h *history) total() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ops := range h.ops {
		n += len(ops)
	}
	return n
}

// checkLimit bounds the search for an order of one thing's calls.
const checkLimit = 2 * time.Minute

// violations are the things whose history has no order in which each call could
// have been answered as it was.
func (h *history) violations(t *testing.T) (bad []thing) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for x, ops := range h.ops {
		switch result := porcupine.CheckOperationsTimeout(models[x.kind], ops, checkLimit); result {
		case porcupine.Ok:
		case porcupine.Illegal:
			bad = append(bad, x)
		default:
			t.Errorf("%s %s: no verdict on %d calls after %v", x.kind, x.name, len(ops), checkLimit)
		}
	}
	return bad
}

// story tells the history of a thing, and leaves a picture of it.
func (h *history) story(x thing) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	ops := slices.Clone(h.ops[x])
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, op := range ops {
		end := "open"
		if op.Return != math.MaxInt64 {
			end = time.Duration(op.Return).Round(time.Microsecond).String()
		}
		fmt.Fprintf(&b, "%12s – %-12s worker %-4d %s\n", time.Duration(op.Call).Round(time.Microsecond), end, op.ClientId, describe(op.Input, op.Output))
	}
	if f, err := os.CreateTemp("", "holdfast-linear-*.html"); err == nil {
		_, info := porcupine.CheckOperationsVerbose(models[x.kind], ops, checkLimit)
		if porcupine.Visualize(models[x.kind], info, f) == nil {
			fmt.Fprintf(&b, "a picture of it: %s\n", f.Name())
		}
		_ = f.Close()
	}
	return b.String()
}

// summary lists calls by kind and outcome.
func (h *history) summary() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(h.counts)) {
		fmt.Fprintf(&b, "  %-40s %d\n", k, h.counts[k])
	}
	return b.String()
}

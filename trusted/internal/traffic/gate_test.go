package traffic_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/traffic"
)

// A crowd of requests at a gate that reads whatever delay the test sets.
type crowd struct {
	t     *testing.T
	gate  *traffic.Gate
	delay time.Duration
}

func newCrowd(t *testing.T, most int) *crowd {
	c := &crowd{t: t}
	c.gate = traffic.NewGate(traffic.GateConfig{Delay: func() time.Duration { return c.delay }, Most: most})
	return c
}

// gone is the context of clients who do not wait for refusals.
var gone = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// enter has n requests come, and returns how many were let in.
func (c *crowd) enter(n int) (in int) {
	c.t.Helper()
	for range n {
		err := c.gate.Enter(gone)
		if err == nil {
			in++
		} else if !errors.Is(err, kms.Exhausted) || kms.RetryAfter(err) <= 0 || kms.HintOf(err) == "" {
			c.t.Fatalf("refused with %v, retry after %s", err, kms.RetryAfter(err))
		}
	}
	return in
}

func (c *crowd) leave(n int) {
	for range n {
		c.gate.Leave()
	}
}

func (c *crowd) adjust(times int) {
	for range times {
		c.gate.Adjust()
	}
}

func TestGateBoundsWhatIsUnderWay(t *testing.T) {
	c := newCrowd(t, 10)
	if got := c.enter(25); got != 10 {
		t.Errorf("%d let in, want 10", got)
	}
	c.leave(4)
	if got := c.enter(25); got != 4 {
		t.Errorf("%d let in after 4 left, want 4", got)
	}
	if got := c.gate.Load(); got.UnderWay != 10 || got.Shed != 15+21 {
		t.Errorf("%+v", got)
	}
}

// A burst is worked off; a queue that stands makes the share fall, never to
// nothing, and once it is gone everything is let in again.
func TestGateShedsAStandingQueue(t *testing.T) {
	c := newCrowd(t, 0)
	c.delay = traffic.DefaultTarget
	c.adjust(traffic.DefaultPatience - 1)
	if got := c.enter(1000); got != 1000 {
		t.Fatalf("%d of 1000 let in after a burst, want all", got)
	}
	c.delay = 0
	c.adjust(1)
	c.delay = traffic.DefaultTarget
	c.adjust(traffic.DefaultPatience - 1)
	if got := c.enter(1000); got != 1000 {
		t.Fatalf("%d of 1000 let in after another burst, want all", got)
	}
	c.adjust(1)
	if got := c.enter(1000); got != 875 {
		t.Fatalf("%d of 1000 let in while a queue stands, want 875", got)
	}
	c.adjust(100)
	if got := c.enter(1000); got != 50 {
		t.Fatalf("%d of 1000 let in at the least, want 50", got)
	}
	c.delay = 0
	c.adjust(48)
	if got := c.enter(1000); got != 1000 {
		t.Errorf("%d of 1000 let in five seconds later, want all", got)
	}
}

// Refusals are spread, so that no burst of requests is lost as a whole.
func TestGateSpreadsRefusals(t *testing.T) {
	c := newCrowd(t, 0)
	c.delay = time.Second
	c.adjust(traffic.DefaultPatience + 4) // 875, 766, 671, 588, 515 of 1000
	for range 50 {
		if got := c.enter(10); got < 4 || got > 7 {
			t.Fatalf("%d of 10 let in, at a share of %v", got, c.gate.Load().Share)
		}
	}
}

// A model of a node that does so much between two readings, where whoever comes
// waits for those before him, and refusing costs a fifth of serving. Offered three
// times what it can do, it keeps the wait near the target, and stays busy.
func TestGateKeepsAdmittedWorkFast(t *testing.T) {
	const perReading, offered, readings = 2000, 6000, 600
	const cost, refusal = 5, 1
	c := newCrowd(t, 0)
	work, done, sum := 0, 0, time.Duration(0)
	for i := range readings {
		for range 10 { // steps of a reading
			in := c.enter(offered / 10)
			work += in*cost + (offered/10-in)*refusal
			work -= min(work, perReading*cost/10)
			done += in
			c.leave(in)
		}
		c.delay = traffic.Interval * time.Duration(work) / (perReading * cost)
		c.gate.Adjust()
		if i >= readings/2 { // once it has settled
			sum += c.delay
		}
	}
	if mean := sum / (readings / 2); mean > 4*traffic.DefaultTarget {
		t.Errorf("work waits %s on average, the target is %s", mean, traffic.DefaultTarget)
	}
	// Refusing 6000 a reading leaves (2000·5 − 6000·1)/4 = 1000 to be served.
	if least := readings * 1000 * 7 / 10; done < least {
		t.Errorf("%d requests done, want %d at least: the node idles while it refuses work", done, least)
	}
}

// A refusal is kept back for five readings, or until the gate ends.
func TestRefusalsAreKeptBack(t *testing.T) {
	for name, free := range map[string]func(*crowd){
		"five readings": func(c *crowd) { c.adjust(5) },
		"the end":       func(c *crowd) { c.gate.End() },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, 1)
			c.enter(1)
			refused := make(chan error, 1)
			go func() { refused <- c.gate.Enter(context.Background()) }()
			for c.gate.Load().Held != 1 {
				runtime.Gosched()
			}
			c.adjust(4)
			if got := c.gate.Load().Held; got != 1 {
				t.Fatalf("%d kept after four readings, want 1", got)
			}
			free(c)
			if err := <-refused; !errors.Is(err, kms.Exhausted) {
				t.Error(err)
			}
			if got := c.gate.Load().Held; got != 0 {
				t.Errorf("%d kept afterwards", got)
			}
		})
	}
}

func TestDefaultsLetAFewThousandIn(t *testing.T) {
	g := traffic.NewGate(traffic.GateConfig{})
	for range traffic.DefaultMost {
		if err := g.Enter(gone); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Enter(gone); err == nil {
		t.Error("one more was let in")
	}
	g.Adjust() // nobody knows the delay: nothing changes
	if got := g.Load(); got.Share != 1 || got.UnderWay != traffic.DefaultMost {
		t.Errorf("%+v", got)
	}
}

func BenchmarkGate(b *testing.B) {
	g := traffic.NewGate(traffic.GateConfig{})
	b.ReportAllocs()
	for b.Loop() {
		if g.Enter(gone) == nil {
			g.Leave()
		}
	}
}

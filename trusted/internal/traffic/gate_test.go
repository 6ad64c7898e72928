package traffic_test

import (
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/traffic"
)

// enter has n requests come, and returns how many were let in.
func enter(t *testing.T, g *traffic.Gate, n int) (in int) {
	t.Helper()
	for range n {
		switch err := g.Enter(); {
		case err == nil:
			in++
		case !errors.Is(err, kms.Exhausted) || kms.RetryAfter(err) <= 0 || kms.HintOf(err) == "":
			t.Fatalf("refused with %v, retry after %s", err, kms.RetryAfter(err))
		}
	}
	return in
}

func TestGateBoundsWhatIsUnderWay(t *testing.T) {
	g := traffic.NewGate(10)
	if got := enter(t, g, 25); got != 10 {
		t.Errorf("%d let in, want 10", got)
	}
	for range 4 {
		g.Leave()
	}
	if got := enter(t, g, 25); got != 4 {
		t.Errorf("%d let in after 4 left, want 4", got)
	}
	if got := g.Load(); got.UnderWay != 10 || got.Shed != 15+21 {
		t.Errorf("%+v", got)
	}
}

func TestDefaultsLetAFewThousandIn(t *testing.T) {
	g := traffic.NewGate(0)
	if got := enter(t, g, traffic.DefaultMost+1); got != traffic.DefaultMost {
		t.Errorf("%d let in", got)
	}
	if most := g.AppMost(); most*traffic.AppShare != traffic.DefaultMost {
		t.Errorf("%d of one app", most)
	}
}

// One app's requests do not take what is there for all.
func TestOneAppsShare(t *testing.T) {
	l := traffic.NewLimiter((&clock{}).now)
	greedy, modest := app(1), app(65) // of the same shard
	begin := func(id kms.AppID) error { return l.Begin(id, 3) }
	for range 3 {
		if err := begin(greedy); err != nil {
			t.Fatal(err)
		}
	}
	if err := begin(greedy); !errors.Is(err, kms.Exhausted) || kms.RetryAfter(err) <= 0 {
		t.Errorf("a fourth at once: %v", err)
	}
	if err := begin(modest); err != nil {
		t.Errorf("another app: %v", err)
	}
	l.End(greedy)
	if err := begin(greedy); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}

func BenchmarkGate(b *testing.B) {
	g := traffic.NewGate(0)
	l := traffic.NewLimiter((&clock{}).now)
	b.ReportAllocs()
	for b.Loop() {
		if g.Enter() == nil {
			if l.Begin(app(1), g.AppMost()) == nil {
				l.End(app(1))
			}
			g.Leave()
		}
	}
}

package traffic_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/traffic"
)

// over has requests of apps come, in turn, while n wait, and counts who is refused.
// Nobody is held: their clients have gone.
func over(t *testing.T, g *traffic.Gate, n, requests int, apps ...kms.AppID) map[kms.AppID]int {
	t.Helper()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	defer g.Queue(n)()
	refused := map[kms.AppID]int{}
	for i := range requests {
		g.Queue(1)()
		id := apps[i%len(apps)]
		err := g.Admit(gone, id)
		if err != nil && (!errors.Is(err, kms.Exhausted) || kms.RetryAfter(err) <= 0 || kms.HintOf(err) == "") {
			t.Fatalf("refused with %v", err)
		}
		if err != nil {
			refused[id]++
		}
	}
	return refused
}

func TestBurstIsLetIn(t *testing.T) {
	g := traffic.NewGate(0)
	if got := over(t, g, 4*g.Long(), 200, app(1)); len(got) > 0 {
		t.Errorf("of a burst %v were refused", got)
	}
}

func TestLongQueueSheds(t *testing.T) {
	g := traffic.NewGate(0)
	if got := over(t, g, g.Long()-2, 20_000, app(1)); len(got) > 0 {
		t.Errorf("of a queue that is not long %v were refused", got)
	}
	if got := over(t, g, 4*g.Long(), 20_000, app(1)); got[app(1)] < 15_000 {
		t.Errorf("%d of 20,000 refused, who come where many wait all the time", got[app(1)])
	}
	if got := over(t, g, 0, 20_000, app(1)); len(got) > 0 {
		t.Errorf("once nobody waits %v were refused", got)
	}
	if got := g.Load(); got.Shed < 15_000 || got.UnderWay != 0 {
		t.Errorf("%+v", got)
	}
}

// Who asks for less than the others is let in where they are refused.
func TestModestAppIsNotShed(t *testing.T) {
	g := traffic.NewGate(0)
	greedy, modest := app(1), app(2)
	turns := []kms.AppID{modest}
	for range 9 {
		turns = append(turns, greedy)
	}
	got := over(t, g, 4*g.Long(), 20_000, turns...)
	if got[modest] > 0 || got[greedy] < 12_000 {
		t.Errorf("refused: %d of the modest app, %d of the greedy one", got[modest], got[greedy])
	}
}

// A refusal is held back, but no more of them than there is room for.
func TestRefusalIsHeld(t *testing.T) {
	g := traffic.NewGate(8) // two are held
	over(t, g, 4*g.Long(), 5000, app(1))
	defer g.Queue(4 * g.Long())()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	began := make(chan error, 3)
	for range 3 {
		all.Go(func() { began <- g.Admit(ctx, app(1)) })
	}
	if err := <-began; !errors.Is(err, kms.Exhausted) { // one that finds two held, or all are held for ever
		t.Error(err)
	}
	cancel()
	all.Wait()
}

func BenchmarkAdmit(b *testing.B) {
	g := traffic.NewGate(0)
	b.ReportAllocs()
	for b.Loop() {
		if g.Enter() == nil {
			_ = g.Admit(b.Context(), app(1))
			g.Leave()
		}
	}
}

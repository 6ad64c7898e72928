package traffic_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/traffic"
)

// A clock that only a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func app(n byte) kms.AppID { return kms.AppID{n, 1} }

// taken counts how many of n requests get a token.
func taken(l *traffic.Limiter, id kms.AppID, class kms.WorkClass, r kms.Rate, n int) (got int) {
	for range n {
		if l.Take(id, class, r) == nil {
			got++
		}
	}
	return got
}

func TestBucket(t *testing.T) {
	type step struct {
		after time.Duration
		ask   int
		want  int
	}
	cases := map[string]struct {
		rate  kms.Rate
		steps []step
	}{
		"a burst, then the rate": {kms.Rate{PerSecond: 10, Burst: 5}, []step{
			{0, 20, 5}, {100 * time.Millisecond, 20, 1}, {500 * time.Millisecond, 20, 5}, {time.Hour, 20, 5}}},
		"less than a token's time gives none": {kms.Rate{PerSecond: 10, Burst: 1}, []step{
			{0, 5, 1}, {99 * time.Millisecond, 5, 0}, {time.Millisecond, 5, 1}}},
		"a burst of none is one": {kms.Rate{PerSecond: 1}, []step{{0, 5, 1}, {time.Second, 5, 1}}},
		"no rate is no limit":    {kms.Rate{}, []step{{0, 1000, 1000}}},
		"the highest rate":       {kms.Rate{PerSecond: 1_000_000, Burst: 3}, []step{{0, 10, 3}, {time.Microsecond, 10, 1}}},
		"a refusal costs nothing": {kms.Rate{PerSecond: 2, Burst: 1}, []step{
			{0, 1000, 1}, {500 * time.Millisecond, 1000, 1}, {500 * time.Millisecond, 1, 1}}},
		"the clock goes back": {kms.Rate{PerSecond: 10, Burst: 10}, []step{
			{0, 10, 10}, {-time.Hour, 10, 0}, {time.Second, 20, 10}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := &clock{time.Unix(1_700_000_000, 0)}
			l := traffic.NewLimiter(c.now)
			c.at = c.at.Add(48 * time.Hour)
			for i, s := range tc.steps {
				c.at = c.at.Add(s.after)
				if got := taken(l, app(1), kms.SymmetricWork, tc.rate, s.ask); got != s.want {
					t.Errorf("step %d: %d of %d let through, want %d", i, got, s.ask, s.want)
				}
			}
		})
	}
}

// One app that asks for four times its rate takes nothing from ten modest ones,
// and gets what it may.
func TestOneAppDoesNotTouchOthers(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	l := traffic.NewLimiter(c.now)
	const rate, seconds, steps = 100, 10, 1000
	r := kms.Rate{PerSecond: rate, Burst: 10}
	greedy, modest := 0, 0
	for i := range steps {
		greedy += taken(l, app(0), kms.SymmetricWork, r, 4*rate*seconds/steps)
		for other := byte(1); other <= 10; other++ {
			if i%2 == 0 { // half of what it may
				modest += taken(l, app(other), kms.SymmetricWork, r, 1)
			}
		}
		c.at = c.at.Add(seconds * time.Second / steps)
	}
	if want := 10 * steps / 2; modest != want {
		t.Errorf("modest apps got %d of %d requests through", modest, want)
	}
	if most, least := rate*seconds+10, rate*seconds; greedy > most || greedy < least {
		t.Errorf("the greedy app got %d through, want %d to %d", greedy, least, most)
	}
	if got, want := l.Refused(kms.SymmetricWork), uint64(4*rate*seconds-greedy); got != want {
		t.Errorf("%d refusals counted, want %d", got, want)
	}
}

func TestClassesAreApart(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	l := traffic.NewLimiter(c.now)
	r := kms.Rate{PerSecond: 1, Burst: 2}
	for _, class := range kms.WorkClasses() {
		if got := taken(l, app(1), class, r, 9); got != 2 {
			t.Errorf("%s: %d let through, want 2", class, got)
		}
	}
	if err := l.Take(app(1), 0, r); err != nil {
		t.Errorf("a class that is none: %v", err)
	}
}

func TestRefusalSaysWhenToComeBack(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	l := traffic.NewLimiter(c.now)
	r := kms.Rate{PerSecond: 4, Burst: 1}
	if err := l.Take(app(1), kms.SecretWork, r); err != nil {
		t.Fatal(err)
	}
	err := l.Take(app(1), kms.SecretWork, r)
	if !errors.Is(err, kms.Exhausted) || kms.RetryAfter(err) != 250*time.Millisecond || kms.HintOf(err) == "" {
		t.Fatalf("%v, retry after %s, hint %q", err, kms.RetryAfter(err), kms.HintOf(err))
	}
	c.at = c.at.Add(kms.RetryAfter(err))
	if err := l.Take(app(1), kms.SecretWork, r); err != nil {
		t.Errorf("after the time that was told: %v", err)
	}
}

// A rate that a new policy lowers, or raises, holds from the next request on.
func TestRateChanges(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	l := traffic.NewLimiter(c.now)
	slow, fast := kms.Rate{PerSecond: 1, Burst: 60}, kms.Rate{PerSecond: 1000, Burst: 10}
	taken(l, app(1), kms.SymmetricWork, slow, 60) // full in a minute
	if got := taken(l, app(1), kms.SymmetricWork, fast, 20); got != 0 {
		t.Errorf("%d let through at once, want 0: the bucket is empty", got)
	}
	c.at = c.at.Add(10 * time.Millisecond)
	if got := taken(l, app(1), kms.SymmetricWork, fast, 20); got != 10 {
		t.Errorf("%d let through under the new rate, want 10", got)
	}
}

func BenchmarkTake(b *testing.B) {
	l := traffic.NewLimiter(time.Now)
	r := kms.Rate{PerSecond: 1_000_000, Burst: 1_000_000}
	b.ReportAllocs()
	for b.Loop() {
		_ = l.Take(app(1), kms.SymmetricWork, r)
	}
}

package wallclock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-kms/holdfast/host/wallclock"
)

func TestNow(t *testing.T) {
	before := time.Now()
	now := wallclock.Clock{}.Now()
	if now.Before(before) || now.After(time.Now()) {
		t.Errorf("now %v, and before it %v", now, before)
	}
}

func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
		defer cancel()
		start, calls := time.Now(), 0
		wallclock.Clock{}.Every(ctx, 10*time.Second, func() { calls++ })
		if took := time.Since(start); calls != 3 || took != 35*time.Second {
			t.Errorf("%d calls in %v, want 3 in 35s", calls, took)
		}
	})
}

func TestEveryDropsMissedTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		calls := 0
		wallclock.Clock{}.Every(ctx, time.Second, func() { calls++; time.Sleep(30 * time.Second) })
		if calls != 4 {
			t.Errorf("%d calls of 30s in 100s, want 4", calls)
		}
	})
}

func TestEveryStopsBeforeTheNextCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		wallclock.Clock{}.Every(ctx, time.Second, func() {
			calls++
			cancel()
			time.Sleep(time.Minute) // a tick is due when this call returns
		})
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	})
}

package core

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
)

func TestPoolBoundsWork(t *testing.T) {
	p := newPool()
	var now, most, done atomic.Int64
	work := func() error {
		n := now.Add(1)
		for {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		runtime.Gosched()
		now.Add(-1)
		done.Add(1)
		return nil
	}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			run := p.use
			if i%2 == 0 {
				run = p.generate
			}
			if err := run(t.Context(), work); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if limit := int64(max(1, runtime.GOMAXPROCS(0)-1)); most.Load() > limit || done.Load() != 200 {
		t.Errorf("%d at once, limit %d; %d done", most.Load(), limit, done.Load())
	}
}

func TestPoolGivesUp(t *testing.T) {
	p := newPool()
	hold, release := make(chan struct{}), make(chan struct{})
	for range cap(p.places) {
		go func() { _ = p.use(context.Background(), func() error { hold <- struct{}{}; <-release; return nil }) }()
		<-hold
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 2 * maxWaiting { // giving up leaves no trace
		if err := p.use(ctx, func() error { t.Error("ran"); return nil }); !errors.Is(err, kms.Unavailable) {
			t.Fatalf("got %v, want Unavailable", err)
		}
	}
	for range maxWaiting {
		p.waiting <- struct{}{}
	}
	if err := p.use(context.Background(), func() error { return nil }); !errors.Is(err, kms.Exhausted) {
		t.Errorf("got %v, want Exhausted", err)
	}
	for range maxWaiting {
		<-p.waiting
	}
	close(release)
	if err := p.generate(context.Background(), func() error { return nil }); err != nil {
		t.Error(err)
	}
}

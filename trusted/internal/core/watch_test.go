package core_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/core"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

var errEnough = errors.New("enough")

// watching is a stream that has begun; each batch with events waits to be taken.
type watching struct {
	batches chan kms.Events
	end     chan error
	stop    context.CancelFunc
}

func watch(t testing.TB, events func(context.Context, kms.WatchRequest, func(kms.Events) error) error, r kms.WatchRequest) *watching {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &watching{batches: make(chan kms.Events), end: make(chan error, 1), stop: stop}
	begun := make(chan struct{})
	var once sync.Once
	go func() {
		err := events(ctx, r, func(e kms.Events) error {
			once.Do(func() { close(begun) })
			if len(e.Events) == 0 {
				return nil
			}
			select {
			case w.batches <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		once.Do(func() { close(begun) })
		w.end <- err
	}()
	if r == (kms.WatchRequest{}) {
		<-begun
	}
	return w
}

func createKey(t testing.TB, a *trustedtest.App) kms.KeyID {
	t.Helper()
	k, err := a.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		t.Fatal(err)
	}
	return k.ID
}

// TestFloodOfWatches: streams are bounded, of an app, of strangers and in all, and
// a place that is given back is there again.
func TestFloodOfWatches(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	streams := n.Core().Watches()
	var open []*watching
	flood := func(limit int, events func() func(context.Context, kms.WatchRequest, func(kms.Events) error) error) {
		t.Helper()
		for range limit {
			open = append(open, watch(t, events(), kms.WatchRequest{}))
		}
		if err := <-watch(t, events(), kms.WatchRequest{}).end; !errors.Is(err, kms.Exhausted) {
			t.Errorf("one more than %d: %v", limit, err)
		}
	}
	flood(core.MaxStrangerWatches, func() func(context.Context, kms.WatchRequest, func(kms.Events) error) error {
		return n.Core().WatchEvents
	})
	if err := n.Server().WatchStatus(t.Context(), func() error { return errEnough }); !errors.Is(err, kms.Exhausted) {
		t.Errorf("status for one more stranger: %v", err)
	}
	a := n.Enrol()
	flood(core.MaxAppWatches, func() func(context.Context, kms.WatchRequest, func(kms.Events) error) error {
		return a.MustCaller().WatchEvents
	})
	if got := streams.Open(); got != core.MaxStrangerWatches+core.MaxAppWatches {
		t.Errorf("%d are open", got)
	}
	open[0].stop()
	<-open[0].end
	again := watch(t, n.Core().WatchEvents, kms.WatchRequest{})
	streams.End()
	for _, w := range append(open[1:], again) {
		for over := false; !over; {
			select {
			case err := <-w.end:
				if over = true; !errors.Is(err, kms.Unavailable) {
					t.Errorf("at the end: %v", err)
				}
			case <-w.batches:
			}
		}
	}
	if got := streams.Open(); got != 0 {
		t.Errorf("%d are open after the end", got)
	}
	if err := <-watch(t, n.Core().WatchEvents, kms.WatchRequest{}).end; !errors.Is(err, kms.Unavailable) {
		t.Errorf("after the end: %v", err)
	}
}

// TestReaderThatLags reads nothing while more happens than is kept.
func TestReaderThatLags(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	a := n.Enrol()
	w := watch(t, a.MustCaller().WatchEvents, kms.WatchRequest{})
	createKey(t, a) // it waits to be taken
	var wg sync.WaitGroup
	for range 64 {
		id := createKey(t, a)
		wg.Go(func() {
			for i := range state.EventLimit/64 + 8 {
				if err := a.MustCaller().SetKeyEnabled(t.Context(), id, i%2 == 1); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	<-w.batches
	if err := <-w.end; !errors.Is(err, kms.Exhausted) {
		t.Errorf("it ended with %v", err)
	}
}

// TestWatchEndsWithItsRight: what gave the right to see goes, and with it the
// stream, before anything that came later.
func TestWatchEndsWithItsRight(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	a := n.Enrol()
	made, err := a.MustCaller().CreateCredential(t.Context(), kms.CreateCredentialRequest{Permissions: kms.PermRead, Expires: n.Clock.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	brief := func() *watching {
		return watch(t, n.App(kms.AppID(made.ID), made.APIKey).MustCaller().WatchEvents, kms.WatchRequest{})
	}
	expiring := brief()
	n.Clock.Move(2 * time.Hour)
	n.Core().Watches().Beat()
	if err := <-expiring.end; !errors.Is(err, kms.Unauthenticated) {
		t.Errorf("after its time: %v", err)
	}
	w := watch(t, a.MustCaller().WatchEvents, kms.WatchRequest{})
	stranger := watch(t, n.Core().WatchEvents, kms.WatchRequest{})
	// A policy that does not admit this node: it refuses to serve.
	halted := d.Rulers.Next(func(p *govern.Policy) {
		p.Halt = true
		id := *p.Nodes[0].Identity.SGX
		id.MRENCLAVE = make([]byte, 32)
		p.Nodes[0].Identity.SGX = &id
	})
	if _, err := n.Core().SubmitPolicy(t.Context(), halted); err != nil {
		t.Fatal(err)
	}
	for over := false; !over; {
		select {
		case e := <-w.batches:
			t.Errorf("a node that may not serve sent %+v", e)
		case err := <-w.end:
			if over = true; !errors.Is(err, kms.Unavailable) {
				t.Errorf("where the node may not serve: %v", err)
			}
		}
	}
	got := ""
	for _, e := range (<-stranger.batches).Events {
		got += fmt.Sprint(e.Kind, " ")
		if e.Kind == kms.EventNodeRefuses && (e.Reason == "" || e.Position != kms.Position{}) {
			t.Errorf("%+v", e)
		}
	}
	if got != "policy_activated node_refuses " {
		t.Errorf("strangers hear %q", got)
	}
}

// TestKeepAlive: who hears nothing hears that there is nothing.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	a, b := n.Enrol(), n.Enrol()
	var at []kms.Position
	err := a.MustCaller().WatchEvents(t.Context(), kms.WatchRequest{}, func(e kms.Events) error {
		if len(e.Events) > 0 && e.Events[0].App == b.ID {
			t.Errorf("another app's: %+v", e)
		}
		if at = append(at, e.At); len(at) == 3 {
			return errEnough
		}
		createKey(t, b)
		go func() {
			for range core.KeepAlive {
				n.Core().Watches().Beat()
			}
		}()
		return nil
	})
	if !errors.Is(err, errEnough) || !at[0].Before(at[1]) || !at[1].Before(at[2]) {
		t.Errorf("%v, at %v: the position has to move on", err, at)
	}
}

// TestStatusOfDistress: a stream of the status says why a node does not serve.
func TestStatusOfDistress(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	seen := 0
	err := n.Server().WatchStatus(t.Context(), func() error {
		st := n.Server().Status()
		if seen++; seen == 1 {
			if !st.Ready {
				t.Errorf("at first: %+v", st)
			}
			_, err := n.Core().SubmitPolicy(t.Context(), d.Rulers.Next(func(p *govern.Policy) {
				p.Halt = true
				id := *p.Nodes[0].Identity.SGX
				id.MRENCLAVE = make([]byte, 32)
				p.Nodes[0].Identity.SGX = &id
			}))
			return err
		}
		if st.Ready || st.Reason == "" {
			t.Errorf("then: %+v", st)
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		t.Error(err)
	}
}

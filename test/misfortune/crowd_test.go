package misfortune_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// blocks lets everything that wants collateral wait until it is released.
func (s *site) blocks() (waiting *atomic.Int32, release func()) {
	waiting, gate := new(atomic.Int32), make(chan struct{})
	hold := func() {
		waiting.Add(1)
		<-gate
	}
	s.holds.Store(&hold)
	release = sync.OnceFunc(func() {
		s.holds.Store(nil)
		close(gate)
	})
	s.t.Cleanup(release)
	return waiting, release
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// TestCrowdOfStrangers: of those who ask for evidence while the platform is busy
// some wait, and the rest is sent away; a tenant has a line of his own.
func TestCrowdOfStrangers(t *testing.T) {
	const crowd = 1000
	s := newSite(t)
	app := s.node.Enrol()
	_, release := s.blocks()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var refused, answered atomic.Int32
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() {
			_, err := s.node.Server().Proof(ctx, make([]byte, 32))
			switch {
			case errors.Is(err, kms.Exhausted):
				refused.Add(1)
			case err == nil:
				answered.Add(1)
			}
		})
	}
	until(t, "most of the crowd is refused", func() bool { return refused.Load() >= crowd*8/10 })
	var quoted sync.WaitGroup
	quoted.Go(func() {
		if _, err := app.MustCaller().GenerateQuote(t.Context(), kms.QuoteRequest{Challenge: []byte("mine")}); err != nil {
			t.Errorf("a tenant's quote: %v", err)
		}
	})
	release()
	all.Wait()
	quoted.Wait()
	if answered.Load() == 0 {
		t.Error("nobody was answered")
	}
}

// TestWaitingForTheVendor: what strangers' evidence makes the host ask the
// vendor for keeps nobody from using a key.
func TestWaitingForTheVendor(t *testing.T) {
	s := newSite(t)
	tenant, victim := s.node.Enrol(), s.node.Enrol()
	key, err := victim.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.RSA2048, Origin: kms.Generated, Usages: kms.SignVerify})
	if err != nil {
		t.Fatal(err)
	}
	ev, err := s.machine.Evidence(t.Context(), [64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	waiting, release := s.blocks()
	var all sync.WaitGroup
	crowd := runtime.GOMAXPROCS(0) + 1
	for range crowd {
		caller := tenant.MustCaller()
		all.Go(func() {
			if _, err := caller.VerifyQuote(t.Context(), kms.VerifyQuoteRequest{Quote: ev.Quote}); err != nil {
				t.Errorf("once the vendor answers: %v", err)
			}
		})
	}
	until(t, "they wait", func() bool { return waiting.Load() > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := useRSA(ctx, victim, key.ID); err != nil {
		t.Errorf("another tenant's RSA: %v", err)
	}
	release()
	all.Wait()
}

func useRSA(ctx context.Context, app *trustedtest.App, key kms.KeyID) error {
	_, err := app.MustCaller().Sign(ctx, kms.SignRequest{Key: kms.KeyRef{ID: key}, Input: kms.SigningInput{Message: []byte("x"), Padding: kms.PaddingPSS}})
	return err
}

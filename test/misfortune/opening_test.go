package misfortune_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// TestOpeningWaitsForTheVendor: neither does what strangers open sessions with.
func TestOpeningWaitsForTheVendor(t *testing.T) {
	s := newSite(t)
	victim := s.node.Enrol()
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
	for range runtime.GOMAXPROCS(0) + 1 {
		challenge, _, _, err := s.node.Server().Challenge(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			_, err := s.node.Core().OpenSession(t.Context(), kms.OpenSessionRequest{Challenge: challenge, ClientKey: []byte("a key"),
				Evidence: kms.Evidence{TEE: string(ev.TEE), Quote: ev.Quote}})
			if !errors.Is(err, kms.Denied) { // it is bound to nothing
				t.Errorf("once the vendor answers: %v", err)
			}
		})
	}
	until(t, "they wait", func() bool { return waiting.Load() > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := useRSA(ctx, victim, key.ID); err != nil {
		t.Errorf("a tenant's RSA: %v", err)
	}
	release()
	all.Wait()
}

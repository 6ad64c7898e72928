package ehsm_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/kms"
)

// An echo opens a ciphertext to itself, and knows anyone.
type echo struct{ *core }

func (echo) Decrypt(_ context.Context, r kms.DecryptRequest) (kms.Plaintext, error) {
	raw, _ := r.Binding.Raw()
	return kms.Plaintext{Data: append(bytes.Clone(r.Data), raw...)}, nil
}

// TestParallel has many requests share the pools: memory that was given back too
// early would show up in another's answer.
func TestParallel(t *testing.T) {
	h := ehsm.New(ehsm.Config{Authenticate: func(context.Context, kms.Credential) (ehsm.Caller, error) { return echo{}, nil }})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			g := newRig(t)
			g.handler = h
			for i := range 100 {
				data, aad := fmt.Sprintf("%d of %d ", i, w), fmt.Sprint(bytes.Repeat([]byte{byte(w)}, 20*i))
				payload := fmt.Sprintf(`{"keyid":%q,"ciphertext":%q,"aad":%q}`, testKeyID, b64(data), b64(aad))
				want := succeeded("success!", map[string]any{"plaintext": b64(data + aad)})
				if diff := cmp.Diff(want, g.call(t, "Decrypt", payload)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
					return
				}
			}
		})
	}
	wg.Wait()
}

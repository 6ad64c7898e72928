package raw_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/cmd/holdfast/internal/raw"
	"github.com/holdfast-kms/holdfast/kms"
)

// TestEverySpec has the operations that the capability table promises, and no
// others, and does each; decryption and verification check what came before.
func TestEverySpec(t *testing.T) {
	for _, row := range kms.Capabilities() {
		t.Run(row.Name, func(t *testing.T) {
			ops, err := raw.Of(row.Spec, 1000)
			if err != nil {
				t.Fatal(err)
			}
			signs := row.Family == kms.Asymmetric && row.Serves(kms.UseSign)
			for _, tt := range []struct {
				name string
				op   func() error
				want bool
			}{
				{"encrypt", ops.Encrypt, row.Serves(kms.UseEncrypt)}, {"decrypt", ops.Decrypt, row.Serves(kms.UseDecrypt)},
				{"data key", ops.DataKey, row.DataKeys}, {"sign", ops.Sign, signs}, {"verify", ops.Verify, signs},
				{"mac", ops.MAC, row.Family == kms.MAC}, {"create", ops.Create, true},
			} {
				if (tt.op != nil) != tt.want {
					t.Errorf("%s is there: %v, want %v", tt.name, tt.op != nil, tt.want)
				}
				if tt.op == nil || tt.name == "create" && row.Slow {
					continue
				}
				if err := tt.op(); err != nil {
					t.Errorf("%s: %v", tt.name, err)
				}
			}
		})
	}
	if _, err := raw.Of(99, 10); !errors.Is(err, kms.Invalid) {
		t.Errorf("an unknown spec: %v", err)
	}
}

func TestMeter(t *testing.T) {
	var at, most, calls atomic.Int64
	fails := errors.New("fails")
	busy := func() error {
		most.Store(max(most.Load(), at.Add(1)))
		defer at.Add(-1)
		for until := time.Now().Add(2 * time.Millisecond); time.Now().Before(until); {
		}
		if calls.Add(1) > 20 {
			return fails
		}
		return nil
	}
	m, err := raw.NewMeter(busy, 1)
	if n, cpu := m.Total(); err != nil || n != 0 || cpu != 0 {
		t.Fatalf("before: %d calls, %v, %v", n, cpu, err)
	}
	var wg sync.WaitGroup
	var failed atomic.Int64
	for range 4 {
		wg.Go(func() {
			for range 5 {
				if m.Do() != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	n, cpu := m.Total()
	if n != 20 || most.Load() != 1 || failed.Load() != 1 {
		t.Errorf("%d calls, %d at once, %d failed", n, most.Load(), failed.Load())
	}
	if cpu <= 0 || cpu > time.Minute {
		t.Errorf("%v of processor time", cpu)
	}
	if _, err := raw.NewMeter(func() error { return fails }, 0); !errors.Is(err, fails) {
		t.Errorf("an operation that fails: %v", err)
	}
}

package raw_test

import (
	"errors"
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

func TestTime(t *testing.T) {
	calls := 0
	busy := func() error {
		calls++
		for until := time.Now().Add(2 * time.Millisecond); time.Now().Before(until); {
		}
		return nil
	}
	got, err := raw.Time(busy, 20*time.Millisecond)
	if err != nil || got <= 0 || got > 20*time.Millisecond || calls < 4 {
		t.Errorf("%v in %d calls, %v", got, calls, err)
	}
	fails := errors.New("fails")
	for _, good := range []int{0, 1, 5} {
		calls := 0
		op := func() error {
			if calls++; calls > good {
				return fails
			}
			return nil
		}
		if _, err := raw.Time(op, time.Hour); !errors.Is(err, fails) {
			t.Errorf("after %d calls: %v", good, err)
		}
	}
}

package kms_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

func TestSecretNames(t *testing.T) {
	for name, valid := range map[string]bool{
		"": false, "x": true, "\x00": true, "a\nb": true, "\xff": false, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false,
		strings.Repeat("値", 64): true, strings.Repeat("𝄞", 32): true, strings.Repeat("𝄞", 33): false,
	} {
		if kms.SecretName(name).Valid() != valid || (kms.SecretName(name).Check() == nil) != valid {
			t.Errorf("%q: valid is %t", name, !valid)
		}
	}
}

func TestSecretLabels(t *testing.T) {
	for label, own := range map[string]bool{"": false, "current": false, "previous": false, "next": true, "a/b_c-d.e:f+1": true, "a b": false, "é": false,
		strings.Repeat("x", 64): true, strings.Repeat("x", 65): false} {
		if kms.OwnSecretLabel(label) != own {
			t.Errorf("%q: own is %t", label, !own)
		}
	}
}

func TestRotationIntervals(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "6h": 6 * time.Hour, "360m": 6 * time.Hour, "365d": 8760 * time.Hour, "8760h": 8760 * time.Hour} {
		got, err := kms.RotationInterval(text).Duration()
		if err != nil || got != want || kms.RotationInterval(text).Check() != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"5h", "359m", "9999s", "366d", "8761h", "0d", "d", "7", "7x", "7,", "-7d", "+7d", "7 d", "10000h", "7dd", "7D"} {
		if err := kms.RotationInterval(text).Check(); !errors.Is(err, kms.Invalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestHeldKey: the refusal names the first secrets, and counts the others.
func TestHeldKey(t *testing.T) {
	err := kms.ErrKeyHeld(&kms.KeyHeldError{Secrets: []kms.SecretName{"a", "b\x1b"}, Total: 9})
	if want := `"a", "b\x1b" and 7 more`; !strings.Contains(err.Error(), want) || !errors.Is(err, kms.Misused) || kms.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestValuesPermission(t *testing.T) {
	if !kms.PermSecrets.Has(kms.PermValues) || kms.PermValues.Has(kms.PermSecrets) || (kms.PermUse | kms.PermManage | kms.PermRead).Has(kms.PermValues) || kms.PermValues.String() != "values" {
		t.Error("reading values is part of secrets, and of nothing else")
	}
}

func FuzzRotationInterval(f *testing.F) {
	f.Add("30d")
	f.Add("9999h")
	f.Fuzz(func(t *testing.T, s string) {
		r := kms.RotationInterval(s)
		if r.Check() != nil || s == "" {
			return
		}
		if d, err := r.Duration(); err != nil || d < kms.MinSecretRotation || d > kms.MaxSecretRotation || len(s) > 5 {
			t.Errorf("%q is %v, %v", s, d, err)
		}
	})
}

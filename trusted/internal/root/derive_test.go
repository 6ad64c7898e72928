package root_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// A generation is neither derived from another nor equal to it, and what is
// derived for one purpose, domain or generation is not for another.
func TestDerivationsAreSeparate(t *testing.T) {
	seen := map[string]string{}
	note := func(what string, s secret.Bytes, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		_ = s.Use(func(b []byte) error {
			if len(b) != 32 {
				t.Errorf("%s has %d bytes", what, len(b))
			}
			if other, dup := seen[string(b)]; dup {
				t.Errorf("%s is %s", what, other)
			}
			seen[string(b)] = what
			return nil
		})
	}
	for _, domain := range []byte{1, 2} {
		set := root.NewSet(secret.New(bytes.Repeat([]byte{1}, 32)))
		if err := set.Hold(1, secret.New(bytes.Repeat([]byte{2}, 32))); err != nil {
			t.Fatal(err)
		}
		r := root.New(set, kms.DomainID{domain}, root.HoldfastLabels)
		for g := range uint32(2) {
			what := string('a'+rune(domain)) + string('0'+rune(g))
			seed, err := r.SigningSeed(g)
			note(what+" signing", seed, err)
			backup, err := r.BackupKey(g)
			note(what+" backup", backup, err)
			from, err := r.RuntimeRoot(g)
			note(what+" runtime", from, err)
			wrapping, err := r.Derive(g, root.WrapKey, 32)
			note(what+" wrapping", wrapping, err)
			again, err := r.RuntimeRoot(g)
			if err != nil || !equal(from, again) {
				t.Errorf("%s: another root the second time: %v", what, err)
			}
		}
	}
}

// No two derivations share a label.
func TestLabelsAreUnique(t *testing.T) {
	seen := map[string]bool{}
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Struct {
				walk(f)
			} else if seen[f.String()] || f.String() == "" {
				t.Errorf("label %q is empty or there twice", f.String())
			} else {
				seen[f.String()] = true
			}
		}
	}
	walk(reflect.ValueOf(root.HoldfastLabels))
	for _, p := range []root.Purpose{root.WrapKey, root.WrapCredential, root.WrapCA, root.WrapImport} {
		if seen[string(p)] {
			t.Errorf("purpose %q is a label too", p)
		}
		seen[string(p)] = true
	}
}

func TestChain(t *testing.T) {
	set := root.NewSet(secret.New(bytes.Repeat([]byte{7}, 32)))
	r := root.New(set, kms.DomainID{9}, root.HoldfastLabels)
	sums := [][]byte{nil}
	for g := range uint32(4) {
		if g > 0 {
			if err := set.Hold(g, secret.Random(32)); err != nil {
				t.Fatal(err)
			}
		}
		sum, err := r.Checksum(g, sums[g])
		if err != nil {
			t.Fatal(err)
		}
		if g > 0 && bytes.Equal(sum, sums[g]) {
			t.Errorf("checksum %d is that of the generation before", g)
		}
		sums = append(sums, sum)
	}
	for g := range uint32(4) {
		if err := r.VerifyChecksum(g, sums[g], sums[g+1]); err != nil {
			t.Errorf("generation %d: %v", g, err)
		}
		if err := r.VerifyChecksum(g, sums[g], sums[(g+1)%4+1]); !errors.Is(err, kms.Damaged) {
			t.Errorf("generation %d with another's checksum: %v", g, err)
		}
		if g > 0 {
			if err := r.VerifyChecksum(g, sums[g-1], sums[g+1]); !errors.Is(err, kms.Damaged) {
				t.Errorf("generation %d on another link: %v", g, err)
			}
		}
	}
}

// What was wrapped under a generation that was dropped and forgotten does not
// open any more, whatever was kept of it.
func TestForget(t *testing.T) {
	set := root.NewSet(secret.Random(32))
	r := root.New(set, kms.DomainID{1}, root.HoldfastLabels)
	wrapped, err := r.Wrap(slot(), secret.New([]byte("key material")))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(set.Hold(1, secret.Random(32)), set.Use(1)); err != nil {
		t.Fatal(err)
	}
	if err := set.Hold(1, secret.Random(32)); !errors.Is(err, kms.Exists) {
		t.Errorf("held twice: %v", err)
	}
	if err := set.Use(2); !errors.Is(err, kms.NotFound) {
		t.Errorf("use of what is not held: %v", err)
	}
	if err := set.Use(0); err != nil || r.Current() != 1 {
		t.Errorf("went back to %d: %v", r.Current(), err)
	}
	to := slot()
	to.Generation = 1
	moved, err := r.Rewrap(slot(), to, wrapped)
	if err != nil {
		t.Fatal(err)
	}
	set.Drop(0)
	r.Forget(0)
	if _, err := r.Unwrap(slot(), wrapped); !errors.Is(err, kms.NotFound) {
		t.Errorf("opens under a generation that is gone: %v", err)
	}
	if got, err := r.Unwrap(to, moved); err != nil || !got.Equal([]byte("key material")) {
		t.Errorf("does not open where it was moved to: %v", err)
	}
	if _, err := r.Rewrap(to, to, wrapped); !errors.Is(err, kms.Damaged) {
		t.Errorf("re-wrapped what does not open: %v", err)
	}
}

func equal(a, b secret.Bytes) (same bool) {
	_ = b.Use(func(bytes []byte) error { same = a.Equal(bytes); return nil })
	return same
}

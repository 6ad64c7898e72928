package govern_test

import (
	"bytes"
	"testing"

	"github.com/holdfast-kms/holdfast/govern"
)

// FuzzCharter: what is accepted is valid, and its print is a fixed point.
func FuzzCharter(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.Charter))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := govern.ParseCharter(b)
		if err != nil {
			return
		}
		again, err := govern.ParseCharter(c.Canonical())
		if err != nil || *again != *c || !bytes.Equal(again.Canonical(), c.Canonical()) {
			t.Errorf("%q prints as %q, which does not read back (%v)", b, c.Canonical(), err)
		}
	})
}

// FuzzBootstrap: what is accepted is valid, and its print is a fixed point.
func FuzzBootstrap(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.Bootstrap))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := govern.ParseBootstrap(b)
		if err != nil {
			return
		}
		again, err := govern.ParseBootstrap(d.Canonical())
		if err != nil || *again != *d || !bytes.Equal(again.Canonical(), d.Canonical()) {
			t.Errorf("%q prints as %q, which does not read back (%v)", b, d.Canonical(), err)
		}
	})
}

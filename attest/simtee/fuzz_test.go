package simtee

import (
	"bytes"
	"os"
	"testing"
)

// FuzzFuses: what is accepted prints as the same bytes.
func FuzzFuses(f *testing.F) {
	seed, err := os.ReadFile("testdata/" + fusesFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := parseFuses(b)
		if err != nil {
			return
		}
		if again, err := parsed.print(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q prints as %q (%v)", b, again, err)
		}
	})
}

package replica_test

import (
	"bytes"
	"testing"

	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
)

// What is taken for a frame is printed as it was read.
func FuzzFrame(f *testing.F) {
	for kind := range byte(9) {
		f.Add(append([]byte{kind}, make([]byte, 20)...))
		f.Add(append(append([]byte{kind}, make([]byte, 19)...), append([]byte{24}, make([]byte, 24)...)...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if out, err := replica.ReadAndWriteFrame(data); err == nil && !bytes.HasPrefix(data, out) {
			t.Errorf("%x was read as %x", data, out)
		}
	})
}

func FuzzVerdict(f *testing.F) {
	f.Add(make([]byte, 39))
	f.Add(append(append(make([]byte, 32), 7), 0, 1, 'a', 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		if out, err := replica.ReadAndWriteVerdict(data); err == nil && !bytes.Equal(out, data) {
			t.Errorf("%x was read as %x", data, out)
		}
	})
}

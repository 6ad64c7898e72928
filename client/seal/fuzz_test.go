package seal_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/holdfast-kms/holdfast/client/seal"
)

// FuzzOpen reads any bytes: a header that parses is printed to the same bytes
// again, and what opens is sealed to the same bytes again.
func FuzzOpen(f *testing.F) {
	for _, n := range []int{0, 5, seal.ChunkSize, seal.ChunkSize + 3} {
		out := sealed(f, content(n))
		f.Add(out)
		f.Add(out[:len(out)-3])
	}
	f.Add([]byte("HFSEALED\x02"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		h, err := seal.ReadHeader(r)
		if err != nil {
			return
		}
		head := data[:len(data)-r.Len()]
		var again bytes.Buffer
		if _, err := seal.NewWriter(&again, h, dataKey()); err != nil {
			t.Fatalf("a header that parses is refused: %v", err)
		}
		// But for its check, which the data key decides.
		if n := len(head) - 32; again.Len() != len(head) || !bytes.Equal(again.Bytes()[:n], head[:n]) {
			t.Fatalf("%x is printed as %x", head, again.Bytes())
		}
		r.Reset(data)
		if h, err = seal.ReadHeader(r); err != nil {
			t.Fatal(err)
		}
		sr, err := seal.NewReader(r, h, dataKey())
		if err != nil {
			return
		}
		plain, err := io.ReadAll(sr)
		if err != nil {
			return
		}
		w, err := seal.NewWriter(&again, h, dataKey())
		ok(t, err)
		again.Reset()
		again.Write(head)
		_, err = w.Write(plain)
		ok(t, err)
		ok(t, w.Close())
		if !bytes.Equal(again.Bytes(), data) {
			t.Fatal("what opens is sealed to something else")
		}
	})
}

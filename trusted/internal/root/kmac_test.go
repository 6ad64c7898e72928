package root_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/holdfast-kms/holdfast/trusted/internal/root"
)

// The samples of NIST's "KMAC_samples.pdf" for SP 800-185, numbers 4 to 6.
func TestKMAC256Samples(t *testing.T) {
	key := sequence(0x40, 32)
	for _, c := range []struct {
		name, custom, want string
		data               []byte
	}{
		{"sample 4", "My Tagged Application",
			"20c570c31346f703c9ac36c61c03cb64c3970d0cfc787e9b79599d273a68d2f7f69d4cc3de9d104a351689f27cf6f5951f0103f33f4f24871024d9c27773a8dd",
			sequence(0, 4)},
		{"sample 5", "",
			"75358cf39e41494e949707927cee0af20a3ff553904c86b08f21cc414bcfd691589d27cf5e15369cbbff8b9a4c2eb17800855d0235ff635da82533ec6b759b69",
			sequence(0, 200)},
		{"sample 6", "My Tagged Application",
			"b58618f71f92e1d56c1b8c55ddd7cd188b97b4ca4d99831eb2699a837da2e4d970fbacfde50033aea585f1a2708510c32d07880801bd182898fe476876fc8965",
			sequence(0, 200)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := root.KMAC256(key, 64, c.custom, c.data)
			if hex.EncodeToString(got) != c.want {
				t.Errorf("got %x", got)
			}
			split := root.KMAC256(key, 64, c.custom, c.data[:1], c.data[1:])
			if !bytes.Equal(got, split) {
				t.Error("data in two parts gives another result than in one")
			}
		})
	}
}

// A key longer than a block and one whose length needs two bytes take the
// other branches of the encodings.
func TestKMAC256LongKeys(t *testing.T) {
	seen := map[string]int{}
	for _, n := range []int{0, 1, 31, 32, 33, 131, 132, 133, 136, 300} {
		sum := string(root.KMAC256(sequence(7, n), 32, "c", []byte("d")))
		if other, dup := seen[sum]; dup {
			t.Errorf("keys of %d and %d bytes collide", n, other)
		}
		seen[sum] = n
	}
}

func sequence(from byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

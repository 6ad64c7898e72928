package seal_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/seal"
)

var testKey = bytes.Repeat([]byte{0xa7}, seal.KeyLen)

func newBox(t testing.TB, key []byte, label string) *seal.Box {
	t.Helper()
	b, err := seal.New(key, label)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSealOpen(t *testing.T) {
	writer, reader := newBox(t, testKey, "log"), newBox(t, testKey, "log")
	for _, size := range []int{0, 1, 15, 16, 17, 4096, 1 << 20} {
		plaintext := bytes.Repeat([]byte{byte(size)}, size)
		record := writer.Seal([]byte("before"), plaintext, []byte("aad"))
		if len(record) != len("before")+size+seal.Overhead {
			t.Errorf("size %d: record has %d bytes", size, len(record))
		}
		got, err := reader.Open([]byte("x"), record[len("before"):], []byte("aad"))
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if !bytes.Equal(got, append([]byte("x"), plaintext...)) {
			t.Errorf("size %d: opened something else", size)
		}
	}
}

// TestVector pins the format: a record made by another build opens.
func TestVector(t *testing.T) {
	const record = "01" + "de5fb2edcb26a6ee51a1d4b1ac8fd0ae" + "0000000000000001" +
		"5069cbfd59f8c7ef" + "cd0e54aca8240046a79babd590daf702"
	b := newBox(t, testKey, "vector")
	sealed, err := hex.DecodeString(record)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Open(nil, sealed, []byte("bound"))
	if err != nil || string(got) != "holdfast" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	b := newBox(t, testKey, "log")
	record := b.Seal(nil, []byte("plaintext"), []byte("aad"))
	otherKey := bytes.Repeat([]byte{0xa8}, seal.KeyLen)
	for i := range record {
		for bit := range 8 {
			flipped := bytes.Clone(record)
			flipped[i] ^= 1 << bit
			if _, err := b.Open(nil, flipped, []byte("aad")); !errors.Is(err, kms.DecryptFailed) {
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			}
		}
	}
	for n := range record {
		if _, err := b.Open(nil, record[:n], []byte("aad")); !errors.Is(err, kms.DecryptFailed) {
			t.Fatalf("first %d bytes: %v", n, err)
		}
	}
	cases := []struct {
		name   string
		box    *seal.Box
		record []byte
		aad    string
	}{
		{"longer", b, append(bytes.Clone(record), 0), "aad"},
		{"other aad", b, record, "aae"},
		{"other label", newBox(t, testKey, "head"), record, "aad"},
		{"other key", newBox(t, otherKey, "log"), record, "aad"},
	}
	for _, c := range cases {
		if _, err := c.box.Open(nil, c.record, []byte(c.aad)); !errors.Is(err, kms.DecryptFailed) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestKeyLength(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := seal.New(make([]byte, n), "x"); !errors.Is(err, kms.Invalid) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestNoncesDiffer: neither within a Box nor between Boxes does a salt and
// counter come twice, from however many goroutines.
func TestNoncesDiffer(t *testing.T) {
	const goroutines, records = 8, 200
	var mu sync.Mutex
	seen := make(map[string]bool)
	for range 4 {
		b := newBox(t, testKey, "log")
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for range records {
					r := string(b.Seal(nil, nil, nil)[:25])
					mu.Lock()
					if seen[r] {
						t.Error("a nonce came twice")
					}
					seen[r] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
}

// TestManySalts opens records of more Boxes than the cache of record keys holds.
func TestManySalts(t *testing.T) {
	reader := newBox(t, testKey, "log")
	var records [][]byte
	for i := range 100 {
		records = append(records, newBox(t, testKey, "log").Seal(nil, []byte{byte(i)}, nil))
	}
	for round := range 2 {
		for i, r := range records {
			got, err := reader.Open(nil, r, nil)
			if err != nil || got[0] != byte(i) {
				t.Fatalf("round %d, record %d: %v", round, i, err)
			}
		}
	}
}

func TestTag(t *testing.T) {
	b := newBox(t, testKey, "log")
	record := b.Seal(nil, []byte("x"), nil)
	if tag := seal.Tag(record); !bytes.HasSuffix(record, tag[:]) {
		t.Error("the tag is not the record's end")
	}
	if tag := seal.Tag(record[:seal.Overhead-1]); tag != [seal.TagLen]byte{} {
		t.Error("something too short for a record has a tag")
	}
}

// TestPrintsNoKey prints a Box in every way; neither the key nor its AES key
// schedule (which begins with the record key) may show.
func TestPrintsNoKey(t *testing.T) {
	b := newBox(t, testKey, "log")
	b.Seal(nil, nil, nil)
	inside := struct{ B *seal.Box }{b}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		for _, v := range []any{b, *b, inside, []*seal.Box{b}} {
			fmt.Fprintf(&out, verb, v)
		}
	}
	if j, err := json.Marshal(inside); err == nil {
		out.Write(j)
	}
	for _, shape := range []string{"a7a7", "0xa7", "167 167", "167, 167", "\xa7\xa7"} {
		if strings.Contains(out.String(), shape) {
			t.Errorf("printing a Box shows the key as %q", shape)
		}
	}
}

func FuzzOpen(f *testing.F) {
	b := newBox(f, testKey, "fuzz")
	f.Add(b.Seal(nil, []byte("plaintext"), []byte("aad")), []byte("aad"))
	f.Add([]byte{}, []byte{})
	f.Add(bytes.Repeat([]byte{1}, seal.Overhead), []byte("aad"))
	f.Fuzz(func(t *testing.T, record, aad []byte) {
		got, err := b.Open(nil, record, aad)
		if err != nil && !errors.Is(err, kms.DecryptFailed) {
			t.Fatalf("untyped error: %v", err)
		}
		if err == nil && len(got) != len(record)-seal.Overhead {
			t.Fatal("length does not fit")
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	box := newBox(b, testKey, "bench")
	plaintext, dst := make([]byte, 512), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		box.Seal(dst, plaintext, nil)
	}
}

package seal_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/client/seal"
	"github.com/holdfast-kms/holdfast/kms"
)

var update = flag.Bool("update", false, "write the vectors into testdata")

const overhead = 16 // of a chunk

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dataKey and header are the same in all tests.
func dataKey() []byte { return bytes.Repeat([]byte{0x4b}, seal.DataKeySize) }

func header() *seal.Header {
	return &seal.Header{Key: kms.KeyID{1, 2, 3}, File: [16]byte{0xf0}, Wrapped: bytes.Repeat([]byte{0x77}, 60)}
}

// content is n bytes, no two chunks of which are alike.
func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

// sealed seals plain.
func sealed(t testing.TB, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := seal.NewWriter(&out, header(), dataKey())
	ok(t, err)
	_, err = w.Write(plain)
	ok(t, err)
	ok(t, w.Close())
	return out.Bytes()
}

// opened opens what r holds, as far as it opens.
func opened(r io.Reader) ([]byte, error) {
	h, err := seal.ReadHeader(r)
	if err != nil {
		return nil, err
	}
	sr, err := seal.NewReader(r, h, dataKey())
	if err != nil {
		return nil, err
	}
	return io.ReadAll(sr)
}

// sizes are around the ends of chunks.
var sizes = []int{0, 1, 15, 16, seal.ChunkSize - 1, seal.ChunkSize, seal.ChunkSize + 1, 2 * seal.ChunkSize, 3*seal.ChunkSize + 777}

func TestRoundTrip(t *testing.T) {
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			plain := content(n)
			out := sealed(t, plain)
			chunks := max(1, (n+seal.ChunkSize-1)/seal.ChunkSize)
			if want := headerSize(out) + n + chunks*overhead; len(out) != want {
				t.Errorf("%d bytes, want %d", len(out), want)
			}
			for name, r := range map[string]io.Reader{
				"at once": bytes.NewReader(out), "in halves": iotest.HalfReader(bytes.NewReader(out)),
				"with its end": iotest.DataErrReader(bytes.NewReader(out)),
			} {
				if got, err := opened(r); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("read %s: %d bytes, %v", name, len(got), err)
				}
			}
		})
	}
}

func headerSize(sealed []byte) int { return 43 + int(binary.BigEndian.Uint16(sealed[41:])) + 32 }

// TestWritesOfAnySize writes the same data in pieces.
func TestWritesOfAnySize(t *testing.T) {
	plain := content(2*seal.ChunkSize + 5)
	want := sealed(t, plain)
	for _, piece := range []int{1, 4095, seal.ChunkSize, seal.ChunkSize + 1, len(plain)} {
		var out bytes.Buffer
		w, err := seal.NewWriter(&out, header(), dataKey())
		ok(t, err)
		for rest := plain; len(rest) > 0; {
			k := min(piece, len(rest))
			n, err := w.Write(rest[:k])
			if err != nil || n != k {
				t.Fatalf("%d bytes, %v", n, err)
			}
			rest = rest[k:]
		}
		ok(t, w.Close())
		if !bytes.Equal(out.Bytes(), want) {
			t.Errorf("in pieces of %d: another result", piece)
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("it can be written to after Close")
		}
	}
}

// TestEveryCut cuts a file everywhere in its header, around each chunk's ends,
// and here and there. What comes out before the error is what was sealed.
func TestEveryCut(t *testing.T) {
	plain := content(3 * seal.ChunkSize)
	out := sealed(t, plain)
	var cuts []int
	for cut := range headerSize(out) + 40 {
		cuts = append(cuts, cut)
	}
	for end := headerSize(out); end <= len(out); end += seal.ChunkSize + overhead {
		for d := -40; d <= 40; d++ {
			cuts = append(cuts, end+d)
		}
		cuts = append(cuts, end+12345)
	}
	for _, cut := range cuts {
		if cut >= len(out) {
			continue
		}
		got, err := opened(bytes.NewReader(out[:cut]))
		want := error(kms.DecryptFailed)
		if cut == 0 {
			want = seal.ErrNotSealed
		}
		if !errors.Is(err, want) || !bytes.HasPrefix(plain, got) {
			t.Fatalf("cut to %d: %d bytes, %v", cut, len(got), err)
		}
	}
}

// TestEveryBit alters a short file in each of its bits.
func TestEveryBit(t *testing.T) {
	out := sealed(t, content(20))
	for bit := range 8 * len(out) {
		altered := bytes.Clone(out)
		altered[bit/8] ^= 1 << (bit % 8)
		got, err := opened(bytes.NewReader(altered))
		want := kms.DecryptFailed
		if bit/8 < 9 { // magic and version
			want = kms.Invalid
		}
		if !errors.Is(err, want) || len(got) > 0 {
			t.Fatalf("bit %d: %d bytes, %v", bit, len(got), err)
		}
	}
}

// TestRearrangedChunks has each way to put genuine chunks together wrongly.
func TestRearrangedChunks(t *testing.T) {
	plain := content(4*seal.ChunkSize + 100)
	out := sealed(t, plain)
	head := out[:headerSize(out)]
	var chunks [][]byte
	for rest := out[len(head):]; len(rest) > 0; {
		k := min(len(rest), seal.ChunkSize+overhead)
		chunks, rest = append(chunks, rest[:k]), rest[k:]
	}
	other := sealed(t, nil)
	tests := []struct {
		name  string
		order []int
		tail  []byte
		good  int // chunks that come out before the error
		says  string
	}{
		{"swapped", []int{0, 2, 1, 3, 4}, nil, 1, "altered"},
		{"first missing", []int{1, 2, 3, 4}, nil, 0, "altered"},
		{"one missing", []int{0, 1, 3, 4}, nil, 2, "altered"},
		{"one twice", []int{0, 1, 1, 2, 3, 4}, nil, 2, "altered"},
		{"last missing", []int{0, 1, 2, 3}, nil, 3, "the end of the sealed data is missing"},
		{"last twice", []int{0, 1, 2, 3, 4, 4}, nil, 4, "altered"},
		{"nothing", nil, nil, 0, "the end of the sealed data is missing"},
		{"a byte more", []int{0, 1, 2, 3, 4}, []byte{0}, 4, "altered"},
		{"another file behind", []int{0, 1, 2, 3, 4}, out, 4, "altered"},
		{"an empty file's chunk behind", []int{0, 1, 2, 3}, other[headerSize(other):], 4, "altered"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := bytes.Clone(head)
			for _, i := range tt.order {
				file = append(file, chunks[i]...)
			}
			got, err := opened(bytes.NewReader(append(file, tt.tail...)))
			if !errors.Is(err, kms.DecryptFailed) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want one that says %q", err, tt.says)
			}
			if !bytes.Equal(got, plain[:tt.good*seal.ChunkSize]) {
				t.Errorf("%d bytes came out, want %d chunks", len(got), tt.good)
			}
		})
	}
}

// TestExtension appends to a file that ends with a full chunk.
func TestExtension(t *testing.T) {
	out := sealed(t, content(2*seal.ChunkSize))
	for _, n := range []int{1, 16, 17, seal.ChunkSize + overhead} {
		got, err := opened(bytes.NewReader(append(bytes.Clone(out), make([]byte, n)...)))
		if !errors.Is(err, kms.DecryptFailed) || !strings.Contains(err.Error(), "something follows the end") || len(got) != seal.ChunkSize {
			t.Errorf("%d bytes more: %d bytes, %v", n, len(got), err)
		}
	}
}

func TestAnotherDataKeyOrHeader(t *testing.T) {
	out := sealed(t, content(5))
	r := bytes.NewReader(out)
	h, err := seal.ReadHeader(r)
	ok(t, err)
	other := dataKey()
	other[31] ^= 1
	if _, err := seal.NewReader(r, h, other); !errors.Is(err, kms.DecryptFailed) {
		t.Errorf("another data key: %v", err)
	}
	if _, err := seal.NewReader(r, h, other[:16]); !errors.Is(err, kms.Invalid) {
		t.Errorf("a short data key: %v", err)
	}
	for name, alter := range map[string]func(){
		"key":     func() { h.Key[0] ^= 1 },
		"file":    func() { h.File[0] ^= 1 },
		"wrapped": func() { h.Wrapped[0] ^= 1 },
		"longer":  func() { h.Wrapped = append(h.Wrapped, 0) },
	} {
		saved := *h
		saved.Wrapped = bytes.Clone(h.Wrapped)
		alter()
		if _, err := seal.NewReader(r, h, dataKey()); !errors.Is(err, kms.DecryptFailed) {
			t.Errorf("another %s: %v", name, err)
		}
		*h = saved
	}
	if _, err := seal.NewReader(r, h, dataKey()); err != nil {
		t.Errorf("its own: %v", err)
	}
}

func TestWriterRefuses(t *testing.T) {
	for _, n := range []int{0, seal.MaxWrapped + 1} {
		h := header()
		h.Wrapped = make([]byte, n)
		if _, err := seal.NewWriter(io.Discard, h, dataKey()); !errors.Is(err, kms.Invalid) {
			t.Errorf("a wrapped key of %d bytes: %v", n, err)
		}
	}
	if _, err := seal.NewWriter(io.Discard, header(), nil); !errors.Is(err, kms.Invalid) {
		t.Errorf("no data key: %v", err)
	}
}

// full is a disk that takes n bytes.
type full struct{ n int }

var errFull = errors.New("disk full")

func (f *full) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// TestErrorsOfOthersPassThrough fails each write, and a read in the middle.
func TestErrorsOfOthersPassThrough(t *testing.T) {
	plain := content(3 * seal.ChunkSize)
	whole := len(sealed(t, plain))
	for _, room := range []int{0, 10, 200, seal.ChunkSize, seal.ChunkSize * 2, whole - 1, whole} {
		w, err := seal.NewWriter(&full{room}, header(), dataKey())
		if err == nil {
			_, err = w.Write(plain)
			err = errors.Join(err, w.Close())
		}
		if wantErr := room < whole; errors.Is(err, errFull) != wantErr || (err != nil) != wantErr {
			t.Errorf("room for %d of %d: %v", room, whole, err)
		}
	}
	out := sealed(t, plain)
	for _, at := range []int{0, 5, 50, 130, 1000, seal.ChunkSize + 500} {
		_, err := opened(io.MultiReader(bytes.NewReader(out[:at]), iotest.ErrReader(errFull)))
		if !errors.Is(err, errFull) {
			t.Errorf("unreadable from %d: %v", at, err)
		}
	}
}

func TestNotSealed(t *testing.T) {
	newer := append([]byte("HFSEALED\x02"), make([]byte, 200)...)
	for name, tt := range map[string]struct {
		data string
		want error
		says string
	}{
		"empty":         {"", seal.ErrNotSealed, "not a sealed file"},
		"text":          {"hello", seal.ErrNotSealed, ""},
		"long text":     {strings.Repeat("hello ", 100), seal.ErrNotSealed, ""},
		"almost":        {"HFSEALER" + strings.Repeat("x", 100), seal.ErrNotSealed, ""},
		"newer":         {string(newer), kms.Invalid, "format 2"},
		"no data key":   {"HFSEALED\x01" + strings.Repeat("\x00", 100), kms.DecryptFailed, ""},
		"long data key": {"HFSEALED\x01" + strings.Repeat("\x00", 32) + "\x04\x01" + strings.Repeat("\x00", 2000), kms.DecryptFailed, ""},
	} {
		if _, err := seal.ReadHeader(strings.NewReader(tt.data)); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// A vector is a sealed file with what it was made of; plaintext is content(length).
type vector struct {
	Key     string `json:"key_id"`
	File    string `json:"file_id"`
	Wrapped string `json:"wrapped_data_key"`
	DataKey string `json:"data_key"`
	Binding string `json:"binding"`
	Length  int    `json:"plaintext_length"`
	Digest  string `json:"sealed_sha256,omitempty"` // of what is too long to print
	Sealed  string `json:"sealed,omitempty"`
}

func newVector(t *testing.T, length int) vector {
	h := header()
	v := vector{Key: h.Key.String(), File: hex.EncodeToString(h.File[:]), Wrapped: hex.EncodeToString(h.Wrapped),
		DataKey: hex.EncodeToString(dataKey()), Binding: hex.EncodeToString(h.Binding()), Length: length}
	out := sealed(t, content(length))
	if length <= 100 {
		v.Sealed = hex.EncodeToString(out)
	} else {
		v.Digest = digest(out)
	}
	return v
}

// TestVectors holds the format to what it was: files of years ago must open.
func TestVectors(t *testing.T) {
	path := filepath.Join("testdata", "vectors.json")
	var got []vector
	for _, n := range []int{0, 1, 100, seal.ChunkSize, seal.ChunkSize + 1, 3*seal.ChunkSize + 777} {
		got = append(got, newVector(t, n))
	}
	if *update {
		b, err := json.MarshalIndent(got, "", "  ")
		ok(t, err)
		ok(t, os.WriteFile(path, append(b, '\n'), 0o644))
	}
	b, err := os.ReadFile(path)
	ok(t, err)
	var want []vector
	ok(t, json.Unmarshal(b, &want))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, v := range want {
		out, _ := hex.DecodeString(v.Sealed)
		if v.Sealed == "" {
			continue
		}
		if plain, err := opened(bytes.NewReader(out)); err != nil || !bytes.Equal(plain, content(v.Length)) {
			t.Errorf("%d bytes: opened %x, %v", v.Length, plain, err)
		}
	}
}

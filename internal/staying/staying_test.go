package staying_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/internal/staying"
	"github.com/holdfast-kms/holdfast/kms"
)

// TestNext: files are handed out once they are all there and whole, and what was
// refused not again before something else is there.
func TestNext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	told := make(chan string, 16)
	w := staying.Wait{Files: []staying.File{{Path: one, Most: 8}, {Path: two, Most: 8}}, Tell: func(missing []string, refused error) {
		if refused != nil {
			told <- refused.Error()
			return
		}
		told <- strings.Join(missing, " ")
	}}
	type answer struct {
		all [][]byte
		err error
	}
	answers := make(chan answer, 1)
	ctx, cancel := context.WithCancel(t.Context())
	next := func(refused error) {
		go func() { all, err := w.Next(ctx, refused); answers <- answer{all, err} }()
	}
	hears := func(want string) {
		t.Helper()
		if got := <-told; !strings.Contains(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	hands := func(first, second string) {
		t.Helper()
		if got := <-answers; got.err != nil || !bytes.Equal(got.all[0], []byte(first)) || !bytes.Equal(got.all[1], []byte(second)) {
			t.Errorf("%q, %v; want %q and %q", got.all, got.err, first, second)
		}
	}
	next(nil)
	hears(one + " " + two)
	write(one, "a")
	hears(two)
	write(two, "far too much")
	hears("more than 8 bytes")
	write(two, "b")
	hands("a", "b")
	next(errors.New("not these"))
	hears("not these")
	if err := os.Remove(two); err != nil {
		t.Fatal(err)
	}
	hears(two)
	if err := os.Mkdir(two, 0o700); err != nil { // like a pipe, which would be waited for
		t.Fatal(err)
	}
	hears("no plain file")
	if err := os.Remove(two); err != nil {
		t.Fatal(err)
	}
	hears(two)
	write(two, "c")
	hands("a", "c")
	next(errors.New("nor these"))
	hears("nor these")
	cancel()
	if got := <-answers; !errors.Is(got.err, kms.Unavailable) {
		t.Errorf("after Ctrl-C: %v", got.err)
	}
}

// TestPut: what people look at is there whole, and in the place of what was there.
func TestPut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "founder.json")
	for _, text := range []string{"one", "another"} {
		if err := staying.Put(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%q, %v", b, err)
		}
	}
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if err := staying.Put(filepath.Join(path, "in a file"), nil); err == nil {
		t.Error("no error")
	}
}

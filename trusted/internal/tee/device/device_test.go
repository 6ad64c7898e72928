package device_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee/device"
)

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := device.Folder(dir)
	for _, tt := range []struct {
		name string
		max  int
		want error // nil: it is read
	}{
		{"file", 5, nil},
		{"file", 4, kms.TooLarge},
		{"file", 0, kms.TooLarge},
		{"none", 5, fs.ErrNotExist},
		{"file/below", 5, errors.ErrUnsupported}, // any error but ErrNotExist
	} {
		got, err := folder.ReadFile(tt.name, tt.max)
		switch {
		case tt.want == errors.ErrUnsupported:
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", tt.name, err)
			}
		case !errors.Is(err, tt.want):
			t.Errorf("%s, at most %d: %v, want %v", tt.name, tt.max, err, tt.want)
		case err == nil && string(got) != "12345":
			t.Errorf("%s: %q", tt.name, got)
		}
	}
	if err := folder.WriteFile("file", []byte("ab")); err != nil {
		t.Fatal(err)
	}
	if got, err := folder.ReadFile("file", 5); err != nil || string(got) != "ab345" {
		t.Errorf("after writing: %q, %v; a pseudo-file is not cut", got, err)
	}
	if err := folder.WriteFile("none", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("writing a file that is not there: %v; it must not be made", err)
	}
}

func TestSealingKey(t *testing.T) {
	hardware := func() []byte { return bytes.Repeat([]byte{7}, 16) }
	given := hardware()
	got, err := device.SealingKey("label", given, 16)
	if err != nil {
		t.Fatal(err)
	}
	// HKDF-SHA-256 of 16 bytes of 7, no salt, info "holdfast/v1/tee/label".
	const want = "a2ed8a6a5bf6a4ef824c7556b4c71ed6de3504c76a8e686df2bbe66cc47466bb"
	if hex.EncodeToString(got) != want {
		t.Errorf("%x, want %s: what was sealed before does not open any more", got, want)
	}
	if !bytes.Equal(given, make([]byte, 16)) {
		t.Error("the hardware's key was not cleared")
	}
	other, err := device.SealingKey("other", hardware(), 16)
	if err != nil || bytes.Equal(got, other) {
		t.Errorf("under another label the same key, %v", err)
	}
	for _, bad := range [][]byte{nil, hardware()[:15], append(hardware(), 7), make([]byte, 16)} {
		if key, err := device.SealingKey("label", bad, 16); !errors.Is(err, kms.Unavailable) || key != nil {
			t.Errorf("%d bytes: %x, %v", len(bad), key, err)
		}
	}
}

func TestTurn(t *testing.T) {
	turn := device.NewTurn()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	never := func() error { t.Error("done without the turn, or after the end"); return nil }
	if err := turn.Take(ended, never); !errors.Is(err, kms.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("ended before: %v", err)
	}
	err := turn.Take(t.Context(), func() error {
		waiting, cancel := context.WithCancel(t.Context())
		go cancel() // whether it waits already or not, it must give up
		if err := turn.Take(waiting, never); !errors.Is(err, context.Canceled) {
			t.Errorf("ended while waiting: %v", err)
		}
		return fs.ErrInvalid
	})
	if err != fs.ErrInvalid {
		t.Errorf("the error of what was done: %v", err)
	}
	if err := turn.Take(t.Context(), func() error { return nil }); err != nil {
		t.Errorf("the turn was not given back: %v", err)
	}
}

func TestCarries(t *testing.T) {
	asked := [64]byte{1, 2, 3}
	if err := device.Carries(asked[:], asked); err != nil {
		t.Error(err)
	}
	other := asked
	other[63] = 1
	for _, got := range [][]byte{nil, asked[:63], other[:], make([]byte, 64)} {
		if err := device.Carries(got, asked); !errors.Is(err, kms.Unavailable) || kms.HintOf(err) == "" {
			t.Errorf("%x: %v", got, err)
		}
	}
}

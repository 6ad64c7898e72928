// Package device is what the platforms have in common: files of the kernel or
// of Gramine that are read to their end and no further than a bound, one
// caller at a time, quotes that are cut to their length and compared with what
// was asked, and sealing keys that are derived from the hardware's.
package device

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"

	"github.com/holdfast-kms/holdfast/kms"
)

// KeySize is the length of a sealing key, in bytes.
const KeySize = 32

// A Turn lets one caller at a time at a device that remembers what it was
// asked between two accesses.
type Turn chan struct{}

// NewTurn makes a Turn that nobody has.
func NewTurn() Turn { return make(Turn, 1) }

// Take waits for the turn and calls do. The error is do's, or Unavailable if
// ctx ends first; once do has begun, ctx does not end it.
func (t Turn) Take(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil { // select would choose at random
		return kms.Errorf(kms.Unavailable, "waiting for the TEE: %w", err)
	}
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return kms.Errorf(kms.Unavailable, "waiting for the TEE: %w", ctx.Err())
	}
	defer func() { <-t }()
	return do()
}

// A Folder is a folder of pseudo-files.
type Folder string

// ReadFile reads a file to its end. Longer than max bytes is an error, and so
// the file decides neither how much memory it takes nor when it ends. A file
// that is not there is fs.ErrNotExist.
func (f Folder) ReadFile(name string, max int) ([]byte, error) {
	file, err := os.Open(f.path(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, int64(max)+1))
	if err != nil {
		return nil, err
	}
	if len(b) > max {
		clear(b)
		return nil, kms.Errorf(kms.TooLarge, "more than %d bytes", max).WithFile(f.path(name))
	}
	return b, nil
}

// WriteFile writes all of data in one call into a file that is there.
func (f Folder) WriteFile(name string, data []byte) error {
	file, err := os.OpenFile(f.path(name), os.O_WRONLY, 0) // neither made nor cut: the kernel's files can be neither
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if closing := file.Close(); err == nil {
		err = closing
	}
	return err
}

func (f Folder) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }

// SealingKey derives a sealing key of KeySize bytes from the hardware's, and
// clears that. The label keeps it apart from every other use of the same
// hardware key, such as an encrypted mount. A key of another length than want
// is refused, and so is one of zeros, which a TEE that is only emulated gives.
func SealingKey(label string, hardware []byte, want int) ([]byte, error) {
	defer clear(hardware)
	if len(hardware) != want {
		return nil, kms.Errorf(kms.Unavailable, "the TEE's sealing key has %d bytes, want %d", len(hardware), want)
	}
	if bytes.Count(hardware, []byte{0}) == want {
		return nil, kms.Errorf(kms.Unavailable, "the TEE's sealing key is all zeros")
	}
	return hkdf.Key(sha256.New, hardware, nil, "holdfast/v1/tee/"+label, KeySize)
}

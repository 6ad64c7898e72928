package tsm

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/holdfast-kms/holdfast/trusted/internal/tee/device"
)

// maxBlob bounds what is read of a file. The kernel's own bound is 32 KiB.
const maxBlob = 64 << 10

// kernel is the real configfs. The library has a client of its own, which
// reads files of any length and builds on Linux alone.
type kernel struct{}

func (kernel) MkdirTemp(dir, pattern string) (string, error) { return os.MkdirTemp(dir, pattern) }

func (kernel) ReadFile(name string) ([]byte, error) {
	return device.Folder(filepath.Dir(name)).ReadFile(filepath.Base(name), maxBlob)
}

func (kernel) WriteFile(name string, data []byte) error {
	return device.Folder(filepath.Dir(name)).WriteFile(filepath.Base(name), data)
}

// RemoveAll removes an entry: the files in it are the kernel's and go with it.
func (kernel) RemoveAll(path string) error { return os.Remove(path) }

func (kernel) ReadDir(string) ([]os.DirEntry, error) { return nil, errors.ErrUnsupported }

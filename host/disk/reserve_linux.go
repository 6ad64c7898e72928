package disk

import (
	"errors"
	"os"
	"syscall"
)

// reserve takes the space now, so that a full disk shows when a file is made
// and not in the middle of a write. Where the file system cannot, the file is
// sparse, and a full disk shows as a failing write.
func reserve(f *os.File, size int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOSYS):
			return f.Truncate(size)
		}
		return err
	}
}

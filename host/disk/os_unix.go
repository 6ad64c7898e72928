//go:build unix

package disk

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

const foldersSync = true

// lockFile takes the lock for as long as f is open; the system gives it up
// when the process dies.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrInUse
	}
	if err != nil {
		return fmt.Errorf("locking: %w", err)
	}
	return nil
}

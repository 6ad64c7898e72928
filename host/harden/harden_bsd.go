//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package harden

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func process() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	return nil
}

package harden

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

func process() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	// The limit alone does not hold where the kernel pipes dumps to a program
	// (core(5)); a process that is not dumpable is not dumped there either.
	// A library OS inside an enclave has no such call: there the TEE does it, and no
	// kernel that could dump the process lacks it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("keeping other processes from this one's memory: %w", err)
	}
	return nil
}

package harden

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func process() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	// The limit alone does not hold where the kernel pipes dumps to a program
	// (core(5)); a process that is not dumpable is not dumped there either.
	err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	if err != nil && !(errors.Is(err, unix.ENOSYS) && inLibraryOS()) {
		return fmt.Errorf("keeping other processes from this one's memory: %w", err)
	}
	return nil
}

// inLibraryOS reports whether this process runs under Gramine, which has no prctl:
// inside an enclave there is no other process, and the TEE keeps the host's out. The
// answer ENOSYS alone would not do: a container's seccomp profile, which in a
// confidential virtual machine may be the host's, can give it too. One that plants
// this file there as well has the node take itself for an enclave, which no evidence
// bears out, so that it does not start.
func inLibraryOS() bool {
	_, err := os.Stat("/dev/attestation/attestation_type")
	return err == nil
}

//go:build linux || darwin

package tenant_test

import (
	"syscall"
	"testing"
)

// raiseDescriptors reports whether this process may open n files, and asks for
// more where it may not.
func raiseDescriptors(t *testing.T, n uint64) bool {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if uint64(limit.Cur) >= n {
		return true
	}
	limit.Cur, limit.Max = n, max(limit.Max, n)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) == nil
}

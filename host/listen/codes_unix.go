//go:build !windows

package listen

import "syscall"

// What the operating system says of a port that is taken, not allowed, or of
// an address of another machine.
var (
	inUse      = []syscall.Errno{syscall.EADDRINUSE}
	notAllowed = []syscall.Errno{syscall.EACCES, syscall.EPERM}
	notOurs    = []syscall.Errno{syscall.EADDRNOTAVAIL}
)

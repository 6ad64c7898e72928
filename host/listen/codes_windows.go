package listen

import "syscall"

// What Winsock says of a port that is taken, not allowed, or of an address of
// another machine. The names that package syscall has for the first and third
// on Windows are numbers of its own, which Winsock never returns.
var (
	inUse      = []syscall.Errno{10048} // WSAEADDRINUSE
	notAllowed = []syscall.Errno{10013} // WSAEACCES; also a port that another program holds for itself alone
	notOurs    = []syscall.Errno{10049} // WSAEADDRNOTAVAIL
)

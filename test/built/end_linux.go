package built

import (
	"os/exec"
	"syscall"
)

// EndWithTest has a process die with this one, whatever that dies of.
func EndWithTest(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

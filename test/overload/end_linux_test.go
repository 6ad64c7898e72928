package overload_test

import (
	"os/exec"
	"syscall"
)

// endWithTest has a process die with this one, whatever that dies of.
func endWithTest(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

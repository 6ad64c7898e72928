package main

import (
	"os/exec"
	"syscall"
)

// detach puts a process into a group of its own, out of reach of our Ctrl-C.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// detach puts a process into a group of its own, out of reach of our Ctrl-C.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

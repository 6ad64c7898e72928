//go:build unix

package main

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// TestKeyThroughPipe: a key may come from a program that keeps it, as a shell's
// <(…) has it. What is in a pipe can be read once.
func TestKeyThroughPipe(t *testing.T) {
	c := newCouncil(t)
	key, err := os.ReadFile(c.path("alice"))
	if err != nil {
		t.Fatal(err)
	}
	pipe := c.path("pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() { _ = os.WriteFile(pipe, key, 0o600) }() // who reads nothing fails below
	read := make(chan error, 1)
	go func() {
		_, err := readPrivateKey(pipe, "")
		read <- err
	}()
	select {
	case err := <-read:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the key was read twice")
	}
}

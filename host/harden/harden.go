// Package harden keeps what is in a process's memory from leaving it through
// the operating system's conveniences. It is the one part of hardening that
// works without a TEE; a privileged user of the host still reads everything.
package harden

// Process turns core dumps off and, on Linux, keeps processes of the same user
// from attaching to this one or reading its memory. Call it first in main,
// before a secret is in memory: it cannot be undone by accident, and children
// made by exec inherit the limit but not the rest. Where the operating system
// offers neither it does nothing.
func Process() error { return process() }

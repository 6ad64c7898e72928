//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package harden

// process does nothing: Windows writes no dump of a process unless an
// administrator asks for it, and the rest have no such limit.
func process() error { return nil }

// Package heap sets from which size on the garbage collector works.
package heap

import "runtime"

// Floor makes the collector treat the heap as at least size bytes larger than
// it is, until release is called. A server with a small live heap would
// otherwise collect dozens of times a second under load. The bytes are never
// touched, so they take address space and no memory.
func Floor(size int) (release func()) {
	ballast := make([]byte, size)
	return func() { runtime.KeepAlive(ballast) }
}

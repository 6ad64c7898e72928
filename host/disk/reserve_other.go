//go:build !linux

package disk

import "os"

// reserve makes a sparse file: a full disk shows as a failing write.
func reserve(f *os.File, size int64) error { return f.Truncate(size) }

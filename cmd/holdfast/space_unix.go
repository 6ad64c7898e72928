//go:build unix && !openbsd && !netbsd && !solaris && !illumos && !aix

package main

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// freeSpace is how many bytes who is no administrator may still write under dir.
func freeSpace(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return uint64(max(int64(st.Bavail), 0)) * uint64(st.Bsize), nil
}

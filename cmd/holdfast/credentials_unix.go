//go:build unix

package main

import "os"

// othersMay are the mode bits that let anyone but the owner at a file.
const othersMay = 0o077

// checkPrivate refuses a file that others may read or change.
func checkPrivate(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&othersMay != 0 {
		return problemf("chmod 600 "+f.Name()+"; if it was readable for long, others may have what is in it: make another key, or enroll another app",
			"%s is open to others (mode %04o)", f.Name(), mode)
	}
	return nil
}

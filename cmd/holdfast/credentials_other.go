//go:build !unix

package main

import "os"

// checkPrivate accepts every file: where there are no mode bits, what others
// may do with a file follows from the folder, which is the user's own.
func checkPrivate(*os.File) error { return nil }

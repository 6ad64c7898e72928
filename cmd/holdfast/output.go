package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// An output is a file being made. Until commit it is a temporary one beside its
// place, for its owner alone; so there is all of it in the end, or nothing.
// Standard output, and what is no ordinary file, is written to at once.
type output struct {
	io.Writer
	file *os.File // nil: nothing to take its place
	path string
	temp bool
}

// newOutput makes the output for path, - being standard output. A file that is
// there already is replaced in the end.
func (s *session) newOutput(path string) (*output, error) {
	if path == "-" {
		return &output{Writer: s.stdout}, nil
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the link is to stay one
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return nil, problemf("name a file with --out", "%s is a folder", path)
	}
	if err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		return &output{Writer: f, file: f, path: path}, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".holdfast-*")
	if err != nil {
		return nil, err
	}
	return &output{Writer: f, file: f, path: path, temp: true}, nil
}

// streams reports whether what was written is out of our hands.
func (o *output) streams() bool { return !o.temp }

// commit puts the file in its place.
func (o *output) commit() error {
	if o.file == nil {
		return nil
	}
	if !o.temp {
		return o.file.Close()
	}
	err := errors.Join(o.file.Sync(), o.file.Close())
	if err == nil {
		err = os.Rename(o.file.Name(), o.path)
	}
	if err != nil {
		os.Remove(o.file.Name())
	}
	return err
}

// discard removes what was written where that can be done.
func (o *output) discard() {
	if o.file == nil {
		return
	}
	o.file.Close()
	if o.temp {
		os.Remove(o.file.Name())
	}
}

// exists reports whether there is something at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

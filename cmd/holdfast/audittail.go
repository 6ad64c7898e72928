package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
)

// auditTailCmd is `holdfast audit tail`.
type auditTailCmd struct {
	File   string `arg:"" type:"path" help:"The file that a node's audit sink writes to."`
	Lines  int    `short:"n" default:"10" help:"How many entries."`
	Follow bool   `short:"f" help:"Go on with what is added, until Ctrl-C."`
	auditWanted
}

// lookInterval is how often a file is looked at for more.
const lookInterval = 200 * time.Millisecond

// Run shows the last entries.
func (c *auditTailCmd) Run(s *session) error {
	if c.Lines < 0 || c.Lines > 1_000_000 {
		return misusef("a number from 0 to 1000000", "-n %d", c.Lines)
	}
	paths, err := auditFiles{Paths: []string{c.File}}.list()
	if err != nil {
		return err
	}
	if len(paths) > 2 {
		paths = paths[len(paths)-2:]
	}
	var last [][]byte
	err = readEntries(paths, func(line []byte, e *audit.Entry) error {
		if !c.match(e) {
			return nil
		}
		if last = append(last, slices.Clone(line)); len(last) > c.Lines {
			last = last[1:]
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, line := range last {
		if err := c.show(s, line); err != nil {
			return err
		}
	}
	if !c.Follow {
		return nil
	}
	return c.follow(s)
}

func (c *auditTailCmd) show(s *session, line []byte) error {
	e, err := audit.ParseEntry(line)
	if err != nil || !c.match(&e) {
		return nil
	}
	return s.showEntry(line, &e)
}

// follow shows what is added, also when the file is changed for a new one.
func (c *auditTailCmd) follow(s *session) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	in, part := bufio.NewReader(f), []byte(nil)
	for {
		line, err := in.ReadBytes('\n')
		part = append(part, line...)
		if err == nil {
			if err := c.show(s, bytes.TrimSuffix(part, []byte("\n"))); err != nil {
				return err
			}
			part = nil
			continue
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		if next := replaced(c.File, f); next != nil {
			f.Close()
			f, in, part = next, bufio.NewReader(next), nil
			continue
		}
		if !wait(s.ctx, lookInterval) {
			return nil
		}
	}
}

// replaced is the file that stands at path now, if it is another one.
func replaced(path string, f *os.File) *os.File {
	was, err := f.Stat()
	if err != nil {
		return nil
	}
	is, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err != nil || os.SameFile(was, is) {
		return nil
	}
	next, err := os.Open(path)
	if err != nil {
		return nil
	}
	return next
}

// wait reports false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

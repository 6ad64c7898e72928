package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/holdfast-kms/holdfast/client"
)

// A session is what a command sees of the machine that it runs on.
type session struct {
	ctx    context.Context // ends with Ctrl-C
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	// workload is this program as a TEE knows it; nil: it runs in none that it can ask.
	workload *client.Workload

	json bool // one JSON document on stdout, nothing else
}

// show prints a result: doc with --json, else what people writes, in which
// tabs part the columns of a table.
func (s *session) show(doc any, people func(io.Writer)) error {
	if s.json {
		return s.encode(s.stdout, doc)
	}
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	people(w)
	return w.Flush()
}

func (s *session) encode(w io.Writer, doc any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(doc)
}

// note tells people something beside the result. With --json it is silent.
func (s *session) note(format string, args ...any) {
	if !s.json {
		fmt.Fprintf(s.stderr, "holdfast: "+format+"\n", args...)
	}
}

// isTerminal reports whether f is a person's terminal, or at least a character
// device: /dev/null passes too, which answers every question with nothing.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// await runs a read that may block, and returns early when the session ends.
// The read is then left behind; the program is about to exit.
func await[T any](s *session, read func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		v, err := read()
		done <- outcome{v, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-s.ctx.Done():
		var none T
		return none, s.ctx.Err()
	}
}

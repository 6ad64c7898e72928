// Package config reads the configuration file of holdfastd: one JSON object,
// whose members are the flags of one of its commands by their names. Which command
// it is the member "command" says; without it, serve.
//
// A file is taken whole or refused: a member that is no flag, one that is there
// twice, a value of another form and anything behind the object are errors, each
// with its line and what to write instead. So a setting that was mistyped never
// counts as one that was left out. What the settings mean is for who has flags
// of these names; nothing here opens a file or a socket, apart from Read.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
)

// MaxFile is how many bytes a file may have.
const MaxFile = 64 << 10

// A Setting is one member of the file.
type Setting struct {
	Name   string   // of the flag, without dashes
	Values []string // one; several only where the flag may be given several times
	Line   int
}

// A File is what a configuration file says, in its order.
type File []Setting

// Values are those of a setting, nil where the file lacks it.
func (f File) Values(name string) []string {
	for _, s := range f {
		if s.Name == name {
			return s.Values
		}
	}
	return nil
}

// Command is which command the file is of.
func (f File) Command() string {
	if c := f.Value(commandName); c != "" {
		return c
	}
	return Serve
}

// Flags are the settings that are flags of the command: all but which it is.
func (f File) Flags() File {
	return slices.DeleteFunc(slices.Clone(f), func(s Setting) bool { return s.Name == commandName })
}

// Value is the only value of a setting, "" where the file lacks it.
func (f File) Value(name string) string {
	if v := f.Values(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// A Fault is something that is wrong with a file, where, and what to do about it.
type Fault struct {
	Line int    `json:"line,omitempty"` // zero: the file as a whole
	What string `json:"what"`
	Hint string `json:"hint,omitempty"`
}

func (f Fault) Error() string {
	if f.Line == 0 {
		return f.What
	}
	return fmt.Sprintf("line %d: %s", f.Line, f.What)
}

// Read reads and parses the file at path. The error is Invalid, and names the
// first of the faults; Faults tells all of them.
func Read(path string) (File, error) {
	b, err := readAll(path)
	if err != nil {
		return nil, err
	}
	f, faults := Parse(b)
	if len(faults) == 0 {
		faults = f.Check()
	}
	if len(faults) > 0 {
		return nil, kms.Errorf(kms.Invalid, "%w", faults[0]).WithFile(path).WithHint(faults[0].Hint)
	}
	return f, nil
}

// Faults are all that Parse and Check find in the file at path.
func Faults(path string) (File, []Fault, error) {
	b, err := readAll(path)
	if err != nil {
		return nil, nil, err
	}
	f, faults := Parse(b)
	if len(faults) == 0 {
		faults = f.Check()
	}
	return f, faults, nil
}

func readAll(path string) ([]byte, error) {
	const hint = "name the configuration file of holdfastd; docs/operate.md has an example"
	f, err := os.Open(path)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "%w", err).WithHint(hint)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	switch {
	case err != nil:
		return nil, kms.Errorf(kms.Invalid, "%w", err).WithHint(hint)
	case len(b) > MaxFile:
		return nil, kms.Errorf(kms.TooLarge, "more than %d bytes", MaxFile).WithFile(path).WithHint(hint)
	}
	return b, nil
}

var errNoObject = errors.New("it is not one JSON object")

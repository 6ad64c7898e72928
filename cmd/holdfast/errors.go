package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// A problem is an error of this program: what happened, and what a person can
// do about it.
type problem struct {
	what   string
	hint   string
	status int // exit status
	err    error
}

func (p *problem) Error() string {
	if p.err != nil {
		return p.what + ": " + p.err.Error()
	}
	return p.what
}

func (p *problem) Unwrap() error { return p.err }

// problemf makes a problem of its own; because is for one that has a cause.
func problemf(hint, format string, args ...any) error {
	return &problem{what: fmt.Sprintf(format, args...), hint: hint, status: exitFailed}
}

// because makes a problem with a cause.
func because(err error, hint, what string) error {
	return &problem{what: what, hint: hint, err: err, status: exitFailed}
}

// misusef makes a problem of the command line.
func misusef(hint, format string, args ...any) error {
	return &problem{what: fmt.Sprintf(format, args...), hint: hint, status: exitUsage}
}

// usageError makes a problem of what the parser says.
func usageError(err error) error {
	command := "holdfast"
	var parse *kong.ParseError
	if errors.As(err, &parse) {
		if n := parse.Context.Selected(); n != nil {
			command = n.FullPath()
		} else if p := parse.Context.Path; len(p) > 0 {
			command = p[len(p)-1].Node().FullPath() // `holdfast key`, without what to do
		}
	}
	return &problem{what: err.Error(), hint: "run `" + command + " --help`", status: exitUsage}
}

// errQuiet fails the command whose result already says all.
var errQuiet = errors.New("see the result")

// A failure is how an error is printed with --json.
type failure struct {
	Command string `json:"command,omitempty"`
	Message string `json:"message"`
	Kind    string `json:"kind,omitempty"`
	Code    int    `json:"code,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// fail prints err, if there is one, and returns the exit status.
func (s *session) fail(command string, err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errQuiet) {
		return statusOf(err)
	}
	f := describe(command, err)
	if s.json {
		s.encode(s.stderr, map[string]failure{"error": f})
		return statusOf(err)
	}
	what := "holdfast: "
	if f.Command != "" {
		what += f.Command + ": "
	}
	fmt.Fprintln(s.stderr, what+f.Message)
	if f.Hint != "" {
		fmt.Fprintln(s.stderr, "hint: "+f.Hint)
	}
	return statusOf(err)
}

func describe(command string, err error) failure {
	f := failure{Command: command, Message: err.Error(), Hint: hintOf(err)}
	if k := kms.KindOf(err); k != kms.Internal {
		f.Kind = k.Error()
	}
	var refused *client.Error
	if errors.As(err, &refused) {
		f.Kind, f.Code = refused.Kind.Error(), refused.Code
		// The command's name says what was called.
		f.Message = strings.Replace(f.Message, refused.Action+": ", "", 1)
	}
	if errors.Is(err, context.Canceled) {
		f.Message, f.Kind, f.Hint = "interrupted", "", ""
	}
	return f
}

// hintOf returns the outermost hint.
func hintOf(err error) string {
	var p *problem
	if errors.As(err, &p) && p.hint != "" {
		return p.hint
	}
	var refused *client.Error
	if errors.As(err, &refused) {
		return refused.Hint
	}
	return kms.HintOf(err)
}

func statusOf(err error) int {
	var p *problem
	if errors.As(err, &p) {
		return p.status
	}
	return exitFailed
}

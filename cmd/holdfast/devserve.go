package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-kms/holdfast/host/harden"
	"github.com/holdfast-kms/holdfast/host/heap"
)

// devServeCmd is `holdfast dev node serve`.
type devServeCmd struct {
	Dir         string `required:"" type:"path" placeholder:"DIR" help:"Folder of the node; with --join it is made if it is not there, and a simulated machine in it."`
	Charter     string `placeholder:"FILE" help:"The charter of the domain to join; a copy stays beside the node's state."`
	DrainOnTerm bool   `help:"When it is told to end, have the node leave the domain for good: for a machine that does not come back. Where too few would be left to vote it stays a member, and says so."`
	devPlacing
	devTuning
}

// Run serves until Ctrl-C.
func (c *devServeCmd) Run(s *session) error {
	home := &devHome{dir: c.Dir, tuning: c.devTuning}
	if err := c.settle(home); err != nil {
		return err
	}
	return s.serveDev(&devRun{home: home, at: c.devPlacing, drain: c.DrainOnTerm})
}

// serveDev runs a node in this process until Ctrl-C.
func (s *session) serveDev(run *devRun) (err error) {
	if err := harden.Process(); err != nil {
		return err
	}
	defer heap.Floor(heapFloor)()
	logger, closeLog, err := run.home.log()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	served := false
	run.logger, run.progress = logger, s.once()
	run.serving = func(h devHello) error {
		served = true
		return s.show(h, run.home.served(h))
	}
	err = run.serve(s.ctx)
	if err != nil && s.ctx.Err() != nil && !served {
		s.note("ended before it served: %s", oneLine(strings.ReplaceAll(err.Error(), "\n", ": ")))
		return nil
	}
	return err
}

// settle makes the folder of a node that joins.
func (c *devServeCmd) settle(home *devHome) error {
	if err := errors.Join(c.check(), c.validate()); err != nil {
		return err
	}
	_, err := os.Stat(home.path(charterFile))
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case missing && len(c.Join) == 0:
		return problemf("prepare and found it first, with `holdfast dev node prepare`; or have it join a domain, with --join HOST:PORT --charter FILE", "%s holds no node", c.Dir)
	case missing && c.Charter == "":
		return misusef("add --charter FILE, as its owner hands it out", "a node joins the domain of a charter")
	case c.Charter == "":
		return nil
	}
	charter, err := readCharterFile(c.Charter)
	if err != nil {
		return err
	}
	return home.settle(charter)
}

// served shows people where the node serves.
func (h *devHome) served(at devHello) func(io.Writer) {
	return func(w io.Writer) {
		fmt.Fprintf(w, "serving\t%s\n", at.URL)
		fmt.Fprintf(w, "nodes\tjoin at %s\n", at.Peers)
		fmt.Fprintf(w, "node\t%s\n", at.Node)
		fmt.Fprintf(w, "domain\t%s\n", at.Domain)
		fmt.Fprintf(w, "CA\t%s, log %s\n", h.path(caFile), filepath.Base(h.path(logFile)))
	}
}

// once tells people how far something has come, and nothing twice in a row.
func (s *session) once() func(what string) {
	last := ""
	return func(what string) {
		if what != last {
			s.note("%s", oneLine(what))
		}
		last = what
	}
}

// log is the node's log, which it appends to.
func (h *devHome) log() (*slog.Logger, func() error, error) {
	f, err := os.OpenFile(h.path(logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewJSONHandler(f, nil)), f.Close, nil
}

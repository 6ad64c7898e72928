package main

import (
	"fmt"
	"io"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// mergeCmd is `holdfast policy merge`. Documents of every kind can be merged.
type mergeCmd struct {
	Files []string `arg:"" help:"The signed copies, two at least."`
	Out   string   `required:"" short:"o" placeholder:"FILE" help:"Where the document with all signatures goes; - is standard output."`
	Force bool     `help:"Replace what is there."`
}

// Help is the rest of what --help says.
func (mergeCmd) Help() string {
	return "It takes every signed document: policies, amendments, orders, recoveries. Nothing is verified: see `policy verify`."
}

// Run merges copies of one document.
func (c *mergeCmd) Run(s *session) error {
	if len(c.Files) < 2 {
		return misusef("name the copies that others signed, too", "there is nothing to merge one document with")
	}
	var merged []byte
	for _, path := range c.Files {
		b, err := readRuling(path)
		if err == nil && merged != nil {
			b, err = govern.Merge(merged, b)
		}
		if err != nil {
			return because(err, kms.HintOf(err), path)
		}
		merged = b
	}
	e, err := govern.ParseEnvelope(merged)
	if err != nil {
		return err
	}
	if err := s.writeFile(c.Out, merged, c.Force); err != nil || c.Out == "-" {
		return err
	}
	return s.show(map[string]any{"file": c.Out, "signatures": len(e.Signatures)}, func(w io.Writer) {
		fmt.Fprintf(w, "signatures\t%d\t%s\n", len(e.Signatures), c.Out)
	})
}

package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
)

// auditVerifyCmd is `holdfast audit verify`.
type auditVerifyCmd struct {
	auditFiles
	Checkpoint string `placeholder:"FILE" type:"path" help:"What export wrote, the newest there is: proves that nothing up to it is missing, and whose signatures are good. Without it only what the files say of themselves is compared."`
	Partial    bool   `help:"Take files that begin with a later entry than the first."`
}

// Help is the rest of what --help says.
func (auditVerifyCmd) Help() string {
	return "Nothing is asked of any node. The status is 0 only if nothing was found. What comes behind the last head is chained and signed by nobody: the report says where that begins."
}

// Run verifies.
func (c *auditVerifyCmd) Run(s *session) error {
	paths, err := c.list()
	if err != nil {
		return err
	}
	cfg := audit.VerifyConfig{Partial: c.Partial}
	if c.Checkpoint != "" {
		if cfg.Checkpoint, err = readCheckpoint(c.Checkpoint); err != nil {
			return err
		}
	}
	v := audit.NewVerifier(cfg)
	for _, p := range paths {
		if err := verifyFile(v, p); err != nil {
			return because(err, "", "reading "+p)
		}
	}
	r := v.Report()
	if err := s.show(r, func(w io.Writer) { printAuditReport(w, r) }); err != nil {
		return err
	}
	if !r.Good() {
		return errQuiet
	}
	return nil
}

func verifyFile(v *audit.Verifier, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return v.Read(path, f)
}

// maxDoubts is how many starts are shown of a node.
const maxDoubts = 20

func printAuditReport(w io.Writer, r *audit.Report) {
	for _, f := range r.Findings {
		fmt.Fprintln(w, f)
	}
	if r.More > 0 {
		fmt.Fprintf(w, "and %d findings more\n", r.More)
	}
	for _, c := range r.Chains {
		printChain(w, c)
	}
	switch {
	case !r.Good():
		fmt.Fprintln(w, "NOT as it was written")
	case !r.Signed:
		fmt.Fprintln(w, "as it was written, as far as it says itself: give --checkpoint to prove it")
	default:
		fmt.Fprintln(w, "as it was written")
	}
}

func printChain(w io.Writer, c *audit.Chain) {
	fmt.Fprintf(w, "node %.16s\tentries %d to %d, %d in all\n", c.Node, c.First, c.Last, c.Entries)
	switch {
	case c.Proven == 0:
		fmt.Fprintf(w, "\tno head covers any of them: what is missing at the end does not show\n")
	case c.Proven < c.Last:
		fmt.Fprintf(w, "\tcomplete up to entry %d (head of %s); behind it %d are chained, and their end may be missing\n",
			c.Proven, c.ProvenAt.Format(time.RFC3339), c.Last-c.Proven)
	default:
		fmt.Fprintf(w, "\tcomplete up to entry %d (head of %s)\n", c.Proven, c.ProvenAt.Format(time.RFC3339))
	}
	for _, d := range slices.Clone(c.Doubts[:min(len(c.Doubts), maxDoubts)]) {
		fmt.Fprintf(w, "\tthe node ended without a Stop after entry %d and started at %s: uses of keys behind entry %d may be missing there, changes are not\n",
			d.After, d.Time.Format(time.RFC3339), d.Head)
	}
	if c.Abandoned > 0 {
		fmt.Fprintf(w, "\t%d entries of last moments that the node did not go on from: they happened, nothing signs them\n", c.Abandoned)
	}
}

package audit

import (
	"fmt"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// A Fault says what was done to a record.
type Fault string

// The faults. Their values are stable: programs may compare them.
const (
	Removed   Fault = "removed"   // entries are missing between others
	Truncated Fault = "truncated" // entries are missing at the end
	Beheaded  Fault = "beheaded"  // entries are missing at the beginning
	Altered   Fault = "altered"   // an entry is not the one that was written
	Misplaced Fault = "misplaced" // an entry stands in another place than it was written to
	Doubled   Fault = "doubled"   // another entry has the number of one that was before
	Forged    Fault = "forged"    // a head that the domain did not sign
	Malformed Fault = "malformed" // a line that is neither an entry nor a head
)

// A Place is a line of a file; the first one is 1.
type Place struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// A Finding is one place where a record is not as it was written.
type Finding struct {
	Fault Fault      `json:"fault"`
	Node  kms.NodeID `json:"node,omitzero"`
	From  uint64     `json:"from,omitempty"` // the first entry that it is about
	To    uint64     `json:"to,omitempty"`   // the last
	Place Place      `json:"place"`          // where it shows
	Why   string     `json:"why"`
}

func (f Finding) String() string {
	which := ""
	switch {
	case f.From != 0 && f.From == f.To:
		which = fmt.Sprintf(": entry %d of node %.16s", f.From, f.Node)
	case f.From != 0:
		which = fmt.Sprintf(": entries %d to %d of node %.16s", f.From, f.To, f.Node)
	}
	return fmt.Sprintf("%s: %s%s: %s", f.Place, f.Fault, which, f.Why)
}

// A Doubt is where a node went on after it had ended without saying so: what it
// did in its last moments, behind the last head before, may be missing.
type Doubt struct {
	After uint64    `json:"after"` // the last entry from before
	Head  uint64    `json:"head"`  // the last one that a head proved then
	Time  time.Time `json:"time"`  // of the start
}

// A Chain is what there is of a node.
type Chain struct {
	Node     kms.NodeID `json:"node"`
	First    uint64     `json:"first"`
	Last     uint64     `json:"last"`
	Entries  uint64     `json:"entries"`
	Repeated uint64     `json:"repeated,omitempty"` // lines that were there before, the same: a sink that was tried again
	// Proven is the last entry that a head of the domain covers: up to it, but for
	// Findings and Doubts, everything is there. ProvenAt is when the head was made.
	Proven   uint64    `json:"proven"`
	ProvenAt time.Time `json:"proven_at,omitzero"`
	Doubts   []Doubt   `json:"doubts,omitempty"`
	// Abandoned counts entries behind a head that a sink took in a node's last
	// moments and that the node, started again, did not find anywhere. They tell
	// what happened, and nothing signs them.
	Abandoned uint64 `json:"abandoned,omitempty"`
}

// A Report is what verification found.
type Report struct {
	Signed   bool      `json:"signed"` // the domain's keys were known, so heads were verified
	Chains   []*Chain  `json:"chains"`
	Findings []Finding `json:"findings"`
	More     int       `json:"more_findings,omitempty"` // that are not listed
}

// Good reports whether nothing was found.
func (r *Report) Good() bool { return len(r.Findings) == 0 }

// maxFindings bounds what is listed.
const maxFindings = 1000

func (r *Report) find(f Finding) {
	if len(r.Findings) == maxFindings {
		r.More++
		return
	}
	r.Findings = append(r.Findings, f)
}

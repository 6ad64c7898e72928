package audit

import (
	"bytes"
	"cmp"
	"io"
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
)

// VerifyConfig says what a Verifier goes by.
type VerifyConfig struct {
	// Domain is whose record it is; zero: that of Checkpoint, or it is not known and
	// first entries are taken for what they are.
	Domain kms.DomainID
	// Checkpoint is what the domain published; nil: heads in the files are compared
	// and not verified.
	Checkpoint *Checkpoint
	// Partial takes a record that begins with a later entry than the first.
	Partial bool
}

// A Verifier reads lines and finds what was done to them. Entries of several
// nodes may stand in one file in any order among each other.
type Verifier struct {
	cfg    VerifyConfig
	chains map[kms.NodeID]*chain
	report Report
	at     Place
}

// NewVerifier makes a Verifier.
func NewVerifier(cfg VerifyConfig) *Verifier {
	v := &Verifier{cfg: cfg, chains: map[kms.NodeID]*chain{}}
	if cfg.Checkpoint == nil {
		return v
	}
	v.report.Signed = true
	if cfg.Domain == (kms.DomainID{}) {
		v.cfg.Domain = cfg.Checkpoint.Domain
	}
	for _, h := range cfg.Checkpoint.Heads {
		v.chain(h.Node).expect(h)
	}
	return v
}

func (v *Verifier) chain(node kms.NodeID) *chain {
	c, ok := v.chains[node]
	if !ok {
		c = &chain{Chain: Chain{Node: node}, v: v, heads: map[uint64][]placed{}}
		v.chains[node] = c
	}
	return c
}

// Read reads a file, on all processors. The error is that of the reader; what was
// read before it counts.
func (v *Verifier) Read(name string, r io.Reader) (err error) {
	v.at = Place{File: name}
	v.pieces(r, func(p *piece) {
		for i := range p.lines {
			v.at.Line++
			v.take(&p.lines[i])
		}
		switch {
		case p.long:
			v.at.Line++
			v.malformed(faultLong)
		case p.open:
			v.at.Line++
			v.malformed(faultOpen)
		}
		err = p.err // of the last one: what fails ends the file
	})
	return err
}

// Line reads one line, without its end.
func (v *Verifier) Line(line []byte) {
	s := v.readLine(line, nil)
	v.take(&s)
}

// take finds what a line means where it stands.
func (v *Verifier) take(s *statement) {
	switch {
	case s.fault != "":
		v.malformed(s.fault)
	case s.head == nil:
		v.chain(s.entry.Node).entry(&s.entry, s.sum)
	case s.valid:
		v.chain(s.head.Node).head(*s.head, v.at)
	default:
		v.report.find(Finding{Fault: Forged, Node: s.head.Node, From: s.head.Seq, To: s.head.Seq, Place: v.at,
			Why: "the head is not signed by the domain's audit key"})
	}
}

func (v *Verifier) malformed(why string) {
	v.report.find(Finding{Fault: Malformed, Place: v.at, Why: why})
}

// Report ends the reading and says what was found.
func (v *Verifier) Report() *Report {
	for _, c := range v.chains {
		c.end()
		v.report.Chains = append(v.report.Chains, &c.Chain)
	}
	slices.SortFunc(v.report.Chains, func(a, b *Chain) int { return bytes.Compare(a.Node[:], b.Node[:]) })
	slices.SortStableFunc(v.report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Place.File, b.Place.File), cmp.Compare(a.Place.Line, b.Place.Line))
	})
	return &v.report
}

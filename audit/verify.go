package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
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
		c = &chain{Chain: Chain{Node: node}, v: v}
		v.chains[node] = c
	}
	return c
}

// Read reads a file. The error is that of the reader.
func (v *Verifier) Read(name string, r io.Reader) error {
	v.at = Place{File: name}
	in := bufio.NewReaderSize(r, MaxLine)
	for {
		line, err := in.ReadSlice('\n')
		v.at.Line++
		switch {
		case err == nil:
			v.Line(line[:len(line)-1])
		case errors.Is(err, bufio.ErrBufferFull):
			v.malformed("a line longer than any entry")
			if err := skipLine(in); err != nil {
				return err
			}
		case !errors.Is(err, io.EOF):
			return err
		case len(line) > 0:
			v.malformed("a line without an end: it was cut off, or the node ended while it was written")
			return nil
		default:
			return nil
		}
	}
}

func skipLine(in *bufio.Reader) error {
	for {
		_, err := in.ReadSlice('\n')
		if err == nil || errors.Is(err, io.EOF) {
			return nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// Line reads one line, without its end.
func (v *Verifier) Line(line []byte) {
	if IsHead(line) {
		h, err := ParseHead(line)
		if err != nil {
			v.malformed("a head in no known spelling")
			return
		}
		v.head(h)
		return
	}
	e, err := ParseEntry(bytes.TrimSuffix(line, []byte("\r")))
	if err != nil {
		v.malformed("neither an entry nor a head: it was altered, or is none of ours")
		return
	}
	v.chain(e.Node).entry(&e, Sum(line))
}

func (v *Verifier) malformed(why string) {
	v.report.find(Finding{Fault: Malformed, Place: v.at, Why: why})
}

func (v *Verifier) head(h Head) {
	if cp := v.cfg.Checkpoint; cp != nil {
		if public, ok := cp.Key(h.Generation); !ok || !h.VerifiedBy(v.cfg.Domain, public) {
			v.report.find(Finding{Fault: Forged, Node: h.Node, From: h.Seq, To: h.Seq, Place: v.at,
				Why: "the head is not signed by the domain's audit key"})
			return
		}
	}
	v.chain(h.Node).head(h, v.at)
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

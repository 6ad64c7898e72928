package audit_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/audit"
)

// byLine verifies a file line by line, as it is read without pieces.
func byLine(cp *audit.Checkpoint, text []byte) *audit.Report {
	v := audit.NewVerifier(audit.VerifyConfig{Checkpoint: cp})
	for line := range bytes.Lines(text) {
		v.Line(bytes.TrimSuffix(line, []byte("\n")))
	}
	return v.Report()
}

// TestPieces: how a file is cut into pieces changes nothing of what is found in it.
func TestPieces(t *testing.T) {
	const n = 4000 // some two megabytes
	long := func(n int) []byte { return []byte(strings.Repeat("x", n)) }
	for name, change := range map[string]func(lines [][]byte) [][]byte{
		"nothing":                   func(l [][]byte) [][]byte { return l },
		"some removed":              func(l [][]byte) [][]byte { return slices.Delete(l, n/2, n/2+100) },
		"many removed":              func(l [][]byte) [][]byte { return slices.DeleteFunc(l, func(x []byte) bool { return x[7]%2 == 0 }) },
		"backwards":                 func(l [][]byte) [][]byte { slices.Reverse(l); return l },
		"empty lines":               func(l [][]byte) [][]byte { return slices.Insert(l, n/3, nil, nil, nil) },
		"the longest that is read":  func(l [][]byte) [][]byte { return slices.Insert(l, n/3, long(audit.MaxLine-1)) },
		"longer":                    func(l [][]byte) [][]byte { return slices.Insert(l, n/3, long(audit.MaxLine)) },
		"longer than many pieces":   func(l [][]byte) [][]byte { return slices.Insert(l, n/3, long(3<<20), nil) },
		"longer, one after another": func(l [][]byte) [][]byte { return slices.Insert(l, n/3, long(1<<20), long(1<<20), long(100_000)) },
		"longer at the end":         func(l [][]byte) [][]byte { return append(l, long(1<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecord(nodeA)
			for range n / 1000 {
				r.fill(1000).addHead()
			}
			cp := checkpoint(r.head())
			text := append(bytes.Join(change(r.lines), []byte("\n")), '\n')
			want := byLine(cp, text)
			for how, in := range map[string]io.Reader{"whole": bytes.NewReader(text), "by halves": iotest.HalfReader(bytes.NewReader(text))} {
				v := audit.NewVerifier(audit.VerifyConfig{Checkpoint: cp})
				if err := v.Read("", in); err != nil {
					t.Fatal(err)
				}
				got := v.Report()
				for i := range got.Findings {
					got.Findings[i].Place.Line = 0 // byLine knows of none
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-by line +in pieces):\n%.2000s", how, diff)
				}
			}
		})
	}
}

// TestReadFails: what could be read before counts.
func TestReadFails(t *testing.T) {
	r := newRecord(nodeA).fill(1000)
	text := append(bytes.Join(r.lines, []byte("\n")), '\n')
	v := audit.NewVerifier(audit.VerifyConfig{})
	gone := errors.New("gone")
	if err := v.Read("f", io.MultiReader(bytes.NewReader(text), iotest.ErrReader(gone))); !errors.Is(err, gone) {
		t.Errorf("read with %v", err)
	}
	if got := v.Report(); len(got.Chains) != 1 || got.Chains[0].Last != 1000 || !got.Good() {
		t.Errorf("%+v", got)
	}
}

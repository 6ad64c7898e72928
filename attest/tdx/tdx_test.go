package tdx_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	. "github.com/holdfast-kms/holdfast/attest/intel/inteltest"
	"github.com/holdfast-kms/holdfast/attest/tdx"
)

func filled(v byte, n int) attest.Hex { return bytes.Repeat([]byte{v}, n) }

// TestClaims reads each field of the report body from its place, in every
// version that has one.
func TestClaims(t *testing.T) {
	for _, c := range []struct {
		name   string
		recipe *Recipe
	}{
		{"version 4", New(attest.TDX, 4)},
		{"version 5, TDX 1.0", New(attest.TDX, 5)},
		{"version 5, TDX 1.5", NewTDX15()},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.recipe
			got, err := tdx.Verify(r.Evidence(t), r.Now)
			if err != nil {
				t.Fatal(err)
			}
			svn := append(attest.Hex{3, 1}, filled(Svn, 14)...)
			want := &attest.TDXClaims{
				MRTD: MRTD, RTMR0: RTMR0, RTMR1: RTMR1, RTMR2: RTMR2, RTMR3: RTMR3,
				MRSEAM: r.Body[16:64], MRSignerSEAM: filled(0, 48),
				TDAttributes: attest.Hex{0, 0, 0, 0x10, 0, 0, 0, 0}, XFAM: attest.Hex{0xe7, 0, 6, 0, 0, 0, 0, 0},
				MRConfigID: r.Body[184:232], MROwner: r.Body[232:280], MROwnerConfig: r.Body[280:328],
				TEETCBSVN: svn, CPUSVN: filled(Svn, 16), PCESVN: 11,
			}
			if len(r.Body) > 584 {
				want.TEETCBSVN2, want.MRServiceTD = svn, r.Body[600:648]
			}
			if diff := cmp.Diff(want, got.TDX); diff != "" {
				t.Error(diff)
			}
			if got.Debug || got.SGX != nil || got.SNP != nil || got.Version != r.Version {
				t.Errorf("debug %t, version %d, %v, %v", got.Debug, got.Version, got.SGX, got.SNP)
			}
		})
	}
}

// TestDebug takes any bit of the group "TD under debug" for debug.
func TestDebug(t *testing.T) {
	for bit := range 8 {
		r := New(attest.TDX, 4)
		r.Body[AtTDAttributes] = 1 << bit
		claims, err := tdx.Verify(r.Evidence(t), r.Now)
		if err != nil || !claims.Debug {
			t.Errorf("bit %d: debug %t, %v", bit, claims.Debug, err)
		}
	}
}

// TestJudgedAsStarted judges a machine of TDX 1.5 by what it was started under.
func TestJudgedAsStarted(t *testing.T) {
	r := NewTDX15()
	r.Body[AtTEETCBSVN+2]-- // and TEE_TCB_SVN2 stays as new as it is
	claims, err := tdx.Verify(r.Evidence(t), r.Now)
	if err != nil || claims.Status != attest.OutOfDate {
		t.Errorf("%q, %v", claims.Status, err)
	}
}

// FuzzVerify looks for panics, and for quotes that verify and are none of
// those that were minted.
func FuzzVerify(f *testing.F) {
	recipes := []*Recipe{New(attest.TDX, 4), New(attest.TDX, 5), NewTDX15()}
	genuine := map[string]bool{}
	var collateral [][]byte
	for _, r := range recipes {
		ev := r.Evidence(f)
		genuine[string(ev.Quote)] = true
		collateral = append(collateral, ev.Collateral)
		f.Add(ev.Quote)
		f.Add(ev.Quote[:1200])
	}
	f.Fuzz(func(t *testing.T, quote []byte) {
		before := string(quote)
		q, err := tdx.Parse(quote)
		if err != nil && attest.ReasonOf(err) == "" {
			t.Error("an error without reason")
		}
		if q != nil && (len(q.Report.ReportData) != 64 || len(q.Signed) < 632) {
			t.Errorf("parsed %d bytes", len(q.Signed))
		}
		for _, c := range collateral {
			_, err := tdx.Verify(attest.Evidence{Quote: quote, Collateral: c}, recipes[0].Now)
			if err == nil && !genuine[before] {
				t.Error("accepted a quote that was never minted")
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	r := New(attest.TDX, 4)
	ev := r.Evidence(b)
	for b.Loop() {
		if _, err := tdx.Verify(ev, r.Now); err != nil {
			b.Fatal(err)
		}
	}
}

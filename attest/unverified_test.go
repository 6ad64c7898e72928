package attest_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/attest/snp"
)

// sameAsProven compares what a report says with what is proven of it, but for
// what only the certificate says.
func sameAsProven(t *testing.T, u attest.Unverified, c attest.Claims) {
	t.Helper()
	said, isSNP := u.Measurement.(*attest.SNPClaims)
	if !isSNP {
		t.Fatalf("a measurement of type %T", u.Measurement)
	}
	proven := *c.SNP
	if u.Version < 3 {
		proven.Product = ""
	}
	if diff := cmp.Diff(&proven, said); diff != "" {
		t.Errorf("(-proven +said):\n%s", diff)
	}
	if u.TEE != c.TEE || u.Version != c.Version || u.Debug != c.Debug || !u.ReportData.Equal(c.ReportData) {
		t.Errorf("said %+v, proven %+v", u, c)
	}
	if u.Platform.ChipID != nil && !u.Platform.ChipID.Equal(c.Platform.ChipID) {
		t.Errorf("chip %s, proven %s", u.Platform.ChipID, c.Platform.ChipID)
	}
}

func TestUnverifiedSNP(t *testing.T) {
	now := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	fill := &simtee.Forge{Body: func(b []byte) []byte {
		// Fields that a simulated machine leaves empty, each with bytes of its own.
		for start, n := range map[int]int{0x10: 16, 0x20: 16, 0x90: 48, 0xc0: 32, 0xe0: 48, 0x110: 48, 0x140: 32} {
			for i := range n {
				b[start+i] = byte(start>>4 + i)
			}
		}
		return b
	}}
	for name, cfg := range map[string]simtee.Config{
		"plain": {}, "debug": {Misfortune: simtee.Misfortune{Debug: true}}, "every field": {Forge: fill},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := cfg.Create(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			ev, err := p.Evidence(attest.SNP, [64]byte{1, 2, 3}, now)
			if err != nil {
				t.Fatal(err)
			}
			c, err := snp.Verify(ev, now)
			if err != nil {
				t.Fatal(err)
			}
			u, err := attest.UnverifiedSNP(ev.Quote)
			if err != nil {
				t.Fatal(err)
			}
			sameAsProven(t, u, c)
			if text := u.Explain(); !strings.HasPrefix(text, "NOT VERIFIED") || strings.Contains(text, "DEBUG") != c.Debug ||
				!strings.Contains(text, c.SNP.Measurement.String()) || !strings.Contains(text, "unnamed product, guest") || !strings.HasSuffix(text, "\n") {
				t.Errorf("%s", text)
			}
		})
	}
	for _, size := range []int{0, 1183, 1185} {
		if _, err := attest.UnverifiedSNP(make([]byte, size)); attest.ReasonOf(err) != attest.Malformed {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestUnverifiedGenuineSNP(t *testing.T) {
	for _, row := range []struct{ report, certificate, at, product string }{
		{"snp/test-report.bin", "snp/test-vcek.der", "2025-01-01T00:00:00Z", ""},
		{"snp/test-vlek-report.bin", "snp/test-vlek.der", "2025-01-01T00:00:00Z", "Milan"},
	} {
		report := sample(t, row.report)
		c, err := snp.Verify(attest.Evidence{Quote: report, Collateral: snp.Bundle([][]byte{sample(t, row.certificate)}, nil)}, at(t, row.at))
		if err != nil {
			t.Fatal(err)
		}
		u, err := attest.UnverifiedSNP(bytes.Clone(report))
		if err != nil {
			t.Fatal(err)
		}
		sameAsProven(t, u, c)
		if got := u.Measurement.(*attest.SNPClaims).Product; got != row.product {
			t.Errorf("%s: product %q, want %q", row.report, got, row.product)
		}
	}
}

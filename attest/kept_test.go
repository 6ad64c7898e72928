package attest_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
)

func keptClaims() []attest.Claims {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	return []attest.Claims{
		{},
		{TEE: attest.SGX, Version: 3, SGX: &attest.SGXClaims{MRENCLAVE: make(attest.Hex, 32)}, ReportData: make(attest.Hex, 64), Simulated: true,
			Platform: attest.Platform{PPID: attest.Hex{1, 2}}, Status: attest.UpToDate, EvaluationNumber: 17, Issued: at, ValidFrom: at, ValidUntil: at.Add(time.Hour)},
		{TEE: attest.TDX, TDX: &attest.TDXClaims{MRTD: make(attest.Hex, 48)}, Debug: true, RevocationChecked: true, Advisories: []string{"INTEL-SA-1"}, ValidUntil: at},
		{TEE: attest.SNP, SNP: &attest.SNPClaims{Product: "Milan", Policy: 1 << 63, ReportedTCB: attest.SNPTCB{SNP: 5}}},
	}
}

// What is kept is what is read, in one spelling.
func TestKeptClaims(t *testing.T) {
	for i, c := range keptClaims() {
		b, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := attest.ParseClaims(b)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		again, err := got.Encode()
		if err != nil || string(again) != string(b) || (i > 0 && got.TEE != c.TEE) {
			t.Errorf("%d: %v, %s", i, err, cmp.Diff(string(b), string(again)))
		}
		for name, bad := range map[string]string{
			"white space":    " " + string(b),
			"something more": string(b) + "{}",
			"a new member":   string(b[:len(b)-1]) + `,"x":1}`,
			"a member twice": string(b[:len(b)-1]) + `,"debug":true}`,
			"cut":            string(b[:len(b)-1]),
			"nothing":        "",
			"another kind":   "[]",
			"null":           "null",
		} {
			if _, err := attest.ParseClaims([]byte(bad)); attest.ReasonOf(err) != attest.Malformed {
				t.Errorf("%d, %s: %v", i, name, err)
			}
		}
	}
	if _, err := attest.ParseClaims(make([]byte, attest.MaxKeptClaims+1)); attest.ReasonOf(err) != attest.Malformed {
		t.Errorf("too long: %v", err)
	}
}

func FuzzKeptClaims(f *testing.F) {
	for _, c := range keptClaims() {
		b, err := c.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := attest.ParseClaims(b)
		if err != nil {
			return
		}
		if again, err := c.Encode(); err != nil || string(again) != string(b) {
			t.Errorf("%q is kept as %q: %v", b, again, err)
		}
	})
}

// Package attestation asks other people's verifiers about what attest/simtee
// mints, so that we do not judge ourselves: go-tdx-guest and go-sev-guest here,
// and @phala/dcap-qvl in ../compat/attestation.sh. Each must accept the evidence with nothing but
// the root swapped, and refuse it under the vendor's.
package attestation_test

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
)

// out makes TestWrite write evidence for a judge that is not written in Go.
var out = flag.String("out", "", "folder to write evidence for ../compat/attestation.sh to")

// evidenceDir holds genuine evidence, signed by the vendors. It is others'
// property and therefore lies beside the project and not in it.
const evidenceDir = "../../../shared/evidence"

var (
	at         = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	reportData = [64]byte{1, 2, 3}

	// root certifies every machine here. To find its keys takes a while.
	root = sync.OnceValue(simtee.NewRoot)
)

func machine(t *testing.T, cfg simtee.Config) *simtee.Platform {
	t.Helper()
	cfg.Root = root()
	p, err := cfg.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func evidence(t *testing.T, p *simtee.Platform, tee attest.TEE) attest.Evidence {
	t.Helper()
	ev, err := p.Evidence(tee, reportData, at)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// rootOf is the root that every machine but a foreign one is under.
func rootOf(t *testing.T, tee attest.TEE) *x509.Certificate {
	t.Helper()
	der, err := root().Certificate(tee)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// A verdict is what dcap-qvl is to say. Refused is a part of what it says when
// it refuses.
type verdict struct {
	Status     string   `json:"status,omitempty"`
	Advisories []string `json:"advisories,omitempty"`
	Refused    string   `json:"refused,omitempty"`
}

// A judged is one quote that dcap-qvl is asked about, under two roots.
type judged struct {
	Name        string  `json:"name"`
	Time        int64   `json:"time"` // seconds
	Development verdict `json:"development"`
	Intel       verdict `json:"intel"`
}

const notFromThere = "certificate chain"

// TestWrite writes the evidence that ../compat/attestation.sh has judged. Without -out it makes
// sure that there is something to write.
func TestWrite(t *testing.T) {
	cases := genuine(t)
	for _, row := range []struct {
		name       string
		misfortune simtee.Misfortune
		want       verdict
	}{
		{"good", simtee.Misfortune{}, verdict{Status: "UpToDate"}},
		{"announced", simtee.Misfortune{Recovery: simtee.Announced}, verdict{Status: "OutOfDate", Advisories: []string{simtee.Advisory}}},
		{"partial", simtee.Misfortune{Recovery: simtee.Partial}, verdict{Status: "OutOfDate", Advisories: []string{simtee.Advisory}}},
		{"applied", simtee.Misfortune{Recovery: simtee.Applied}, verdict{Status: "UpToDate"}},
		{"revoked", simtee.Misfortune{Revoked: true}, verdict{Refused: "revoked"}},
		{"stale", simtee.Misfortune{Stale: true}, verdict{Refused: "expired"}},
		{"foreign", simtee.Misfortune{Foreign: true}, verdict{Refused: notFromThere}},
		{"debug", simtee.Misfortune{Debug: true}, verdict{Refused: "Debug"}},
	} {
		for _, kind := range []struct {
			name    string
			tee     attest.TEE
			version int
		}{{"sgx3", attest.SGX, 0}, {"tdx4", attest.TDX, 4}, {"tdx5", attest.TDX, 5}} {
			c := judged{kind.name + "-" + row.name, at.Unix(), row.want, verdict{Refused: notFromThere}}
			if row.misfortune.Stale {
				c.Intel = row.want // it looks at the dates first
			}
			cases = append(cases, c)
			writeEvidence(t, c.Name, evidence(t, machine(t, simtee.Config{Misfortune: row.misfortune, TDXQuote: kind.version}), kind.tee))
		}
	}
	list, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	write(t, "cases.json", list)
}

// genuine writes a quote that Intel vouches for, where there is one, to show
// that the judge does not refuse everything under Intel's root.
func genuine(t *testing.T) []judged {
	quote, err := os.ReadFile(filepath.Join(evidenceDir, "sgx/sgx_quote"))
	if errors.Is(err, os.ErrNotExist) {
		t.Logf("NO GENUINE EVIDENCE IS JUDGED: %s is not there", evidenceDir)
		return nil
	}
	collateral, err2 := os.ReadFile(filepath.Join(evidenceDir, "sgx/sgx_quote_collateral.json"))
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	writeEvidence(t, "sgx3-genuine", attest.Evidence{TEE: attest.SGX, Quote: quote, Collateral: collateral})
	return []judged{{"sgx3-genuine", time.Date(2025, 6, 20, 0, 0, 0, 0, time.UTC).Unix(), verdict{Refused: notFromThere},
		verdict{Status: "ConfigurationAndSWHardeningNeeded", Advisories: []string{"INTEL-SA-00289", "INTEL-SA-00615"}}}}
}

func writeEvidence(t *testing.T, name string, ev attest.Evidence) {
	t.Helper()
	write(t, name+".quote", ev.Quote)
	write(t, name+".json", ev.Collateral)
	write(t, name+".root", rootOf(t, ev.TEE).Raw)
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if len(b) == 0 {
		t.Errorf("%s is empty", name)
	}
	if *out == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*out, name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// errNoNetwork is what a judge gets when it wants to fetch something.
var errNoNetwork = errors.New("nothing is fetched")

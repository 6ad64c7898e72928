package collateral_test

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/verify/trust"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/host/collateral"
	"github.com/holdfast-kms/holdfast/kms"
)

// evidenceDir has genuine evidence, which is third parties' and lies beside
// the module.
const evidenceDir = "../../../shared/evidence"

func genuine(t *testing.T, name string) []byte {
	t.Helper()
	if _, err := os.Stat(evidenceDir); err != nil {
		t.Skipf("SKIPPED, NOTHING WAS TESTED: the genuine evidence is not there: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(evidenceDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGenuineAddresses: what a service is asked for follows from the quote.
func TestGenuineAddresses(t *testing.T) {
	for _, test := range []struct {
		file string
		want []string // parts of addresses; nil: refused
	}{
		{"sgx/sgx_quote", []string{"/sgx/certification/v4/tcb?fmspc=00A067110000", "pckcrl?ca=processor"}},
		{"sgx/quote_v3_ecdsa_p256_pck_chain.bin", []string{"/sgx/certification/v4/tcb?fmspc=00606A000000", "pckcrl?ca=platform"}},
		{"sgx/quote_v3_ecdsa_p256_eppid.bin", nil},
		{"tdx/quote_v4_tdx_ecdsa_p256.bin", []string{"/tdx/certification/v4/tcb?fmspc=C0806F000000", "pckcrl?ca=platform"}},
		{"tdx/quote_v4_tdx_ecdsa_p256_out_of_date.bin", []string{"/tdx/certification/v4/tcb?fmspc=50806F000000", "pckcrl?ca=platform"}},
		{"snp/test-report.bin", []string{"/vcek/v1/Milan/cert_chain"}},
		{"snp/test-vlek-report.bin", nil},
	} {
		t.Run(test.file, func(t *testing.T) {
			quote := genuine(t, test.file)
			v := &vendor{t: t, now: atNoon, fault: status(http.StatusNotFound)}
			_, err := newClient(t, v.config()).Collateral(t.Context(), attest.Evidence{Quote: quote})
			asked := v.requests()
			if test.want == nil {
				if !errors.Is(err, kms.Invalid) || kms.HintOf(err) == "" || len(asked) != 0 {
					t.Errorf("error %v after asking for %v", err, asked)
				}
				return
			}
			for _, part := range test.want {
				if !slices.ContainsFunc(asked, func(path string) bool { return strings.Contains(path, part) }) {
					t.Errorf("asked for %v, and not for %s", asked, part)
				}
			}
		})
	}
}

// TestGenuineCollateral plays a PCCS that has what Intel once published.
func TestGenuineCollateral(t *testing.T) {
	quote := genuine(t, "sgx/sgx_quote")
	said, err := intel.ParseCollateral(genuine(t, "sgx/sgx_quote_collateral.json"))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2025, 6, 20, 0, 0, 0, 0, time.UTC)
	v := &vendor{t: t, now: func() time.Time { return at }}
	v.fault = func(w http.ResponseWriter, r *http.Request) bool {
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/tcb"):
			w.Header().Set("TCB-Info-Issuer-Chain", url.PathEscape(said.TCBInfoChain))
			w.Write([]byte(`{"tcbInfo":` + said.TCBInfo + `,"signature":"` + said.TCBInfoSignature + `"}`))
		case strings.HasSuffix(path, "/qe/identity"):
			w.Header().Set("SGX-Enclave-Identity-Issuer-Chain", url.PathEscape(said.QEIdentityChain))
			w.Write([]byte(`{"enclaveIdentity":` + said.QEIdentity + `,"signature":"` + said.QEIdentitySignature + `"}`))
		case strings.HasSuffix(path, "/pckcrl"):
			w.Header().Set("SGX-PCK-CRL-Issuer-Chain", url.PathEscape(said.PCKCRLChain))
			w.Write(said.PCKCRL)
		case strings.HasSuffix(path, "/rootcacrl"):
			w.Write([]byte(said.RootCRL.String()))
		default:
			http.NotFound(w, r)
		}
		return true
	}
	c := newClient(t, v.config())
	document, err := c.Collateral(t.Context(), attest.Evidence{Quote: quote})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := sgx.Verify(attest.Evidence{Quote: quote, Collateral: document}, at)
	if err != nil || claims.Simulated || !claims.RevocationChecked || claims.Status != attest.ConfigurationAndSWHardeningNeeded {
		t.Errorf("claims %+v, error %v", claims, err)
	}
	// What is kept is in force for as long as the verifier takes it.
	until := claims.ValidUntil
	for _, s := range c.Status() {
		if s.Until.Before(until) {
			t.Errorf("%s until %s, and the verifier says %s", s.Item, s.Until, until)
		}
	}
	if !slices.ContainsFunc(c.Status(), func(s collateral.Status) bool { return s.Until.Equal(until) }) {
		t.Errorf("nothing ends at %s", until)
	}
}

// TestGenuineChip plays a KDS that has a genuine chip's certificate, and no
// revocation list, for there is none among the samples.
func TestGenuineChip(t *testing.T) {
	report, vcek := genuine(t, "snp/test-report.bin"), genuine(t, "snp/test-vcek.der")
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	v := &vendor{t: t, now: func() time.Time { return at }}
	v.fault = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/vcek/v1/Milan/cert_chain":
			w.Write(trust.AskArkMilanVcekBytes)
		case strings.HasSuffix(r.URL.Path, "/crl"):
			http.NotFound(w, r)
		default:
			w.Write(vcek)
		}
		return true
	}
	cfg := v.config()
	cfg.DevelopmentRoots = false
	c := newClient(t, cfg)
	_, err := c.Collateral(t.Context(), attest.Evidence{Quote: report})
	if !errors.Is(err, kms.NotFound) || !strings.Contains(err.Error(), "revocation list of AMD's root for Milan VCEKs") {
		t.Errorf("error %v", err)
	}
	states := map[collateral.State]int{}
	for _, s := range c.Status() {
		states[s.State]++
	}
	if states[collateral.Fresh] != 2 || states[collateral.Missing] != 1 {
		t.Errorf("status %+v", c.Status())
	}
}

package attest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	"github.com/holdfast-kms/holdfast/attest/intel/inteltest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/tdx"
)

var verifiers = attest.Verifiers{SGX: sgx.Verify, TDX: tdx.Verify}

// evidenceDir holds genuine evidence, signed by the vendors. It is others'
// property and therefore lies beside the project and not in it.
const evidenceDir = "../../shared/evidence"

// sample reads one file of the genuine evidence.
func sample(t *testing.T, name string) []byte {
	t.Helper()
	if _, err := os.Stat(evidenceDir); errors.Is(err, os.ErrNotExist) {
		t.Skipf("SKIPPED: NO GENUINE EVIDENCE IS JUDGED. %s is not there; put the vendor-signed samples beside the project.", filepath.Clean(evidenceDir))
	}
	b, err := os.ReadFile(filepath.Join(evidenceDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func gather(t *testing.T, names ...string) []byte {
	t.Helper()
	var parts [][]byte
	for _, name := range names {
		parts = append(parts, sample(t, name))
	}
	c, err := intel.Gather(parts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

// TestGenuine judges evidence that Intel signed, as of a time at which its
// collateral was in force.
func TestGenuine(t *testing.T) {
	const signer = "sgx/tcb_info_v3_fmspc_00606A000000_certs.pem"
	type outcome struct {
		Reason           attest.Reason
		TEE              attest.TEE
		Version          int
		Status           attest.TCBStatus
		Advisories       []string
		Evaluation       uint32
		Simulated, Debug bool
		Revocation       bool
		From, Until      string
	}
	for _, row := range []struct {
		name, quote string
		collateral  []string
		at          string
		want        outcome
	}{
		{
			name: "SGX, processor CA, revocation lists", quote: "sgx/sgx_quote",
			collateral: []string{"sgx/sgx_quote_collateral.json"}, at: "2025-06-20T00:00:00Z",
			want: outcome{TEE: attest.SGX, Version: 3, Status: attest.ConfigurationAndSWHardeningNeeded, Advisories: []string{"INTEL-SA-00289", "INTEL-SA-00615"},
				Evaluation: 17, Revocation: true, From: "2025-06-19T10:56:11Z", Until: "2025-07-19T10:01:18Z"},
		},
		{
			name: "SGX, platform CA", quote: "sgx/quote_v3_ecdsa_p256_pck_chain.bin",
			collateral: []string{"sgx/tcb_info_v3_fmspc_00606A000000.json", signer, "sgx/qe_identity_v2.json"}, at: "2022-12-20T00:50:04Z",
			want: outcome{TEE: attest.SGX, Version: 3, Status: attest.SWHardeningNeeded, Advisories: []string{"INTEL-SA-00615", "INTEL-SA-00657"},
				Evaluation: 13, From: "2022-12-19T09:40:10Z", Until: "2023-01-15T12:45:36Z"},
		},
		{
			name: "SGX, TCB info signed by a PCK CA", quote: "sgx/quote_v3_ecdsa_p256_pck_chain.bin",
			collateral: []string{"sgx/tcb_info_v3_fmspc_00606A000000.json", "sgx/tcb_info_v3_fmspc_00606A000000_certs_bad.pem", "sgx/qe_identity_v2.json"}, at: "2022-12-20T00:50:04Z",
			want: outcome{Reason: attest.WrongSigner},
		},
		{
			name: "SGX, encrypted platform id", quote: "sgx/quote_v3_ecdsa_p256_eppid.bin",
			collateral: []string{"sgx/tcb_info_v3_fmspc_00606A000000.json", signer, "sgx/qe_identity_v2.json"}, at: "2022-12-20T00:50:04Z",
			want: outcome{Reason: attest.Unsupported},
		},
		{
			name: "TDX", quote: "tdx/quote_v4_tdx_ecdsa_p256.bin",
			collateral: []string{"tdx/tcb_info_v3_tdx_fmspc_C0806F000000.json", signer, "tdx/qe_identity_v2_tdx2.json"}, at: "2024-09-02T07:43:52Z",
			want: outcome{TEE: attest.TDX, Version: 4, Status: attest.UpToDate, Evaluation: 17, From: "2024-09-02T07:25:12Z", Until: "2024-10-02T06:47:57Z"},
		},
		{
			// Its own TCB info is no part of the samples; that of a newer kind of
			// platform says nothing about it. test/attestation has the row in full.
			name: "TDX, TCB info of another platform", quote: "tdx/quote_v4_tdx_ecdsa_p256_out_of_date.bin",
			collateral: []string{"tdx/tcb_info_v3_tdx_fmspc_C0806F000000.json", signer, "tdx/qe_identity_v2_tdx.json"}, at: "2023-06-18T12:36:16Z",
			want: outcome{Reason: attest.CollateralMismatch},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			ev := attest.Evidence{Quote: sample(t, row.quote), Collateral: gather(t, row.collateral...)}
			v := verifiers.Verdict(ev, &attest.Policy{}, at(t, row.at))
			got := outcome{Reason: v.Reason}
			if v.Measurement != nil {
				got = outcome{TEE: v.TEE, Version: v.Version, Status: v.Status, Advisories: v.Advisories, Evaluation: v.EvaluationNumber,
					Simulated: v.Simulated, Debug: v.Debug, Revocation: v.RevocationChecked,
					From: v.ValidFrom.UTC().Format(time.RFC3339), Until: v.ValidUntil.UTC().Format(time.RFC3339)}
			}
			if diff := cmp.Diff(row.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s\n%s", diff, v.Detail)
			}
		})
	}
}

// TestGenuineAltered alters genuine evidence, which nobody can sign again.
func TestGenuineAltered(t *testing.T) {
	const stride = 11
	ev := attest.Evidence{Quote: sample(t, "sgx/sgx_quote"), Collateral: sample(t, "sgx/sgx_quote_collateral.json")}
	now := at(t, "2025-06-20T00:00:00Z")
	if _, err := sgx.Verify(ev, now); err != nil {
		t.Fatal(err)
	}
	good := ev.Quote
	for i := 0; i < len(good); i += stride {
		ev.Quote = bytes.Clone(good)
		ev.Quote[i] ^= 1 << (i % 8)
		if _, err := sgx.Verify(ev, now); err == nil {
			t.Fatalf("byte %d altered, and accepted", i)
		}
	}
}

// TestGenuineTimes is genuine evidence outside of its window.
func TestGenuineTimes(t *testing.T) {
	ev := attest.Evidence{Quote: sample(t, "sgx/sgx_quote"), Collateral: sample(t, "sgx/sgx_quote_collateral.json")}
	for when, want := range map[string]attest.Reason{
		"2025-06-19T10:56:10Z": attest.CollateralNotYet,
		"2025-06-19T10:56:11Z": "",
		"2025-07-19T10:01:18Z": "",
		"2025-07-19T10:01:19Z": attest.CollateralExpired,
		"2017-01-01T00:00:00Z": attest.CertificateNotYet,
		"2060-01-01T00:00:00Z": attest.CertificateExpired,
	} {
		if _, err := sgx.Verify(ev, at(t, when)); attest.ReasonOf(err) != want {
			t.Errorf("%s: %v, want %q", when, err, want)
		}
	}
}

// TestGenuineUnderPolicies judges genuine evidence by what a person would write.
func TestGenuineUnderPolicies(t *testing.T) {
	ev := attest.Evidence{Quote: sample(t, "sgx/sgx_quote"), Collateral: sample(t, "sgx/sgx_quote_collateral.json")}
	now := at(t, "2025-06-20T00:00:00Z")
	claims, err := sgx.Verify(ev, now)
	if err != nil {
		t.Fatal(err)
	}
	identity := fmt.Sprintf(`"identities":[{"mrenclave":"%X"}]`, []byte(claims.SGX.MRENCLAVE))
	const status = `"tcb_statuses":["ConfigurationAndSWHardeningNeeded"]`
	for _, c := range []struct {
		policy string
		want   attest.Reason
	}{
		{`{}`, attest.TEENotAdmitted},
		{`{"sgx":{` + identity + `}}`, attest.StatusNotAdmitted},
		{`{"sgx":{` + identity + `,` + status + `}}`, ""},
		{`{"sgx":{` + identity + `,` + status + `,"deny_advisories":["INTEL-SA-00615"]}}`, attest.AdvisoryDenied},
		{`{"sgx":{` + identity + `,` + status + `,"tolerate_advisories":["INTEL-SA-00615"]}}`, attest.AdvisoryDenied},
		{`{"sgx":{` + identity + `,` + status + `,"tolerate_advisories":["INTEL-SA-00615","INTEL-SA-00289"]}}`, ""},
		{`{"sgx":{` + identity + `,` + status + `,"min_tcb_evaluation_data_number":18}}`, attest.EvaluationTooLow},
		{`{"sgx":{` + identity + `,` + status + `,"deny_platforms":["00a067110000"]}}`, attest.PlatformDenied},
		{`{"sgx":{` + identity + `,` + status + `,"deny_platforms":["00A067110000"]}}`, attest.PlatformDenied},
		{`{"sgx":{` + identity + `,` + status + `,"max_collateral_age":"1h"}}`, attest.CollateralTooOld},
		{`{"sgx":{` + identity + `,` + status + `,"max_collateral_age":"24h"}}`, ""},
	} {
		p, err := attest.ParsePolicy([]byte(c.policy))
		if err != nil {
			t.Fatal(err)
		}
		got, err := verifiers.Verify(ev, p, now)
		if attest.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %q", c.policy, err, c.want)
		}
		if diff := cmp.Diff(claims, got); diff != "" {
			t.Errorf("%s: claims differ: %s", c.policy, diff)
		}
	}
}

// TestGenuineUnderForeignCollateral has a genuine platform judged by an
// authority of our own making.
func TestGenuineUnderForeignCollateral(t *testing.T) {
	quote := sample(t, "sgx/sgx_quote")
	r := inteltest.New(attest.SGX, 3)
	r.Now = at(t, "2025-06-20T00:00:00Z")
	for _, c := range r.Certificates {
		c.From, c.Until = r.Now.AddDate(-1, 0, 0), r.Now.AddDate(1, 0, 0)
	}
	r.TCBInfo.Body["fmspc"] = "00A067110000"
	for _, s := range []inteltest.Statement{r.TCBInfo, r.QEIdentity} {
		s.Body["issueDate"], s.Body["nextUpdate"] = r.Now.AddDate(0, 0, -1), r.Now.AddDate(0, 0, 1)
	}
	r.RootCRL, r.PCKCRL = nil, nil
	ev := r.Evidence(t)
	ev.Quote = quote
	if _, err := sgx.Verify(ev, r.Now); attest.ReasonOf(err) != attest.BrokenChain {
		t.Errorf("%v, want %q", err, attest.BrokenChain)
	}
}

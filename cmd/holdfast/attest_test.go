package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
)

// evidenceDir holds genuine evidence, signed by the vendors. It is others'
// property and therefore lies beside the project and not in it.
const evidenceDir = "../../../shared/evidence"

// sampleFile is the path of a file of the genuine evidence.
func sampleFile(t *testing.T, name string) string {
	t.Helper()
	if _, err := os.Stat(evidenceDir); errors.Is(err, os.ErrNotExist) {
		t.Skipf("SKIPPED: NO GENUINE EVIDENCE IS JUDGED. %s is not there; put the vendor-signed samples beside the project.", filepath.Clean(evidenceDir))
	}
	return filepath.Join(evidenceDir, name)
}

// A desk is where evidence is judged: no node, no credential.
type desk struct {
	t   *testing.T
	dir string
}

func newDesk(t *testing.T) *desk { return &desk{t, t.TempDir()} }

func (d *desk) write(name string, data []byte) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// run runs `holdfast attest` with args.
func (d *desk) run(stdin []byte, args ...string) outcome {
	d.t.Helper()
	var stdout, stderr bytes.Buffer
	s := &session{ctx: d.t.Context(), stdin: bytes.NewReader(stdin), stdout: &stdout, stderr: &stderr, json: slices.Contains(args, "--json")}
	parser, err := kong.New(&struct {
		JSON   bool      `name:"json"`
		Attest attestCmd `cmd:""`
	}{}, kong.Name("holdfast"), kong.Writers(&stdout, &stderr))
	if err != nil {
		d.t.Fatal(err)
	}
	parsed, err := parser.Parse(append([]string{"attest"}, args...))
	if err != nil {
		return outcome{stdout.String(), err.Error(), s.fail("", usageError(err))}
	}
	status := s.fail(commandName(parsed), parsed.Run(s))
	return outcome{stdout.String(), stderr.String(), status}
}

// verdict runs `holdfast attest verify --json`.
func (d *desk) verdict(args ...string) (map[string]any, int) {
	d.t.Helper()
	o := d.run(nil, append([]string{"verify", "--json"}, args...)...)
	var doc map[string]any
	if err := json.Unmarshal([]byte(o.stdout), &doc); err != nil {
		d.t.Fatalf("%v: %+v", err, o)
	}
	if o.stderr != "" {
		d.t.Errorf("beside the verdict: %s", o.stderr)
	}
	return doc, o.status
}

// TestAttestGenuine judges evidence that the vendors signed, as of a time at
// which its collateral was in force.
func TestAttestGenuine(t *testing.T) {
	const signer = "sgx/tcb_info_v3_fmspc_00606A000000_certs.pem"
	type result struct {
		Status     int
		Accepted   bool
		Reason     string
		TEE        string
		Version    float64
		TCB        string
		Advisories []any
		Debug      bool
	}
	none := []any{}
	sa := func(ids ...string) (all []any) {
		for _, id := range ids {
			all = append(all, "INTEL-SA-"+id)
		}
		return all
	}
	for _, row := range []struct {
		name, evidence string
		collateral     []string
		certs          []string
		policy         string // with %s for the measurement
		at             string
		want           result
		measurement    map[string]string
	}{
		{
			name: "SGX, processor CA, revocation lists", evidence: "sgx/sgx_quote", collateral: []string{"sgx/sgx_quote_collateral.json"}, at: "2025-06-20T00:00:00Z",
			want: result{0, true, "", "sgx", 3, "ConfigurationAndSWHardeningNeeded", sa("00289", "00615"), false},
		}, {
			name: "the same, refused by a policy", evidence: "sgx/sgx_quote", collateral: []string{"sgx/sgx_quote_collateral.json"}, at: "2025-06-20T00:00:00Z",
			policy: `{}`,
			want:   result{1, false, "tee_not_admitted", "sgx", 3, "ConfigurationAndSWHardeningNeeded", sa("00289", "00615"), false},
		}, {
			name: "the same, before its window", evidence: "sgx/sgx_quote", collateral: []string{"sgx/sgx_quote_collateral.json"}, at: "2025-06-19T10:56:10Z",
			want: result{1, false, "collateral_not_yet_valid", "sgx", 0, "", none, false},
		}, {
			name: "the same, at its start", evidence: "sgx/sgx_quote", collateral: []string{"sgx/sgx_quote_collateral.json"}, at: "2025-06-19T12:56:11+02:00",
			want: result{0, true, "", "sgx", 3, "ConfigurationAndSWHardeningNeeded", sa("00289", "00615"), false},
		}, {
			name: "the same, after its window", evidence: "sgx/sgx_quote", collateral: []string{"sgx/sgx_quote_collateral.json"}, at: "2025-07-19T10:01:19Z",
			want: result{1, false, "collateral_expired", "sgx", 0, "", none, false},
		}, {
			name: "the same without collateral", evidence: "sgx/sgx_quote", at: "2025-06-20T00:00:00Z",
			want: result{1, false, "missing_collateral", "sgx", 0, "", none, false},
		}, {
			// Without a policy that revocation was not checked is said and not judged.
			name: "SGX, platform CA, no revocation lists", evidence: "sgx/quote_v3_ecdsa_p256_pck_chain.bin",
			collateral: []string{"sgx/tcb_info_v3_fmspc_00606A000000.json", signer, "sgx/qe_identity_v2.json"}, at: "2022-12-20T00:50:04Z",
			want: result{0, true, "", "sgx", 3, "SWHardeningNeeded", sa("00615", "00657"), false},
		}, {
			name: "the same, where the policy names that", evidence: "sgx/quote_v3_ecdsa_p256_pck_chain.bin",
			collateral: []string{"sgx/qe_identity_v2.json", signer, "sgx/tcb_info_v3_fmspc_00606A000000.json"}, at: "2022-12-20T00:50:04Z",
			policy: `{"sgx":{"identities":[{"mrsigner":"9affcfae47b848ec2caf1c49b4b283531e1cc425f93582b36806e52a43d78d1a","isv_prod_id":0}],"tcb_statuses":["SWHardeningNeeded"],"revocation_unchecked":true}}`,
			want:   result{0, true, "", "sgx", 3, "SWHardeningNeeded", sa("00615", "00657"), false},
		}, {
			name: "SGX, TCB info signed by a PCK CA", evidence: "sgx/quote_v3_ecdsa_p256_pck_chain.bin",
			collateral: []string{"sgx/tcb_info_v3_fmspc_00606A000000.json", "sgx/tcb_info_v3_fmspc_00606A000000_certs_bad.pem", "sgx/qe_identity_v2.json"}, at: "2022-12-20T00:50:04Z",
			want: result{1, false, "wrong_signer", "sgx", 0, "", none, false},
		}, {
			name: "SGX, encrypted platform id", evidence: "sgx/quote_v3_ecdsa_p256_eppid.bin",
			collateral: []string{"sgx/tcb_info_v3_fmspc_00606A000000.json", signer, "sgx/qe_identity_v2.json"}, at: "2022-12-20T00:50:04Z",
			want: result{1, false, "unsupported", "sgx", 0, "", none, false},
		}, {
			name: "TDX, no revocation lists", evidence: "tdx/quote_v4_tdx_ecdsa_p256.bin",
			collateral: []string{"tdx/tcb_info_v3_tdx_fmspc_C0806F000000.json", signer, "tdx/qe_identity_v2_tdx2.json"}, at: "2024-09-02T07:43:52Z",
			want: result{0, true, "", "tdx", 4, "UpToDate", none, false},
		}, {
			// Its own TCB info is no part of the samples; test/attestation has the row
			// in full.
			name: "TDX, TCB info of another platform", evidence: "tdx/quote_v4_tdx_ecdsa_p256_out_of_date.bin",
			collateral: []string{"tdx/tcb_info_v3_tdx_fmspc_C0806F000000.json", signer, "tdx/qe_identity_v2_tdx.json"}, at: "2023-06-18T12:36:16Z",
			want: result{1, false, "collateral_mismatch", "tdx", 0, "", none, false},
		}, {
			name: "SNP, VCEK", evidence: "snp/test-report.bin", certs: []string{"snp/test-vcek.der"}, at: "2025-01-01T00:00:00Z",
			want: result{0, true, "", "snp", 2, "", none, false},
		}, {
			name: "the same, refused by a policy", evidence: "snp/test-report.bin", certs: []string{"snp/test-vcek.der"}, at: "2025-01-01T00:00:00Z",
			policy: `{"snp":{"identities":[{"measurement":"` + strings.Repeat("00", 48) + `"}]}}`,
			want:   result{1, false, "identity_not_admitted", "snp", 2, "", none, false},
		}, {
			name: "the same, admitted by a policy", evidence: "snp/test-report.bin", certs: []string{"snp/test-vcek.der"}, at: "2025-01-01T00:00:00Z",
			policy: `{"snp":{"identities":[{"measurement":"A1F3930413247BB38CFC171579EA3C12D5FE4901F0C792F63FD75D98F1EF827C23500644E0E692E6BE917F9050D3D38C","max_vmpl":3}],"revocation_unchecked":true}}`,
			want:   result{0, true, "", "snp", 2, "", none, false},
		}, {
			name: "the same, too early", evidence: "snp/test-report.bin", certs: []string{"snp/test-vcek.der"}, at: "2023-01-23T00:00:00Z",
			want: result{1, false, "certificate_not_yet_valid", "snp", 0, "", none, false},
		}, {
			name: "the same, too late", evidence: "snp/test-report.bin", certs: []string{"snp/test-vcek.der"}, at: "2030-01-25T00:00:00Z",
			want: result{1, false, "certificate_expired", "snp", 0, "", none, false},
		}, {
			name: "SNP, the certificate of another key", evidence: "snp/test-report.bin", certs: []string{"snp/test-vlek.der"}, at: "2025-01-01T00:00:00Z",
			want: result{1, false, "bad_certificate", "snp", 0, "", none, false},
		}, {
			name: "SNP without a certificate", evidence: "snp/test-report.bin", at: "2025-01-01T00:00:00Z",
			want: result{1, false, "missing_collateral", "snp", 0, "", none, false},
		}, {
			name: "SNP, VLEK", evidence: "snp/test-vlek-report.bin", collateral: []string{"snp/test-vlek.der"}, at: "2025-01-01T00:00:00Z",
			want: result{0, true, "", "snp", 3, "", none, false},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := newDesk(t)
			args := []string{sampleFile(t, row.evidence), "--time", row.at}
			for _, name := range row.collateral {
				args = append(args, "--collateral", sampleFile(t, name))
			}
			for _, name := range row.certs {
				args = append(args, "--cert", sampleFile(t, name))
			}
			if row.policy != "" {
				args = append(args, "--policy", d.write("policy.json", []byte(row.policy)))
			}
			doc, status := d.verdict(args...)
			got := result{status, doc["accepted"].(bool), doc["reason"].(string), doc["tee"].(string), doc["version"].(float64),
				doc["tcb_status"].(string), doc["advisories"].([]any), doc["debug"].(bool)}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s\n%v", diff, doc["detail"])
			}
			if doc["simulated"] != false || (doc["measurement"] != nil) != (row.want.Version > 0) || (doc["valid_until"] != nil) != (row.want.Version > 0) {
				t.Errorf("%v", doc)
			}
			people := d.run(nil, append([]string{"verify"}, args...)...)
			word := map[bool]string{true: "ACCEPTED as of ", false: "REFUSED as of "}[row.want.Accepted]
			if !strings.HasPrefix(people.stdout, word) || people.status != status {
				t.Errorf("for people: %+v", people)
			}
		})
	}
}

// TestAttestGenuineMeasurement: the document has what a script looks for.
func TestAttestGenuineMeasurement(t *testing.T) {
	d := newDesk(t)
	doc, _ := d.verdict(sampleFile(t, "sgx/sgx_quote"), "--collateral", sampleFile(t, "sgx/sgx_quote_collateral.json"), "--time", "2025-06-20T00:00:00Z")
	for name, want := range map[string]any{"valid_from": "2025-06-19T10:56:11Z", "valid_until": "2025-07-19T10:01:18Z", "reason": "", "simulated": false} {
		if doc[name] != want {
			t.Errorf("%s is %v, want %v", name, doc[name], want)
		}
	}
	m, _ := doc["measurement"].(map[string]any)
	for name, size := range map[string]int{"mrenclave": 64, "mrsigner": 64, "attributes": 32} {
		if v, _ := m[name].(string); len(v) != size {
			t.Errorf("%s is %v", name, m[name])
		}
	}
	quote, err := os.ReadFile(sampleFile(t, "sgx/sgx_quote"))
	if err != nil {
		t.Fatal(err)
	}
	if m["mrenclave"] != hex.EncodeToString(quote[112:144]) {
		t.Errorf("mrenclave %v", m["mrenclave"])
	}
}

var (
	simRoot = sync.OnceValue(simtee.NewRoot)
	simTime = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
)

const simTimeText = "2026-03-14T15:09:26Z"

func simulated(t *testing.T, cfg simtee.Config) *simtee.Platform {
	t.Helper()
	cfg.Root = simRoot()
	p, err := cfg.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mint(t *testing.T, p *simtee.Platform, tee attest.TEE) attest.Evidence {
	t.Helper()
	ev, err := p.Evidence(tee, [64]byte{1, 2, 3}, simTime)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func (d *desk) writeJSON(name string, v any) string {
	d.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.write(name, b)
}

// TestAttestSimulated: what simtee mints is accepted only where the policy names
// that it is simulated.
func TestAttestSimulated(t *testing.T) {
	p := simulated(t, simtee.Config{})
	m, program := p.Measurement(), p.Program()
	identities := map[attest.TEE]string{
		attest.SGX: fmt.Sprintf(`{"mrenclave":"%X"}`, m),
		attest.TDX: fmt.Sprintf(`{"mrtd":"%x","rtmr1":"%x","rtmr2":"%x"}`, program.MRTD, program.RTMR[1], program.RTMR[2]),
		attest.SNP: fmt.Sprintf(`{"measurement":"%x"}`, program.SNPMeasurement),
	}
	for tee, identity := range identities {
		t.Run(string(tee), func(t *testing.T) {
			d := newDesk(t)
			ev := mint(t, p, tee)
			file := d.writeJSON("evidence.json", ev)
			policy := func(terms string) string {
				return d.write("policy.json", fmt.Appendf(nil, `{%q:{"identities":[%s]%s}}`, tee, identity, terms))
			}
			for _, row := range []struct {
				name, reason string
				args         []string
			}{
				{"no policy", "simulated", nil},
				{"a policy that does not name it", "simulated", []string{"--policy", policy("")}},
			} {
				doc, status := d.verdict(append([]string{file, "--time", simTimeText}, row.args...)...)
				if status != 1 || doc["accepted"] != false || doc["reason"] != row.reason || doc["simulated"] != true || doc["measurement"] == nil {
					t.Errorf("%s: status %d, %v", row.name, status, doc)
				}
			}
			doc, status := d.verdict(file, "--time", simTimeText, "--policy", policy(`,"simulated":true`))
			if status != 0 || doc["accepted"] != true || doc["simulated"] != true || doc["tee"] != string(tee) {
				t.Errorf("status %d, %v", status, doc)
			}
			if o := d.run(nil, "verify", file, "--time", simTimeText, "--policy", policy(`,"simulated":true`)); o.status != 0 || !strings.Contains(o.stdout, "SIMULATED") {
				t.Errorf("%+v", o)
			}
		})
	}
}

// TestAttestMisfortunes: each has a reason of its own, and words on what to do.
func TestAttestMisfortunes(t *testing.T) {
	for _, row := range []struct {
		name       string
		misfortune simtee.Misfortune
		reason     map[attest.TEE]string
	}{
		{"revoked", simtee.Misfortune{Revoked: true}, map[attest.TEE]string{attest.SGX: "revoked", attest.TDX: "revoked", attest.SNP: "revoked"}},
		{"stale", simtee.Misfortune{Stale: true}, map[attest.TEE]string{attest.SGX: "collateral_expired", attest.SNP: "collateral_expired"}},
		{"out of date", simtee.Misfortune{Recovery: simtee.Announced}, map[attest.TEE]string{attest.SGX: "tcb_status_not_admitted", attest.TDX: "tcb_status_not_admitted"}},
		{"debug", simtee.Misfortune{Debug: true}, map[attest.TEE]string{attest.SGX: "debug", attest.SNP: "debug"}},
	} {
		p := simulated(t, simtee.Config{Misfortune: row.misfortune})
		m, program := p.Measurement(), p.Program()
		for tee, want := range row.reason {
			t.Run(row.name+", "+string(tee), func(t *testing.T) {
				d := newDesk(t)
				policy := d.write("policy.json", fmt.Appendf(nil, `{"sgx":{"identities":[{"mrenclave":"%x"}],"simulated":true},
					"tdx":{"identities":[{"mrtd":"%x","rtmr1":"%x","rtmr2":"%x"}],"simulated":true},"snp":{"identities":[{"measurement":"%x"}],"simulated":true}}`,
					m, program.MRTD, program.RTMR[1], program.RTMR[2], program.SNPMeasurement))
				file := d.writeJSON("evidence.json", mint(t, p, tee))
				doc, status := d.verdict(file, "--time", simTimeText, "--policy", policy)
				if status != 1 || doc["reason"] != want {
					t.Errorf("status %d, %v", status, doc)
				}
				o := d.run(nil, "show", file, "--time", simTimeText, "--policy", policy)
				if o.status != 0 || !strings.HasPrefix(o.stdout, "NOT VERIFIED") || !strings.Contains(o.stdout, attest.Reason(want).Hint()) {
					t.Errorf("shown: %+v", o)
				}
			})
		}
	}
}

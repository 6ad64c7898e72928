package govern_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
)

func lines(changes []govern.Change) []string {
	var all []string
	for _, c := range changes {
		all = append(all, c.String())
	}
	return all
}

func TestDiff(t *testing.T) {
	r := newRealm(t)
	v1, v2, pay := "SGX mrenclave:"+strings.Repeat("70", 32), "SGX mrsigner:"+strings.Repeat("83", 32)+", isv_prod_id:1, min_isv_svn:2", "SNP measurement:"+strings.Repeat("01", 48)
	tests := []struct {
		name string
		edit func(*govern.Policy)
		want []string
	}{
		{"nothing", func(p *govern.Policy) { p.Serial++ }, nil},
		{"another name", func(p *govern.Policy) { p.Nodes[0].Name = "old" }, nil},
		{"a new version of the server", func(p *govern.Policy) {
			p.Nodes = append(p.Nodes, govern.NodeEntry{Name: "v2", Identity: ofSigner(0x83, 1, 2)})
			p.Nodes[0].MayReplicate = []string{"v2"}
		}, []string{v2 + " gains: to be a node: hold the master secret and serve", v2 + " gains: to take the master secret from nodes of " + v1}},
		{"the name goes to another", func(p *govern.Policy) { p.Nodes[0].Identity = ofSigner(0x83, 1, 2) },
			[]string{v1 + " loses: to be a node: hold the master secret and serve", v2 + " gains: to be a node: hold the master secret and serve"}},
		{"a runtime", func(p *govern.Policy) {
			p.Nodes[0].MayQuery = []govern.RuntimeEntry{{"pay", []govern.Identity{guest(1)}}}
		}, []string{pay + ` gains: to get the keys of runtime "pay" from nodes of ` + v1}},
		{"enrolment opens", func(p *govern.Policy) { p.Enrolment.Mode = govern.EnrolOpen }, []string{"who bears an operator's ticket loses: to enrol apps", "anyone gains: to enrol apps"}},
		{"enrolment by evidence", func(p *govern.Policy) {
			p.Enrolment = govern.Enrolment{Mode: govern.EnrolAttested, Identities: []govern.Identity{guest(1)}}
		}, []string{"who bears an operator's ticket loses: to enrol apps", pay + " gains: to enrol apps"}},
		{"operators go", func(p *govern.Policy) { p.Operators = nil }, []string{"operator " + r.operator.Public().String() + " loses: to issue tickets, approvals and condition changes"}},
		{"approval and v2", func(p *govern.Policy) { p.Admission, p.RequireV2 = govern.AdmitApproved, true },
			[]string{"a node without an operator's approval loses: to join", "a request signed in eHSM's first scheme loses: to be heard"}},
		{"status", func(p *govern.Policy) { p.Attestation.SGX.Statuses = []attest.TCBStatus{attest.OutOfDate} },
			[]string{"SGX platform of status UpToDate loses: to be admitted", "SGX platform of status OutOfDate gains: to be admitted"}},
		{"status said as it was", func(p *govern.Policy) { p.Attestation.SGX.Statuses = []attest.TCBStatus{attest.UpToDate} }, nil},
		{"what is not genuine", func(p *govern.Policy) {
			p.Attestation.TDX.Simulated, p.Attestation.SNP.Debug, p.Attestation.SNP.RevocationUnchecked = true, true, true
		}, []string{"TDX program on a platform that is only simulated gains: to be admitted", "SNP program in debug mode, whose memory the host reads gains: to be admitted",
			"SNP platform whose revocation was not looked up gains: to be admitted"}},
		{"a platform is barred", func(p *govern.Policy) {
			p.Attestation.SGX.DenyPlatforms = []attest.Hex{{0, 0x60, 0x6a, 0, 0, 0}}
			p.Attestation.SGX.DenyAdvisories = []string{"INTEL-SA-1"}
		}, []string{"SGX platform 00606a000000 loses: to be admitted", `SGX platform to which "INTEL-SA-1" applies loses: to be admitted`}},
		{"values", func(p *govern.Policy) {
			p.Halt, p.RotationInterval, p.Activates = true, attest.Age(time.Hour), p.ValidUntil.Add(-time.Hour)
			p.EphemeralAge *= 2
			p.EvidenceAge *= 2
			p.ValidUntil = p.ValidUntil.Add(time.Hour)
			p.Attestation.SNP = attest.Terms{AllowPlatforms: []attest.Hex{{1, 2, 3, 4, 5, 6, 7, 8}}, TolerateAdvisories: []string{}, MinEvaluationNumber: 3,
				MaxCollateralAge: attest.Age(time.Hour), Roots: []attest.Hex{make(attest.Hex, 32)}}
		}, []string{"valid_until: 2030-01-02T03:04:05Z → 2030-01-02T04:04:05Z", "activates: none → 2030-01-02T02:04:05Z", "halt: false → true",
			"rotation_interval: 0s → 1h0m0s", "ephemeral_age: 1h0m0s → 2h0m0s", "evidence_age: 24h0m0s → 48h0m0s",
			"attestation/snp/allow_platforms: any → 0102030405060708", "attestation/snp/tolerate_advisories: any → []",
			"attestation/snp/min_tcb_evaluation_data_number: 0 → 3", "attestation/snp/max_collateral_age: 0s → 1h0m0s",
			"attestation/snp/roots: the vendor's → " + strings.Repeat("00", 32)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next := r.policy(1)
			tt.edit(next)
			forth, back := govern.Diff(r.policy(1), next), govern.Diff(next, r.policy(1))
			if diff := cmp.Diff(tt.want, lines(forth)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(forth) != len(back) {
				t.Errorf("forth %q, back %q", lines(forth), lines(back))
			}
			for _, c := range forth {
				if c.Kind == govern.Gains && !contains(back, govern.Change{Kind: govern.Loses, Who: c.Who, What: c.What}) {
					t.Errorf("%s: not lost on the way back", c)
				}
			}
		})
	}
}

func contains(all []govern.Change, want govern.Change) bool {
	for _, c := range all {
		if c == want {
			return true
		}
	}
	return false
}

func TestDiffOfNothing(t *testing.T) {
	p := newRealm(t).policy(1)
	for _, c := range govern.Diff(nil, p) {
		if c.Kind == govern.Loses {
			t.Errorf("from nothing: %s", c)
		}
	}
	if got := govern.Diff(nil, p); len(got) < 5 {
		t.Errorf("policy 1 gives %q", lines(got))
	}
	if got := govern.Diff(nil, nil); len(got) != 0 {
		t.Errorf("nothing and nothing: %q", lines(got))
	}
}

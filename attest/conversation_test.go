package attest_test

import (
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel/inteltest"
)

// minted is evidence of a simulated platform, bound to a conversation, and a
// policy that admits it.
type minted struct {
	name   string
	recipe *inteltest.Recipe
	policy attest.Policy
	terms  func(*attest.Policy) *attest.Terms
}

// mintable is one of each TEE that there is a recipe for.
func mintable() []minted {
	enclave := attest.Policy{SGX: attest.SGXPolicy{Identities: []attest.SGXIdentity{{MRENCLAVE: inteltest.MRENCLAVE}}}}
	machine := attest.Policy{TDX: attest.TDXPolicy{Identities: []attest.TDXIdentity{{MRTD: inteltest.MRTD, RTMR1: inteltest.RTMR1, RTMR2: inteltest.RTMR2}}}}
	enclave.SGX.Simulated, machine.TDX.Simulated = true, true
	sgxTerms := func(p *attest.Policy) *attest.Terms { return &p.SGX.Terms }
	tdxTerms := func(p *attest.Policy) *attest.Terms { return &p.TDX.Terms }
	return []minted{
		{"SGX", inteltest.New(attest.SGX, 3), enclave, sgxTerms},
		{"TDX 4", inteltest.New(attest.TDX, 4), machine, tdxTerms},
		{"TDX 5", inteltest.NewTDX15(), machine, tdxTerms},
	}
}

// bind puts report data into the recipe's report body.
func (m *minted) bind(rd [64]byte) {
	at := inteltest.AtReportData
	if m.recipe.TEE == attest.TDX {
		at = 520
	}
	copy(m.recipe.Body[at:], rd[:])
}

// TestConversations refuses genuine quotes that were made for another one.
func TestConversations(t *testing.T) {
	good := attest.Binding{
		Keys: [][]byte{[]byte("TLS key"), []byte("CA key")}, Domain: [32]byte(filled(1, 32)),
		PolicySerial: 7, PolicyDigest: [32]byte(filled(2, 32)), Nonce: filled(3, 32),
	}
	for _, c := range []struct {
		name    string
		purpose attest.Purpose
		change  func(*attest.Binding)
		want    attest.Reason
	}{
		{"this one", attest.ForService, func(*attest.Binding) {}, ""},
		{"another purpose", attest.ForNode, func(*attest.Binding) {}, attest.WrongReportData},
		{"another challenge", attest.ForService, func(b *attest.Binding) { b.Nonce = filled(4, 32) }, attest.WrongReportData},
		{"another TLS key", attest.ForService, func(b *attest.Binding) { b.Keys = [][]byte{[]byte("tls key"), []byte("CA key")} }, attest.WrongReportData},
		{"another CA key", attest.ForService, func(b *attest.Binding) { b.Keys = [][]byte{[]byte("TLS key"), []byte("ca key")} }, attest.WrongReportData},
		{"another domain", attest.ForService, func(b *attest.Binding) { b.Domain[0]++ }, attest.WrongReportData},
		{"an earlier policy", attest.ForService, func(b *attest.Binding) { b.PolicySerial-- }, attest.WrongReportData},
		{"another policy", attest.ForService, func(b *attest.Binding) { b.PolicyDigest[0]++ }, attest.WrongReportData},
	} {
		t.Run(c.name, func(t *testing.T) {
			binding := good
			c.change(&binding)
			for _, m := range mintable() {
				m.bind(attest.ReportData(c.purpose, binding))
				p := m.policy.BoundTo(attest.ReportData(attest.ForService, good))
				claims, err := verifiers.Verify(m.recipe.Evidence(t), p, m.recipe.Now)
				if attest.ReasonOf(err) != c.want || claims.TEE != m.recipe.TEE {
					t.Errorf("%s: %v, want %q", m.name, err, string(c.want))
				}
			}
		})
	}
}

// TestMintedUnderPolicies is what a policy refuses of evidence that holds.
func TestMintedUnderPolicies(t *testing.T) {
	fmspc := func(text string) attest.Hex {
		var h attest.Hex
		if err := h.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return h
	}
	older := func(m *minted) { m.recipe.QEReport[inteltest.AtISVSVN] = 4 }
	for _, c := range []struct {
		name  string
		spoil func(*minted)
		terms func(*attest.Terms)
		want  attest.Reason
	}{
		{"admitted", nil, func(*attest.Terms) {}, ""},
		{"simulated", nil, func(t *attest.Terms) { t.Simulated = false }, attest.NotHardware},
		{"lower evaluation number of the QE identity", nil, func(t *attest.Terms) { t.MinEvaluationNumber = 21 }, attest.EvaluationTooLow},
		{"lower evaluation number of the TCB info", func(m *minted) { m.recipe.TCBInfo.Body["tcbEvaluationDataNumber"] = 19 }, func(t *attest.Terms) { t.MinEvaluationNumber = 20 }, attest.EvaluationTooLow},
		{"FMSPC on the deny list", nil, func(t *attest.Terms) { t.DenyPlatforms = []attest.Hex{fmspc("d0e1c0ffee00")} }, attest.PlatformDenied},
		{"FMSPC in other case on the deny list", nil, func(t *attest.Terms) { t.DenyPlatforms = []attest.Hex{fmspc("D0E1C0FFEE00")} }, attest.PlatformDenied},
		{"FMSPC in other case in the TCB info", func(m *minted) { m.recipe.TCBInfo.Body["fmspc"] = "D0E1C0FFEE00" }, func(t *attest.Terms) { t.DenyPlatforms = []attest.Hex{fmspc("d0e1c0ffee00")} }, attest.PlatformDenied},
		{"out of date", older, func(*attest.Terms) {}, attest.StatusNotAdmitted},
		{"out of date, accepted", older, func(t *attest.Terms) { t.Statuses = []attest.TCBStatus{attest.UpToDate, attest.OutOfDate} }, ""},
		{"advisory", older, func(t *attest.Terms) {
			t.Statuses, t.DenyAdvisories = []attest.TCBStatus{attest.OutOfDate}, []string{"INTEL-SA-99902"}
		}, attest.AdvisoryDenied},
		{"collateral of two days ago", nil, func(t *attest.Terms) { t.MaxCollateralAge = attest.Age(47 * 3600e9) }, attest.CollateralTooOld},
		{"no revocation lists", func(m *minted) { m.recipe.RootCRL, m.recipe.PCKCRL = nil, nil }, func(*attest.Terms) {}, attest.RevocationUnknown},
		{"debug", func(m *minted) {
			m.recipe.Body[map[attest.TEE]int{attest.SGX: inteltest.AtAttributes, attest.TDX: inteltest.AtTDAttributes}[m.recipe.TEE]] |= 2
		}, func(*attest.Terms) {}, attest.DebugEnabled},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, m := range mintable() {
				if c.spoil != nil {
					c.spoil(&m)
				}
				c.terms(m.terms(&m.policy))
				claims, err := verifiers.Verify(m.recipe.Evidence(t), m.policy, m.recipe.Now)
				if attest.ReasonOf(err) != c.want || claims.TEE != m.recipe.TEE {
					t.Errorf("%s: %v, want %q", m.name, err, string(c.want))
				}
			}
		})
	}
}

// TestOtherTEE offers evidence under the name of another kind.
func TestOtherTEE(t *testing.T) {
	all := mintable()
	for i, m := range all {
		ev := m.recipe.Evidence(t)
		ev.TEE = all[(i+1)%2].recipe.TEE
		if ev.TEE == m.recipe.TEE {
			continue
		}
		if _, err := verifiers.Verify(ev, m.policy, m.recipe.Now); !errors.Is(err, attest.Unsupported) {
			t.Errorf("%s as %s: %v", m.name, ev.TEE, err)
		}
	}
}

package govern_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

func TestPolicyRefused(t *testing.T) {
	r := newRealm(t)
	manyOperators := make([]govern.PublicKey, govern.MaxOperators+1)
	v2 := govern.NodeEntry{Name: "v2", Identity: ofSigner(0x83, 1, 2)}
	query := func(entries ...govern.RuntimeEntry) func(*govern.Policy) {
		return func(p *govern.Policy) { p.Nodes[0].MayQuery = entries }
	}
	replicate := func(names ...string) func(*govern.Policy) {
		return func(p *govern.Policy) { p.Nodes = append(p.Nodes, v2); p.Nodes[0].MayReplicate = names }
	}
	identity := func(id govern.Identity) func(*govern.Policy) {
		return func(p *govern.Policy) { p.Nodes[0].Identity = id }
	}
	tests := []struct {
		name  string
		edit  func(*govern.Policy)
		field string
	}{
		{"version 2", func(p *govern.Policy) { p.Version = 2 }, "version"},
		{"no charter", func(p *govern.Policy) { p.CharterDigest = govern.Digest{} }, "charter_digest"},
		{"serial 0", func(p *govern.Policy) { p.Serial = 0 }, "serial"},
		{"serial beyond", func(p *govern.Policy) { p.Serial = govern.MaxSerial + 1 }, "serial"},
		{"policy 2 without domain", func(p *govern.Policy) { p.Domain = kms.DomainID{} }, "domain"},
		{"policy 2 without previous", func(p *govern.Policy) { p.Previous = govern.Digest{} }, "previous"},
		{"policy 1 with domain", func(p *govern.Policy) { p.Serial, p.Previous = 1, govern.Digest{} }, "domain"},
		{"policy 1 with previous", func(p *govern.Policy) { p.Serial, p.Domain = 1, kms.DomainID{} }, "previous"},
		{"no end", func(p *govern.Policy) { p.ValidUntil = time.Time{} }, "valid_until"},
		{"end within a second", func(p *govern.Policy) { p.ValidUntil = p.ValidUntil.Add(1) }, "valid_until"},
		{"end in year 10000", func(p *govern.Policy) { p.ValidUntil = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "valid_until"},
		{"begins at its end", func(p *govern.Policy) { p.Activates = p.ValidUntil }, "activates"},
		{"begins after its end", func(p *govern.Policy) { p.Activates = p.ValidUntil.Add(time.Second) }, "activates"},
		{"begins within a second", func(p *govern.Policy) { p.Activates = p.ValidUntil.Add(-1) }, "activates"},
		{"no nodes", func(p *govern.Policy) { p.Nodes = nil }, "nodes"},
		{"entry without name", func(p *govern.Policy) { p.Nodes[0].Name = "" }, "nodes/0/name"},
		{"entry with a name of two", func(p *govern.Policy) { p.Nodes = append(p.Nodes, v2, v2) }, "nodes/2/name"},
		{"entry with an identity of two", func(p *govern.Policy) {
			p.Nodes = append(p.Nodes, v2, govern.NodeEntry{Name: "v3", Identity: v2.Identity})
		}, "nodes/2"},
		{"no identity", identity(govern.Identity{}), "nodes/0"},
		{"two identities in one", identity(govern.Identity{SGX: enclave(1).SGX, TDX: td(1).TDX}), "nodes/0"},
		{"measurement short", identity(govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: make([]byte, 31)}}), "nodes/0"},
		{"signer without product", identity(govern.Identity{SGX: &attest.SGXIdentity{MRSIGNER: make([]byte, 32)}}), "nodes/0"},
		{"TDX firmware alone", identity(govern.Identity{TDX: &attest.TDXIdentity{MRTD: make([]byte, 48)}}), "nodes/0"},
		{"SNP without measurement", identity(govern.Identity{SNP: &attest.SNPIdentity{}}), "nodes/0"},
		{"SNP product with a comma", identity(govern.Identity{SNP: &attest.SNPIdentity{Measurement: make([]byte, 48), Products: []string{"Milan, Genoa"}}}), "nodes/0"},
		{"replicates to no entry", replicate("v3"), "nodes/0/may_replicate/0"},
		{"replicates to itself", replicate("v2", "v1"), "nodes/0/may_replicate/1"},
		{"replicates twice", replicate("v2", "v2"), "nodes/0/may_replicate/1"},
		{"runtime without name", query(govern.RuntimeEntry{Identities: []govern.Identity{enclave(1)}}), "nodes/0/may_query/0/runtime"},
		{"runtime twice", query(govern.RuntimeEntry{"pay", []govern.Identity{enclave(1)}}, govern.RuntimeEntry{"pay", []govern.Identity{enclave(2)}}), "nodes/0/may_query/1/runtime"},
		{"runtime without identity", query(govern.RuntimeEntry{Runtime: "pay"}), "nodes/0/may_query/0/identities"},
		{"runtime with one twice", query(govern.RuntimeEntry{"pay", []govern.Identity{enclave(1), enclave(1)}}), "nodes/0/may_query/0/identities/1"},
		{"runtime with an empty one", query(govern.RuntimeEntry{"pay", []govern.Identity{{}}}), "nodes/0/may_query/0/identities/0"},
		{"enrolment of no mode", func(p *govern.Policy) { p.Enrolment.Mode = 4 }, "enrolment/mode"},
		{"enrolment attested by nobody", func(p *govern.Policy) { p.Enrolment.Mode = govern.EnrolAttested }, "enrolment/identities"},
		{"enrolment open with identities", func(p *govern.Policy) {
			p.Enrolment = govern.Enrolment{Mode: govern.EnrolOpen, Identities: []govern.Identity{enclave(1)}}
		}, "enrolment/identities"},
		{"enrolment of an empty one", func(p *govern.Policy) {
			p.Enrolment = govern.Enrolment{Mode: govern.EnrolAttested, Identities: []govern.Identity{{}}}
		}, "enrolment/identities/0"},
		{"operator twice", func(p *govern.Policy) { p.Operators = append(p.Operators, p.Operators[0]) }, "operators/1"},
		{"operator none", func(p *govern.Policy) { p.Operators[0] = govern.PublicKey{} }, "operators/0"},
		{"operators too many", func(p *govern.Policy) { p.Operators = manyOperators }, "operators"},
		{"no admission", func(p *govern.Policy) { p.Admission = 0 }, "admission"},
		{"unknown admission", func(p *govern.Policy) { p.Admission = 3 }, "admission"},
		{"status Revoked", func(p *govern.Policy) { p.Attestation.SGX.Statuses = []attest.TCBStatus{attest.TCBRevoked} }, "attestation"},
		{"platform of no length", func(p *govern.Policy) { p.Attestation.TDX.DenyPlatforms = []attest.Hex{{1}} }, "attestation"},
		{"negative age of collateral", func(p *govern.Policy) { p.Attestation.SNP.MaxCollateralAge = -1 }, "attestation"},
		{"rotation negative", func(p *govern.Policy) { p.RotationInterval = -1 }, "rotation_interval"},
		{"rotation below a second", func(p *govern.Policy) { p.RotationInterval = 1 }, "rotation_interval"},
		{"rotation beyond", func(p *govern.Policy) { p.RotationInterval = attest.Age(3651 * 24 * time.Hour) }, "rotation_interval"},
		{"no ephemeral age", func(p *govern.Policy) { p.EphemeralAge = 0 }, "ephemeral_age"},
		{"ephemeral age beyond", func(p *govern.Policy) { p.EphemeralAge = attest.Age(721 * time.Hour) }, "ephemeral_age"},
		{"no evidence age", func(p *govern.Policy) { p.EvidenceAge = 0 }, "evidence_age"},
		{"evidence age beyond", func(p *govern.Policy) { p.EvidenceAge = attest.Age(721 * time.Hour) }, "evidence_age"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := r.after(r.founding.Policy)
			tt.edit(p)
			checkInvalid(t, p.Validate(), kms.Invalid, tt.field)
			if _, err := govern.ParsePolicy(p.Canonical()); !errors.Is(err, kms.Invalid) {
				t.Errorf("its print parses: %v", err)
			}
			if err := r.founding.Policy.Validate(); err != nil {
				t.Fatal(err)
			}
		})
	}
	halted := r.after(r.founding.Policy)
	halted.Nodes, halted.Halt = nil, true
	if err := halted.Validate(); err != nil {
		t.Errorf("a policy that means to halt: %v", err)
	}
}

func TestPolicyTextRefused(t *testing.T) {
	r := newRealm(t)
	whole := string(r.after(r.founding.Policy).Canonical())
	swap := func(old, new string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("%q is not in the policy", old)
		}
		return strings.Replace(whole, old, new, 1)
	}
	tests := []struct{ name, doc, field string }{
		{"unknown member", swap(`{`, `{"threshold":1,`), "threshold"},
		{"unknown member within", swap(`"mrenclave"`, `"mr_enclave"`), "nodes/0/identity/sgx/mr_enclave"},
		{"member twice", swap(`{`, `{"serial":2,`), "serial"},
		{"member twice within", swap(`"name":"v1"`, `"name":"v1","name":"v1"`), "nodes/0/name"},
		{"null in a list", swap(`"may_replicate":[]`, `"may_replicate":[null]`), "nodes/0/may_replicate/0"},
		{"null deep", swap(`{"mrenclave"`, `{"mrsigner":null,"mrenclave"`), "nodes/0/identity/sgx/mrsigner"},
		{"tolerated advisories null", swap(`"attestation":{}`, `"attestation":{"sgx":{"tolerate_advisories":null}}`), "attestation/sgx/tolerate_advisories"},
		{"missing deep", swap(`,"may_query":[]`, ``), "nodes/0/may_query"},
		{"serial as text", swap(`"serial":2`, `"serial":"2"`), "serial"},
		{"serial as fraction", swap(`"serial":2`, `"serial":2.0`), "serial"},
		{"serial negative", swap(`"serial":2`, `"serial":-2`), "serial"},
		{"time with offset", swap(`03:04:05Z`, `03:04:05+00:00`), "valid_until"},
		{"time with fraction", swap(`03:04:05Z`, `03:04:05.0Z`), "valid_until"},
		{"time on no day", swap(`2030-01-02`, `2030-02-30`), "valid_until"},
		{"time as number", swap(`"2030-01-02T03:04:05Z"`, `1893553445`), "valid_until"},
		{"time empty", swap(`2030-01-02T03:04:05Z`, ``), "valid_until"},
		{"mode in another case", swap(`"ticket"`, `"Ticket"`), "enrolment/mode"},
		{"mode empty", swap(`"ticket"`, `""`), "enrolment/mode"},
		{"admission empty", swap(`"admission":"attested"`, `"admission":""`), "admission"},
		{"halt as text", swap(`"halt":false`, `"halt":"false"`), "halt"},
		{"domain empty", swap(r.founding.Domain.String(), ``), "domain"},
		{"domain in upper case", swap(r.founding.Domain.String(), strings.ToUpper(r.founding.Domain.String())), "domain"},
		{"age without unit", swap(`"1h0m0s"`, `"3600"`), "ephemeral_age"},
		{"measurement of odd length", swap(strings.Repeat("70", 32), strings.Repeat("7", 63)), "nodes/0/identity/sgx/mrenclave"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := govern.ParsePolicy([]byte(tt.doc))
			if p != nil {
				t.Error("a policy came back")
			}
			checkInvalid(t, err, kms.Invalid, tt.field)
		})
	}
}

func TestDigestMovesWithEveryMember(t *testing.T) {
	r := newRealm(t)
	seen := map[govern.Digest]string{}
	for i, edit := range []func(*govern.Policy){
		func(*govern.Policy) {},
		func(p *govern.Policy) { p.Domain[0]++ },
		func(p *govern.Policy) { p.CharterDigest[0]++ },
		func(p *govern.Policy) { p.Serial++ },
		func(p *govern.Policy) { p.Previous[0]++ },
		func(p *govern.Policy) { p.ValidUntil = p.ValidUntil.Add(time.Second) },
		func(p *govern.Policy) { p.Activates = p.ValidUntil.Add(-time.Second) },
		func(p *govern.Policy) { p.Halt = true },
		func(p *govern.Policy) { p.Attestation.SGX.Simulated = true },
		func(p *govern.Policy) { p.Attestation.TDX.Simulated = true },
		func(p *govern.Policy) { p.Attestation.SNP.Simulated = true },
		func(p *govern.Policy) { p.Attestation.SGX.TolerateAdvisories = []string{} },
		func(p *govern.Policy) { p.Nodes[0].Name = "v" },
		func(p *govern.Policy) { p.Nodes[0].Identity = enclave(1) },
		func(p *govern.Policy) { p.Nodes[0].MayReplicate = []string{"v2"} },
		func(p *govern.Policy) { p.Nodes[0].MayQuery = []govern.RuntimeEntry{{Runtime: "pay"}} },
		func(p *govern.Policy) { p.Enrolment.Mode = govern.EnrolOpen },
		func(p *govern.Policy) { p.Enrolment.Identities = []govern.Identity{enclave(1)} },
		func(p *govern.Policy) { p.Operators = nil },
		func(p *govern.Policy) { p.Admission = govern.AdmitApproved },
		func(p *govern.Policy) { p.RotationInterval++ },
		func(p *govern.Policy) { p.EphemeralAge++ },
		func(p *govern.Policy) { p.EvidenceAge++ },
		func(p *govern.Policy) { p.RequireV2 = true },
	} {
		p := r.after(r.founding.Policy)
		edit(p)
		if other, ok := seen[p.Digest()]; ok {
			t.Errorf("edit %d has the digest of %s", i, other)
		}
		seen[p.Digest()] = fmt.Sprint("edit ", i)
	}
}

func TestWhoIsAdmitted(t *testing.T) {
	p := newRealm(t).policy(1)
	p.Nodes = []govern.NodeEntry{
		{Name: "v1", Identity: enclave(0x70), MayReplicate: []string{"v2"}, MayQuery: []govern.RuntimeEntry{{"pay", []govern.Identity{enclave(0xaa), td(1)}}}},
		{Name: "v2", Identity: ofSigner(0x83, 0, 5)},
	}
	p.Enrolment = govern.Enrolment{Mode: govern.EnrolAttested, Identities: []govern.Identity{guest(1), enclave(0xcc)}}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	v1, v2, pay, other := claims(0x70, 0), claims(0x71, 0x83), claims(0xaa, 0), claims(0xbb, 0)
	admits := func(q attest.Policy, c attest.Claims) bool { return q.Admit(c, now) == nil }
	if !admits(p.NodePolicy(), v1) || !admits(p.NodePolicy(), v2) || admits(p.NodePolicy(), pay) || admits(p.NodePolicy(), other) {
		t.Error("NodePolicy admits others than its nodes")
	}
	if !admits(p.EnrolmentPolicy(), claims(0xcc, 0)) || admits(p.EnrolmentPolicy(), v1) || admits(p.Admitting(nil), v1) {
		t.Error("others than its programs may enrol")
	}
	simulated := v1
	simulated.Simulated = true
	if admits(p.NodePolicy(), simulated) || len(p.Entries(simulated, now)) != 0 {
		t.Error("a simulated node is admitted where nothing says so")
	}
	if got := p.Entries(v2, now); len(got) != 1 || got[0].Name != "v2" {
		t.Errorf("entries of v2: %v", got)
	}
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"v1 to v1", p.MayReplicate(v1, v1, now), true},
		{"v1 to v2", p.MayReplicate(v1, v2, now), true},
		{"v2 to v1", p.MayReplicate(v2, v1, now), false},
		{"v1 to another", p.MayReplicate(v1, other, now), false},
		{"another to v1", p.MayReplicate(other, v1, now), false},
		{"another to itself", p.MayReplicate(other, other, now), false},
		{"pay asks v1", p.MayQuery(v1, "pay", pay, now), true},
		{"pay asks v2", p.MayQuery(v2, "pay", pay, now), false},
		{"another asks v1", p.MayQuery(v1, "pay", other, now), false},
		{"pay asks for another runtime", p.MayQuery(v1, "salary", pay, now), false},
		{"pay asks a node that is none", p.MayQuery(other, "pay", pay, now), false},
	} {
		if (tt.err == nil) != tt.want || tt.err != nil && !errors.Is(tt.err, kms.Denied) {
			t.Errorf("%s: %v", tt.name, tt.err)
		}
	}
	for _, m := range []govern.EnrolmentMode{govern.EnrolClosed, govern.EnrolOpen, govern.EnrolTicket} {
		p.Enrolment.Mode = m
		if admits(p.EnrolmentPolicy(), claims(0xcc, 0)) {
			t.Errorf("%s admits by evidence", m)
		}
	}
}

func TestZeroPolicyAdmitsNobody(t *testing.T) {
	var p govern.Policy
	c := claims(0, 0)
	for name, q := range map[string]attest.Policy{"nodes": p.NodePolicy(), "enrolment": p.EnrolmentPolicy()} {
		if q.Admit(c, now) == nil {
			t.Errorf("%s: somebody is admitted", name)
		}
	}
	if p.Enrolment.Mode != govern.EnrolClosed || p.ValidAt(now) == nil || p.MayReplicate(c, c, now) == nil || p.MayQuery(c, "", c, now) == nil {
		t.Error("the zero policy gives a right")
	}
}

func TestIdentityPrintsAllOfItself(t *testing.T) {
	for want, id := range map[string]govern.Identity{
		"SGX mrenclave:" + strings.Repeat("70", 32):                                              enclave(0x70),
		"SGX mrsigner:" + strings.Repeat("83", 32) + ", isv_prod_id:0, min_isv_svn:3":            ofSigner(0x83, 0, 3),
		"SNP measurement:" + strings.Repeat("01", 48) + ", products:[Milan, Genoa], no_smt:true": {SNP: &attest.SNPIdentity{Measurement: bytes.Repeat([]byte{1}, 48), Products: []string{"Milan", "Genoa"}, NoSMT: true}},
		"no identity": {},
	} {
		if got := id.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

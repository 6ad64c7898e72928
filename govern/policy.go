package govern

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// PolicyVersion is the one version of the policy that is understood.
const PolicyVersion = 1

// MaxSerial is the highest serial: what every JSON reader holds exactly.
const MaxSerial = 1<<53 - 1

// A Policy says who may replicate, query and operate, until the next one does.
// The zero Policy is not valid and admits nobody: what it has no entry for has
// no right.
//
// Policy 1 has neither Domain nor Previous, for the domain's ID is made over
// the bootstrap that names it.
type Policy struct {
	Version       int          `json:"version"`         // PolicyVersion
	Domain        kms.DomainID `json:"domain,omitzero"` // from serial 2 on
	CharterDigest Digest       `json:"charter_digest"`  // Charter.Digest, amended or not
	Serial        uint64       `json:"serial"`          // 1, 2, … MaxSerial
	Previous      Digest       `json:"previous,omitzero"`

	ValidUntil time.Time `json:"valid_until"`        // whole seconds; from then on it admits no client
	Activates  time.Time `json:"activates,omitzero"` // whole seconds, before ValidUntil; zero: at once
	Halt       bool      `json:"halt"`               // it may leave the domain without a quorum

	Attestation Requirements `json:"attestation"` // of all evidence in the domain
	Nodes       []NodeEntry  `json:"nodes"`       // at least one, unless Halt
	Enrolment   Enrolment    `json:"enrolment"`   // of apps
	Operators   []PublicKey  `json:"operators"`   // sign tickets, approvals and condition changes
	Admission   Admission    `json:"admission"`   // of nodes

	RotationInterval attest.Age `json:"rotation_interval"` // of the master secret: 0 (on demand alone), or 1 s to 10 years
	EphemeralAge     attest.Age `json:"ephemeral_age"`     // how long an ephemeral secret is kept: 1 s to 30 days
	EvidenceAge      attest.Age `json:"evidence_age"`      // how long evidence stands before it is asked for again: 1 s to 30 days
	RequireV2        bool       `json:"require_v2"`        // refuse requests signed in eHSM's first scheme

	// AuditSinks are the names of the audit sinks that must have an operation's entry
	// before its result is released, on every node; none: operations leave entries
	// where nodes have sinks, and wait for none.
	AuditSinks []string `json:"audit_sinks,omitempty"`

	Limits Limits `json:"limits,omitzero"` // of apps; left out where there are none but the defaults

	domain kms.DomainID // of the Standing that opened it; zero where none did
}

// A NodeEntry gives an identity of nodes its rights. Nodes that match it may
// hold the master secret and replicate it among themselves.
type NodeEntry struct {
	Name         string         `json:"name"` // unique in the policy
	Identity     Identity       `json:"identity"`
	MayReplicate []string       `json:"may_replicate"` // names of other entries whose nodes may take the master secret from these
	MayQuery     []RuntimeEntry `json:"may_query"`     // who may ask these nodes for a runtime's keys
}

// A RuntimeEntry lists the programs that are a runtime.
type RuntimeEntry struct {
	Runtime    string     `json:"runtime"`    // unique in its node's entry
	Identities []Identity `json:"identities"` // at least one
}

// Enrolment says how apps get their first credential.
type Enrolment struct {
	Mode       EnrolmentMode `json:"mode"`
	Identities []Identity    `json:"identities"` // of the programs to enrol: at least one if Mode is EnrolAttested, else none
}

// An EnrolmentMode says who may enrol.
type EnrolmentMode uint8

// The enrolment modes.
const (
	EnrolClosed   EnrolmentMode = iota // nobody
	EnrolOpen                          // anyone
	EnrolTicket                        // who has an operator's Ticket
	EnrolAttested                      // programs of Enrolment.Identities
)

var enrolmentNames = [...]string{EnrolClosed: "closed", EnrolOpen: "open", EnrolTicket: "ticket", EnrolAttested: "attested"}

// Valid reports whether m is one of the modes above.
func (m EnrolmentMode) Valid() bool { return int(m) < len(enrolmentNames) }

func (m EnrolmentMode) String() string {
	if !m.Valid() {
		return fmt.Sprintf("EnrolmentMode(%d)", uint8(m))
	}
	return enrolmentNames[m]
}

// MarshalText prints the mode's name.
func (m EnrolmentMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the mode's name.
func (m *EnrolmentMode) UnmarshalText(text []byte) error {
	return readEnum(m, enrolmentNames[:], string(text))
}

// An Admission says what a node needs in order to join.
type Admission uint8

// The kinds of admission.
const (
	AdmitAttested Admission = iota + 1 // evidence that the policy admits
	AdmitApproved                      // that, and an operator's Approval
)

var admissionNames = [...]string{AdmitAttested: "attested", AdmitApproved: "approved"}

// Valid reports whether a is one of the kinds above.
func (a Admission) Valid() bool { return a > 0 && int(a) < len(admissionNames) }

func (a Admission) String() string {
	if !a.Valid() {
		return fmt.Sprintf("Admission(%d)", uint8(a))
	}
	return admissionNames[a]
}

// MarshalText prints the kind's name.
func (a Admission) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the kind's name.
func (a *Admission) UnmarshalText(text []byte) error {
	return readEnum(a, admissionNames[:], string(text))
}

// ParsePolicy reads a policy or a draft of one and validates it. It asks for no
// signature: what rules a domain comes from Found or a Standing. The error is
// Invalid or TooLarge and names the member at fault where one is.
func ParsePolicy(b []byte) (*Policy, error) { return parseDocument[Policy]("policy", b) }

// Canonical prints the policy; ParsePolicy reads it back.
func (p *Policy) Canonical() []byte { return canonical(p) }

// Digest names the policy. It is over the canonical form, not the signatures.
func (p *Policy) Digest() Digest { return digest(policyLabel, p.Canonical()) }

// InDomain is the domain that the policy was opened for, zero where none did.
func (p *Policy) InDomain() kms.DomainID { return p.domain }

// ValidAt says whether a client may rely on the policy at that time. The error
// is Expired.
func (p *Policy) ValidAt(at time.Time) error {
	if !at.Before(p.ValidUntil) {
		return kms.Errorf(kms.Expired, "policy %d: was valid until %s", p.Serial, p.ValidUntil.UTC().Format(timeLayout)).WithField("valid_until").
			WithHint("the signers have to issue the next policy")
	}
	return nil
}

// NodePolicy admits the nodes of every entry.
func (p *Policy) NodePolicy() attest.Policy {
	var ids []Identity
	for _, n := range p.Nodes {
		ids = append(ids, n.Identity)
	}
	return p.Admitting(ids)
}

// Admitting admits these identities under the domain's requirements; none,
// nobody.
func (p *Policy) Admitting(ids []Identity) attest.Policy { return p.Attestation.admitting(ids...) }

// EnrolmentPolicy admits the programs that may enrol; nobody, unless the mode is
// EnrolAttested.
func (p *Policy) EnrolmentPolicy() attest.Policy {
	if p.Enrolment.Mode != EnrolAttested {
		return attest.Policy{}
	}
	return p.Admitting(p.Enrolment.Identities)
}

// Entries are those that c has a part in, as of the time at.
func (p *Policy) Entries(c attest.Claims, at time.Time) []NodeEntry {
	var all []NodeEntry
	for _, n := range p.Nodes {
		if p.Attestation.admits([]Identity{n.Identity}, c, at) == nil {
			all = append(all, n)
		}
	}
	return all
}

// MayReplicate says whether a node that proved from may hand the master secret
// to one that proved to, as of the time at. The error is Denied.
func (p *Policy) MayReplicate(from, to attest.Claims, at time.Time) error {
	sources, takers := p.Entries(from, at), p.Entries(to, at)
	for _, s := range sources {
		for _, t := range takers {
			if s.Name == t.Name || slices.Contains(s.MayReplicate, t.Name) {
				return nil
			}
		}
	}
	return kms.Errorf(kms.Denied, "policy %d: nodes of %s may not replicate to nodes of %s", p.Serial, entryNames(sources), entryNames(takers)).
		WithHint("the policy's may_replicate lists, per entry, who may take from it")
}

func entryNames(entries []NodeEntry) string {
	if len(entries) == 0 {
		return "no entry"
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	return fmt.Sprintf("%q", names)
}

// MayQuery says whether a program that proved caller may ask a node that proved
// node for the keys of a runtime, as of the time at. The error is Denied.
func (p *Policy) MayQuery(node attest.Claims, runtime string, caller attest.Claims, at time.Time) error {
	refusal := kms.Errorf(kms.Denied, "the node has no entry that lists it")
	for _, n := range p.Entries(node, at) {
		for _, r := range n.MayQuery {
			if r.Runtime != runtime {
				continue
			}
			err := p.Attestation.admits(r.Identities, caller, at)
			if err == nil {
				return nil
			}
			refusal = kms.Errorf(kms.Denied, "%w", err)
		}
	}
	return kms.Errorf(kms.Denied, "policy %d: runtime %q: %w", p.Serial, runtime, refusal.Err).WithHint(kms.HintOf(refusal.Err))
}

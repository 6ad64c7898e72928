package govern

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
)

// A ChangeKind says which way a change goes.
type ChangeKind uint8

// The kinds of changes.
const (
	Loses  ChangeKind = iota + 1 // somebody may do less
	Gains                        // somebody may do more
	Alters                       // another value
)

func (k ChangeKind) String() string {
	switch k {
	case Loses:
		return "loses"
	case Gains:
		return "gains"
	case Alters:
		return "alters"
	}
	return fmt.Sprintf("ChangeKind(%d)", uint8(k))
}

// MarshalText prints the kind's name.
func (k ChangeKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// A Change is one thing in which two policies differ, in words.
type Change struct {
	Kind ChangeKind `json:"kind"`
	Who  string     `json:"who"`  // whom it concerns, or the member that alters
	What string     `json:"what"` // what they may do, or "old → new"
}

func (c Change) String() string {
	if c.Kind == Alters {
		return c.Who + ": " + c.What
	}
	return c.Who + " " + c.Kind.String() + ": " + c.What
}

// Diff says who loses and who gains what when next takes the place of old, and
// what else is altered: losses first, each part in the order of the document. A
// nil policy gives nobody anything.
func Diff(old, next *Policy) []Change {
	before, after := rightsOf(old), rightsOf(next)
	var all []Change
	for _, r := range before {
		if !slices.Contains(after, r) {
			all = append(all, Change{Loses, r.who, r.what})
		}
	}
	for _, r := range after {
		if !slices.Contains(before, r) {
			all = append(all, Change{Gains, r.who, r.what})
		}
	}
	all = append(all, diffBars(barsOf(old), barsOf(next))...)
	was, is := settingsOf(old), settingsOf(next)
	for i := range is {
		if was[i] != is[i] {
			all = append(all, Change{Alters, is[i].name, was[i].value + " → " + is[i].value})
		}
	}
	slices.SortStableFunc(all, func(a, b Change) int { return int(a.Kind) - int(b.Kind) })
	return all
}

// A right is what a policy lets somebody do.
type right struct{ who, what string }

func rightsOf(p *Policy) []right {
	if p == nil {
		return nil
	}
	var all []right
	add := func(who, what string) {
		if r := (right{who, what}); !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	for _, n := range p.Nodes {
		add(n.Identity.String(), "to be a node: hold the master secret and serve")
	}
	for _, n := range p.Nodes {
		p.addEntryRights(n, add)
	}
	p.addEnrolmentRights(add)
	if p.Admission == AdmitAttested {
		add("a node without an operator's approval", "to join")
	}
	if !p.RequireV2 {
		add("a request signed in eHSM's first scheme", "to be heard")
	}
	for _, k := range p.Operators {
		add("operator "+k.String(), "to issue tickets, approvals and condition changes")
	}
	addPlatformRights("SGX", p.Attestation.SGX, add)
	addPlatformRights("TDX", p.Attestation.TDX, add)
	addPlatformRights("SNP", p.Attestation.SNP, add)
	return all
}

// addEntryRights says rights by identity, not by the name of an entry, which
// may go to another.
func (p *Policy) addEntryRights(n NodeEntry, add func(who, what string)) {
	for _, name := range n.MayReplicate {
		for _, taker := range p.Nodes {
			if taker.Name == name {
				add(taker.Identity.String(), "to take the master secret from nodes of "+n.Identity.String())
			}
		}
	}
	for _, r := range n.MayQuery {
		for _, id := range r.Identities {
			add(id.String(), fmt.Sprintf("to get the keys of runtime %q from nodes of %s", r.Runtime, n.Identity))
		}
	}
}

func (p *Policy) addEnrolmentRights(add func(who, what string)) {
	const what = "to enrol apps"
	switch p.Enrolment.Mode {
	case EnrolOpen:
		add("anyone", what)
	case EnrolTicket:
		add("who bears an operator's ticket", what)
	case EnrolAttested:
		for _, id := range p.Enrolment.Identities {
			add(id.String(), what)
		}
	}
}

const admitted = "to be admitted"

// addPlatformRights says what terms let through beside what all terms do.
func addPlatformRights(tee string, t attest.Terms, add func(who, what string)) {
	statuses := t.Statuses
	if len(statuses) == 0 {
		statuses = []attest.TCBStatus{attest.UpToDate}
	}
	if tee != "SNP" {
		for _, s := range statuses {
			add(fmt.Sprintf("%s platform of status %s", tee, s), admitted)
		}
	}
	if t.Debug {
		add(tee+" program in debug mode, whose memory the host reads", admitted)
	}
	if t.Simulated {
		add(tee+" program on a platform that is only simulated", admitted)
	}
	if t.RevocationUnchecked {
		add(tee+" platform whose revocation was not looked up", admitted)
	}
}

// barsOf says whom a policy refuses by name.
func barsOf(p *Policy) []string {
	if p == nil {
		return nil
	}
	var all []string
	for _, t := range []struct {
		tee   string
		terms attest.Terms
	}{{"SGX", p.Attestation.SGX}, {"TDX", p.Attestation.TDX}, {"SNP", p.Attestation.SNP}} {
		for _, id := range t.terms.DenyPlatforms {
			all = append(all, t.tee+" platform "+id.String())
		}
		for _, a := range t.terms.DenyAdvisories {
			all = append(all, fmt.Sprintf("%s platform to which %q applies", t.tee, a))
		}
	}
	return all
}

func diffBars(before, after []string) []Change {
	var all []Change
	for _, who := range after {
		if !slices.Contains(before, who) {
			all = append(all, Change{Loses, who, admitted})
		}
	}
	for _, who := range before {
		if !slices.Contains(after, who) {
			all = append(all, Change{Gains, who, admitted})
		}
	}
	return all
}

// A setting is a value that is neither gained nor lost.
type setting struct{ name, value string }

// settingsOf lists the same names for every policy, nil included.
func settingsOf(p *Policy) []setting {
	if p == nil {
		p = &Policy{}
	}
	all := []setting{
		{"valid_until", stamp(p.ValidUntil)},
		{"activates", stamp(p.Activates)},
		{"halt", fmt.Sprint(p.Halt)},
		{"rotation_interval", time.Duration(p.RotationInterval).String()},
		{"ephemeral_age", time.Duration(p.EphemeralAge).String()},
		{"evidence_age", time.Duration(p.EvidenceAge).String()},
	}
	all = append(all, setting{"audit_sinks", strings.Join(p.AuditSinks, ", ")})
	all = append(all, p.Limits.settings()...)
	all = append(all, termSettings("sgx", p.Attestation.SGX)...)
	all = append(all, termSettings("tdx", p.Attestation.TDX)...)
	return append(all, termSettings("snp", p.Attestation.SNP)...)
}

func termSettings(tee string, t attest.Terms) []setting {
	at := "attestation/" + tee + "/"
	tolerated := "any"
	if t.TolerateAdvisories != nil {
		tolerated = fmt.Sprintf("%q", t.TolerateAdvisories)
	}
	return []setting{
		{at + "allow_platforms", listed(t.AllowPlatforms, "any")},
		{at + "tolerate_advisories", tolerated},
		{at + "min_tcb_evaluation_data_number", fmt.Sprint(t.MinEvaluationNumber)},
		{at + "max_collateral_age", time.Duration(t.MaxCollateralAge).String()},
		{at + "roots", listed(t.Roots, "the vendor's")},
	}
}

// listed prints a list in its order, or what an empty one means.
func listed[T any](list []T, empty string) string {
	if len(list) == 0 {
		return empty
	}
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "none"
	}
	return t.UTC().Format(timeLayout)
}

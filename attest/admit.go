package attest

import (
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Check is one thing that was looked at, and what is wrong with it.
type Check struct {
	What string // what is demanded: "genuine hardware"
	Err  *Error // nil: met
}

// Admit says whether p wants what c proves, as of the time at. It does no
// cryptography: c must come from a Verifier, or from where one's claims were
// kept out of others' reach. The error is an *Error: the first of Judge that
// is not met.
func (p Policy) Admit(c Claims, at time.Time) error {
	for _, check := range p.Judge(c, at) {
		if check.Err != nil {
			return check.Err
		}
	}
	return nil
}

// Judge makes every check that Admit rests on, in order of weight. If the
// policy is contradictory or has nothing to say about c's TEE, or c is not
// whole, that is the only check.
func (p Policy) Judge(c Claims, at time.Time) []Check {
	if err := p.Validate(); err != nil {
		return []Check{{"a policy that makes sense", Refuse(BadPolicy, "policy", "%w", err)}}
	}
	terms, identity, err := p.about(c)
	if err != nil {
		return []Check{{"an identity for this kind of TEE", err}}
	}
	return []Check{
		{"genuine hardware", terms.checkHardware(c)},
		{"a root that the policy names", terms.checkRoot(c)},
		{"memory that the host cannot read", terms.checkDebug(c)},
		{"the program that the policy names", identity},
		{"report data made for this conversation", p.checkReportData(c)},
		{"certificates and collateral in force", checkWindow(c, at)},
		{"revocation lists", terms.checkRevocation(c)},
		{"a platform that is not barred", terms.checkPlatform(c)},
		{"firmware of an accepted status", terms.checkStatus(c)},
		{"no denied advisory", terms.checkAdvisories(c)},
		{"a recent evaluation by the vendor", terms.checkEvaluation(c)},
		{"collateral that is young enough", terms.checkAge(c, at)},
	}
}

// about picks the part of p that speaks of c's TEE. The error is the one of
// Claims that are not whole or of a policy that has no identity to match; the
// *Error before it, if any, says that none of the identities matches.
func (p Policy) about(c Claims) (Terms, *Error, *Error) {
	switch {
	case c.TEE == SGX && c.SGX != nil:
		return p.SGX.Terms, matchAny(p.SGX.Identities, c.SGX), admitted(c, len(p.SGX.Identities))
	case c.TEE == TDX && c.TDX != nil:
		return p.TDX.Terms, matchAny(p.TDX.Identities, c.TDX), admitted(c, len(p.TDX.Identities))
	case c.TEE == SNP && c.SNP != nil:
		return p.SNP.Terms, matchAny(p.SNP.Identities, c.SNP), admitted(c, len(p.SNP.Identities))
	}
	return Terms{}, nil, Refuse(Malformed, "claims", "TEE %q without a measurement", c.TEE)
}

func admitted(c Claims, identities int) *Error {
	if identities == 0 {
		return Refuse(TEENotAdmitted, "policy", "no identity for %s", c.TEE)
	}
	return nil
}

// An identity of a policy compares itself with claims C.
type identity[C any] interface {
	// mismatch names what differs, or is empty.
	mismatch(c C) string
}

// named bounds how many identities an error names the difference from.
const named = 4

func matchAny[C any, I identity[C]](identities []I, c C) *Error {
	var differences []string
	for i, id := range identities {
		m := id.mismatch(c)
		if m == "" {
			return nil
		}
		if i < named {
			differences = append(differences, fmt.Sprintf("not identity %d of %d (%s)", i+1, len(identities), m))
		}
	}
	return Refuse(IdentityNotAdmitted, "measurement", "%s", strings.Join(differences, ", "))
}

func (t Terms) checkHardware(c Claims) *Error {
	if c.Simulated && !t.Simulated {
		return Refuse(NotHardware, "root certificate", "the chain ends in %s, which is no vendor's root", c.Root)
	}
	return nil
}

func (t Terms) checkRoot(c Claims) *Error {
	if len(t.Roots) > 0 && !containsHex(t.Roots, c.Root) {
		return Refuse(RootNotAdmitted, "root certificate", "%s", c.Root)
	}
	return nil
}

func (t Terms) checkDebug(c Claims) *Error {
	if c.Debug && !t.Debug {
		return Refuse(DebugEnabled, "attributes", "")
	}
	return nil
}

func (t Terms) checkRevocation(c Claims) *Error {
	if !c.RevocationChecked && !t.RevocationUnchecked {
		return Refuse(RevocationUnknown, "collateral", "")
	}
	return nil
}

func (p Policy) checkReportData(c Claims) *Error {
	if p.reportData == nil || subtle.ConstantTimeCompare(p.reportData[:], c.ReportData) == 1 {
		return nil
	}
	return Refuse(WrongReportData, "report data", "")
}

// checkWindow repeats for kept claims what their verifier saw to when they
// were made.
func checkWindow(c Claims, at time.Time) *Error {
	switch {
	case c.ValidFrom.IsZero() || c.ValidUntil.IsZero():
		return Refuse(Malformed, "claims", "without dates")
	case at.Before(c.ValidFrom):
		return Refuse(CollateralNotYet, "collateral", "in force from %s", stamp(c.ValidFrom))
	case at.After(c.ValidUntil):
		return Refuse(CollateralExpired, "collateral", "in force until %s", stamp(c.ValidUntil))
	}
	return nil
}

func (t Terms) checkPlatform(c Claims) *Error {
	ids := c.Platform.IDs()
	allowed := len(t.AllowPlatforms) == 0
	for _, id := range ids {
		if containsHex(t.DenyPlatforms, id) {
			return Refuse(PlatformDenied, "platform", "%s is denied", id)
		}
		allowed = allowed || containsHex(t.AllowPlatforms, id)
	}
	switch {
	case len(ids) == 0 && len(t.AllowPlatforms)+len(t.DenyPlatforms) > 0:
		// The host chooses whether an SNP chip shows its id. If hiding it were a
		// way past the list, the list would bar nobody.
		return Refuse(PlatformDenied, "platform", "it hides its id")
	case !allowed:
		return Refuse(PlatformDenied, "platform", "%v is not among those allowed", ids)
	}
	return nil
}

func (t Terms) checkStatus(c Claims) *Error {
	if c.TEE == SNP && c.Status == "" {
		return nil
	}
	accepted := t.Statuses
	if len(accepted) == 0 {
		accepted = []TCBStatus{UpToDate}
	}
	if c.Status == TCBRevoked || !slices.Contains(accepted, c.Status) {
		return Refuse(StatusNotAdmitted, "TCB", "%q", c.Status)
	}
	return nil
}

func (t Terms) checkAdvisories(c Claims) *Error {
	for _, a := range c.Advisories {
		if slices.Contains(t.DenyAdvisories, a) {
			return Refuse(AdvisoryDenied, "TCB", "%s is denied", a)
		}
		if t.TolerateAdvisories != nil && !slices.Contains(t.TolerateAdvisories, a) {
			return Refuse(AdvisoryDenied, "TCB", "%s is not among those tolerated", a)
		}
	}
	return nil
}

func (t Terms) checkEvaluation(c Claims) *Error {
	if c.TEE != SNP && c.EvaluationNumber < t.MinEvaluationNumber {
		return Refuse(EvaluationTooLow, "collateral", "%d, and the policy wants %d", c.EvaluationNumber, t.MinEvaluationNumber)
	}
	return nil
}

func (t Terms) checkAge(c Claims, at time.Time) *Error {
	if limit := time.Duration(t.MaxCollateralAge); limit > 0 && at.Sub(c.Issued) > limit {
		return Refuse(CollateralTooOld, "collateral", "issued %s, and the policy wants none older than %s", stamp(c.Issued), limit)
	}
	return nil
}

func containsHex(list []Hex, want Hex) bool {
	return slices.ContainsFunc(list, func(h Hex) bool { return h.Equal(want) })
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

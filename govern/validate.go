package govern

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// Limits of policies.
const (
	MaxOperators = 64          // operators of a policy
	maxRotation  = 3650 * day  // rotation interval
	maxAge       = 30 * day    // age of evidence and ephemeral secrets
	leastAge     = time.Second // the same
)

// Validate checks every member. The error is Invalid and names the member.
func (p *Policy) Validate() error {
	if p.Version != PolicyVersion {
		return badVersion("policy", p.Version)
	}
	if err := p.Attestation.Validate(); err != nil {
		return kms.Errorf(kms.Invalid, "policy: %w", err).WithField("attestation")
	}
	return firstError(
		p.validatePlace(),
		p.validateDates(),
		p.validateNodes(),
		p.Enrolment.validate(),
		checkKeys("policy", "operators", p.Operators, MaxOperators),
		p.validateAdmission(),
		p.validateAges(),
		p.Limits.validate(),
		p.validateAudit(),
	)
}

// validatePlace checks where in the chain of policies p says that it stands.
func (p *Policy) validatePlace() error {
	first := p.Serial == 1
	switch {
	case p.CharterDigest.IsZero():
		return kms.Errorf(kms.Invalid, "policy: names no charter").WithField("charter_digest")
	case p.Serial == 0 || p.Serial > MaxSerial:
		return kms.Errorf(kms.Invalid, "policy: serials go from 1 to %d", uint64(MaxSerial)).WithField("serial")
	case first && p.Domain != kms.DomainID{}:
		return kms.Errorf(kms.Invalid, "policy: policy 1 names no domain, for the domain's id is made over it").WithField("domain")
	case first && !p.Previous.IsZero():
		return kms.Errorf(kms.Invalid, "policy: nothing is before policy 1").WithField("previous")
	case !first && p.Domain == kms.DomainID{}:
		return kms.Errorf(kms.Invalid, "policy: names no domain").WithField("domain")
	case !first && p.Previous.IsZero():
		return kms.Errorf(kms.Invalid, "policy: names no previous policy").WithField("previous")
	}
	return nil
}

func (p *Policy) validateDates() error {
	switch {
	case p.ValidUntil.IsZero():
		return kms.Errorf(kms.Invalid, "policy: no end").WithField("valid_until")
	case !wholeTime(p.ValidUntil):
		return kms.Errorf(kms.Invalid, "policy: not a time in whole seconds").WithField("valid_until")
	case p.Activates.IsZero():
		return nil
	case !wholeTime(p.Activates):
		return kms.Errorf(kms.Invalid, "policy: not a time in whole seconds").WithField("activates")
	case !p.Activates.Before(p.ValidUntil):
		return kms.Errorf(kms.Invalid, "policy: it would end before it begins").WithField("activates")
	}
	return nil
}

func (p *Policy) validateNodes() error {
	if len(p.Nodes) == 0 && !p.Halt {
		return kms.Errorf(kms.Invalid, "policy: admits no node").WithField("nodes").WithHint("a policy that is meant to stop the domain says halt")
	}
	names := map[string]bool{}
	var ids []Identity
	for i, n := range p.Nodes {
		if !validName(n.Name) || names[n.Name] {
			return badName("policy").WithField(fmt.Sprintf("nodes/%d/name", i)).WithHint("each entry has a name of its own")
		}
		names[n.Name] = true
		ids = append(ids, n.Identity)
	}
	if err := checkIdentities("policy", "nodes", ids); err != nil {
		return err
	}
	for i, n := range p.Nodes {
		if err := n.validateRights(fmt.Sprintf("nodes/%d", i), names); err != nil {
			return err
		}
	}
	return nil
}

func (n NodeEntry) validateRights(at string, names map[string]bool) error {
	for i, name := range n.MayReplicate {
		if !names[name] || name == n.Name || slices.Contains(n.MayReplicate[:i], name) {
			return kms.Errorf(kms.Invalid, "policy: %q is not the name of another entry, once", name).WithField(fmt.Sprintf("%s/may_replicate/%d", at, i)).
				WithHint("name entries of this policy; within its own entry replication is implied")
		}
	}
	runtimes := map[string]bool{}
	for i, r := range n.MayQuery {
		at := fmt.Sprintf("%s/may_query/%d", at, i)
		if !validName(r.Runtime) || runtimes[r.Runtime] {
			return badName("policy").WithField(at + "/runtime").WithHint("each runtime stands once in an entry")
		}
		runtimes[r.Runtime] = true
		if len(r.Identities) == 0 {
			return kms.Errorf(kms.Invalid, "policy: no identity").WithField(at + "/identities").WithHint("leave out a runtime that nobody may query")
		}
		if err := checkIdentities("policy", at+"/identities", r.Identities); err != nil {
			return err
		}
	}
	return nil
}

func (e Enrolment) validate() error {
	switch {
	case !e.Mode.Valid():
		return kms.Errorf(kms.Invalid, "policy: %s is none of %q", e.Mode, enrolmentNames).WithField("enrolment/mode")
	case (e.Mode == EnrolAttested) != (len(e.Identities) > 0):
		return kms.Errorf(kms.Invalid, "policy: identities go with the mode %q", EnrolAttested).WithField("enrolment/identities")
	}
	return checkIdentities("policy", "enrolment/identities", e.Identities)
}

func (p *Policy) validateAdmission() error {
	if !p.Admission.Valid() {
		return kms.Errorf(kms.Invalid, "policy: neither %q nor %q", AdmitAttested, AdmitApproved).WithField("admission")
	}
	return nil
}

func (p *Policy) validateAges() error {
	if p.RotationInterval != 0 {
		if err := checkAge("policy", "rotation_interval", p.RotationInterval, leastAge, maxRotation); err != nil {
			return err
		}
	}
	return firstError(
		checkAge("policy", "ephemeral_age", p.EphemeralAge, leastAge, maxAge),
		checkAge("policy", "evidence_age", p.EvidenceAge, leastAge, maxAge),
	)
}

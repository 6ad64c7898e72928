package govern

import (
	"github.com/holdfast-kms/holdfast/kms"
)

// ConditionChangeVersion is the one version that is understood.
const ConditionChangeVersion = 1

// A ConditionChange is an operator's word that a key's use condition becomes
// another one, be it wider.
type ConditionChange struct {
	Version   int          `json:"version"` // ConditionChangeVersion
	Domain    kms.DomainID `json:"domain"`
	Key       kms.KeyID    `json:"key_id"`
	Revision  uint64       `json:"revision"`  // of the key as the operator saw it; the change is good for that one alone
	Remove    bool         `json:"remove"`    // the key then has no condition; Condition has no rules
	Condition Condition    `json:"condition"` // what the key then has
}

// ParseConditionChange reads a change without its envelope.
func ParseConditionChange(b []byte) (*ConditionChange, error) {
	return parseDocument[ConditionChange]("condition change", b)
}

// Canonical prints the change; ParseConditionChange reads it back.
func (c *ConditionChange) Canonical() []byte { return canonical(c) }

// Validate checks every member. The error is Invalid and names the member.
func (c *ConditionChange) Validate() error {
	switch {
	case c.Version != ConditionChangeVersion:
		return badVersion("condition change", c.Version)
	case c.Domain == kms.DomainID{}:
		return kms.Errorf(kms.Invalid, "condition change: names no domain").WithField("domain")
	case c.Key == kms.KeyID{}:
		return kms.Errorf(kms.Invalid, "condition change: names no key").WithField("key_id")
	case c.Revision == 0 || c.Revision > MaxSerial:
		return kms.Errorf(kms.Invalid, "condition change: names no revision of the key").WithField("revision")
	case c.Remove && len(c.Condition.Rules) > 0:
		return kms.Errorf(kms.Invalid, "condition change: either removes or sets a condition").WithField("remove")
	}
	return c.Condition.Validate()
}

// OpenConditionChange opens a change for p's domain that one of p's operators
// signed, and nobody else. That the key still has the revision is for the
// caller to check. The error is Invalid, TooLarge or Denied.
func (p *Policy) OpenConditionChange(envelope []byte) (*ConditionChange, error) {
	return openOperators(p, envelope, ConditionChangeType, func(c *ConditionChange) kms.DomainID { return c.Domain })
}

package govern

import (
	"fmt"
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
)

// MaxAuditSinks is how many audit sinks a policy may require.
const MaxAuditSinks = 8

func (p *Policy) validateAudit() error {
	if len(p.AuditSinks) > MaxAuditSinks {
		return kms.Errorf(kms.Invalid, "policy: %d audit sinks, at most %d", len(p.AuditSinks), MaxAuditSinks).WithField("audit_sinks")
	}
	for i, name := range p.AuditSinks {
		if !validName(name) || slices.Contains(p.AuditSinks[:i], name) {
			return badName("policy").WithField(fmt.Sprintf("audit_sinks/%d", i)).WithHint("each sink is named once, as nodes are configured with it")
		}
	}
	return nil
}

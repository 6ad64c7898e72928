package govern

import (
	"github.com/holdfast-kms/holdfast/kms"
)

// BootstrapVersion is the one version of the bootstrap that is understood.
const BootstrapVersion = 1

// A Bootstrap is the document that founds a domain: it names the charter, the
// node that makes the first master secret, and the first policy. The owner and
// the signers' threshold sign it. Its canonical form is
//
//	{"version":1,"charter_digest":"…","founder":"…","policy_digest":"…"}
//
// with the values as 64 lower-case hexadecimal digits.
type Bootstrap struct {
	Version       int        `json:"version"`        // BootstrapVersion
	CharterDigest Digest     `json:"charter_digest"` // Charter.Digest
	Founder       kms.NodeID `json:"founder"`        // the founding node's key
	PolicyDigest  Digest     `json:"policy_digest"`  // Policy.Digest of policy 1
}

// ParseBootstrap reads a bootstrap and validates it. The error is Invalid or
// TooLarge and names the member at fault where one is.
func ParseBootstrap(b []byte) (*Bootstrap, error) { return parseDocument[Bootstrap]("bootstrap", b) }

// Validate checks every member. The error is Invalid and names the member.
func (d *Bootstrap) Validate() error {
	switch {
	case d.Version != BootstrapVersion:
		return badVersion("bootstrap", d.Version)
	case d.CharterDigest.IsZero():
		return kms.Errorf(kms.Invalid, "bootstrap: names no charter").WithField("charter_digest")
	case d.Founder == kms.NodeID{}:
		return kms.Errorf(kms.Invalid, "bootstrap: names no founder").WithField("founder")
	case d.PolicyDigest.IsZero():
		return kms.Errorf(kms.Invalid, "bootstrap: names no policy").WithField("policy_digest")
	}
	return nil
}

// Names reports whether the bootstrap is for this charter.
func (d *Bootstrap) Names(c *Charter) bool { return d.CharterDigest == c.Digest() }

// Canonical prints the bootstrap; ParseBootstrap reads it back.
func (d *Bootstrap) Canonical() []byte { return canonical(d) }

func badVersion(what string, v int) error {
	return kms.Errorf(kms.Invalid, "%s: version %d is not understood", what, v).WithField("version")
}

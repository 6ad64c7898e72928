package govern

import (
	"github.com/holdfast-kms/holdfast/kms"
)

// BootstrapVersion is the one version of the bootstrap that is understood.
const BootstrapVersion = 1

// A Bootstrap is the document that founds a domain: it names the charter and
// the node that makes the first master secret. Its canonical form is
//
//	{"version":1,"charter_digest":"…","founder":"…"}
//
// with both values as 64 lower-case hexadecimal digits.
type Bootstrap struct {
	Version       int        // BootstrapVersion
	CharterDigest Digest     // Charter.Digest
	Founder       kms.NodeID // the founding node's key
}

type bootstrapJSON struct {
	Version       int    `json:"version"`
	CharterDigest string `json:"charter_digest"`
	Founder       string `json:"founder"`
}

// ParseBootstrap reads a bootstrap and validates it. The error is Invalid or
// TooLarge and names the member at fault where one is.
func ParseBootstrap(b []byte) (*Bootstrap, error) {
	var j bootstrapJSON
	if err := parse("bootstrap", b, &j); err != nil {
		return nil, err
	}
	d := &Bootstrap{Version: j.Version}
	if err := decodeHex(d.CharterDigest[:], j.CharterDigest); err != nil {
		return nil, kms.Errorf(kms.Invalid, "bootstrap: %w", err).WithField("charter_digest")
	}
	if err := decodeHex(d.Founder[:], j.Founder); err != nil {
		return nil, kms.Errorf(kms.Invalid, "bootstrap: %w", err).WithField("founder")
	}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return d, nil
}

// Validate checks every member. The error is Invalid and names the member.
func (d *Bootstrap) Validate() error {
	switch {
	case d.Version != BootstrapVersion:
		return kms.Errorf(kms.Invalid, "bootstrap: version %d is not understood", d.Version).WithField("version")
	case d.CharterDigest == Digest{}:
		return kms.Errorf(kms.Invalid, "bootstrap: names no charter").WithField("charter_digest")
	case d.Founder == kms.NodeID{}:
		return kms.Errorf(kms.Invalid, "bootstrap: names no founder").WithField("founder")
	}
	return nil
}

// Names reports whether the bootstrap is for this charter.
func (d *Bootstrap) Names(c *Charter) bool { return d.CharterDigest == c.Digest() }

// Canonical prints the bootstrap; ParseBootstrap reads it back.
func (d *Bootstrap) Canonical() []byte {
	return canonical(bootstrapJSON{Version: d.Version, CharterDigest: d.CharterDigest.String(), Founder: d.Founder.String()})
}

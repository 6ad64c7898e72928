package govern

import (
	"github.com/holdfast-kms/holdfast/kms"
)

// RecoveryVersion is the one version of the recovery that is understood.
const RecoveryVersion = 1

// A Head is how far a domain's log is known to have come.
type Head struct {
	Term         uint64 `json:"term"`          // from 1
	Index        uint64 `json:"index"`         // from 1
	Digest       Digest `json:"digest"`        // of the state at that index
	PolicySerial uint64 `json:"policy_serial"` // of the policy in force there
}

// Behind reports whether o has come further than h in any respect, or is another
// head at the same place. Tools that sign remember the highest head they saw and
// sign none that is behind it.
func (h Head) Behind(o Head) bool {
	return h.Term < o.Term || h.Index < o.Index || h.PolicySerial < o.PolicySerial ||
		h.Term == o.Term && h.Index == o.Index && h.Digest != o.Digest
}

// A Recovery revives a domain that lost its quorum for good. Owner and threshold
// sign it: it forgets whatever came after Head.
type Recovery struct {
	Version       int          `json:"version"` // RecoveryVersion
	Domain        kms.DomainID `json:"domain"`
	CharterDigest Digest       `json:"charter_digest"`
	Amendments    int          `json:"amendments"` // Standing.Amendments that it was signed under
	Head          Head         `json:"head"`       // the highest that is known
	Survivor      kms.NodeID   `json:"survivor"`   // the one node that carries on; on a second one the domain would fork
	Nonce         Nonce        `json:"nonce"`
}

// ParseRecovery reads a recovery or a draft of one and validates it. The error
// is Invalid or TooLarge and names the member at fault where one is.
func ParseRecovery(b []byte) (*Recovery, error) { return parseDocument[Recovery]("recovery", b) }

// Canonical prints the recovery; ParseRecovery reads it back.
func (r *Recovery) Canonical() []byte { return canonical(r) }

// Validate checks every member. The error is Invalid and names the member.
func (r *Recovery) Validate() error {
	h := r.Head
	switch {
	case r.Version != RecoveryVersion:
		return badVersion("recovery", r.Version)
	case r.Domain == kms.DomainID{}:
		return kms.Errorf(kms.Invalid, "recovery: names no domain").WithField("domain")
	case r.CharterDigest.IsZero():
		return kms.Errorf(kms.Invalid, "recovery: names no charter").WithField("charter_digest")
	case r.Amendments < 0 || r.Amendments > MaxAmendments:
		return kms.Errorf(kms.Invalid, "recovery: no number of amendments").WithField("amendments")
	case h.Term == 0 || h.Term > MaxSerial || h.Index == 0 || h.Index > MaxSerial || h.Digest.IsZero() || h.PolicySerial == 0 || h.PolicySerial > MaxSerial:
		return kms.Errorf(kms.Invalid, "recovery: the head lacks a term, an index, a digest or a policy").WithField("head")
	case r.Survivor == kms.NodeID{}:
		return kms.Errorf(kms.Invalid, "recovery: names no survivor").WithField("survivor")
	case r.Nonce == Nonce{}:
		return kms.Errorf(kms.Invalid, "recovery: no nonce").WithField("nonce")
	}
	return nil
}

// OpenRecovery opens a recovery of this domain, signed by the owner and the
// threshold that rule now. That it names a head that is not behind this node's,
// and this node, is for the caller to check. The error is Invalid, TooLarge,
// Denied, or Stale where it was signed under another amendment.
func (s Standing) OpenRecovery(envelope []byte) (*Recovery, error) {
	e, err := ParseEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	r, err := openPayload[Recovery](e, RecoveryType)
	if err != nil {
		return nil, err
	}
	switch {
	case r.Domain != s.Domain:
		return nil, otherDomain("recovery", r.Domain)
	case r.CharterDigest != s.Charter:
		return nil, kms.Errorf(kms.Denied, "recovery: of another charter, %s", r.CharterDigest).WithField("charter_digest")
	case r.Amendments != s.Amendments:
		return nil, kms.Errorf(kms.Stale, "recovery: signed after %d amendments, and there are %d", r.Amendments, s.Amendments).WithField("amendments").
			WithHint("name the head that is known now and have it signed again")
	}
	who, err := s.rules().authority(e)
	if err != nil {
		return nil, err
	}
	if err := requireOwner(e.Type, who, s.Owner); err != nil {
		return nil, err
	}
	return r, nil
}

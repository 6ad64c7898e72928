package govern

import (
	"github.com/holdfast-kms/holdfast/kms"
)

// OpenPolicy opens a policy of this domain: signed by the threshold, under this
// charter, and not superseded by the policy that the latest amendment rests on.
// Whether it is the latest, or in force, is for the caller to know: NextPolicy
// for who holds the one before, the highest serial seen for others, and
// Policy.ValidAt. The endorsed policy itself is judged by those who ruled when
// it was signed. The error is Invalid, TooLarge, Denied (another domain or
// charter, signatures), Stale (superseded) or Conflict (another policy under
// the endorsed serial).
func (s Standing) OpenPolicy(envelope []byte) (*Policy, error) {
	e, err := ParseEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	p, err := openPayload[Policy](e, PolicyType)
	if err != nil {
		return nil, err
	}
	if err := s.checkPlace(p); err != nil {
		return nil, err
	}
	rulers := s.rules()
	if p.Serial == s.Endorsed.Serial {
		rulers = s.under
	}
	if _, err := rulers.authority(e); err != nil {
		return nil, err
	}
	p.domain = s.Domain
	return p, nil
}

// checkPlace refuses a policy of another domain or charter, and one that the
// bootstrap or the latest amendment rules out.
func (s Standing) checkPlace(p *Policy) error {
	switch {
	case p.CharterDigest != s.Charter:
		return kms.Errorf(kms.Denied, "policy: under another charter, %s", p.CharterDigest).WithField("charter_digest")
	case p.Serial != 1 && p.Domain != s.Domain:
		return otherDomain("policy", p.Domain)
	case p.Serial < s.Endorsed.Serial:
		return kms.Errorf(kms.Stale, "policy: serial %d, and amendment %d rests on policy %d", p.Serial, s.Amendments, s.Endorsed.Serial).
			WithField("serial").WithHint("it was superseded; ask for the latest policy")
	case p.Serial == s.Endorsed.Serial && p.Digest() != s.Endorsed.Digest:
		return kms.Errorf(kms.Conflict, "policy: serial %d is another policy, %s", p.Serial, s.Endorsed.Digest).
			WithField("serial").WithHint("the bootstrap, or the latest amendment, names the one policy with this serial")
	}
	return nil
}

func otherDomain(what string, id kms.DomainID) error {
	return kms.Errorf(kms.Denied, "%s: for another domain, %s", what, id).WithField("domain").
		WithHint("a document is good in the domain that it names and in no other")
}

// NextPolicy opens the policy that follows current: what OpenPolicy asks, and
// serial and previous digest. The error is OpenPolicy's; or Exists (it is
// current), Conflict (current's serial with other content, a serial that skips
// one, another previous policy) or Stale (a lower serial).
func (s Standing) NextPolicy(current *Policy, envelope []byte) (*Policy, error) {
	if current == nil || current.domain != s.Domain {
		return nil, kms.Errorf(kms.Invalid, "policy: the one in force was not opened in this domain")
	}
	p, err := s.OpenPolicy(envelope)
	if err != nil {
		return nil, err
	}
	if err := p.follows(current); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Policy) follows(current *Policy) error {
	switch {
	case p.Serial == current.Serial && p.Digest() == current.Digest():
		return kms.Errorf(kms.Exists, "policy: serial %d is this very policy", p.Serial).WithField("serial")
	case p.Serial == current.Serial:
		return kms.Errorf(kms.Conflict, "policy: serial %d is another policy, %s", p.Serial, current.Digest()).WithField("serial").
			WithHint("serials are used once: give it the next one and have it signed again")
	case p.Serial < current.Serial:
		return kms.Errorf(kms.Stale, "policy: serial %d, and policy %d is there", p.Serial, current.Serial).WithField("serial").
			WithHint("an old policy does not come back: issue its content under the next serial")
	case p.Serial != current.Serial+1:
		return kms.Errorf(kms.Conflict, "policy: serial %d does not follow %d", p.Serial, current.Serial).WithField("serial").
			WithHint("submit the policies between first, or use the next serial")
	case p.Previous != current.Digest():
		return kms.Errorf(kms.Conflict, "policy: follows %s, and policy %d is %s", p.Previous, current.Serial, current.Digest()).WithField("previous").
			WithHint("it was drafted over another policy: draft it again over the one in force")
	}
	return nil
}

// CheckSubmission asks for the owner's signature on an envelope. It is what
// submitting takes, and authorises nothing: OpenPolicy, Amend and the others
// judge the document. The error is Invalid, TooLarge or Denied.
func (s Standing) CheckSubmission(envelope []byte) error {
	e, err := ParseEnvelope(envelope)
	if err != nil {
		return err
	}
	if s.Owner.IsZero() || !e.SignedBy(s.Owner) {
		return kms.Errorf(kms.Denied, "%s: not submitted by the owner", e.Type).WithField("signatures").
			WithHint("the owner signs a document to submit it, beside the signers")
	}
	return nil
}

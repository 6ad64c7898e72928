package govern

import (
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
)

// AmendmentVersion is the one version of the amendment that is understood.
const AmendmentVersion = 1

// MaxAmendments is the highest serial of an amendment.
const MaxAmendments = 1<<31 - 1

// An Amendment changes what the charter said. It states all that holds from then
// on, changed or not, so that who signs it sees what it comes to.
//
// It names the policy in force, which the signers thereby endorse: a policy that
// was signed by those who rule no more stays in force, and none before it ever
// comes back.
type Amendment struct {
	Version       int          `json:"version"` // AmendmentVersion
	Domain        kms.DomainID `json:"domain"`
	CharterDigest Digest       `json:"charter_digest"`    // of the charter as founded
	Serial        int          `json:"serial"`            // 1, 2, …: how many there will have been
	Previous      Digest       `json:"previous,omitzero"` // Amendment.Digest of the one before; absent in the first
	Policy        Endorsement  `json:"policy"`            // the policy in force

	Owner             PublicKey   `json:"owner_key"`
	Signers           []PublicKey `json:"signers"`
	Threshold         int         `json:"threshold"`
	RecoveryKeys      []PublicKey `json:"recovery_keys"`
	RecoveryThreshold int         `json:"recovery_threshold"`
	RestartMode       RestartMode `json:"restart_mode"`
	Intervals         Intervals   `json:"intervals"`
}

// ParseAmendment reads an amendment or a draft of one and validates it. The
// error is Invalid or TooLarge and names the member at fault where one is.
func ParseAmendment(b []byte) (*Amendment, error) { return parseDocument[Amendment]("amendment", b) }

// Canonical prints the amendment; ParseAmendment reads it back.
func (a *Amendment) Canonical() []byte { return canonical(a) }

// Digest names the amendment.
func (a *Amendment) Digest() Digest { return digest(amendmentLabel, a.Canonical()) }

// Validate checks every member. The error is Invalid and names the member.
func (a *Amendment) Validate() error {
	switch {
	case a.Version != AmendmentVersion:
		return badVersion("amendment", a.Version)
	case a.Domain == kms.DomainID{}:
		return kms.Errorf(kms.Invalid, "amendment: names no domain").WithField("domain")
	case a.CharterDigest.IsZero():
		return kms.Errorf(kms.Invalid, "amendment: names no charter").WithField("charter_digest")
	case a.Serial < 1 || a.Serial > MaxAmendments:
		return kms.Errorf(kms.Invalid, "amendment: serials go from 1 to %d", MaxAmendments).WithField("serial")
	case (a.Serial == 1) != a.Previous.IsZero():
		return kms.Errorf(kms.Invalid, "amendment: all but the first name the one before").WithField("previous")
	case a.Policy.Serial < 1 || a.Policy.Serial > MaxSerial || a.Policy.Digest.IsZero():
		return kms.Errorf(kms.Invalid, "amendment: names no policy in force").WithField("policy")
	}
	return a.rules().validate("amendment")
}

func (a *Amendment) rules() rules {
	return rules{a.Owner, a.Signers, a.Threshold, a.RecoveryKeys, a.RecoveryThreshold, a.RestartMode, a.Intervals}
}

// DraftAmendment is the amendment after which nothing would have changed, for a
// person to edit. current is the policy in force.
func (s Standing) DraftAmendment(current *Policy) *Amendment {
	r := s.rules().clone()
	return &Amendment{
		Version: AmendmentVersion, Domain: s.Domain, CharterDigest: s.Charter, Serial: s.Amendments + 1, Previous: s.LastAmendment,
		Policy: Endorsement{current.Serial, current.Digest()},
		Owner:  r.owner, Signers: r.signers, Threshold: r.threshold, RecoveryKeys: r.recoveryKeys, RecoveryThreshold: r.recoveryThreshold,
		RestartMode: r.restartMode, Intervals: r.intervals,
	}
}

// Amend is the standing after an amendment. It must be the next one of this
// domain and charter, signed by the threshold that rules until then, and by
// every key that is new in its place, for a key that nobody holds would lock the
// domain. It cannot go back from Rejoin to Sealed.
//
// That the policy it names is the one in force is for who holds that policy to
// check, with NextAmendment; others learn from it which policy that was. The
// error is Invalid, TooLarge, Denied (another domain or charter, signatures,
// Rejoin to Sealed), Exists, Stale or Conflict (serial, previous amendment,
// superseded policy).
func (s Standing) Amend(envelope []byte) (Standing, error) {
	e, err := ParseEnvelope(envelope)
	if err != nil {
		return Standing{}, err
	}
	a, err := openPayload[Amendment](e, AmendmentType)
	if err != nil {
		return Standing{}, err
	}
	if err := firstError(s.checkOrder(a), s.checkChange(a), s.checkSignatures(a, e)); err != nil {
		return Standing{}, err
	}
	next := s.with(a.rules())
	next.Amendments, next.LastAmendment = a.Serial, a.Digest()
	if next.Endorsed != a.Policy {
		next.Endorsed, next.under = a.Policy, s.rules().clone()
	}
	return next, nil
}

// NextAmendment is Amend for who holds the policy in force: it refuses an
// amendment that names another one as Conflict. A policy that is to activate
// later is not in force; if signers change, the new ones sign it again.
func (s Standing) NextAmendment(current *Policy, envelope []byte) (Standing, error) {
	if current == nil || current.domain != s.Domain {
		return Standing{}, kms.Errorf(kms.Invalid, "amendment: the policy in force was not opened in this domain")
	}
	next, err := s.Amend(envelope)
	if err != nil {
		return Standing{}, err
	}
	if want := (Endorsement{current.Serial, current.Digest()}); next.Endorsed != want {
		return Standing{}, kms.Errorf(kms.Conflict, "amendment: rests on policy %d (%s), and policy %d (%s) is in force",
			next.Endorsed.Serial, next.Endorsed.Digest, want.Serial, want.Digest).WithField("policy").
			WithHint("the policy changed since it was drafted: draft it again and have it signed")
	}
	return next, nil
}

func (s Standing) checkOrder(a *Amendment) error {
	switch {
	case a.Domain != s.Domain:
		return otherDomain("amendment", a.Domain)
	case a.CharterDigest != s.Charter:
		return kms.Errorf(kms.Denied, "amendment: of another charter, %s", a.CharterDigest).WithField("charter_digest")
	case a.Serial == s.Amendments && a.Digest() == s.LastAmendment:
		return kms.Errorf(kms.Exists, "amendment: serial %d is this very amendment", a.Serial).WithField("serial")
	case a.Serial == s.Amendments:
		return kms.Errorf(kms.Conflict, "amendment: serial %d is another amendment, %s", a.Serial, s.LastAmendment).WithField("serial").
			WithHint("serials are used once: draft it again over the latest amendment")
	case a.Serial < s.Amendments:
		return kms.Errorf(kms.Stale, "amendment: serial %d, and amendment %d is there", a.Serial, s.Amendments).WithField("serial")
	case a.Serial != s.Amendments+1:
		return kms.Errorf(kms.Conflict, "amendment: serial %d does not follow %d", a.Serial, s.Amendments).WithField("serial").
			WithHint("the amendments between come first")
	case a.Previous != s.LastAmendment:
		return kms.Errorf(kms.Conflict, "amendment: follows %s, and amendment %d is %s", a.Previous, s.Amendments, s.LastAmendment).WithField("previous").
			WithHint("it was drafted over another amendment: draft it again")
	case a.Policy.Serial < s.Endorsed.Serial || a.Policy.Serial == s.Endorsed.Serial && a.Policy != s.Endorsed:
		return kms.Errorf(kms.Conflict, "amendment: rests on policy %d (%s), and policy %d (%s) was endorsed before", a.Policy.Serial, a.Policy.Digest,
			s.Endorsed.Serial, s.Endorsed.Digest).WithField("policy")
	}
	return nil
}

func (s Standing) checkChange(a *Amendment) error {
	switch {
	case s.RestartMode == Rejoin && a.RestartMode != Rejoin:
		return kms.Errorf(kms.Denied, "amendment: from %q there is no way back to %q", Rejoin, Sealed).WithField("restart_mode").
			WithHint("a domain that trusts no old state does not begin to")
	case a.rules().equal(s.rules()):
		return kms.Errorf(kms.Invalid, "amendment: changes nothing")
	}
	return nil
}

func (s Standing) checkSignatures(a *Amendment, e *Envelope) error {
	fresh := s.newKeys(a)
	who, err := e.signers(slices.Concat(s.Signers, []PublicKey{s.Owner}, fresh)...)
	if err != nil {
		return err
	}
	for _, k := range fresh {
		if !slices.Contains(who, k) {
			return kms.Errorf(kms.Denied, "amendment: the new key %s did not sign it", k.ID()).WithField("signatures").
				WithHint("every new key signs the amendment that brings it in, which shows that somebody holds it")
		}
	}
	return requireThreshold(e.Type, who, s.Signers, s.Threshold)
}

// newKeys are those that a puts where they were not before.
func (s Standing) newKeys(a *Amendment) []PublicKey {
	var fresh []PublicKey
	add := func(k PublicKey, isNew bool) {
		if isNew && !slices.Contains(fresh, k) {
			fresh = append(fresh, k)
		}
	}
	add(a.Owner, a.Owner != s.Owner)
	for _, k := range a.Signers {
		add(k, !slices.Contains(s.Signers, k))
	}
	for _, k := range a.RecoveryKeys {
		add(k, !slices.Contains(s.RecoveryKeys, k))
	}
	return fresh
}

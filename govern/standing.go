package govern

import (
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
)

// A Standing is who rules a domain: the charter as amended. It comes from Found
// and from Amend; it is a value, and what it rests on is kept by its holder as
// the envelopes that it was made from. The zero Standing opens nothing.
type Standing struct {
	Domain            kms.DomainID
	Charter           Digest // of the charter as founded
	Owner             PublicKey
	Signers           []PublicKey
	Threshold         int
	RecoveryKeys      []PublicKey
	RecoveryThreshold int
	RestartMode       RestartMode
	Intervals         Intervals
	Amendments        int    // how many there were
	LastAmendment     Digest // of the latest; zero before the first

	// Endorsed is the policy that the bootstrap or the latest amendment names as
	// the one in force. Policies before it are superseded for good.
	Endorsed Endorsement

	// under are those who ruled when the endorsed policy was signed.
	under rules
}

// An Endorsement names a policy in another document.
type Endorsement struct {
	Serial uint64 `json:"serial"`
	Digest Digest `json:"digest"` // Policy.Digest
}

// A Founding is what the documents say that found a domain.
type Founding struct {
	Domain    kms.DomainID
	Bootstrap *Bootstrap
	Policy    *Policy // policy 1
	Standing  Standing
}

// Found verifies the documents that found a domain: the bootstrap is for this
// charter and signed by the owner and the signers' threshold; the policy is the
// one that the bootstrap names, has serial 1 and is signed by the threshold. It
// does not know whether the founder has attested its key, nor whether policy 1
// admits it: Policy.NodePolicy says so of the evidence. The error is Invalid,
// TooLarge or Denied.
func Found(charter *Charter, bootstrap, policy []byte) (*Founding, error) {
	b, s, err := VerifyBootstrap(charter, bootstrap)
	if err != nil {
		return nil, err
	}
	p, err := s.OpenPolicy(policy)
	if err != nil {
		return nil, err
	}
	if p.Halt {
		return nil, kms.Errorf(kms.Invalid, "policy: policy 1 stops the domain that it founds").WithField("halt")
	}
	return &Founding{Domain: s.Domain, Bootstrap: b, Policy: p, Standing: s}, nil
}

func openBootstrap(charter *Charter, envelope []byte) (*Bootstrap, error) {
	e, err := ParseEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	b, err := openPayload[Bootstrap](e, BootstrapType)
	if err != nil {
		return nil, err
	}
	if !b.Names(charter) {
		return nil, kms.Errorf(kms.Denied, "bootstrap: for another charter, %s", b.CharterDigest).WithField("charter_digest")
	}
	who, err := charter.rules().authority(e)
	if err != nil {
		return nil, err
	}
	if err := requireOwner(e.Type, who, charter.Owner); err != nil {
		return nil, err
	}
	return b, nil
}

// authority are the keys whose good signatures are on e, where the threshold of
// the signers is among them and nobody else but the owner.
func (r rules) authority(e *Envelope) ([]PublicKey, error) {
	who, err := e.signers(append(slices.Clone(r.signers), r.owner)...)
	if err != nil {
		return nil, err
	}
	return who, requireThreshold(e.Type, who, r.signers, r.threshold)
}

func newStanding(c *Charter, b *Bootstrap) Standing {
	s := Standing{Domain: DomainID(c, b), Charter: c.Digest(), Endorsed: Endorsement{1, b.PolicyDigest}, under: c.rules().clone()}
	return s.with(c.rules())
}

// with is s under other rules.
func (s Standing) with(r rules) Standing {
	r = r.clone()
	s.Owner, s.Signers, s.Threshold = r.owner, r.signers, r.threshold
	s.RecoveryKeys, s.RecoveryThreshold = r.recoveryKeys, r.recoveryThreshold
	s.RestartMode, s.Intervals = r.restartMode, r.intervals
	return s
}

func (s Standing) rules() rules {
	return rules{s.Owner, s.Signers, s.Threshold, s.RecoveryKeys, s.RecoveryThreshold, s.RestartMode, s.Intervals}
}

package kms

import "slices"

// A Refusal is why a member refused another node, beside the reasons that
// evidence is refused for (attest.Reason). It is one word of a fixed set, so that
// what a stranger says never comes into the domain's log.
type Refusal string

// The refusals.
const (
	RefusedChallenge   Refusal = "challenge"       // its answer is to no challenge of the domain's
	RefusedCertificate Refusal = "certificate"     // it showed a certificate without having its key
	RefusedReplication Refusal = "may_replicate"   // the policy does not let this member hand it the master secret
	RefusedAlive       Refusal = "replaces_living" // the node that it is to replace is alive
	RefusedUnproven    Refusal = "replaces"        // it does not prove that it was the node that it is to replace
	RefusedApproval    Refusal = "approval"        // the operator's approval that it brought is none for it
	RefusedDeparted    Refusal = "departed"        // its part in the domain has ended
	RefusedOutdated    Refusal = "outdated"        // its program does not know the domain's feature level
	RefusedNoRoom      Refusal = "no_room"         // too many nodes are there, or wait
	RefusedSecret      Refusal = "master_secret"   // what it handed over is no master secret of the domain
	RefusedOther       Refusal = "other"           // the log of the member that refused it says more
)

var refusalTexts = map[Refusal]string{
	RefusedChallenge: "its answer is to no challenge of the domain's", RefusedCertificate: "it showed a certificate whose key it does not have",
	RefusedReplication: "the policy does not let the member that it asked hand it the master secret",
	RefusedAlive:       "the node that it is to replace is alive", RefusedUnproven: "it does not prove that it was the node that it is to replace",
	RefusedApproval: "the approval that it brought does not admit it", RefusedDeparted: "its part in the domain has ended",
	RefusedOutdated: "its program is older than the domain's feature level", RefusedNoRoom: "too many nodes are there, or wait",
	RefusedSecret: "what it handed over is no master secret of the domain", RefusedOther: "see the log of the member that it asked",
}

// Refusals lists every refusal in order, for tables that must be exhaustive.
func Refusals() []Refusal {
	all := make([]Refusal, 0, len(refusalTexts))
	for r := range refusalTexts {
		all = append(all, r)
	}
	slices.Sort(all)
	return all
}

// Text is the refusal in words; empty: there is no such refusal.
func (r Refusal) Text() string { return refusalTexts[r] }

package server

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Status is what the node tells anyone of itself.
func (n *Node) Status() kms.Status {
	s := kms.Status{
		Domain: n.charter.Name, DomainID: n.who.domain, Node: n.who.node, Ready: true,
		Time: "host", Generation: n.root.Current(),
	}
	view, err := n.replica.Local()
	if err != nil {
		s.Ready, s.Reason = false, whyStopped(err)
		return s
	}
	now := n.core.Now(view)
	s.DomainTime, s.Index, s.Feature = now.UTC(), view.Index(), view.Feature()
	s.Apps, s.Keys = view.Apps(), view.Keys()
	s.ReplayAge = n.authn.ReplayAge(now).Round(time.Second).String()
	n.attestationStatus(&s, view, now)
	policyStatus(&s, view, now)
	n.secretsStatus(&s, view)
	n.auditStatus(&s, view.Policy())
	n.membersStatus(&s, view)
	recoveryStatus(&s, view)
	return s
}

// attestationStatus says what the node's own evidence proves, and how old it is.
func (n *Node) attestationStatus(s *kms.Status, view *state.View, now time.Time) {
	claims, at, fault := n.standing.view()
	s.Secure = !view.Simulated() && !claims.Simulated
	s.Attestation = fmt.Sprintf("%s, evidence %s old", claims.TEE, max(0, now.Sub(at)).Round(time.Second))
	if claims.Status != "" {
		s.Attestation += ", TCB " + string(claims.Status)
	}
	if claims.Simulated {
		s.Attestation = "simulated " + s.Attestation
		s.Warnings = append(s.Warnings, "simulated platform: development only, keys are not protected from this machine")
	} else if view.Simulated() {
		s.Warnings = append(s.Warnings, "this domain once admitted simulated evidence: take nothing in it for protected")
	}
	if fault != nil {
		s.Warnings = append(s.Warnings, "the last examination of this node did not succeed: "+whyFailed(fault))
	}
	if half := claims.ValidFrom.Add(claims.ValidUntil.Sub(claims.ValidFrom) / 2); now.After(half) {
		s.Warnings = append(s.Warnings, fmt.Sprintf("the vendor's collateral ends %s and was not renewed; then this node stops serving: see that the host reaches the collateral service, or give it a new bundle; the log says what went wrong",
			claims.ValidUntil.UTC().Format(time.RFC3339)))
	}
	if err := n.mayServe(view, now); err != nil {
		s.Ready, s.Reason = false, err.Error()
	}
}

// secretsStatus says which master secret is the newest, and what is left to do for
// it.
func (n *Node) secretsStatus(s *kms.Status, view *state.View) {
	all := view.Generations()
	if s.Initialized = len(all) > 0; !s.Initialized {
		return
	}
	newest := all[len(all)-1]
	s.Checksum, s.SigningKey = hex.EncodeToString(newest.Checksum), hex.EncodeToString(newest.SigningKey)
	s.LastRotation, s.NextRotation = time.Unix(0, newest.Created).UTC(), view.NextRotation()
	counted, trouble := n.generations.count(view)
	s.Left = counted.Before(view.Generation())
	if trouble != nil {
		s.Warnings = append(s.Warnings, "a secret cannot be re-wrapped: see the node's log")
	}
	for _, c := range n.compromises(view) {
		if c.Finished.IsZero() {
			s.Warnings = append(s.Warnings, fmt.Sprintf("others know master secret %d: %d keys are still to get a new version, by themselves", c.Generation, c.Left))
		}
	}
}

func policyStatus(s *kms.Status, view *state.View, now time.Time) {
	p := view.Policy()
	digest := p.Digest()
	standing, calendar := view.Rule().Standing, view.Calendar()
	s.RestartMode, s.Amendments = standing.RestartMode.String(), standing.Amendments
	s.Epoch = calendar.At(now)
	s.EpochEnds = calendar.Ends(s.Epoch).UTC()
	s.PolicySerial, s.PolicyDigest, s.PolicyUntil = p.Serial, digest.String(), p.ValidUntil.UTC()
	s.Enrolment = p.Enrolment.Mode.String()
	if next := view.Rule().Next; next != nil {
		s.Scheduled = append(s.Scheduled, fmt.Sprintf("policy %d at %s", next.Serial, next.Activates.UTC().Format(time.RFC3339)))
	}
	if now.After(p.ValidUntil) {
		s.Warnings = append(s.Warnings, "the policy in force has expired: clients that verify it refuse this node")
	}
}

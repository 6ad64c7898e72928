package server

import (
	"context"
	"errors"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Enter lets a request into the node, who must Leave. The error is Exhausted, of
// a node that has as many under way as it takes on. Streams, which wait more than
// they work, are bounded elsewhere.
func (n *Node) Enter(context.Context) error { return n.gate.Enter() }

// Leave ends a request that was let in.
func (n *Node) Leave() { n.gate.Leave() }

// Metrics reads the node's gauges and counters. They are of the node as a whole,
// and for who runs its machine: nothing in them is of one app or key.
func (n *Node) Metrics() kms.Metrics {
	m := kms.Metrics{Ready: n.Readiness().Ready, HostTime: n.cfg.Clock.Now().UTC(), Replayed: n.authn.Replayed(), Stale: n.core.Unconfirmed(),
		Load: n.gate.Load(), Audit: n.auditProgress(), Limited: map[kms.WorkClass]uint64{}}
	for _, c := range kms.WorkClasses() {
		m.Limited[c] = n.core.Limited(c)
	}
	n.evidenceMetrics(&m)
	view, err := n.replica.Local()
	if err != nil {
		return m
	}
	m.Running, m.Raft = true, n.replica.Progress()
	n.stateMetrics(&m, view)
	return m
}

func (n *Node) stateMetrics(m *kms.Metrics, view *state.View) {
	now := n.core.Now(view)
	m.Secure = m.Secure && !view.Simulated()
	m.DomainTime, m.Feature = now.UTC(), view.Feature()
	m.PolicySerial, m.PolicyUntil = view.Policy().Serial, view.Policy().ValidUntil
	m.Generation = view.Generation()
	counted, _ := n.generations.count(view)
	m.RewrapLeft = counted.Before(view.Generation())
	m.Apps, m.Keys, m.Secrets = view.Apps(), view.Keys(), view.Secrets()
	m.ReplayAge = n.authn.ReplayAge(now)
}

func (n *Node) evidenceMetrics(m *kms.Metrics) {
	claims, at, fault := n.standing.view()
	m.Secure = !claims.Simulated
	m.EvidenceAge = max(0, m.HostTime.Sub(at))
	m.CollateralFrom, m.CollateralUntil = claims.ValidFrom, claims.ValidUntil
	m.ExaminationFailed = fault != nil
}

// auditProgress is how far the sinks are that the policy requires.
func (n *Node) auditProgress() kms.AuditProgress {
	view, err := n.replica.Local()
	if err != nil || n.audit == nil {
		return kms.AuditProgress{}
	}
	return n.audit.Progress(view.Policy().AuditSinks)
}

// Readiness says whether the node serves, and why not. It is told to anyone.
func (n *Node) Readiness() kms.Readiness {
	view, err := n.replica.Local()
	if err != nil {
		return kms.Readiness{Reasons: []string{whyStopped(err)}}
	}
	var why []string
	if n.draining.Load() {
		why = append(why, "the node is shutting down")
	}
	if n.audit == nil { // it is about to be put together
		return kms.Readiness{Reasons: append(why, "the node starts")}
	}
	if err := n.mayServe(view, n.core.Now(view)); err != nil {
		why = append(why, whyRefused(err))
	}
	if _, known := n.replica.Leader(); !known && len(view.Voters()) > 1 {
		why = append(why, alone(n.peers()))
	}
	if err := n.audit.Admit(view.Policy().AuditSinks); err != nil {
		why = append(why, whyRefused(err))
	}
	return kms.Readiness{Ready: len(why) == 0, Reasons: why}
}

// whyRefused is why the node may not serve, with what to do.
func whyRefused(err error) string {
	var e *kms.Error
	if errors.As(err, &e) && kms.HintOf(err) != "" {
		return err.Error() + ": " + kms.HintOf(err)
	}
	return err.Error()
}

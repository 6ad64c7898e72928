package state

import (
	"bytes"
	"errors"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// A Rule is what the domain is ruled by at some moment: who may change the
// rules, and the policy in force.
type Rule struct {
	Standing govern.Standing
	Policy   *govern.Policy
	Envelope []byte // of Policy, as it was signed
	// Next is a policy that was accepted and comes into force at its time; nil:
	// none.
	Next         *govern.Policy
	NextEnvelope []byte
}

// Policy is the policy in force, nil before the domain was founded.
func (v *View) Policy() *govern.Policy {
	if v.rule == nil {
		return nil
	}
	return v.rule.Policy
}

// Rule is what the domain is ruled by, nil before it was founded. It never
// changes; a new rule is a new value.
func (v *View) Rule() *Rule { return v.rule }

// Simulated reports whether the domain ever admitted evidence that is under no
// vendor's root.
func (v *View) Simulated() bool { return v.simulated }

// admitsSimulated reports whether a policy takes evidence that proves nothing.
func admitsSimulated(p *govern.Policy) bool {
	return p.Attestation.SGX.Simulated || p.Attestation.TDX.Simulated || p.Attestation.SNP.Simulated
}

// rule verifies the documents that a domain was founded by: again, at the
// moment that counts.
func (f *Founding) rule(policy []byte) (*Rule, error) {
	charter, err := govern.ParseCharter(f.Charter)
	if err != nil {
		return nil, err
	}
	founded, err := govern.Found(charter, f.Bootstrap, policy)
	if err != nil {
		return nil, err
	}
	if founded.Domain != f.Domain {
		return nil, kms.Errorf(kms.Invalid, "charter and bootstrap found another domain")
	}
	return &Rule{Standing: founded.Standing, Policy: founded.Policy, Envelope: policy}, nil
}

// setPolicy takes over the next policy if threshold, signatures, serial and
// digest of the one before are right. That the owner submitted it was checked
// before it was proposed, and is checked again.
func (m *Machine) setPolicy(p *command.SetPolicy) Result {
	old, envelope := m.next.rule, exact(p.GetEnvelope())
	if old.Next != nil {
		return refuse(kms.Conflict, "another policy waits for its time to come into force")
	}
	if err := old.Standing.CheckSubmission(envelope); err != nil {
		return refuseAs(err)
	}
	next, err := old.Standing.NextPolicy(old.Policy, envelope)
	if err != nil {
		return refuseAs(err)
	}
	rule := *old
	rule.Next, rule.NextEnvelope = next, envelope
	m.next.rule = &rule
	m.activate()
	return Result{}
}

// activate puts a policy in force whose time has come. It runs after each
// command, by the time that the command brought.
func (m *Machine) activate() {
	old := m.next.rule
	if old == nil || old.Next == nil || m.next.time < timeOf(old.Next.Activates) {
		return
	}
	m.next.rule = &Rule{Standing: old.Standing, Policy: old.Next, Envelope: old.NextEnvelope}
	m.next.simulated = m.next.simulated || admitsSimulated(old.Next)
}

// timeOf is t as times are kept here; the zero time is before every other.
func timeOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// loadRule restores the rule from a snapshot, and verifies it like new.
func (m *Machine) loadRule(h *command.Header) error {
	rule, err := m.next.founding.rule(exact(h.GetFound().GetPolicy()))
	if err != nil {
		return err
	}
	if now := h.GetPolicy(); !bytes.Equal(now, rule.Envelope) {
		if rule.Policy, err = rule.Standing.OpenPolicy(now); err != nil {
			return err
		}
		rule.Envelope = exact(now)
	}
	if next := h.GetNextPolicy(); len(next) > 0 {
		if rule.Next, err = rule.Standing.NextPolicy(rule.Policy, next); err != nil {
			return err
		}
		rule.NextEnvelope = exact(next)
	}
	m.next.rule, m.next.simulated = rule, h.GetSimulated()
	return nil
}

func (v *View) putRule(h *command.Header) {
	h.Simulated = v.simulated
	if v.rule != nil {
		h.Policy, h.NextPolicy = v.rule.Envelope, v.rule.NextEnvelope
	}
}

// refuseAs refuses with an error that says all there is to say.
func refuseAs(err error) Result {
	if e, ok := errors.AsType[*kms.Error](err); ok {
		return Result{Err: e}
	}
	return Result{Err: kms.Errorf(kms.Invalid, "%w", err)}
}

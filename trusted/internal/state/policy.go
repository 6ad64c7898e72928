package state

import (
	"errors"
	"slices"
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
	Since    int64  // when Policy came into force, ns; 0: not known
	// Next is a policy that was accepted and comes into force at its time; nil:
	// none.
	Next         *govern.Policy
	NextEnvelope []byte
	// Amendments are the envelopes that made Standing of the charter, oldest first.
	Amendments [][]byte
	// Past are the last policies that were in force before, oldest first: at most
	// MaxPast.
	Past []PastPolicy
}

// A PastPolicy is a policy that was in force.
type PastPolicy struct {
	Envelope []byte // as it was signed, by those who ruled then
	Serial   uint64
	Digest   govern.Digest
	Since    int64 // when it came into force, ns; 0: not known

	previous govern.Digest
}

const (
	// MaxPast is how many policies are kept that are not in force any more.
	MaxPast = 100
	// MaxAmendments is how many amendments a domain takes: every client verifies
	// all of them.
	MaxAmendments = 256
)

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
	f.founder = founded.Bootstrap.Founder
	return &Rule{Standing: founded.Standing, Policy: founded.Policy, Envelope: policy}, nil
}

// setPolicy takes over the next policy if threshold, signatures, serial and
// digest of the one before are right. That the owner submitted it was checked
// before it was proposed, and is checked again.
func (m *Machine) setPolicy(p *command.SetPolicy) Result {
	envelope := exact(p.GetEnvelope())
	next, err := m.next.rule.Successor(envelope)
	if err != nil {
		return refuseAs(err)
	}
	if err := m.next.CheckQuorum(next, m.next.Time()); err != nil {
		return refuseAs(err)
	}
	rule := *m.next.rule
	rule.Next, rule.NextEnvelope = next, envelope
	m.next.rule = &rule
	m.activate()
	return Result{}
}

// Successor opens the policy that an envelope would put in force, now or at its
// time: signed by the threshold, submitted by the owner, and the next one. The
// errors are those of govern, and Conflict where another one waits.
func (r *Rule) Successor(envelope []byte) (*govern.Policy, error) {
	if err := r.Standing.CheckSubmission(envelope); err != nil {
		return nil, err
	}
	next, err := r.Standing.NextPolicy(r.Policy, envelope)
	if err != nil {
		return nil, err
	}
	if r.Next != nil {
		return nil, kms.Errorf(kms.Conflict, "policy: policy %d waits for its time to come into force", r.Next.Serial).
			WithField("serial").WithHint("wait until " + r.Next.Activates.UTC().Format(time.RFC3339))
	}
	return next, nil
}

// setAmendment changes who rules. Everything is checked that was checked before
// it was proposed.
func (m *Machine) setAmendment(p *command.SetAmendment) Result {
	rule, err := m.next.rule.Amended(exact(p.GetEnvelope()))
	if err != nil {
		return refuseAs(err)
	}
	m.next.rule = rule
	return Result{}
}

// Amended is the rule after an amendment, which rests on the policy in force. A
// policy that waits for its time waits on if those who rule then signed it, and
// is dropped if they did not: what was signed by those who rule no more never
// comes into force. The errors are those of govern, and Exhausted.
//
// An amendment is submitted by the owner, or by the new one that it names: so a
// key that is lost, or an owner who says no, does not keep the threshold from
// naming another one.
func (r *Rule) Amended(envelope []byte) (*Rule, error) {
	standing, err := r.Standing.NextAmendment(r.Policy, envelope)
	if err != nil {
		return nil, err
	}
	if err := r.Standing.CheckSubmission(envelope); err != nil {
		if standing.Owner == r.Standing.Owner || standing.CheckSubmission(envelope) != nil {
			return nil, err
		}
	}
	if len(r.Amendments) >= MaxAmendments {
		return nil, kms.Errorf(kms.Exhausted, "amendment: the domain has had %d, which is all it takes", MaxAmendments).
			WithHint("found a new domain on a charter that says what holds now")
	}
	next := *r
	next.Standing, next.Amendments = standing, append(slices.Clone(r.Amendments), envelope)
	if r.Next != nil {
		if _, err := standing.NextPolicy(r.Policy, r.NextEnvelope); err != nil {
			next.Next, next.NextEnvelope = nil, nil
		}
	}
	return &next, nil
}

// activate puts a policy in force whose time has come. It runs after each
// command, by the time that the command brought.
func (m *Machine) activate() {
	old := m.next.rule
	if old == nil || old.Next == nil || m.next.time < timeOf(old.Next.Activates) {
		return
	}
	past := append(slices.Clone(old.Past), PastPolicy{Envelope: old.Envelope, Serial: old.Policy.Serial,
		Digest: old.Policy.Digest(), Since: old.Since, previous: old.Policy.Previous})
	m.next.rule = &Rule{Standing: old.Standing, Policy: old.Next, Envelope: old.NextEnvelope, Since: m.next.time,
		Amendments: old.Amendments, Past: past[max(0, len(past)-MaxPast):]}
	m.next.simulated = m.next.simulated || admitsSimulated(old.Next)
}

// timeOf is t as times are kept here; the zero time is before every other.
func timeOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// loadRule restores the rule from a snapshot, and verifies it like new: from
// founding documents over amendments to the policy in force.
func (m *Machine) loadRule(h *command.Header) error {
	rule, err := m.next.founding.rule(exact(h.GetFound().GetPolicy()))
	if err != nil {
		return err
	}
	for _, envelope := range h.GetAmendments() {
		if rule.Standing, err = rule.Standing.Amend(envelope); err != nil {
			return err
		}
		rule.Amendments = append(rule.Amendments, exact(envelope))
	}
	rule.Envelope, rule.Since = exact(h.GetPolicy()), h.GetPolicySince()
	if rule.Policy, err = rule.Standing.OpenPolicy(rule.Envelope); err != nil {
		return err
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
		h.Policy, h.PolicySince, h.NextPolicy, h.Amendments = v.rule.Envelope, v.rule.Since, v.rule.NextEnvelope, v.rule.Amendments
	}
}

// writePast writes the policies that were in force, oldest first.
func (v *View) writePast(out *recordWriter) {
	if v.rule == nil {
		return
	}
	for _, p := range v.rule.Past {
		out.put(&command.Record{Kind: &command.Record_PastPolicy{PastPolicy: &command.PastPolicy{Envelope: p.Envelope, Since: p.Since}}})
	}
}

// loadPast takes up a policy that was in force. Who ruled when it was signed may
// rule no more, so that it is known by its place in the chain of digests that
// ends in the policy in force; checkPast follows the chain.
func (m *Machine) loadPast(p *command.PastPolicy) error {
	if m.next.rule == nil || len(m.next.rule.Past) == MaxPast {
		return malformed("snapshot: past policy")
	}
	e, err := govern.ParseEnvelope(p.GetEnvelope())
	if err != nil || e.Type != govern.PolicyType {
		return malformed("snapshot: past policy")
	}
	policy, err := govern.ParsePolicy(e.Payload)
	if err != nil {
		return malformed("snapshot: past policy")
	}
	m.next.rule.Past = append(m.next.rule.Past, PastPolicy{Envelope: exact(p.GetEnvelope()), Serial: policy.Serial,
		Digest: policy.Digest(), Since: p.GetSince(), previous: policy.Previous})
	return nil
}

// checkPast checks that the past policies lead to the one in force.
func (m *Machine) checkPast() error {
	if m.next.rule == nil {
		return nil
	}
	serial, previous := m.next.rule.Policy.Serial, m.next.rule.Policy.Previous
	for _, p := range slices.Backward(m.next.rule.Past) {
		if p.Serial+1 != serial || p.Digest != previous {
			return malformed("snapshot: past policy")
		}
		serial, previous = p.Serial, p.previous
	}
	return nil
}

// refuseAs refuses with an error that says all there is to say.
func refuseAs(err error) Result {
	if e, ok := errors.AsType[*kms.Error](err); ok {
		return Result{Err: e}
	}
	return Result{Err: kms.Errorf(kms.Invalid, "%w", err)}
}

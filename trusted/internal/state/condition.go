package state

import (
	"bytes"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// setCondition changes which programs may use a key. Narrowing it is the owner's
// right. For anything else the command carries an operator's document, which is
// checked here again, or the serial of the policy that its principal's evidence
// was judged under: the evidence itself only the proposer has seen.
func (m *Machine) setCondition(by *command.Principal, p *command.SetCondition) Result {
	old, r, ok := m.ownKey(by, p.GetKey(), p.GetRevision())
	if !ok {
		return r
	}
	next, err := conditionOf(p.GetCondition())
	if err != nil {
		return refuse(kms.Invalid, "condition is malformed")
	}
	present, err := conditionOf(old.Condition)
	switch {
	case err != nil:
		return refuse(kms.Damaged, "stored condition is malformed")
	case len(p.GetOrder()) > 0:
		if err := m.next.CheckOrder(old, p.GetCondition(), p.GetOrder()); err != nil {
			return refuseAs(err)
		}
	case !next.Narrows(present) && by.GetPolicySerial() == 0:
		return refuse(kms.Denied, "the condition would be wider")
	}
	k := *old
	k.Condition, k.Revision = conditionBytes(p.GetCondition()), m.revise()
	m.setKey(&k)
	return Result{Key: &k}
}

// conditionOf reads a condition as it is stored, nil for none. Only the
// canonical form is one: every node stores the same bytes.
func conditionOf(b []byte) (*govern.Condition, error) {
	if len(b) == 0 {
		return nil, nil
	}
	c, err := govern.ParseCondition(b)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(c.Canonical(), b) {
		return nil, malformed("condition")
	}
	return c, nil
}

// conditionBytes copies a condition; none is nil.
func conditionBytes(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return exact(b)
}

// CheckOrder asks whether an operator's document orders that k, as it is, gets a
// condition. The errors are Denied and Invalid for what is no such document, and
// Conflict for one about another revision of the key.
func (v *View) CheckOrder(k *Key, condition, order []byte) error {
	change, err := v.Policy().OpenConditionChange(order)
	if err != nil {
		return err
	}
	ordered := change.Condition.Canonical()
	if change.Remove {
		ordered = nil
	}
	switch {
	case change.Domain != v.founding.Domain || change.Key != k.ID || !bytes.Equal(ordered, condition):
		return kms.Errorf(kms.Denied, "the operator's document orders something else").WithField("order")
	case change.Revision != k.Revision:
		return kms.Errorf(kms.Conflict, "the operator's document is for revision %d of the key, which is at %d", change.Revision, k.Revision).
			WithField("order").WithHint("have the operator sign for the key as it is now")
	}
	return nil
}

// judged checks that what a principal's evidence was judged under is still the
// policy in force.
func (m *Machine) judged(p *command.Principal) (Result, bool) {
	if serial := p.GetPolicySerial(); serial != 0 && (m.next.rule == nil || serial != m.next.rule.Policy.Serial) {
		return refuse(kms.Conflict, "the policy changed meanwhile"), false
	}
	return Result{}, true
}

// conditioned reports whether one of these keys has a condition: it is then
// neither imported nor deleted, for no condition names that.
func conditioned(keys ...*Key) bool {
	for _, k := range keys {
		if len(k.Condition) > 0 {
			return true
		}
	}
	return false
}

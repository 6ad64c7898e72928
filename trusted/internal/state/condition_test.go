package state_test

import (
	"bytes"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// programs is a condition under which these programs may encrypt and decrypt.
func programs(measurements ...byte) []byte {
	rule := govern.ConditionRule{Operations: kms.EncryptDecrypt}
	for _, m := range measurements {
		rule.Programs = append(rule.Programs, govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: bytes.Repeat([]byte{m}, 32)}})
	}
	return (&govern.Condition{Rules: []govern.ConditionRule{rule}}).Canonical()
}

func setCondition(key, revision uint64, condition, order []byte) *command.Command {
	return &command.Command{Op: &command.Command_SetCondition{SetCondition: &command.SetCondition{
		Key: id(key), Revision: revision, Condition: condition, Order: order}}}
}

// attested is a principal whose evidence was judged under a policy.
func (m *machine) attested(app, serial uint64) *command.Principal {
	p := m.by(app)
	p.PolicySerial = serial
	return p
}

// TestCondition: the owner narrows, an attested caller or an operator widens,
// and while there is a condition nothing that it cannot name is done.
func TestCondition(t *testing.T) {
	m := newMachine(t)
	first := m.must(m.do(m.by(1), putKey(1, 100)))
	m.refused("an old revision", m.do(m.by(1), setCondition(100, first.Revision-1, programs(1, 2), nil)), kms.Conflict)
	m.refused("another app", m.do(m.by(2), setCondition(100, first.Revision, programs(1), nil)), kms.Foreign)
	m.refused("what is none", m.do(m.by(1), setCondition(100, first.Revision, []byte("{}"), nil)), kms.Invalid)
	m.refused("what is not canonical", m.do(m.by(1), setCondition(100, first.Revision, append(programs(1), ' '), nil)), kms.Invalid)
	both := m.must(m.do(m.by(1), setCondition(100, first.Revision, programs(1, 2), nil)))
	one := m.must(m.do(m.by(1), setCondition(100, both.Revision, programs(1), nil)))
	m.refused("widened", m.do(m.by(1), setCondition(100, one.Revision, programs(1, 2), nil)), kms.Denied)
	m.refused("removed", m.do(m.by(1), setCondition(100, one.Revision, nil, nil)), kms.Denied)
	m.refused("under another policy", m.do(m.attested(1, 2), setCondition(100, one.Revision, nil, nil)), kms.Conflict)
	m.refused("deleted", m.do(m.by(1), deleteKey(100, one.Revision)), kms.Denied)
	m.refused("deleted with all", m.do(m.by(1), &command.Command{Op: &command.Command_DeleteAppKeys{DeleteAppKeys: &command.DeleteAppKeys{}}}), kms.Denied)

	off := m.must(m.do(m.by(1), setState(100, one.Revision, kms.KeyDisabled)))
	if !bytes.Equal(off.Condition, programs(1)) {
		t.Errorf("a disabled key has the condition %s", off.Condition)
	}
	for name, again := range map[string]*state.Machine{"the log": replayed(m), "a snapshot": restore(t, snapshot(t, m.Machine))} {
		k, ok := again.View().Key(kms.KeyID(id(100)))
		if !ok || !bytes.Equal(k.Condition, programs(1)) {
			t.Errorf("after %s: %+v", name, k)
		}
	}
	wide := m.must(m.do(m.attested(1, 1), setCondition(100, off.Revision, programs(1, 2), nil)))
	none := m.must(m.do(m.by(1), setCondition(100, wide.Revision, nil, m.order(100, wide.Revision, true))))
	if none.Condition != nil {
		t.Errorf("removed, and there is %q", none.Condition)
	}
	m.must(m.do(m.by(1), deleteKey(100, none.Revision)))
}

// order is an operator's document that removes a condition, or has it be met by
// nobody.
func (m *machine) order(key, revision uint64, remove bool) []byte {
	c := &govern.ConditionChange{Version: govern.ConditionChangeVersion, Domain: m.rulers.Founding.Domain, Key: kms.KeyID(id(key)),
		Revision: revision, Remove: remove, Condition: govern.Condition{Rules: []govern.ConditionRule{}}}
	return m.rulers.Sign(govern.ConditionChangeType, c.Canonical(), m.rulers.Operator)
}

// TestOrders: Apply opens an operator's document itself.
func TestOrders(t *testing.T) {
	m := newMachine(t)
	put := putKey(1, 100)
	put.GetPutKey().Key.Condition = programs(1)
	k := m.must(m.do(m.by(1), put))
	payload := (&govern.ConditionChange{Version: govern.ConditionChangeVersion, Domain: m.rulers.Founding.Domain, Key: k.ID, Revision: k.Revision, Remove: true}).Canonical()
	for name, order := range map[string][]byte{
		"of an owner":       m.rulers.Sign(govern.ConditionChangeType, payload, m.rulers.Owner),
		"of another type":   m.rulers.Sign(govern.TicketType, payload, m.rulers.Operator),
		"of no revision":    m.order(100, k.Revision+1, true),
		"of another key":    m.order(101, k.Revision, true),
		"for nobody":        m.order(100, k.Revision, false),
		"that is no order":  []byte("order"),
		"with another sign": bytes.Replace(m.order(100, k.Revision, true), []byte(`"sig":"`), []byte(`"sig":"A`), 1),
	} {
		if r := m.do(m.by(1), setCondition(100, k.Revision, nil, order)); r.Err == nil {
			t.Fatalf("an order %s is obeyed", name)
		}
	}
	// An order is no way around the owner.
	m.refused("by another app", m.do(m.by(2), setCondition(100, k.Revision, nil, m.order(100, k.Revision, true))), kms.Foreign)
	m.must(m.do(m.by(1), setCondition(100, k.Revision, nil, m.order(100, k.Revision, true))))

	bad := putKey(1, 102)
	bad.GetPutKey().Key.Condition = []byte(`{"rules":[],"x":1}`)
	m.refused("a new key with what is no condition", m.do(m.by(1), bad), kms.Invalid)

	waiting := putKey(1, 103)
	waiting.GetPutKey().Key.State, waiting.GetPutKey().Key.Versions, waiting.GetPutKey().Key.Current = uint32(kms.PendingImport), nil, 0
	waiting.GetPutKey().Key.Condition = programs(1)
	w := m.must(m.do(m.by(1), waiting))
	m.refused("import", m.do(m.by(1), importKey(103, w.Revision)), kms.Denied)
}

func replayed(m *machine) *state.Machine {
	again := state.New()
	for i, data := range m.log {
		again.Apply(uint64(i+1), data)
	}
	again.Publish()
	return again
}

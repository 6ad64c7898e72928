package state_test

import (
	"testing"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

func spendOrder(by, n byte, order []byte) *command.Command {
	return &command.Command{Op: &command.Command_SpendOrder{SpendOrder: &command.SpendOrder{By: raw(by), Node: raw(n), Order: order}}}
}

// An order to drain that was refused is spent, for good and in snapshots too; what is
// none, or is about another node, or is told by who is no member, spends nothing.
func TestSpendOrder(t *testing.T) {
	m := newMachine(t)
	order, other := m.orderAbout(govern.DeedDrain, 1, 1), m.orderAbout(govern.DeedDrain, 1, 2)
	m.refused("an app", m.do(m.by(1), spendOrder(1, 1, order)), kms.Invalid)
	m.refused("a stranger", m.do(nil, spendOrder(2, 1, order)), kms.Denied)
	m.refused("about another node", m.do(nil, spendOrder(1, 2, order)), kms.Conflict)
	m.refused("an order to remove", m.do(nil, spendOrder(1, 1, m.removal(1, 3))), kms.Denied)
	m.refused("nothing", m.do(nil, spendOrder(1, 1, nil)), kms.Invalid)
	if err := m.View().CheckDrain(node(1), order, m.View().Time()); err != nil {
		t.Fatal(err)
	}
	m.must(m.do(nil, spendOrder(1, 1, order)))
	m.refused("twice", m.do(nil, spendOrder(1, 1, order)), kms.Exists)
	again := state.New()
	if err := again.Restore(reader(snapshot(t, m.Machine))); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]*state.View{"this": m.View(), "restored": again.View()} {
		if kms.KindOf(v.CheckDrain(node(1), order, v.Time())) != kms.Exists {
			t.Errorf("%s: it is good again", name)
		}
		if err := v.CheckDrain(node(1), other, v.Time()); err != nil {
			t.Errorf("%s: another order: %v", name, err)
		}
	}
}

package state_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

func TestMembersAreBounded(t *testing.T) {
	m := newMachine(t)
	for n := byte(2); n <= state.MaxMembers; n++ {
		m.must(m.do(nil, m.put(n, nil)))
	}
	m.refused("one more", m.do(nil, m.put(100, nil)), kms.Exhausted)
	m.must(m.do(nil, m.put(101, func(p *command.PutNode) { p.Replaces, p.Proven = raw(2), true })))
	m.refused("one more beside", m.do(nil, m.put(100, nil)), kms.Exhausted)
	m.refused("for the same one", m.do(nil, m.put(102, func(p *command.PutNode) { p.Replaces, p.Proven = raw(2), true })), kms.Conflict)
	m.must(m.do(nil, removeNode(1, 2, kms.NodeReplaced, nil)))
	m.refused("for one that is gone", m.do(nil, m.put(102, func(p *command.PutNode) { p.Replaces, p.Proven = raw(2), true })), kms.NotFound)
	m.refused("one more still", m.do(nil, m.put(100, nil)), kms.Exhausted)
}

// Those who wait are bounded, of one machine too, and are forgotten by domain
// time; they may ask again.
func TestWaiting(t *testing.T) {
	m := newMachine(t)
	m.needApproval()
	from := m.index + 1
	here := func(machine byte) func(*command.PutNode) {
		return func(p *command.PutNode) { p.Node.Claims = kept(t, claims(machine)) }
	}
	for n := range byte(state.MaxWaitingHere) {
		m.must(m.do(nil, m.put(10+n, here(200))))
	}
	m.refused("of one machine", m.do(nil, m.put(50, here(200))), kms.Exhausted)
	for n := range byte(state.MaxWaiting - state.MaxWaitingHere) {
		m.must(m.do(nil, m.put(100+n, nil)))
	}
	m.refused("one more", m.do(nil, m.put(60, nil)), kms.Exhausted)
	first := m.time
	m.time += int64(30 * time.Minute)
	m.must(m.do(nil, m.put(11, here(200)))) // asks again
	m.time = first + int64(time.Hour) - 1
	m.must(m.do(nil, pass()))
	count := func() (n int) {
		m.View().Nodes(func(*state.Node) bool { n++; return true })
		return n
	}
	if got := count(); got != 1+state.MaxWaiting {
		t.Errorf("%d nodes", got)
	}
	m.time++
	m.must(m.do(nil, pass()))
	if got := m.roles(); got != "1 voter voter; 11 waiting waiting; " {
		t.Errorf("after an hour: %s", got)
	}
	m.must(m.do(nil, m.put(10, here(200))))
	again := restored(t, m.Machine)
	m.time += int64(2 * time.Hour)
	m.must(m.do(nil, pass()))
	again.Apply(m.index, m.log[len(m.log)-1])
	again.Publish()
	if got := m.roles(); got != "1 voter voter; " {
		t.Errorf("after all: %s", got)
	}
	if !bytes.Equal(snapshot(t, again), snapshot(t, m.Machine)) {
		t.Error("a machine from a snapshot forgets others")
	}
	waiting := 0
	for _, e := range seen(t, m.View().Events(), 0) {
		if e.Index >= from && e.Kind == kms.EventNodeWaiting {
			waiting++
		}
	}
	if waiting != state.MaxWaiting+1 { // who asks again while it waits is not told again
		t.Errorf("%d waited, as told", waiting)
	}
}

// A waiting node does not come back once an operator had it removed.
func TestWaitingExpelled(t *testing.T) {
	m := newMachine(t)
	m.needApproval()
	m.must(m.do(nil, m.put(2, nil)))
	m.refused("by itself", m.do(nil, removeNode(1, 2, kms.NodeRefused, nil)), kms.Misused)
	m.must(m.do(nil, removeNode(1, 2, kms.NodeExpelled, m.removal(2, 1))))
	m.refused("again", m.do(nil, m.put(2, nil)), kms.Denied)
}

// Without an operator's word one machine has two members at most, an upgrade in
// place among them; and those that hide which machine they are on count as one.
func TestOneMachineIsNotMost(t *testing.T) {
	m := newMachine(t)
	m.must(m.do(nil, m.announce(1, nil)))
	here := func(machine byte) func(*command.PutNode) {
		return func(p *command.PutNode) { p.Node.Claims = kept(t, claims(machine)) }
	}
	instead := func(machine, of byte) func(*command.PutNode) {
		return func(p *command.PutNode) {
			p.Node.Claims, p.Replaces, p.Proven = kept(t, claims(machine)), raw(of), true
		}
	}
	m.must(m.do(nil, m.put(10, here(200))))
	m.must(m.do(nil, m.put(11, here(200))))
	m.refused("a third", m.do(nil, m.put(12, here(200))), kms.Exhausted)
	m.must(m.do(nil, m.put(13, nil)))
	m.refused("a third in place of one of another machine", m.do(nil, m.put(12, instead(200, 13))), kms.Exhausted)
	m.must(m.do(nil, m.put(14, instead(200, 10))))
	m.refused("a third while one is being replaced", m.do(nil, m.put(12, here(200))), kms.Exhausted)
	m.must(m.do(nil, removeNode(1, 10, kms.NodeReplaced, nil)))
	m.refused("a third then", m.do(nil, m.put(12, here(200))), kms.Exhausted)
	m.must(m.do(nil, m.put(12, func(p *command.PutNode) {
		here(200)(p)
		p.Approval = m.approval(200, nil)
	})))
	m.must(m.do(nil, m.put(15, instead(200, 12)))) // of three that an operator wants, one begins again
	m.refused("a fourth", m.do(nil, m.put(16, here(200))), kms.Exhausted)

	hidden := func(p *command.PutNode) {
		c := claims(1)
		c.Platform.PPID = nil
		p.Node.Claims = kept(t, c)
	}
	for n := range byte(state.MaxMembersHere) {
		m.must(m.do(nil, m.put(20+n, hidden)))
	}
	m.refused("one more that hides its machine", m.do(nil, m.put(30, hidden)), kms.Exhausted)
}

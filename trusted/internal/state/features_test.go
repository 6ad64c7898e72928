package state_test

import (
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

func raise(level uint32) *command.Command {
	return &command.Command{Op: &command.Command_RaiseFeature{RaiseFeature: &command.RaiseFeature{By: raw(1), Level: level}}}
}

// The level rises once every voter has announced it, and never falls. A node whose
// program does not know it stops.
func TestFeatureLevel(t *testing.T) {
	m := newMachine(t)
	m.Machine.SetKnown(2)
	knows := func(level uint32) func(*command.AnnounceNode) {
		return func(p *command.AnnounceNode) { p.Node.Feature = level }
	}
	m.grow(2, 3)
	m.must(m.do(nil, m.put(4, nil))) // of the old version; does not vote
	m.must(m.do(nil, m.announce(1, knows(2))))
	m.must(m.do(nil, m.announce(2, knows(2))))
	m.refused("one does not know it", m.do(nil, raise(2)), kms.Conflict)
	m.refused("the one there is", m.do(nil, raise(1)), kms.Conflict)
	m.must(m.do(nil, m.announce(3, knows(7))))
	if got := m.View().Announced(); got != 2 {
		t.Errorf("announced: %d", got)
	}
	m.refused("one too far", m.do(nil, raise(3)), kms.Conflict)
	m.refused("for an app", m.do(m.by(1), raise(2)), kms.Conflict)
	old := restored(t, m.Machine) // a node that knows level 1 alone
	m.must(m.do(nil, raise(2)))
	if m.View().Feature() != 2 || m.told(m.index, 0) != "feature_raised 2" {
		t.Errorf("level %d, told %s", m.View().Feature(), m.told(m.index, 0))
	}
	if r := old.Apply(m.index, m.log[len(m.log)-1]); r.Err == nil || r.Err.Kind != kms.Damaged || old.Fatal() == nil {
		t.Errorf("a program of level 1 goes on: %v", r.Err)
	}
	m.refused("back", m.do(nil, raise(1)), kms.Conflict)
	m.refused("a node of the old version announces itself", m.do(nil, m.announce(4, nil)), kms.Denied)
	m.refused("one joins", m.do(nil, m.put(5, nil)), kms.Denied)
	again := state.New()
	if err := again.Restore(reader(snapshot(t, m.Machine))); err == nil {
		t.Error("a program of level 1 restores the snapshot of level 2")
	}
}

// TestNeeds: every operation that this program has is of a level that it knows, and
// one that it does not have is of none.
func TestNeeds(t *testing.T) {
	m := newMachine(t)
	ops := (&command.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("op").Fields()
	for i := range ops.Len() {
		c := &command.Command{}
		c.ProtoReflect().Set(ops.Get(i), c.ProtoReflect().NewField(ops.Get(i)))
		if level := state.Needs(c); level == 0 || level > state.FeatureLevel {
			t.Errorf("%s is of level %d, and this program knows %d", ops.Get(i).Name(), level, state.FeatureLevel)
		}
	}
	newer := &command.Command{}
	newer.ProtoReflect().SetUnknown([]byte{0xfa, 0x3f, 0x00}) // field 1023, an empty message
	for name, c := range map[string]*command.Command{"no operation": {}, "one of a newer program": newer} {
		if err := m.View().CheckFeature(c); kms.KindOf(err) != kms.Unsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := m.View().CheckFeature(raise(2)); err != nil {
		t.Error(err)
	}
}

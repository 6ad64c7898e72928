package state_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

func noteRefusal(by byte, node []byte, reason string) *command.Command {
	return &command.Command{Op: &command.Command_NoteRefusal{NoteRefusal: &command.NoteRefusal{By: raw(by), Node: node, Reason: reason, LeftOut: 5}}}
}

// A member tells of a node that it refused, in one word, and the state keeps
// nothing of it.
func TestNoteRefusal(t *testing.T) {
	m := newMachine(t)
	from := m.index
	for reason := range words() {
		m.must(m.do(nil, noteRefusal(1, raw(9), reason)))
	}
	m.must(m.do(nil, noteRefusal(1, nil, "certificate")))
	last := kms.Event{}
	for _, e := range seen(t, m.View().Events(), 0) {
		if e.Index <= from {
			continue
		}
		if last = e; e.Kind != kms.EventNodeRefused || e.Number != 5 {
			t.Errorf("%+v", e)
		}
	}
	if last.Reason != "certificate" || last.Node != (kms.NodeID{}) {
		t.Errorf("%+v", last)
	}
	m.refused("an app", m.do(m.by(1), noteRefusal(1, raw(9), "debug")), kms.Invalid)
	m.refused("a stranger", m.do(nil, noteRefusal(2, raw(9), "debug")), kms.Denied)
	m.refused("half a node", m.do(nil, noteRefusal(1, raw(9)[:31], "debug")), kms.Invalid)
	for _, reason := range []string{"", "Debug", "in words", "a\x1b[2J", strings.Repeat("a", 33), "é"} {
		m.refused(reason, m.do(nil, noteRefusal(1, raw(9), reason)), kms.Invalid)
	}
	again := state.New()
	if err := again.Restore(reader(snapshot(t, m.Machine))); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(snapshot(t, again), snapshot(t, m.Machine)) {
		t.Error("a machine from a snapshot differs")
	}
}

// words are all reasons that a node is refused for.
func words() map[string]bool {
	all := map[string]bool{}
	for _, r := range attest.Reasons() {
		all[string(r)] = true
	}
	for _, r := range kms.Refusals() {
		all[string(r)] = true
	}
	return all
}

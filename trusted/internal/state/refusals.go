package state

import (
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// maxReason bounds the word that says why a node was refused.
const maxReason = 32

// noteRefusal makes an event of a node that a member refused. It leaves no trace
// but that. How often a member tells is for it to bound.
func (m *Machine) noteRefusal(by *command.Principal, p *command.NoteRefusal) Result {
	var node kms.NodeID
	if by != nil || !isWord(p.GetReason()) || len(p.GetNode()) > 0 && !fill(node[:], p.GetNode()) {
		return refuse(kms.Invalid, "the refusal of a node is malformed")
	}
	if err := m.spokenBy(p.GetBy()); err != nil {
		return refuseAs(err)
	}
	m.event(kms.Event{Kind: kms.EventNodeRefused, Node: node, Reason: p.GetReason(), Number: p.GetLeftOut()})
	return Result{}
}

// isWord reports whether s is one word as reasons are: which reasons there are
// depends on the version of the program, and what an entry does must not.
func isWord(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxReason
}

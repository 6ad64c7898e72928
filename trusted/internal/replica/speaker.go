package replica

import (
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// speaksFor reports whether a node may forward a command: where this names the
// node that says so, or that owes the audit log an entry for it, it names that
// one. The state takes the names as they are, so whoever puts a command into the
// log has to know whom it came from.
func speaksFor(c *command.Command, node kms.NodeID) bool {
	for _, name := range named(c) {
		if string(name) != string(node[:]) {
			return false
		}
	}
	return true
}

var operation = (*command.Command)(nil).ProtoReflect().Descriptor().Oneofs().ByName("op")

// named are the nodes that a command names as its proposer: in the field "by" of
// whichever operation has one, so that a new operation cannot be forgotten here.
func named(c *command.Command) (all [][]byte) {
	if a := c.GetAudit(); a != nil {
		all = append(all, a.GetNode())
	}
	if head := c.GetAuditHead(); head != nil {
		all = append(all, head.GetNode())
	}
	m := c.ProtoReflect()
	op := m.WhichOneof(operation)
	if op == nil {
		return all
	}
	if by := op.Message().Fields().ByName("by"); by != nil {
		all = append(all, m.Get(op).Message().Get(by).Bytes())
	}
	return all
}

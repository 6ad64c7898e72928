package replica

import (
	"bytes"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/kms"
)

// SendSnapshotOf sends a node an empty snapshot of an entry, in this node's term.
func (r *Replica) SendSnapshotOf(to kms.NodeID, index, term uint64) error {
	req := &raft.InstallSnapshotRequest{Term: r.raft.CurrentTerm(), LastLogIndex: index, LastLogTerm: term}
	return r.transport.InstallSnapshot(serverID(to), address(to), req, &raft.InstallSnapshotResponse{}, bytes.NewReader(nil))
}

// AppliedHere is the newest entry that this node has applied.
func (r *Replica) AppliedHere() uint64 { return r.fsm.applied.Load() }

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

// SendEntries sends a node entries, as a leader of a term would, and returns whether
// it took them.
func (r *Replica) SendEntries(to kms.NodeID, term uint64, prev raft.Log, commit uint64, entries ...*raft.Log) (bool, error) {
	c := r.transport.(*channels)
	req := &raft.AppendEntriesRequest{RPCHeader: c.header(r.cfg.Node), Term: term, Leader: []byte(address(r.cfg.Node)),
		PrevLogEntry: prev.Index, PrevLogTerm: prev.Term, Entries: entries, LeaderCommitIndex: commit}
	var resp raft.AppendEntriesResponse
	err := c.NetworkTransport.AppendEntries(serverID(to), address(to), req, &resp)
	return resp.Success, err
}

// AppliedHere is the newest entry that this node has applied.
func (r *Replica) AppliedHere() uint64 { return r.fsm.applied.Load() }

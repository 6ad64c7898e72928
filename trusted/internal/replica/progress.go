package replica

import (
	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/kms"
)

// Progress is how far this node's copy of the log is.
func (r *Replica) Progress() kms.RaftProgress {
	_, leader := r.raft.LeaderWithID()
	p := kms.RaftProgress{Leader: r.raft.State() == raft.Leader, HasLead: leader != "", Commit: r.raft.CommitIndex(),
		Applied: r.raft.AppliedIndex(), Last: r.raft.LastIndex()}
	p.Term = r.raft.CurrentTerm()
	f := r.raft.GetConfiguration()
	for _, s := range f.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			p.Voters++
		} else {
			p.Learners++
		}
	}
	return p
}

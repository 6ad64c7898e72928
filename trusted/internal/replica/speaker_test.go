package replica_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// TestForwardedInAnothersName: a member that forwards a command which names another
// one as its proposer is refused by the leader, whatever the command is; in its own
// name, and in none, it is not.
func TestForwardedInAnothersName(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	rest := c.others(leader)
	follower, other := rest[0], rest[1]
	forged := func(by kms.NodeID) map[string]*command.Command {
		enrol, _ := c.enrol()
		enrol.Audit = &command.Audit{Node: by[:], Operation: "Enrol"}
		node := &command.Node{Id: other.id[:]}
		return map[string]*command.Command{
			"PutNode":      {Op: &command.Command_PutNode{PutNode: &command.PutNode{By: by[:], Node: node}}},
			"ApproveNode":  {Op: &command.Command_ApproveNode{ApproveNode: &command.ApproveNode{By: by[:], Node: node.Id}}},
			"AnnounceNode": {Op: &command.Command_AnnounceNode{AnnounceNode: &command.AnnounceNode{By: by[:], Node: node}}},
			"RemoveNode":   {Op: &command.Command_RemoveNode{RemoveNode: &command.RemoveNode{By: by[:], Node: node.Id, Reason: uint32(kms.NodeDrained)}}},
			"RaiseFeature": {Op: &command.Command_RaiseFeature{RaiseFeature: &command.RaiseFeature{By: by[:], Level: 1}}},
			"PutRecovery":  {Op: &command.Command_PutRecovery{PutRecovery: &command.PutRecovery{By: by[:]}}},
			"AuditHead":    {Op: &command.Command_AuditHead{AuditHead: &command.AuditHead{Node: by[:]}}},
			"audit entry":  enrol,
		}
	}
	refused := func(err error) bool {
		return errors.Is(err, kms.Unavailable) && strings.Contains(err.Error(), "names another as its proposer")
	}
	index := func() uint64 {
		v, err := leader.Local()
		if err != nil {
			t.Fatal(err)
		}
		return v.Index()
	}
	before := index()
	for name, cmd := range forged(other.id) {
		if _, err := follower.do(cmd); !refused(err) {
			t.Errorf("%s in another's name: %v", name, err)
		}
	}
	if after := index(); after != before {
		t.Errorf("the log went from %d to %d", before, after)
	}
	for name, cmd := range forged(follower.id) {
		if _, err := follower.do(cmd); refused(err) { // the state has its own reasons
			t.Errorf("%s in its own name: %v", name, err)
		}
	}
	follower.mustWrite()
}

package replica_test

import (
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
)

// A snapshot that has another entry than the node has applied comes from an older
// state, and takes the place of nothing: the node stops. One that has the same does
// no harm.
func TestSnapshotUndoesNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	behind := c.others(leader)[0]
	app := leader.mustWrite()
	c.agree(app)
	index, before := behind.AppliedHere(), behind.Progress()
	if err := leader.SendSnapshotOf(behind.id, index, before.Term); err != nil || behind.Failure() != nil {
		t.Fatalf("a snapshot of what the node has: %v, and it %v", err, behind.Failure())
	}
	_ = leader.SendSnapshotOf(behind.id, index, before.Term+7) // what it answers says nothing
	c.eventually("the node stops", func() bool { return behind.Failure() != nil })
	if err := behind.Failure(); !strings.Contains(kms.HintOf(err), "`survey`") {
		t.Errorf("it stopped for another reason: %v (hint %q)", err, kms.HintOf(err))
	}
	behind.kill()
	behind.restart()
	c.ready(behind)
	c.agree(app, leader.mustWrite())
}

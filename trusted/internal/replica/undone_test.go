package replica_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/raft"

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
	c.undoneIs(behind)
	behind.kill()
	behind.restart()
	c.ready(behind)
	c.agree(app, leader.mustWrite())
}

// undoneIs waits until a node has stopped because it was to undo what it has applied.
func (c *cluster) undoneIs(m *member) {
	c.t.Helper()
	c.eventually("the node stops", func() bool { return m.Failure() != nil })
	if err := m.Failure(); !strings.Contains(kms.HintOf(err), "`survey`") {
		c.t.Errorf("it stopped for another reason: %v (hint %q)", err, kms.HintOf(err))
	}
}

// compacted writes, and has a follower end its log by a snapshot.
func (c *cluster) compacted() (leader, follower *member, at raft.SnapshotMeta) {
	c.t.Helper()
	leader = c.leader()
	follower = c.others(leader)[0]
	c.agree(leader.mustWrite())
	if err := follower.Compact(); err != nil {
		c.t.Fatal(err)
	}
	all, err := follower.log.Snapshots().List()
	if err != nil || len(all) != 1 {
		c.t.Fatalf("%d snapshots, %v", len(all), err)
	}
	return leader, follower, *all[0]
}

// Where the log has been ended by a snapshot, what an older state has in its place
// is not overlooked either, and nothing is put behind it.
func TestUndoneBehindSnapshot(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(from *member, to kms.NodeID, at raft.SnapshotMeta){
		"other entries up to it": func(from *member, to kms.NodeID, at raft.SnapshotMeta) {
			term := at.Term + 5
			var all []*raft.Log
			for i := at.Index - 1; i <= at.Index+2; i++ {
				all = append(all, &raft.Log{Index: i, Term: term, Type: raft.LogNoop})
			}
			if ok, _ := from.SendEntries(to, term, raft.Log{Index: at.Index - 2, Term: at.Term}, at.Index+1, all...); ok {
				t.Error("entries were taken that replace others")
			}
		},
		"what follows another one": func(from *member, to kms.NodeID, at raft.SnapshotMeta) {
			term := at.Term + 5
			if ok, _ := from.SendEntries(to, term, raft.Log{Index: at.Index, Term: term}, at.Index, &raft.Log{Index: at.Index + 1, Term: term, Type: raft.LogNoop}); ok {
				t.Error("entries were taken that follow others")
			}
		},
		"a snapshot of another one": func(from *member, to kms.NodeID, at raft.SnapshotMeta) {
			_ = from.SendSnapshotOf(to, at.Index, at.Term+7)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3)
			leader, node, at := c.compacted()
			send(leader, node.id, at)
			c.undoneIs(node)
		})
	}
}

// A deposed leader's entries, which were never committed, harm nobody.
func TestOldEntriesBehindSnapshot(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader, node, at := c.compacted()
	old := &raft.Log{Index: at.Index, Term: at.Term - 1, Type: raft.LogNoop}
	if ok, err := leader.SendEntries(node.id, node.Progress().Term-1, raft.Log{Index: old.Index - 1, Term: old.Term}, 0, old); ok || err != nil || node.Failure() != nil {
		t.Errorf("taken %t, %v; the node: %v", ok, err, node.Failure())
	}
	c.agree(leader.mustWrite())
}

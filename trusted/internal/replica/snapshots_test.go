package replica_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
)

// A node that lies too far behind gets a snapshot, and serves from it.
func TestSnapshotInstalled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	behind := c.others(leader)[0]
	c.isolate(behind)
	var acked []kms.AppID
	for range 10 {
		acked = append(acked, leader.mustWrite())
	}
	if err := leader.Compact(); err != nil {
		t.Fatal(err)
	}
	if last := acked[len(acked)-1]; !leader.Compacted(1) {
		t.Fatalf("the log was not ended, app %v", last)
	}
	c.heal()
	c.ready(behind)
	c.agree(acked...)
	app := behind.mustWrite()
	behind.kill()
	behind.restart()
	c.ready(behind)
	c.agree(append(acked, app)...)
}

// A node has taken what follows its snapshot and its leader does not know: it
// sends that again, and nothing that the node has acknowledged is dropped.
func TestAfterSnapshot(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for tries := 0; !afterSnapshot(t, c); tries++ {
		if tries == 20 {
			t.Fatal("the entry never came")
		}
	}
}

// afterSnapshot is whether the node had taken the entry.
func afterSnapshot(t *testing.T, c *cluster) bool {
	t.Helper()
	leader := c.leader()
	behind := c.others(leader)[0]
	c.isolate(behind)
	leader.mustWrite() // what is on its way arrives after all
	leader.mustWrite()
	app := leader.mustWrite()
	if err := leader.Compact(); err != nil {
		t.Fatal(err)
	}
	c.heal()
	c.ready(behind)
	time.Sleep(100 * time.Millisecond) // for the leader to hear that the snapshot is there
	had, err := behind.log.Log().LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	c.cutOneWay(behind, leader)
	later := leader.mustWrite()
	taken := false
	for range 50 {
		has, err := behind.log.Log().LastIndex()
		if taken = err == nil && has > had; taken {
			break
		}
		time.Sleep(time.Millisecond)
	}
	behind.kill()
	c.heal()
	behind.restart()
	c.ready(behind)
	c.agree(app, later, behind.mustWrite())
	return taken
}

// A leader that was cut off with entries that never were committed, and comes
// back to a domain whose log begins after they would have: it gives them up.
func TestSnapshotReplacesTail(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	old := c.leader()
	c.isolate(old)
	var lost sync.WaitGroup
	r := old.Replica
	for range 50 {
		cmd, _ := c.enrol()
		cmd.Id = c.name()
		lost.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, _ = r.Propose(ctx, cmd)
		})
	}
	lost.Wait()
	fresh := c.leader(old)
	app := fresh.mustWrite()
	if err := fresh.Compact(); err != nil {
		t.Fatal(err)
	}
	c.heal()
	c.eventually("giving up", func() bool {
		_, err := old.write() // nothing that it serves before it stops is wrong
		return err == nil || old.Failure() != nil
	})
	if old.Failure() != nil {
		old.kill()
		old.restart()
		c.ready(old)
	}
	c.agree(app, old.mustWrite())
}

// A node that joins a domain with a past starts from nothing but a snapshot,
// serves as a learner, and votes.
func TestJoinLater(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	var acked []kms.AppID
	for range 10 {
		acked = append(acked, c.nodes[0].mustWrite())
	}
	if err := c.nodes[0].Compact(); err != nil {
		t.Fatal(err)
	}
	late := c.add()
	late.open(late.create(), replica.OpenJoining)
	if err := c.nodes[0].AddLearner(t.Context(), late.id); err != nil {
		t.Fatal(err)
	}
	c.ready(late)
	acked = append(acked, late.mustWrite())
	c.agree(acked...)
	for range 50 { // the leader may apply later than the learner
		c.nodes[0].mustRead(late.mustWrite())
	}
	late.kill()
	late.restart() // it opens what it was given
	c.ready(late)
	c.agree(acked...)
	if err := c.nodes[0].Promote(t.Context(), late.id); err != nil {
		t.Fatal(err)
	}
	c.agree(append(acked, c.nodes[0].mustWrite())...)
	if voters, learners := late.Configuration(); len(voters) != 2 || len(learners) != 0 {
		t.Errorf("%d voters and %d learners", len(voters), len(learners))
	}
}

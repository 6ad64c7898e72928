package replica_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// Kinds of frames, as frame.go has them.
const (
	answerFrame  = 2
	outcomeFrame = 6
)

// Every node takes writes and serves what any other has acknowledged.
func TestAnyNodeServes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	var acked []kms.AppID
	for range 20 {
		for _, writer := range c.nodes {
			app := writer.mustWrite()
			acked = append(acked, app)
			for _, reader := range c.nodes {
				reader.mustRead(app)
			}
		}
	}
	c.agree(acked...)
}

// A refusal reads the same at every node, and is decided in the log.
func TestRefusals(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	cmd, _ := c.enrol()
	c.must(c.nodes[0].do(cmd))
	for _, m := range c.nodes {
		again := &command.Command{Op: cmd.Op}
		if _, err := m.do(again); !errors.Is(err, kms.Exists) {
			t.Errorf("node %d: %v", m.id[0], err)
		}
	}
	if _, err := c.nodes[1].do(&command.Command{Id: []byte("short"), Op: cmd.Op}); !errors.Is(err, kms.Internal) {
		t.Errorf("a command without an id: %v", err)
	}
	for _, m := range c.nodes { // which would stop all of them
		if _, err := m.do(&command.Command{}); !errors.Is(err, kms.Unsupported) {
			t.Errorf("node %d: a command without an operation: %v", m.id[0], err)
		}
	}
	c.nodes[2].mustWrite()
}

// The loss of a leader stops neither writes nor reads, and he who comes back
// has everything.
func TestKillLeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	var acked []kms.AppID
	for range 3 {
		victim := c.leader()
		acked = append(acked, victim.mustWrite())
		victim.kill()
		for _, m := range c.others() {
			acked = append(acked, m.mustWrite())
		}
		c.agree(acked...)
		victim.restart()
		c.ready(victim)
		c.agree(acked...)
	}
}

// A whole domain comes back after a power cut.
func TestKillAll(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	var acked []kms.AppID
	for range 10 {
		acked = append(acked, c.nodes[1].mustWrite())
	}
	for _, m := range c.nodes {
		m.kill()
	}
	for _, m := range c.nodes {
		m.restart()
	}
	for _, m := range c.nodes {
		c.ready(m)
	}
	c.agree(acked...)
}

// A leader that is cut off serves nothing once others may have acknowledged
// something, and serves all of it once it is back.
func TestLeaderCutOff(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	old := c.leader()
	c.isolate(old)
	fresh := c.leader(old)
	app := fresh.mustWrite()
	if _, err := old.View(t.Context()); !errors.Is(err, kms.Stale) {
		t.Fatalf("the old leader serves: %v", err)
	}
	if local, err := old.Local(); err != nil {
		t.Fatal(err)
	} else if _, there := local.App(app); there {
		t.Fatal("the old leader was not cut off")
	}
	c.heal()
	c.ready(old)
	old.mustRead(app)
	c.agree(app)
}

// The moment a leader is cut off it confirms nothing more, long before it
// notices: no lease, no contact of before counts.
func TestNoLease(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	old := c.leader()
	for range 20 {
		if _, err := old.View(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.isolate(old)
	if !old.Leads() {
		t.Skip("it has lost the lead already") // on a machine so busy nothing is shown
	}
	old.refuses()
}

// Replies that a host has kept confirm no later round. The host of a leader's
// peers keeps their answers to a round, has another one elected, and then gives
// the old leader what it kept: it has not noticed anything and asks again.
func TestHeldBackReply(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for tries := 0; ; tries++ {
		if tries == 20 {
			t.Fatal("the old leader always noticed before it was asked")
		}
		if heldBack(t, c) {
			return
		}
		c.heal()
	}
}

// heldBack is whether the old leader still took itself for one when it was read.
func heldBack(t *testing.T, c *cluster) bool {
	t.Helper()
	old := c.leader()
	c.ready(old)
	others := c.others(old)
	kept := []*held{c.fabric.hold(others[0].id, old.id, answerFrame), c.fabric.hold(others[1].id, old.id, answerFrame)}
	if _, err := old.View(t.Context()); err != nil { // in a second round
		t.Fatal(err)
	}
	c.isolate(old)
	c.campaign(others[0])
	app := c.leader(old).mustWrite()
	if !old.Leads() {
		return false
	}
	served := make(chan bool)
	go func() {
		ok, err := old.reads(app)
		served <- err == nil && !ok
	}()
	time.Sleep(10 * time.Millisecond) // for the round to have begun; if not, nothing fails
	still := old.Leads()
	for _, h := range kept {
		h.release()
	}
	if <-served {
		t.Fatal("the old leader serves a state that lacks what was acknowledged")
	}
	return still
}

// A reply that is only slow confirms its own round and no other.
func TestSlowReplies(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	for i, m := range c.others(leader) {
		c.delay(m, leader, time.Duration(20+30*i)*time.Millisecond)
	}
	for range 5 {
		app := leader.mustWrite()
		for _, m := range c.nodes {
			m.mustRead(app)
		}
	}
}

// One voter of three is not needed, whichever it is.
func TestMinorityCut(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	others := c.others(leader)
	c.cut(others[0], others[1])
	app := others[0].mustWrite()
	others[1].mustRead(app)
	c.isolate(others[1])
	app = leader.mustWrite()
	others[0].mustRead(app)
	others[1].refuses()
	c.heal()
	c.ready(others[1])
	c.agree(app)
}

// Without most of the voters nothing is served and nothing acknowledged.
func TestQuorumLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.nodes[1].kill()
	c.nodes[2].kill()
	var tried sync.WaitGroup
	tried.Go(c.nodes[0].refuses)
	tried.Go(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		cmd, _ := c.enrol()
		cmd.Id = c.name()
		if _, err := c.nodes[0].Propose(ctx, cmd); !errors.Is(err, kms.Unavailable) {
			t.Errorf("proposing: %v", err)
		}
	})
	tried.Wait()
	c.nodes[1].restart()
	c.ready(c.nodes[0])
	c.agree(c.nodes[0].mustWrite())
}

// A leader that stands still is replaced, and when it goes on it knows that.
func TestFrozenLeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	old := c.leader()
	c.freeze(old, true)
	app := c.leader(old).mustWrite()
	c.freeze(old, false)
	if ok, err := old.reads(app); err == nil && !ok {
		t.Fatal("it serves a state that lacks what was acknowledged")
	}
	c.ready(old)
	c.agree(app)
}

// The answer to a forwarded command is lost with the leader, who had it
// committed: it is sent again and not done twice, and the first result stands.
func TestLostOutcome(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	follower := c.others(leader)[0]
	before, err := follower.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.fabric.hold(leader.id, follower.id, outcomeFrame)
	app := follower.mustWrite() // it has applied it, whatever the leader says
	follower.mustRead(app)
	lost := c.fabric.hold(leader.id, follower.id, outcomeFrame)
	c.cutOneWay(leader, follower) // it learns of nothing, and the others commit
	written := make(chan error, 1)
	go func() {
		_, err := follower.write()
		written <- err
	}()
	<-lost.taken
	leader.kill()
	c.heal()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	after, err := follower.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := after.Apps() - before.Apps(); got != 2 {
		t.Errorf("%d apps were made of two", got)
	}
	c.agree()
}

// A command that is proposed again with its id has the first result, at any node.
func TestRepeated(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	cmd, app := c.enrol()
	first := c.must(c.nodes[0].do(cmd))
	for _, m := range c.nodes {
		if again := c.must(m.do(cmd)); again.Index != first.Index {
			t.Errorf("node %d: done at %d and at %d", m.id[0], first.Index, again.Index)
		}
		m.mustRead(app)
	}
}

// Writers and readers at all nodes go on while leaders are lost: what was
// acknowledged is there, and reads never go back.
func TestUnderFire(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	var mu sync.Mutex
	var acked []kms.AppID
	ctx, cancel := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	for _, m := range c.nodes {
		r := m.Replica
		busy.Go(func() {
			for ctx.Err() == nil {
				cmd, app := c.enrol()
				cmd.Id = c.name()
				if _, err := r.Propose(ctx, cmd); err == nil {
					mu.Lock()
					acked = append(acked, app)
					mu.Unlock()
				}
			}
		})
		busy.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				want := slices.Clone(acked)
				mu.Unlock()
				v, err := r.View(ctx)
				if err != nil {
					continue
				}
				for _, id := range want {
					if _, ok := v.App(id); !ok {
						t.Errorf("a view lacks app %v, which was acknowledged before it was asked for", id)
						return
					}
				}
			}
		})
	}
	for range 3 {
		old := c.leader()
		c.isolate(old)
		c.leader(old)
		c.heal()
	}
	cancel()
	busy.Wait()
	c.agree(acked...)
}

// A domain grows from one voter to two and shrinks back, and no read misses a
// write at any step: with two voters the first one alone confirms nothing.
func TestGrowAndShrink(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	first, second := c.nodes[0], c.nodes[1]
	c.cut(first, second)
	first.refuses()
	c.heal()
	c.ready(first)
	leader := c.leader()
	other := c.others(leader)[0]
	if err := leader.RemoveServer(t.Context(), other.id); err != nil {
		t.Fatal(err)
	}
	app := leader.mustWrite()
	c.isolate(other) // nobody needs it any more
	leader.mustRead(app)
}

// Who was removed is told nothing more, even where nobody told him that.
func TestRemoved(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	gone := c.others(leader)[0]
	if err := leader.RemoveServer(t.Context(), leader.id); !errors.Is(err, kms.Conflict) {
		t.Errorf("a leader removes itself: %v", err)
	}
	if err := gone.RemoveServer(t.Context(), leader.id); !errors.Is(err, kms.Unavailable) {
		t.Errorf("a follower removes the leader: %v", err)
	}
	if err := leader.RemoveServer(t.Context(), gone.id); err != nil {
		t.Fatal(err)
	}
	gone.refuses()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	cmd, _ := c.enrol()
	cmd.Id = c.name()
	if _, err := gone.Propose(ctx, cmd); !errors.Is(err, kms.Unavailable) {
		t.Errorf("its command: %v", err)
	}
	for _, m := range c.others(gone) {
		m.mustRead(leader.mustWrite())
	}
}

// A leader that is closed has handed over before it goes: another one is
// elected because of that, not because it is missed.
func TestCloseHandsOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	old := c.leader()
	dead := c.others(old)[0]
	heir := c.others(old, dead)[0]
	c.isolate(dead) // who does not answer is not handed anything
	app := old.mustWrite()
	if err := old.TransferLeadership(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.leader(old) != heir {
		t.Error("the lead went to another")
	}
	heir.mustRead(app)
	c.heal()
	c.ready(dead)
	heir.stop()
	c.agree(app, dead.mustWrite())
}

// What the voters' clocks read is theirs, asked for now.
func TestReadings(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for i, m := range c.nodes {
		m.now.Store(began.Add(time.Duration(i) * time.Hour).UnixNano())
	}
	check := func(from *member, want ...*member) {
		t.Helper()
		got, err := from.Readings(t.Context())
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d readings of %d: %v", len(got), len(want), err)
		}
		for _, g := range got {
			i := slices.IndexFunc(want, func(m *member) bool { return m.id == g.Node })
			if i < 0 || g.Time.UnixNano() != want[i].now.Load() {
				t.Errorf("node %d reads %v", g.Node[0], g.Time)
			}
		}
	}
	leader := c.leader()
	check(leader, c.nodes...)
	check(c.others(leader)[0], c.nodes...)
	late := c.others(leader)[0]
	c.fabric.hold(late.id, leader.id, answerFrame)
	check(leader, c.others(late)...)
	c.isolate(leader)
	if _, err := leader.Readings(t.Context()); !errors.Is(err, kms.Unavailable) {
		t.Errorf("readings of one: %v", err)
	}
}

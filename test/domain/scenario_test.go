package domain_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// The scenarios below prove what the end-to-end scenarios of the Oasis key manager
// of the same names prove, each node a process. keymanager-upgrade is test/upgrade,
// which takes two programs, and keymanager-dump-restore is backup and recovery, as
// docs/operate.md has it, in test/governance. trusted/server has the same with nodes
// in one process, where secrets can be looked at that no node shows.

func scenario(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: it starts processes, and waits for elections and rotations")
	}
	t.Parallel()
}

// TestScenarioMasterSecrets: without an interval there is one secret, however many
// epochs pass. With one they follow each other by themselves, on all nodes, also
// while one is away, and when the domain has shrunk to one; then not any more.
func TestScenarioMasterSecrets(t *testing.T) {
	scenario(t)
	e := newEstate(t, 3, "--epoch", "1s", "--tick", "1s")
	epoch, _ := e.epoch(0, 1, 2)
	e.past(epoch + 2)
	e.agree(1, 0, 1, 2)
	if got := len(e.chain(0)); got != 1 {
		t.Fatalf("%d generations without an interval", got)
	}
	e.submit("rotation_interval=1s")
	e.agree(4, 0, 1, 2)

	e.nodes[2].kill()
	e.agree(len(e.chain(0))+1, 0, 1)
	e.again(2)
	e.agree(len(e.chain(0)), 0, 1, 2)
	e.remove()
	e.remove()
	e.reach(len(e.chain(0)), 0)

	e.submit("rotation_interval=0s")
	before := e.chain(0)
	time.Sleep(rests)
	if after := e.chain(0); len(after) != len(before) {
		t.Errorf("%d generations, then %d without an interval", len(before), len(after))
	}
	for i := 2; i < len(before); i++ {
		if apart := before[i].Created.Sub(before[i-1].Created); apart < time.Second {
			t.Errorf("generations %d and %d are %v apart", i-1, i, apart)
		}
	}
}

// TestScenarioEphemeralSecrets: the nodes share an epoch's secret; those that join
// get it, and after all have stopped it is gone.
func TestScenarioEphemeralSecrets(t *testing.T) {
	scenario(t)
	e := newEstate(t, 1, "--epoch", "4s", "--tick", "1s")
	lost, _ := e.epoch(0)
	e.restart()
	if p, err := e.public(0, kms.RuntimeKey{Runtime: "ledger", ID: kms.RuntimeKeyID{1}, Ephemeral: true, Period: lost}); err == nil {
		t.Errorf("a key of epoch %d, %x, outlives all nodes", lost, p.Public)
	}
	e.past(lost)
	e.grow(2)
	epoch, pair := e.epoch(0, 1, 2)
	e.past(epoch)
	if next, other := e.epoch(0, 1, 2); next <= epoch || other == pair {
		t.Errorf("epochs %d and %d have one key", epoch, next)
	}
	// The old one opens until its age.
	for k := range e.nodes {
		p, err := e.public(k, kms.RuntimeKey{Runtime: "ledger", ID: kms.RuntimeKeyID{1}, Ephemeral: true, Period: epoch})
		if err != nil || p.Public != pair {
			t.Errorf("node %d has another key of epoch %d, or none: %v", k, epoch, err)
		}
	}
}

// TestScenarioRestart: after all nodes were killed rotation goes on, and who needs a
// key that nobody had before gets it.
func TestScenarioRestart(t *testing.T) {
	scenario(t)
	e := newEstate(t, 3)
	key := newKey(t, e.clients[0])
	box := sealedOn(t, e.clients[0], key)
	e.submit("rotation_interval=1s")
	e.reach(1, 0, 1, 2)
	e.restart()
	e.agree(len(e.chain(0))+1, 0, 1, 2)
	opens(t, e.clients[2], key, box)
	e.uses()
}

// TestScenarioReplication: a node that was away for half of the generations takes
// those that it lacks, one that joins takes all, and then they are alike.
func TestScenarioReplication(t *testing.T) {
	scenario(t)
	e := newEstate(t, 3)
	for range 3 {
		e.rotate()
	}
	e.nodes[2].kill()
	for range 3 {
		e.rotate()
	}
	e.again(2)
	e.grow(1)
	e.agree(7, 0, 1, 2, 3)
	e.uses()
}

// TestScenarioReplicationMany tells how long a node takes over many generations;
// HOLDFAST_GENERATIONS says how many.
func TestScenarioReplicationMany(t *testing.T) {
	scenario(t)
	many := 5
	if text := os.Getenv("HOLDFAST_GENERATIONS"); text != "" {
		var err error
		if many, err = strconv.Atoi(text); err != nil || many < 1 {
			t.Fatalf("HOLDFAST_GENERATIONS: %q", text)
		}
	}
	e := newEstate(t, 2)
	for range many {
		e.rotate()
	}
	for range 2 {
		start := time.Now()
		e.grow(1)
		t.Logf("a node joined and took over %d generations in %v", many+1, time.Since(start).Round(time.Millisecond))
	}
	e.agree(many+1, 0, 1, 2, 3)
	e.rotate()
	e.agree(many+2, 0, 1, 2, 3)
}

// TestScenarioRotationFailure: while most nodes are gone no generation is made,
// however often that is tried. When one is back the next one is made, and those
// that come back later have no other. The whole of it twice.
func TestScenarioRotationFailure(t *testing.T) {
	scenario(t)
	e := newEstate(t, 3)
	for range 2 {
		now := len(e.chain(0))
		e.nodes[1].kill()
		e.nodes[2].kill()
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			if out, ok := tries(ctx, e.asked(0, "domain", "rotate", "--generation", strconv.Itoa(now), "--key", e.path("operator"))...); ok {
				t.Errorf("a node alone has rotated the master secret of three: %s", out)
			}
			cancel()
		}
		e.again(1)
		eventually(t, func() error {
			out, ok := tries(t.Context(), e.asked(1, "domain", "rotate", "--generation", strconv.Itoa(now), "--key", e.path("operator"))...)
			if !ok && len(e.chain(1)) <= now { // else it was made, and the answer was lost
				return errors.New(out)
			}
			return nil
		})
		e.again(2)
		e.agree(now+1, 0, 1, 2)
	}
}

package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// The scenarios below prove what the end-to-end scenarios of the Oasis key manager
// of the same names prove. keymanager-upgrade is test/upgrade, which takes two
// programs; keymanager-dump-restore is backup and restore, see recover_test.go.

// A scenario is a domain with a runtime, whose nodes are compared.
type scenario struct {
	orderer
	t *testing.T
}

func newScenario(t *testing.T, n int) scenario {
	d := trustedtest.NewDomain(t, n)
	listRuntime(t, d)
	return scenario{orderer{t, d.Nodes[0], d}, t}
}

// every has the domain rotate by itself; 0: not any more.
func (s scenario) every(interval time.Duration) {
	s.t.Helper()
	envelope := s.d.Rulers.Next(func(p *govern.Policy) { p.RotationInterval = attest.Age(interval) })
	if _, err := s.n.Core().SubmitPolicy(ctx, envelope); err != nil {
		s.t.Fatal(err)
	}
}

// reach waits until nodes have come to a generation by themselves.
func (s scenario) reach(generation uint32, nodes ...*trustedtest.Node) {
	s.t.Helper()
	eventually(s.t, func() (bool, error) {
		for _, n := range nodes {
			n.Server().Maintain()
			if got := n.Server().Status().Generation; got < generation {
				return false, fmt.Errorf("generation %d, not %d", got, generation)
			}
		}
		return true, nil
	})
}

// pass moves the hosts' clocks, and waits until the domain knows.
func (s scenario) pass(d time.Duration, nodes ...*trustedtest.Node) {
	s.t.Helper()
	until := s.n.Clock.Now().Add(d)
	for _, n := range nodes {
		n.Clock.Move(d)
	}
	eventually(s.t, func() (bool, error) {
		if now := s.n.Server().DomainTime(); now.Before(until) {
			return false, fmt.Errorf("it is %v, not %v", now, until)
		}
		return true, nil
	})
}

// chain checks what a node says of all generations: numbered from 0 without a gap,
// none like another one, none made before its predecessor.
func (s scenario) chain(n *trustedtest.Node) []kms.Generation {
	s.t.Helper()
	m, err := n.Server().MasterSecrets(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	for i, g := range m.Generations {
		if g.Number != uint32(i) || i > 0 && g.Created.Before(m.Generations[i-1].Created) {
			s.t.Fatalf("generation %d of %+v", i, m.Generations)
		}
		for _, other := range m.Generations[:i] {
			if bytes.Equal(g.Checksum, other.Checksum) || bytes.Equal(g.SigningKey, other.SigningKey) {
				s.t.Fatalf("generations %d and %d are alike", g.Number, other.Number)
			}
		}
	}
	return m.Generations
}

// agree checks that nodes have the same chain of at least so many generations, and
// derive the same key pair of each, which is like that of no other generation.
func (s scenario) agree(atLeast int, nodes ...*trustedtest.Node) {
	s.t.Helper()
	s.reach(uint32(atLeast-1), nodes...)
	first := s.chain(nodes[0])
	var made [][32]byte
	for g := range first {
		made = append(made, s.public(nodes[0], uint64(g)))
		if slices.Contains(made[:g], made[g]) {
			s.t.Fatalf("generation %d makes the keys of another one", g)
		}
	}
	for k, n := range nodes {
		other := s.chain(n)
		for g := range min(len(first), len(other)) {
			if !bytes.Equal(other[g].Checksum, first[g].Checksum) || s.public(n, uint64(g)) != made[g] {
				s.t.Fatalf("generation %d of node %d is another one", g, k)
			}
		}
	}
}

// public is a runtime's public key of a generation, as a node derives it.
func (s scenario) public(n *trustedtest.Node, generation uint64) [32]byte {
	s.t.Helper()
	p, err := n.Core().RuntimePublicKey(ctx, kms.RuntimeKeyRequest{RuntimeKey: kms.RuntimeKey{Runtime: "ledger", ID: kms.RuntimeKeyID{1, 2, 3}, Period: generation}})
	if err != nil {
		s.t.Fatalf("generation %d: %v", generation, err)
	}
	return p.Public
}

// TestScenarioMasterSecrets: without an interval there is one secret, however many
// epochs pass. With one they follow each other by themselves, on all nodes, also
// while one is away, and when the domain has shrunk to one; then not any more.
func TestScenarioMasterSecrets(t *testing.T) {
	t.Parallel()
	s := newScenario(t, 3)
	all := s.d.Nodes
	s.pass(5*time.Hour, all...)
	s.agree(1, all...)
	if got := len(s.chain(s.n)); got != 1 {
		t.Fatalf("%d generations without an interval", got)
	}
	s.every(time.Second)
	s.reach(3, all...)
	s.agree(4, all...)

	_ = all[2].Stop()
	s.reach(uint32(len(s.chain(s.n))), all[:2]...)
	s.agree(5, all[:2]...)
	all[2].MustStart()
	s.agree(5, all...)
	for _, n := range all[1:] {
		s.removed(n)
	}
	s.reach(uint32(len(s.chain(s.n))), s.n)

	s.every(0)
	before := s.chain(s.n)
	s.pass(time.Hour, s.n)
	s.n.Restart()
	if after := s.chain(s.n); len(after) != len(before) {
		t.Errorf("%d generations, then %d without an interval", len(before), len(after))
	}
	for i := 2; i < len(before); i++ {
		if apart := before[i].Created.Sub(before[i-1].Created); apart < time.Second {
			t.Errorf("generations %d and %d are %v apart", i-1, i, apart)
		}
	}
}

// expel ends a node's part by an operator's order.
func (o orderer) expel(id kms.NodeID) {
	o.t.Helper()
	order := o.signed(o.order(govern.DeedRemove, 0, func(x *govern.Order) { x.Node = id }), o.d.Rulers.Operator)
	if err := o.n.Server().RemoveNode(ctx, id, order); err != nil {
		o.t.Fatal(err)
	}
}

// removed ends a node's part by an operator's order.
func (s scenario) removed(n *trustedtest.Node) {
	s.t.Helper()
	s.expel(n.Server().Status().Node)
	_ = n.Stop()
}

// TestScenarioEphemeralSecrets: the nodes share an epoch's secret, in memory
// alone: those that join get it, and when all have stopped it is gone.
func TestScenarioEphemeralSecrets(t *testing.T) {
	t.Parallel()
	s := newScenario(t, 2)
	lost := s.epoch(s.d.Nodes...)
	s.d.RestartAll()
	for _, n := range s.d.Nodes {
		if n.Server().EpochSecret(lost) != nil {
			t.Error("an epoch's secret outlives all nodes")
		}
	}
	s.pass(time.Hour, s.d.Nodes...)
	now := s.epoch(s.d.Nodes...)
	before := s.n.Server().EpochSecret(now)
	for range 2 {
		n := s.d.Machine()
		n.Clock.Move(time.Hour)
		if err := n.Join(nil); err != nil {
			t.Fatal(err)
		}
	}
	if again := s.epoch(s.d.Nodes...); again != now || !bytes.Equal(s.n.Server().EpochSecret(now), before) {
		t.Error("the epoch's secret changed when nodes joined")
	}
	s.pass(time.Hour, s.d.Nodes...)
	if next := s.epoch(s.d.Nodes...); next <= now || bytes.Equal(s.n.Server().EpochSecret(next), before) {
		t.Error("two epochs have one secret")
	}
}

// epoch waits until nodes have one secret for the epoch that it is, and derive one
// key pair from it. Of epochs that are not theirs to serve they derive none.
func (s scenario) epoch(nodes ...*trustedtest.Node) (epoch uint64) {
	s.t.Helper()
	eventually(s.t, func() (bool, error) {
		epoch, _ = s.n.Server().Epoch()
		first := s.n.Server().EpochSecret(epoch)
		for k, n := range nodes {
			_ = n.Server().TurnEpoch(ctx) // tries again
			if secret := n.Server().EpochSecret(epoch); secret == nil || !bytes.Equal(secret, first) {
				return false, fmt.Errorf("node %d lacks the secret of epoch %d", k, epoch)
			}
		}
		return true, nil
	})
	ask := func(n *trustedtest.Node, period uint64, key byte) (kms.RuntimePublicKey, error) {
		return n.Core().RuntimePublicKey(ctx, kms.RuntimeKeyRequest{RuntimeKey: kms.RuntimeKey{
			Runtime: "ledger", ID: kms.RuntimeKeyID{key}, Ephemeral: true, Period: period}})
	}
	one, err := ask(s.n, epoch, 1)
	other, err2 := ask(s.n, epoch, 2)
	if err := errors.Join(err, err2); err != nil || one.Public == other.Public {
		s.t.Fatalf("epoch %d: %v", epoch, err)
	}
	for k, n := range nodes {
		if same, err := ask(n, epoch, 1); err != nil || same.Public != one.Public {
			s.t.Fatalf("epoch %d: node %d has another key, %v", epoch, k, err)
		}
		for _, wrong := range []uint64{epoch - 1, epoch + 10} {
			if p, err := ask(n, wrong, 1); err == nil && (wrong > epoch || p.Public == one.Public) {
				s.t.Fatalf("in epoch %d node %d has a key of epoch %d", epoch, k, wrong)
			}
		}
	}
	return epoch
}

// TestScenarioRestart: after all nodes were restarted rotation goes on, and who
// needs a key that nobody had before gets it.
func TestScenarioRestart(t *testing.T) {
	t.Parallel()
	s := newScenario(t, 3)
	all := s.d.Nodes
	app := s.n.Enrol()
	old := aesKey(t, app)
	s.every(time.Second)
	s.reach(1, all...)
	s.d.RestartAll()
	s.reach(uint32(len(s.chain(s.n))), all...)
	s.agree(3, all...)
	used(t, app, old, all[1], all[2])
	used(t, app, aesKey(t, app.On(all[2])), all[2], all[1])
}

// TestScenarioReplication: a node that was away for half of the generations takes
// those that it lacks, one that joins takes all, and then they are alike.
func TestScenarioReplication(t *testing.T) {
	t.Parallel()
	s := newScenario(t, 3)
	away := s.d.Nodes[2]
	for range 3 {
		s.rotate()
	}
	_ = away.Stop()
	for range 3 {
		s.rotate()
	}
	away.MustStart()
	s.d.Grow()
	s.d.AwaitVoters(4)
	s.agree(7, s.d.Nodes...)
}

// TestScenarioReplicationMany tells how long a node takes over many generations;
// HOLDFAST_GENERATIONS says how many.
func TestScenarioReplicationMany(t *testing.T) {
	t.Parallel()
	many := 5
	if text := os.Getenv("HOLDFAST_GENERATIONS"); text != "" {
		var err error
		if many, err = strconv.Atoi(text); err != nil || many < 1 {
			t.Fatalf("HOLDFAST_GENERATIONS: %q", text)
		}
	}
	s := newScenario(t, 2)
	for range many {
		s.rotate()
	}
	for range 2 {
		start := time.Now()
		s.d.Grow()
		t.Logf("a node joined and took over %d generations in %v", many+1, time.Since(start).Round(time.Millisecond))
	}
	s.d.AwaitVoters(4)
	s.agree(many+1, s.d.Nodes...)
	s.rotate()
	s.agree(many+2, s.d.Nodes...)
}

// TestScenarioRotationFailure: while most nodes are gone no generation is made,
// however often that is tried. When one is back the next one is made, and those
// that come back later have no other. The whole of it twice.
func TestScenarioRotationFailure(t *testing.T) {
	t.Parallel()
	s := newScenario(t, 3)
	for range 2 {
		s.failsAlone()
	}
}

func (s scenario) failsAlone() {
	s.t.Helper()
	all := s.d.Nodes
	now := uint32(len(s.chain(s.n)))
	for _, n := range all[1:] {
		_ = n.Stop()
	}
	for range 3 {
		short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		order := s.signed(s.order(govern.DeedRotate, now, nil), s.d.Rulers.Operator)
		if _, err := s.n.Server().RotateMasterSecret(short, order); err == nil {
			s.t.Error("a node alone has rotated the master secret of three")
		}
		cancel()
	}
	if got := s.n.Server().Status().Generation; got != now-1 {
		s.t.Errorf("generation %d, not %d", got, now-1)
	}
	all[1].MustStart()
	eventually(s.t, func() (bool, error) {
		order := s.signed(s.order(govern.DeedRotate, now, nil), s.d.Rulers.Operator)
		_, err := all[1].Server().RotateMasterSecret(ctx, order)
		if errors.Is(err, kms.Conflict) { // it was made, and the answer was lost
			err = nil
		}
		return true, err
	})
	all[2].MustStart()
	s.d.AwaitVoters(3)
	s.agree(int(now)+1, all...)
}

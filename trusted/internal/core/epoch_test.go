package core_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/core"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/runtimes"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// An epochNode is a core over a state machine without a log, whose proposals can
// fail either way.
type epochNode struct {
	*core.Core
	t        *testing.T
	machine  *state.Machine
	keys     *runtimes.Keys
	now      time.Time
	index    uint64
	proposed [][]byte // as they would be in the log

	lose  bool // the next proposal does not happen, and fails
	doubt bool // the next one happens, and fails all the same
	first bool // another member is faster with the next one
}

var errLost = kms.Errorf(kms.Unavailable, "lost")

func newEpochNode(t *testing.T) *epochNode {
	t.Helper()
	r := governtest.New(t)
	measurement := sha256.Sum256([]byte("node"))
	n := &epochNode{t: t, machine: state.New(), now: time.Now().Truncate(time.Hour).Add(time.Minute)}
	self := claimsOf(t, measurement, n.now)
	p := r.Policy(measurement[:], n.now)
	p.Nodes[0].MayQuery = []govern.RuntimeEntry{{Runtime: "ledger", Identities: []govern.Identity{p.Nodes[0].Identity}}}
	bootstrap, policy := r.Found(kms.NodeID{1}, p)
	master := root.New(root.NewSet(secret.Random(32)), r.Founding.Domain, root.HoldfastLabels)
	checksum, err := master.Checksum(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	signing, err := master.SigningKey(0)
	if err != nil {
		t.Fatal(err)
	}
	n.apply(&command.Command{Id: make([]byte, 16), Time: n.now.UnixNano(), Op: &command.Command_Found{Found: &command.Found{
		Domain: r.Founding.Domain[:], FeatureLevel: 1, Charter: r.Charter.Canonical(), Bootstrap: bootstrap, Policy: policy,
		Checksum: checksum, SigningKey: signing, Authority: &command.Authority{Certificate: []byte("a")}}}})
	n.keys = runtimes.New(master, r.Founding.Domain)
	n.Core = core.New(core.Config{Replica: n, Root: master, Now: func() time.Time { return n.now },
		Serving:  func(*state.View, time.Time) error { return nil },
		Runtimes: core.Runtimes{Keys: n.keys, Self: func() attest.Claims { return self }}})
	return n
}

// claimsOf is what evidence of a program on a simulated machine proves.
func claimsOf(t *testing.T, measurement [32]byte, at time.Time) attest.Claims {
	t.Helper()
	fuses, cfg := t.TempDir()+"/fuses", simtee.Config{Measurement: measurement}
	machine, err := cfg.Create(fuses)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := machine.Evidence(attest.SGX, [64]byte{}, at)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := attest.Verifiers{SGX: sgx.Verify}.Prove(ev, at)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func (n *epochNode) apply(c *command.Command) state.Result {
	n.t.Helper()
	data, err := proto.Marshal(c)
	if err != nil {
		n.t.Fatal(err)
	}
	n.index++
	n.proposed = append(n.proposed, data)
	r := n.machine.Apply(n.index, data)
	n.machine.Publish()
	return r
}

func (n *epochNode) View(context.Context) (*state.View, error) { return n.machine.View(), nil }

func (n *epochNode) Local() (*state.View, error) { return n.machine.View(), nil }

func (n *epochNode) Propose(_ context.Context, c *command.Command) (state.Result, error) {
	if n.lose {
		n.lose = false
		return state.Result{}, errLost
	}
	if n.first {
		n.first = false
		other := proto.Clone(c).(*command.Command)
		other.Id[0] ^= 1
		other.GetPutEphemeral().Checksum[0] ^= 1
		if r := n.apply(other); r.Err != nil {
			n.t.Fatal(r.Err)
		}
	}
	r := n.apply(c)
	if n.doubt {
		n.doubt = false
		return state.Result{}, errLost
	}
	if r.Err != nil {
		return r, r.Err
	}
	return r, nil
}

func (n *epochNode) epoch() uint64 { return n.machine.View().Calendar().At(n.now) }

// TestTurnEpochBothWays: a proposal that failed and did not happen, one that
// failed and did happen, and one that came second.
func TestTurnEpochBothWays(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*epochNode)
		err  error
		then bool // this node has the secret when it has tried again
	}{
		"did not happen":     {func(n *epochNode) { n.lose = true }, errLost, true},
		"did happen":         {func(n *epochNode) { n.doubt = true }, errLost, true},
		"another was faster": {func(n *epochNode) { n.first = true }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := newEpochNode(t)
			c.set(n)
			if err := n.TurnEpoch(t.Context()); !errors.Is(err, c.err) {
				t.Errorf("%v, want %v", err, c.err)
			}
			if err := n.TurnEpoch(t.Context()); err != nil {
				t.Error(err)
			}
			if got := n.keys.Held(n.epoch()); got != c.then {
				t.Errorf("it has the secret: %v", got)
			}
			_, err := n.RuntimePublicKey(t.Context(), kms.RuntimeKeyRequest{RuntimeKey: kms.RuntimeKey{Runtime: "ledger", Ephemeral: true}, Latest: true})
			if c.then && err != nil || !c.then && !errors.Is(err, kms.NotFound) {
				t.Errorf("a key of the epoch: %v", err)
			}
		})
	}
}

// TestEpochSecretIsInNoCommand: what is proposed names a secret and never has it,
// and neither has the state.
func TestEpochSecretIsInNoCommand(t *testing.T) {
	n := newEpochNode(t)
	for range 3 {
		if err := n.TurnEpoch(t.Context()); err != nil {
			t.Fatal(err)
		}
		e, there := n.machine.View().Ephemeral(n.epoch())
		if !there {
			t.Fatal("nothing was published")
		}
		s, err := n.keys.Secret(e.Epoch, e.Checksum)
		if err != nil {
			t.Fatal(err)
		}
		var snapshot bytes.Buffer
		if err := n.machine.Snapshot().Write(&snapshot); err != nil {
			t.Fatal(err)
		}
		found := false
		for _, b := range append(n.proposed, snapshot.Bytes()) {
			found = found || bytes.Contains(b, e.Checksum[:])
			if s.Use(func(secret []byte) error {
				if bytes.Contains(b, secret) {
					t.Error("the secret is there")
				}
				return nil
			}) != nil {
				t.Error("the secret is gone")
			}
		}
		if !found {
			t.Error("the search finds nothing, not even the checksum")
		}
		n.now = n.now.Add(time.Hour)
	}
}

// TestTurnEpochIsQuiet: once an epoch has its secret nothing is proposed until
// the next one is near.
func TestTurnEpochIsQuiet(t *testing.T) {
	n := newEpochNode(t)
	if err := n.TurnEpoch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !n.keys.Held(n.epoch()) {
		t.Fatal("the epoch has no secret")
	}
	before := len(n.proposed)
	for range 57 {
		if err := n.TurnEpoch(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.now = n.now.Add(time.Minute)
	}
	if len(n.proposed) != before {
		t.Errorf("%d commands in an epoch that has its secret", len(n.proposed)-before)
	}
}

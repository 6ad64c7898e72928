package examples_test

import (
	"context"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A world is a domain of one node that serves its API, and those who rule it.
type world struct {
	t      *testing.T
	domain *trustedtest.Domain
	node   *trustedtest.Node
	end    *trustedtest.Endpoint
}

func newWorld(t *testing.T) *world {
	d := trustedtest.NewDomain(t, 1)
	w := &world{t: t, domain: d, node: d.Nodes[0]}
	w.node.Edit = func(c *server.Config) { c.Mount = mount.Program{Version: "test"}.Handler }
	w.restart()
	return w
}

// restart stops the node and starts it on what its folder holds.
func (w *world) restart() {
	w.node.Restart()
	w.end = w.node.Serve(listen.Config{}, nil)
}

// rule puts the next policy in force, under which just these programs are the
// runtimes.
func (w *world) rule(programs map[string][]*program) {
	w.t.Helper()
	var entries []govern.RuntimeEntry
	for _, name := range []string{"auction", "notary"} {
		var ids []govern.Identity
		for _, p := range programs[name] {
			ids = append(ids, p.identity())
		}
		if len(ids) > 0 {
			entries = append(entries, govern.RuntimeEntry{Runtime: name, Identities: ids})
		}
	}
	w.change(func(p *govern.Policy) { p.Nodes[0].MayQuery = entries })
}

// change puts the next policy in force.
func (w *world) change(edit func(*govern.Policy)) {
	w.t.Helper()
	envelope := w.domain.Rulers.Next(func(p *govern.Policy) {
		p.Nodes = slices.Clone(p.Nodes)
		edit(p)
	})
	if _, err := w.node.Core().SubmitPolicy(w.t.Context(), envelope); err != nil {
		w.t.Fatal(err)
	}
	w.turn()
}

// turn does what the node does every second.
func (w *world) turn() {
	w.t.Helper()
	if err := w.node.Server().TurnEpoch(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// later moves the host's clock on.
func (w *world) later(by time.Duration) { w.node.Clock.Move(by); w.turn() }

// anyone is a client without any credential.
func (w *world) anyone() *client.Client { return w.client(nil) }

func (w *world) client(workload *client.Workload) *client.Client {
	w.t.Helper()
	c, err := client.New(client.Config{URL: w.end.URL, Now: w.node.Clock.Now, Workload: workload,
		Trust: &client.Trust{Charter: w.domain.Charter, AllowSimulated: true}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// A program is one that was started in a TEE on a simulated machine.
type program struct {
	w     *world
	fuses string
	cfg   simtee.Config
}

// start starts a program on a machine of its own; its name stands for its code.
func (w *world) start(name string) *program {
	w.t.Helper()
	p := &program{w: w, fuses: w.t.TempDir() + "/fuses", cfg: simtee.Config{Measurement: sha256.Sum256([]byte(name))}}
	if _, err := p.cfg.Create(p.fuses); err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (p *program) identity() govern.Identity {
	m := p.cfg.Measurement
	return govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: m[:]}}
}

// dial connects as the program: its TEE vouches for it.
func (p *program) dial() *client.Client {
	p.w.t.Helper()
	return p.w.client(&client.Workload{Evidence: func(_ context.Context, reportData [64]byte) (attest.Evidence, error) {
		machine, err := p.cfg.Open(p.fuses)
		if err != nil {
			return attest.Evidence{}, err
		}
		return machine.Evidence(attest.SGX, reportData, p.w.node.Clock.Now())
	}})
}

// longTerm and epoch name key pairs.
func longTerm(runtime string, generation uint64) kms.RuntimeKeyRequest {
	return kms.RuntimeKeyRequest{RuntimeKey: kms.RuntimeKey{Runtime: runtime, ID: kms.RuntimeKeyID{1}, Period: generation}}
}

func epoch(runtime string, number uint64) kms.RuntimeKeyRequest {
	r := longTerm(runtime, number)
	r.Ephemeral = true
	return r
}

func thisEpoch(runtime string) kms.RuntimeKeyRequest {
	r := epoch(runtime, 0)
	r.Latest = true
	return r
}

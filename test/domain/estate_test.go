package domain_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// An estate is a domain that was founded by hand, with the keys of who rules it:
// each node is a process, and what is done to it is done by commands.
type estate struct {
	t       *testing.T
	home    string // keys, charter, policies, and an app's credentials
	policy  string // the newest, signed
	drafts  int
	nodes   []*process
	clients []*client.Client
}

// newEstate founds a domain with a runtime and has it joined until n nodes vote.
func newEstate(t *testing.T, n int, charter ...string) *estate {
	t.Helper()
	e := &estate{t: t, home: t.TempDir()}
	for _, who := range []string{"owner", "signer", "operator"} {
		ends(t, 0, "signer", "new", "--out", e.path(who), "--no-passphrase")
	}
	ends(t, 0, append([]string{"charter", "new", "--name", "estate", "--owner", e.path("owner.pub"), "--signer", e.path("signer.pub"),
		"--threshold", "1", "--out", e.path("charter.json")}, charter...)...)
	first, founder := filepath.Join(e.home, "node0"), e.path("founder.json")
	ends(t, 0, "dev", "node", "prepare", "--dir", first, "--charter", e.path("charter.json"), "--out", founder)
	ends(t, 0, "policy", "new", "--charter", e.path("charter.json"), "--founder", founder, "--operator", e.path("operator.pub"),
		"--enrolment", "open", "--allow-simulated", "--out", e.path("draft1.json"))
	ends(t, 0, "policy", "edit", e.path("draft1.json"), "--set", `nodes/0/may_query=[{"runtime":"ledger","identities":[{"sgx":{"mrenclave":"`+strings.Repeat("ab", 32)+`"}}]}]`)
	ends(t, 0, "policy", "sign", e.path("draft1.json"), "--key", e.path("signer"))
	e.drafts, e.policy = 1, e.path("draft1.signed.json")
	bootstrap := e.path("bootstrap.json")
	ends(t, 0, "bootstrap", "new", "--charter", e.path("charter.json"), "--founder", founder, "--policy", e.policy, "--allow-simulated", "--out", bootstrap)
	ends(t, 0, "bootstrap", "sign", bootstrap, "--key", e.path("signer"))
	ends(t, 0, "bootstrap", "sign", e.path("bootstrap.signed.json"), "--key", e.path("owner"))
	ends(t, 0, "dev", "node", "found", "--dir", first, "--bootstrap", e.path("bootstrap.signed.json"), "--policy", e.policy)
	e.nodes = []*process{run(t, first, "--listen", "127.0.0.1:0")}
	ends(t, 0, "enroll", "--url", e.nodes[0].URL, "--charter", e.path("charter.json"), "--allow-simulated", "--out", e.path("credentials.json"))
	e.clients = []*client.Client{e.nodes[0].client(t, e.home)}
	e.grow(n - 1)
	return e
}

func (e *estate) path(name string) string { return filepath.Join(e.home, name) }

// grow has n more nodes join.
func (e *estate) grow(n int) {
	e.t.Helper()
	for range n {
		dir := filepath.Join(e.home, fmt.Sprint("node", len(e.nodes)))
		p := run(e.t, dir, "--join", e.nodes[0].Peers, "--charter", e.path("charter.json"))
		e.nodes, e.clients = append(e.nodes, p), append(e.clients, p.client(e.t, e.home))
	}
	voters(e.t, e.clients[0], len(e.nodes))
}

// again starts the k-th node again, which is down.
func (e *estate) again(k int) {
	e.t.Helper()
	e.nodes[k] = run(e.t, e.nodes[k].dir)
	e.clients[k] = e.nodes[k].client(e.t, e.home)
}

// restart kills all nodes at once and starts them again.
func (e *estate) restart() {
	e.t.Helper()
	for _, p := range e.nodes {
		p.kill()
	}
	started := make([]*process, len(e.nodes))
	done := make(chan struct{})
	for k, p := range e.nodes {
		go func() {
			defer func() { done <- struct{}{} }()
			started[k] = run(e.t, p.dir)
		}()
	}
	for range e.nodes {
		<-done
	}
	for k, p := range started {
		if p == nil {
			e.t.FailNow()
		}
		e.nodes[k], e.clients[k] = p, p.client(e.t, e.home)
	}
}

// asked are the flags of a command that asks the k-th node.
func (e *estate) asked(k int, args ...string) []string {
	return append(args, "--url", e.nodes[k].URL, "--charter", e.path("charter.json"), "--allow-simulated")
}

// submit has the next policy say what set says, by way of the first node.
func (e *estate) submit(set string) {
	e.t.Helper()
	e.drafts++
	draft := e.path(fmt.Sprintf("draft%d.json", e.drafts))
	signed := strings.TrimSuffix(draft, ".json") + ".signed.json"
	ends(e.t, 0, "policy", "edit", e.policy, "--charter", e.path("charter.json"), "--bootstrap", e.path("bootstrap.signed.json"), "--set", set, "--out", draft)
	ends(e.t, 0, "policy", "sign", draft, "--key", e.path("signer"))
	ends(e.t, 0, "policy", "sign", signed, "--key", e.path("owner"))
	ends(e.t, 0, "policy", "submit", e.nodes[0].URL, signed, "--charter", e.path("charter.json"), "--allow-simulated")
	e.policy = signed
}

// rotate has the domain make the next generation, by an operator's order.
func (e *estate) rotate() {
	e.t.Helper()
	ends(e.t, 0, e.asked(0, "domain", "rotate", "--key", e.path("operator"))...)
}

// remove ends the last node's part, by an operator's order.
func (e *estate) remove() {
	e.t.Helper()
	last := len(e.nodes) - 1
	ends(e.t, 0, e.asked(0, "node", "remove", e.nodes[last].Node, "--operator", e.path("operator"))...)
	e.nodes[last].kill()
	e.nodes, e.clients = e.nodes[:last], e.clients[:last]
}

// chain is what the k-th node says of all generations: numbered from 0 without a
// gap, none like another one, none made before its predecessor.
func (e *estate) chain(k int) []kms.Generation {
	e.t.Helper()
	st, err := e.clients[k].DomainStatus(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	for i, g := range st.Generations {
		if g.Number != uint32(i) || i > 0 && g.Created.Before(st.Generations[i-1].Created) {
			e.t.Fatalf("generation %d of %+v", i, st.Generations)
		}
		for _, other := range st.Generations[:i] {
			if bytes.Equal(g.Checksum, other.Checksum) || bytes.Equal(g.SigningKey, other.SigningKey) {
				e.t.Fatalf("generations %d and %d are alike", g.Number, other.Number)
			}
		}
	}
	return st.Generations
}

// reach waits until nodes have come to a generation.
func (e *estate) reach(generation int, nodes ...int) {
	e.t.Helper()
	for _, k := range nodes {
		eventually(e.t, func() error {
			st, err := e.clients[k].DomainStatus(e.t.Context())
			if err == nil && int(st.Generation) < generation {
				err = fmt.Errorf("node %d is at generation %d, not %d", k, st.Generation, generation)
			}
			return err
		})
	}
}

// public is a runtime's public key of a period, as the k-th node derives it.
func (e *estate) public(k int, key kms.RuntimeKey) (kms.RuntimePublicKey, error) {
	return e.clients[k].RuntimePublicKey(context.Background(), kms.RuntimeKeyRequest{RuntimeKey: key})
}

// agree checks that nodes have one chain of at least so many generations, and
// derive the same key pair of each, which is like that of no other generation.
func (e *estate) agree(atLeast int, nodes ...int) {
	e.t.Helper()
	e.reach(atLeast-1, nodes...)
	first := e.chain(nodes[0])
	var made [][32]byte
	for _, k := range nodes {
		chain := e.chain(k)
		for g := range min(len(first), len(chain)) {
			p, err := e.public(k, kms.RuntimeKey{Runtime: "ledger", ID: kms.RuntimeKeyID{1, 2, 3}, Period: uint64(g)})
			if err != nil {
				e.t.Fatalf("generation %d of node %d: %v", g, k, err)
			}
			if k == nodes[0] {
				if slices.Contains(made, p.Public) {
					e.t.Fatalf("generation %d makes the keys of another one", g)
				}
				made = append(made, p.Public)
			}
			if !bytes.Equal(chain[g].Checksum, first[g].Checksum) || p.Public != made[g] {
				e.t.Fatalf("generation %d of node %d is another one", g, k)
			}
		}
	}
}

// epoch waits until nodes derive one key pair for the epoch that it is. Of epochs
// that are not theirs to serve they derive none.
func (e *estate) epoch(nodes ...int) (epoch uint64, pair [32]byte) {
	e.t.Helper()
	key := func(epoch uint64, id byte) kms.RuntimeKey {
		return kms.RuntimeKey{Runtime: "ledger", ID: kms.RuntimeKeyID{id}, Ephemeral: true, Period: epoch}
	}
	eventually(e.t, func() error {
		st, err := e.clients[nodes[0]].Status(context.Background())
		if err != nil {
			return err
		}
		epoch = st.Epoch
		for i, k := range nodes {
			p, err := e.public(k, key(epoch, 1))
			if err != nil {
				return fmt.Errorf("node %d, epoch %d: %w", k, epoch, err)
			}
			if i == 0 {
				pair = p.Public
			} else if p.Public != pair {
				e.t.Fatalf("epoch %d: node %d has another key", epoch, k)
			}
		}
		return nil
	})
	for _, k := range nodes {
		if other, err := e.public(k, key(epoch, 2)); err == nil && other.Public == pair {
			e.t.Fatalf("epoch %d: two key ids have one key", epoch)
		}
		if _, err := e.public(k, key(epoch+10, 1)); err == nil {
			e.t.Fatalf("in epoch %d node %d has a key of ten later", epoch, k)
		}
	}
	return epoch, pair
}

// past waits until the domain has left an epoch.
func (e *estate) past(epoch uint64) {
	e.t.Helper()
	eventually(e.t, func() error {
		st, err := e.clients[0].Status(context.Background())
		if err == nil && st.Epoch <= epoch {
			err = fmt.Errorf("it is epoch %d", st.Epoch)
		}
		return err
	})
}

// uses has nodes open what another one seals with a key that is made now.
func (e *estate) uses() {
	e.t.Helper()
	last := len(e.clients) - 1
	key := newKey(e.t, e.clients[last])
	box := sealedOn(e.t, e.clients[last], key)
	for _, c := range e.clients {
		opens(e.t, c, key, box)
	}
}

// rests is long enough for a rotation by an interval of a second to show.
const rests = 2500 * time.Millisecond

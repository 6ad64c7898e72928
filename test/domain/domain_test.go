package domain_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// TestThreeNodes runs the proof of `holdfast dev --nodes 3`, which is most of the
// test: see there. Twice on one folder: the second time no node joins.
func TestThreeNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: it starts processes, kills them and waits for elections")
	}
	dir := filepath.Join(t.TempDir(), "domain")
	for run, says := range []string{"2 have just joined", "have found each other; all vote"} {
		args := []string{"dev", "--dir", dir, "--exit"}
		if run == 0 {
			args = append(args, "--nodes", "3")
		}
		out := ends(t, 0, args...)
		for _, step := range []string{says, "which leads", "go on", "catch up", "all 3 processes are gone", "same keys", "refused by each at once"} {
			if !strings.Contains(out, step) {
				t.Errorf("run %d says nothing of %q:\n%s", run, step, out)
			}
		}
		for _, node := range []string{"", "node2", "node3"} {
			deaf(t, filepath.Join(dir, node))
		}
	}
	for says, args := range map[string][]string{
		"has 3 nodes":   {"dev", "--dir", dir, "--nodes", "2", "--exit"},
		"--nodes is 1 ": {"dev", "--nodes", "100", "--exit"},
	} {
		if out := ends(t, 2, args...); !strings.Contains(out, says) || !strings.Contains(out, "hint: ") {
			t.Errorf("%q:\n%s", args, out)
		}
	}
}

// grow founds a domain and has it joined by hand, until n nodes vote.
func grow(t *testing.T, n int) (home string, nodes []*process, clients []*client.Client) {
	t.Helper()
	base := t.TempDir()
	home = filepath.Join(base, "first")
	ends(t, 0, "dev", "--dir", home, "--exit")
	for k := range n {
		var p *process
		if k == 0 {
			p = run(t, home, "--listen", "127.0.0.1:0")
		} else {
			p = run(t, filepath.Join(base, fmt.Sprint("joined", k)), "--join", nodes[0].Peers, "--charter", filepath.Join(home, "charter.json"))
		}
		nodes, clients = append(nodes, p), append(clients, p.client(t, home))
	}
	voters(t, clients[0], n)
	return home, nodes, clients
}

var plain = []byte("what one node sealed")

func newKey(t *testing.T, c *client.Client) (key kms.KeyID) {
	t.Helper()
	eventually(t, func() (err error) { // while a leader is elected it may be refused
		key, err = c.CreateKey(context.Background(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
		return err
	})
	return key
}

func sealedOn(t *testing.T, c *client.Client, key kms.KeyID) []byte {
	t.Helper()
	box, err := c.Encrypt(context.Background(), key, plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func opens(t *testing.T, c *client.Client, key kms.KeyID, box []byte) {
	t.Helper()
	got, err := c.Decrypt(context.Background(), key, box, nil)
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%q, %v", got, err)
	}
}

// TestByHand has nodes join by hand, loses one, gets it back, and stops the leader.
func TestByHand(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: it starts processes, kills them and waits for elections")
	}
	home, nodes, clients := grow(t, 3)
	key := newKey(t, clients[1])
	box := sealedOn(t, clients[0], key)
	opens(t, clients[2], key, box)

	nodes[2].kill()
	meanwhile := newKey(t, clients[1])
	late := sealedOn(t, clients[1], meanwhile)
	back := run(t, nodes[2].dir) // a member, so it need not say whom to join
	if back.Node != nodes[2].Node || back.URL != nodes[2].URL || back.Peers != nodes[2].Peers {
		t.Errorf("it is back as %s at %s and %s, and was %s at %s and %s", back.Node, back.URL, back.Peers, nodes[2].Node, nodes[2].URL, nodes[2].Peers)
	}
	opens(t, back.client(t, home), meanwhile, late)

	if runtime.GOOS == "windows" {
		return // it has no way to ask
	}
	st := voters(t, clients[1], 3)
	if st.Leader.String() != nodes[0].Node {
		t.Fatalf("%s leads, not the first node", st.Leader)
	}
	nodes[0].stop(t)
	opens(t, clients[1], key, box)
	newKey(t, clients[1])
	if strings.Contains(log(nodes[1].dir)+log(back.dir), `"level":"ERROR"`) {
		t.Errorf("errors in the logs:\n%s\n%s", log(nodes[1].dir), log(back.dir))
	}
}

// TestRefusedByHand: a program that the policy does not name, and what makes no sense.
func TestRefusedByHand(t *testing.T) {
	home, nodes, clients := grow(t, 1)
	charter := filepath.Join(home, "charter.json")
	stranger := filepath.Join(t.TempDir(), "stranger")
	join := []string{"dev", "node", "--join", nodes[0].Peers, "--dir", stranger, "--charter", charter}
	const why = "not a program that the policy names"
	out := ends(t, 1, append(join, "--sim-mrenclave", strings.Repeat("ab", 32))...)
	if !strings.Contains(out, why) || !strings.Contains(out, "hint: ") {
		t.Errorf("the one who asks is not told why:\n%s", out)
	}
	if !strings.Contains(log(home), why) {
		t.Errorf("the one who was asked does not say why:\n%s", log(home))
	}
	if st := voters(t, clients[0], 1); len(st.Nodes) != 1 {
		t.Errorf("nodes %+v", st.Nodes)
	}
	for says, args := range map[string][]string{
		"made with another":      append(join, "--sim-mrenclave", strings.Repeat("cd", 32)),
		"holds no node":          {"dev", "node", "serve", "--dir", stranger + "2"},
		"the domain of a charte": {"dev", "node", "--dir", stranger + "2", "--join", nodes[0].Peers},
		"no address that anothe": {"dev", "node", "--dir", stranger + "2", "--join", "nowhere", "--charter", charter},
		"for a node that joins":  {"dev", "node", "--dir", home, "--approval", charter},
	} {
		status := 2
		if strings.Contains("made with another holds no node", says) {
			status = 1
		}
		if out := ends(t, status, args...); !strings.Contains(out, says) || !strings.Contains(out, "hint: ") {
			t.Errorf("%q:\n%s", args, out)
		}
	}
}

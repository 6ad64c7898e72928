package upgrade_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/test/versions"
)

// TestUpgradeOfThree and TestUpgradeOfOne follow docs/upgrade.md, on one machine:
// forth, back, and forth again.
func TestUpgradeOfThree(t *testing.T) { upgrade(t, 3) }

func TestUpgradeOfOne(t *testing.T) { upgrade(t, 1) }

func upgrade(t *testing.T, n int) {
	if testing.Short() {
		t.Skip("SKIPPED: it starts processes, and waits for elections")
	}
	s := newSite(t, n)
	s.works(s.old...)
	s.listNext()

	s.join(n)
	s.works(s.next...)
	s.notYet()
	s.back()

	s.join(n)
	s.notYet()
	s.leave()
	s.raised()
	s.oldRefused()
}

// A site is a domain that is upgraded.
type site struct {
	person
	base, home string // home is of who runs the domain, and of its first node
	old, next  []*process
	joined     int

	aes, ec   kms.KeyID
	box       []byte
	signature []byte
}

const secretName = "database"

var (
	plain = []byte("what the old version sealed")
	input = kms.SigningInput{Message: plain}
)

// newSite is a domain of n nodes of the old version, with a key of each sort and a
// secret.
func newSite(t *testing.T, n int) *site {
	base := t.TempDir()
	s := &site{person: person{t: t}, base: base, home: filepath.Join(base, "first")}
	s.env = []string{"HOLDFAST_CREDENTIALS=" + s.path("credentials.json")}
	s.does(this, "dev", "--dir", s.home, "--exit")
	s.old = []*process{run(t, this, s.home, "--listen", "127.0.0.1:0")}
	for k := range n - 1 {
		s.old = append(s.old, run(t, this, filepath.Join(base, fmt.Sprint("old", k+2)), "--join", s.old[0].Peers, "--charter", s.path("charter.json")))
	}
	s.voters(s.old[0], n)
	c := s.client(s.old[0])
	var errs [5]error
	s.aes, errs[0] = c.CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	s.ec, errs[1] = c.CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.ECP256, Origin: kms.Generated})
	s.box, errs[2] = c.Encrypt(t.Context(), s.aes, plain, nil)
	s.signature, errs[3] = c.Sign(t.Context(), s.ec, input)
	_, errs[4] = c.Secrets().Create(t.Context(), client.NewSecret{Name: secretName, Value: plain})
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.home, name) }

func (s *site) client(p *process) *client.Client {
	s.t.Helper()
	var cred struct{ AppID, APIKey string }
	if err := json.Unmarshal(s.read("credentials.json"), &cred); err != nil {
		s.t.Fatal(err)
	}
	app, err := kms.ParseAppID(cred.AppID)
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := client.New(client.Config{URL: p.URL, AppID: app, APIKey: client.NewAPIKey(cred.APIKey),
		Trust: &client.Trust{Charter: s.read("charter.json"), AllowSimulated: true}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

func (s *site) read(name string) []byte {
	s.t.Helper()
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// voters waits until n nodes vote.
func (s *site) voters(asked *process, n int) {
	s.t.Helper()
	c := s.client(asked)
	eventually(s.t, func() error {
		st, err := c.Status(s.t.Context())
		if err == nil && st.Voters != n {
			err = fmt.Errorf("%d nodes vote, not %d", st.Voters, n)
		}
		return err
	})
}

// works has each node use what the old version made, and another one what it makes.
func (s *site) works(nodes ...*process) {
	s.t.Helper()
	last := nodes[len(nodes)-1]
	for _, p := range nodes {
		c := s.client(p)
		ctx := s.t.Context()
		got, err := c.Decrypt(ctx, s.aes, s.box, nil)
		if err != nil || !bytes.Equal(got, plain) {
			s.t.Fatalf("the node in %s opens %q, %v", p.dir, got, err)
		}
		if good, err := c.Verify(ctx, s.ec, input, s.signature); err != nil || !good {
			s.t.Fatalf("the node in %s: good signature: %t, %v", p.dir, good, err)
		}
		if v, err := c.Secrets().Get(ctx, kms.GetSecretRequest{Name: secretName}); err != nil || !bytes.Equal(v.Data, plain) {
			s.t.Fatalf("the node in %s has secret %q, %v", p.dir, v.Data, err)
		}
		box, err := c.Encrypt(ctx, s.aes, plain, nil)
		if err == nil {
			got, err = s.client(last).Decrypt(ctx, s.aes, box, nil)
		}
		if err != nil || !bytes.Equal(got, plain) {
			s.t.Fatalf("from the node in %s the one in %s opens %q, %v", p.dir, last.dir, got, err)
		}
		last = p
	}
}

// listNext is the policy that lists the next version beside the old one.
func (s *site) listNext() {
	s.t.Helper()
	draft, signed := s.path("policy2.json"), s.path("policy2.signed.json")
	s.does(this, "policy", "edit", s.path("policy.json"), "--charter", s.path("charter.json"), "--bootstrap", s.path("bootstrap.json"), "--out", draft,
		"--set", `nodes/0/may_replicate=["next"]`,
		"--set", `nodes/-={"name":"next","identity":{"sgx":{"mrenclave":"`+versions.Measurement(2)+`"}},"may_replicate":["dev"],"may_query":[]}`)
	s.does(this, "policy", "sign", draft, "--key", s.path("signer.key"))
	s.does(this, "policy", "sign", signed, "--key", s.path("owner.key"))
	submit := []string{"policy", "submit", s.old[0].URL, signed, "--charter", s.path("charter.json"), "--allow-simulated"}
	s.refusedProgram()
	s.does(this, append(submit, "--dry-run")...)
	s.does(this, submit...)
}

// refusedProgram: before the policy lists it the next version is no node.
func (s *site) refusedProgram() {
	s.t.Helper()
	status, _, stderr := s.tries(next, "dev", "node", "serve", "--dir", filepath.Join(s.base, "early"), "--join", s.old[0].Peers, "--charter", s.path("charter.json"))
	if status == 0 || !strings.Contains(stderr, "not a program that the policy names") {
		s.t.Fatalf("a program that no policy lists: status %d, %s", status, stderr)
	}
	// A folder belongs to the program that made it.
	status, _, stderr = s.tries(next, "dev", "node", "serve", "--dir", s.stopped(), "--listen", "127.0.0.1:0")
	if status == 0 || !strings.Contains(stderr, "hint: ") {
		s.t.Fatalf("the next version opens the old one's folder: status %d, %s", status, stderr)
	}
}

// stopped is the folder of a node of the old version that does not run.
func (s *site) stopped() string {
	dir := filepath.Join(s.base, "stopped")
	if _, err := os.Stat(dir); err != nil {
		s.does(this, "dev", "--dir", dir, "--exit")
	}
	return dir
}

// join has n nodes of the next version join, beside the old ones.
func (s *site) join(n int) {
	s.t.Helper()
	s.next = nil
	for range n {
		s.joined++
		s.next = append(s.next, run(s.t, next, filepath.Join(s.base, fmt.Sprint("next", s.joined)), "--join", s.old[0].Peers, "--charter", s.path("charter.json")))
	}
	for _, p := range append(s.old, s.next...) {
		s.voters(p, len(s.old)+n)
	}
}

// notYet: while an old node votes the level stays, and the new command is refused
// by the node that was asked. It reaches nobody: an old node would stop at it.
func (s *site) notYet() {
	s.t.Helper()
	for _, p := range s.next {
		status, _, stderr := s.tries(next, "key", "disable-all", "--url", p.URL)
		if status == 0 || !strings.Contains(stderr, "Not every node runs a program that knows this yet") {
			s.t.Fatalf("a command that old nodes do not know: status %d, %s", status, stderr)
		}
	}
	s.level(1, append(s.old, s.next...)...)
	s.works(append(s.old, s.next...)...)
}

func (s *site) level(want uint32, nodes ...*process) {
	s.t.Helper()
	for _, p := range nodes {
		eventually(s.t, func() error {
			st, err := s.client(p).DomainStatus(s.t.Context())
			if err == nil && st.Feature != want {
				err = fmt.Errorf("the node in %s is at feature level %d, not %d", p.dir, st.Feature, want)
			}
			return err
		})
	}
}

// back removes the new nodes, and the old ones go on.
func (s *site) back() {
	s.t.Helper()
	s.remove(s.old[0], s.next...)
	s.voters(s.old[0], len(s.old))
	s.level(1, s.old...)
	s.works(s.old...)
}

// leave removes the old nodes, one after the other.
func (s *site) leave() {
	s.t.Helper()
	for k, p := range s.old {
		if k < len(s.old)-1 {
			s.level(1, s.old[len(s.old)-1]) // the last one holds it back
		}
		s.remove(s.next[0], p)
	}
	s.voters(s.next[0], len(s.next))
}

func (s *site) remove(ask *process, nodes ...*process) {
	s.t.Helper()
	for _, p := range nodes {
		s.does(this, "node", "remove", p.Node, "--operator", s.path("operator.key"), "--url", ask.URL)
		p.kill()
	}
}

// raised: when no old node votes any more the level rises by itself, and the new
// command counts on every node, also after all of them were started again.
func (s *site) raised() {
	s.t.Helper()
	s.level(2, s.next...)
	s.works(s.next...)
	s.does(next, "key", "disable-all", "--url", s.next[0].URL)
	for _, p := range s.next {
		if _, err := s.client(p).Encrypt(s.t.Context(), s.aes, plain, nil); !errors.Is(err, kms.Disabled) {
			s.t.Errorf("the node in %s uses a key that the new command has disabled: %v", p.dir, err)
		}
	}
	c := s.client(s.next[len(s.next)-1])
	if err := errors.Join(c.EnableKey(s.t.Context(), s.aes), c.EnableKey(s.t.Context(), s.ec)); err != nil {
		s.t.Fatal(err)
	}
	s.works(s.next...)
	for _, p := range s.next {
		p.kill()
	}
	s.restart()
	s.level(2, s.next...)
	s.works(s.next...)
}

// restart starts the new nodes, which need each other, at once.
func (s *site) restart() {
	s.t.Helper()
	started := make([]*process, len(s.next))
	s.t.Run("restart", func(t *testing.T) {
		for k, p := range s.next {
			t.Run(fmt.Sprint(k), func(t *testing.T) { t.Parallel(); started[k] = run(s.t, next, p.dir) })
		}
	})
	s.next = started
	s.voters(s.next[0], len(s.next))
}

// oldRefused: nodes of the old version cannot come back, though the policy still
// lists them: neither anew nor as what they were.
func (s *site) oldRefused() {
	s.t.Helper()
	args := []string{"dev", "node", "serve", "--join", s.next[0].Peers, "--charter", s.path("charter.json"), "--dir"}
	const why = "knows feature level 1, and the domain is at 2"
	status, _, stderr := s.tries(this, append(args, filepath.Join(s.base, "late"))...)
	if status == 0 || !strings.Contains(stderr, why) || !strings.Contains(stderr, "hint: ") {
		s.t.Errorf("an old node joins: status %d, %s", status, stderr)
	}
	s.voters(s.next[0], len(s.next))
	s.works(s.next...)
}

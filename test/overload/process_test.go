// Package overload_test asks a node for more than it may or can do: a process of
// its own, over HTTPS, with the load made in the test's process. docs/limits.md says
// what it is to do then.
package overload_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/test/built"
)

// program is the path of cmd/holdfast, built once.
var program string

func TestMain(m *testing.M) { os.Exit(built.Main(m, &program, "holdfast")) }

// A node is a domain for development, of one node.
type node struct {
	t    *testing.T
	dir  string
	url  string
	addr string
	ca   *x509.CertPool
	pem  []byte
}

// newNode starts a node, which ends with the test.
func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, dir: filepath.Join(t.TempDir(), "domain")}
	cmd := exec.Command(program, "--json", "dev", "--dir", n.dir, "--listen", "127.0.0.1:0")
	var said bytes.Buffer
	cmd.Stderr = &said
	built.EndWithTest(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var ready struct{ URL, CA string }
	if err := json.NewDecoder(out).Decode(&ready); err != nil {
		t.Fatalf("the node does not serve: %v\n%s", err, &said)
	}
	u, err := url.Parse(ready.URL)
	if err != nil {
		t.Fatal(err)
	}
	if n.pem, err = os.ReadFile(ready.CA); err != nil {
		t.Fatal(err)
	}
	n.url, n.addr, n.ca = ready.URL, u.Host, x509.NewCertPool()
	n.ca.AppendCertsFromPEM(n.pem)
	return n
}

// run runs a command of the operator's in the domain's folder.
func (n *node) run(args ...string) {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), program, args...)
	cmd.Dir = n.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("holdfast %v: %v\n%s", args, err, out)
	}
}

// limit has the policy set a rate for an app.
func (n *node) limit(x *tenant, perSecond, burst int) {
	n.t.Helper()
	apps := fmt.Sprintf(`limits/apps=[{"app_id":%q,"symmetric":{"per_second":%d,"burst":%d}}]`, x.id, perSecond, burst)
	n.run("policy", "edit", "policy.json", "--charter", "charter.json", "--bootstrap", "bootstrap.json", "--set", apps, "--out", "policy2.json")
	n.run("policy", "sign", "policy2.json", "--key", "signer.key")
	n.run("policy", "sign", "policy2.signed.json", "--key", "owner.key")
	n.run("policy", "submit", n.url, "policy2.signed.json", "--charter", "charter.json", "--allow-simulated")
}

// enrol makes an app with a key.
func (n *node) enrol() *tenant {
	n.t.Helper()
	stranger, err := client.New(client.Config{URL: n.url, CA: n.pem})
	if err != nil {
		n.t.Fatal(err)
	}
	defer stranger.Close()
	e, err := stranger.Enroll(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	c, err := client.New(client.Config{URL: n.url, CA: n.pem, AppID: e.AppID, APIKey: e.APIKey})
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	key, err := c.CreateKey(n.t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		n.t.Fatal(err)
	}
	return &tenant{node: n, id: e.AppID, apiKey: e.APIKey.Reveal(), key: key}
}

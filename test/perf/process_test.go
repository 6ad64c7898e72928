package perf_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// A cluster is a domain whose nodes are processes.
type cluster struct {
	f     *figures
	home  string // of the node that founded it
	cred  struct{ AppID, APIKey string }
	nodes []*process
}

// A process is a node, as `holdfast dev node serve` runs it.
type process struct {
	URL, Peers string
	Node       string `json:"node_id"`
	CA         string

	dir    string
	cmd    *exec.Cmd
	stderr bytes.Buffer
	took   time.Duration // from its start until it served
	client *client.Client
}

// newCluster founds a domain and has it joined, until n nodes vote.
func (f *figures) newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	base, err := os.MkdirTemp(f.dir, "domain-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{f: f, home: filepath.Join(base, "node1")}
	if out, err := exec.Command(f.program, "dev", "--dir", c.home, "--exit").CombinedOutput(); err != nil {
		t.Fatalf("founding a domain: %v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(c.home, "credentials.json"))
	if err == nil {
		err = json.Unmarshal(b, &c.cred)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.nodes = append(c.nodes, c.start(t, c.home, "--listen", "127.0.0.1:0"))
	for len(c.nodes) < n {
		c.grow(t)
	}
	return c
}

// grow has a node join, and returns how long it took until it served and until
// it voted.
func (c *cluster) grow(t *testing.T) (serves, votes time.Duration) {
	t.Helper()
	begin := time.Now()
	dir := filepath.Join(filepath.Dir(c.home), fmt.Sprint("node", len(c.nodes)+1))
	p := c.start(t, dir, "--join", c.nodes[0].Peers, "--charter", filepath.Join(c.home, "charter.json"))
	c.nodes = append(c.nodes, p)
	c.await(t, len(c.nodes))
	return p.took, time.Since(begin)
}

// start starts a node, and waits until it serves.
func (c *cluster) start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{dir: dir}
	p.cmd = exec.Command(c.f.program, append([]string{"--json", "dev", "node", "serve", "--dir", dir}, args...)...)
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	said := make(chan error, 1)
	go func() { said <- json.NewDecoder(out).Decode(p) }()
	select {
	case err = <-said:
	case <-time.After(3 * time.Minute):
		err = errors.New("it takes too long")
	}
	if err != nil {
		p.kill()
		t.Fatalf("the node in %s did not start: %v\n%s", dir, err, &p.stderr)
	}
	p.took = time.Since(begin)
	p.client = c.newClient(t, p)
	return p
}

// again starts a node again that has ended.
func (c *cluster) again(t *testing.T, i int) *process {
	t.Helper()
	c.nodes[i].client.Close()
	c.nodes[i] = c.start(t, c.nodes[i].dir)
	return c.nodes[i]
}

// kill ends the process as SIGKILL does, and waits until it is gone.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// stop asks the process to end, and waits until it is gone.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait()
}

func (c *cluster) end() {
	for _, p := range c.nodes {
		p.client.Close()
		p.kill()
	}
}

func (c *cluster) newClient(t *testing.T, p *process) *client.Client {
	t.Helper()
	app, err := kms.ParseAppID(c.cred.AppID)
	if err != nil {
		t.Fatal(err)
	}
	charter, err := os.ReadFile(filepath.Join(c.home, "charter.json"))
	if err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(client.Config{URL: p.URL, AppID: app, APIKey: client.NewAPIKey(c.cred.APIKey),
		Trust: &client.Trust{Charter: charter, AllowSimulated: true}})
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// await waits until n nodes vote, as each that runs knows it.
func (c *cluster) await(t *testing.T, n int) {
	t.Helper()
	for _, p := range c.nodes {
		for end := time.Now().Add(3 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
			st, err := p.client.Status(t.Context())
			if err == nil && st.Voters == n && st.Leader != (kms.NodeID{}) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%d voters at %s (%v)", st.Voters, p.URL, err)
			}
		}
	}
}

// leader is the place among the nodes of the one that leads.
func (c *cluster) leader(t *testing.T) int {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, p := range c.nodes {
			st, err := p.client.Status(t.Context())
			for i, other := range c.nodes {
				if err == nil && other.Node == st.Leader.String() {
					return i
				}
			}
		}
	}
	t.Fatal("nobody leads")
	return 0
}

// cpuOf is the user and system time of some nodes.
func cpuOf(t *testing.T, nodes []*process) (sum time.Duration) {
	t.Helper()
	for _, p := range nodes {
		sum += p.cpu(t)
	}
	return sum
}

// ticks is the unit that Linux counts processor time in, whatever the machine.
const ticks = 100

func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// The name, which comes second in brackets, may hold anything.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * time.Second / ticks
}

// memory is what the process has resident, in MB.
func (p *process) memory(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib * 1024 / 1e6
}

//go:build unix

package linear_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

const nodeCount = 3

// A domain is three node processes, the network between them, and an app.
type domain struct {
	t       *testing.T
	program string // that nodes run
	nodes   []*node
	network *network
	ca      []byte
	app     client.Credential

	mu      sync.Mutex
	leader  int // -1: not known
	changes int // of the leader
	planted bool
	faults  []string // what went wrong, where a bug was planted
}

// fail fails the test, unless something has to go wrong.
func (d *domain) fail(format string, args ...any) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.planted {
		d.t.Errorf(format, args...)
		return
	}
	d.faults = append(d.faults, fmt.Sprintf(format, args...))
}

// A node is a node process, or none while it is down.
type node struct {
	domain *domain
	index  int
	name   string
	at     placing

	mu      sync.Mutex
	id      string
	socket  string // where it listens for the others
	url     string
	voters  int
	stopped string
	cmd     *exec.Cmd
	in      io.WriteCloser
	ended   chan struct{} // closed once the process is gone
	killed  bool          // by us
	serving chan struct{} // closed once it serves
}

// newDomain founds a domain of three processes, which all vote when it returns.
// Nodes run program.
func newDomain(t *testing.T, program string) *domain {
	t.Helper()
	d := &domain{t: t, program: program, leader: -1}
	founder := trustedtest.NewDomain(t, 1).Nodes[0]
	app := founder.Enrol()
	d.app, d.ca = client.Credential{AppID: app.ID, APIKey: client.NewAPIKey(app.APIKey)}, founder.Server().CA()
	if err := founder.Stop(); err != nil {
		t.Fatal(err)
	}
	for i := range nodeCount {
		d.nodes = append(d.nodes, &node{domain: d, index: i, name: fmt.Sprintf("node-%d:1", i)})
	}
	d.network = newNetwork(d.nodes)
	t.Cleanup(d.stop)
	for i, n := range d.nodes {
		base := t.TempDir()
		n.at = placing{Name: n.name, Dir: filepath.Join(base, "node"), Fuses: filepath.Join(base, "fuses"), Log: filepath.Join(base, "log"),
			Charter: founder.Machine().Charter, Relay: d.network.relay(t, i)}
		if i == 0 {
			n.at.Dir, n.at.Fuses = founder.Dir, founder.Machine().Fuses
		} else if _, err := simtee.Create(n.at.Fuses); err != nil {
			t.Fatal(err)
		} else {
			n.at.Sponsor = d.nodes[0].name
		}
		n.start(t)
		n.awaitServing(t)
		n.at.Sponsor = ""
	}
	d.await(t, "all nodes vote", func() bool { return d.nodes[0].votersNow() == nodeCount && d.leads() >= 0 })
	return d
}

// await waits until something is so.
func (d *domain) await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after a minute: %s", what)
		}
	}
}

// leads is the node that leads as far as it knows itself, -1 for none.
func (d *domain) leads() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.leader
}

// stop ends all processes.
func (d *domain) stop() {
	for _, n := range d.nodes {
		n.kill()
	}
	d.network.close()
	if d.t.Failed() && os.Getenv("HOLDFAST_TEST_LOG") != "" {
		for _, n := range d.nodes {
			b, _ := os.ReadFile(n.at.Log)
			d.t.Logf("log of %s:\n%s", n.name, b)
		}
	}
}

// start starts the process and does not wait for it.
func (n *node) start(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(n.at)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(n.domain.program)
	cmd.Env = append(os.Environ(), envNode+"="+string(text))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.cmd, n.in, n.killed, n.url, n.stopped = cmd, in, false, "", ""
	n.ended, n.serving = make(chan struct{}), make(chan struct{})
	ended, serving := n.ended, n.serving
	n.mu.Unlock()
	go func() {
		said := n.listen(out, serving)
		err := cmd.Wait()
		n.mu.Lock()
		killed := n.killed
		n.url = ""
		n.mu.Unlock()
		if !killed {
			n.domain.fail("%s ended by itself: %v %s\n%s", n.name, err, said, stderr.String())
		}
		close(ended)
	}()
}

// listen takes in what the process says until it ends, and returns why that did.
func (n *node) listen(out io.Reader, serving chan struct{}) (why string) {
	for lines := json.NewDecoder(out); ; {
		var r report
		if lines.Decode(&r) != nil {
			return why
		}
		n.mu.Lock()
		switch {
		case r.Peers != "":
			n.socket = r.Peers
		case r.URL != "":
			n.url, n.id = r.URL, r.Node
			close(serving)
		case r.Error != "":
			why = r.Error
		default:
			n.voters, n.stopped = r.Voters, r.Stopped
		}
		leads := r.Leader != "" && r.Leader == n.id
		n.mu.Unlock()
		if leads {
			n.domain.led(n.index)
		}
	}
}

func (d *domain) led(by int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leader != by {
		d.leader = by
		d.changes++
	}
}

func (n *node) awaitServing(t *testing.T) {
	t.Helper()
	n.mu.Lock()
	serving, ended := n.serving, n.ended
	n.mu.Unlock()
	select {
	case <-serving:
	case <-ended:
		t.Fatalf("%s does not serve", n.name)
	case <-time.After(time.Minute):
		t.Fatalf("%s does not serve after a minute; its log is %s", n.name, tail(n.at.Log))
	}
}

func tail(file string) string {
	b, _ := os.ReadFile(file)
	lines := strings.Split(string(b), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// kill ends the process as a power cut would, and waits until it is gone.
func (n *node) kill() {
	n.mu.Lock()
	n.killed = true
	cmd, ended := n.cmd, n.ended
	n.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill() // it may be gone
		<-ended
	}
}

// signal stops the process, or has it go on.
func (n *node) signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_ = n.cmd.Process.Signal(s) // it may be gone
}

// setClock has the host set the node's clock.
func (n *node) setClock(s setting) {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	_, _ = n.in.Write(append(b, '\n')) // it may be gone
}

func (n *node) peers() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.socket
}

// address is where the node serves, empty while it does not.
func (n *node) address() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.url
}

func (n *node) votersNow() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.voters
}

func (n *node) stoppedBy() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stopped
}

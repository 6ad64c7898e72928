package crash_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/test/built"
)

// program is the path of cmd/holdfast, built once.
var program string

func TestMain(m *testing.M) { os.Exit(built.Main(m, &program, "holdfast")) }

// Small files, so that a short life has many of their ends in it.
const (
	segmentSize   = "65536"
	snapshotEvery = "400"
)

func smallFiles(args ...string) []string {
	return append(args, "--segment-size", segmentSize, "--snapshot-every", snapshotEvery)
}

// A home is the folder of a domain.
type home string

// newHome founds a domain. `dev --exit` proves it too, with a kill of its own.
func newHome(t *testing.T) home {
	t.Helper()
	h := home(filepath.Join(t.TempDir(), "domain"))
	h.dev(t)
	return h
}

// dev runs `holdfast dev --exit`, which must succeed.
func (h home) dev(t *testing.T) {
	t.Helper()
	out, err := exec.Command(program, smallFiles("dev", "--dir", string(h), "--exit")...).CombinedOutput()
	if err != nil {
		t.Fatalf("holdfast dev: %v\n%s", err, out)
	}
}

func (h home) path(name string) string { return filepath.Join(string(h), name) }

// A process is a node in a process of its own.
type process struct {
	cmd    *exec.Cmd
	in     io.Closer
	hello  chan hello // what it said when it was ready, or why it is not
	stderr bytes.Buffer
	ended  sync.Once
}

type hello struct {
	URL, Error, Hint string
}

// start starts a node and does not wait for it.
func (h home) start(t *testing.T) *process {
	t.Helper()
	p := &process{hello: make(chan hello, 1)}
	p.cmd = exec.Command(program, smallFiles("dev-node", "--dir", string(h), "--listen", "127.0.0.1:0")...)
	p.cmd.Stderr = &p.stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.in = in
	go func() {
		var said hello
		_ = json.NewDecoder(out).Decode(&said) // a process that was killed says nothing
		p.hello <- said
	}()
	t.Cleanup(func() { p.kill(t) })
	return p
}

// slowStart is longer than any start of so small a domain may take.
const slowStart = 15 * time.Second

// ready waits until the node serves, and returns where.
func (p *process) ready(t *testing.T) string {
	t.Helper()
	select {
	case said := <-p.hello:
		if said.URL == "" {
			t.Fatalf("the node did not start: %s (hint: %s)\n%s", said.Error, said.Hint, p.stderr.String())
		}
		return said.URL
	case <-time.After(slowStart):
		t.Fatalf("the node did not start within %v", slowStart)
	}
	return ""
}

// kill ends the process as SIGKILL does, and waits until it is gone. A process
// that ended by itself before, in a panic say, is a failure.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.ended.Do(func() {
		if err := p.cmd.Process.Kill(); errors.Is(err, os.ErrProcessDone) {
			t.Error("the node had ended by itself")
		}
		_ = p.cmd.Wait() // "signal: killed"
		p.quiet(t)
	})
}

// stop asks the node to finish, and waits.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.ended.Do(func() {
		_ = p.in.Close()
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("asked to stop: %v", err)
		}
		p.quiet(t)
	})
}

// quiet makes sure that the process did not panic: what it says otherwise goes
// to its log.
func (p *process) quiet(t *testing.T) {
	t.Helper()
	if s := strings.TrimSpace(p.stderr.String()); s != "" {
		t.Errorf("the node wrote to its standard error:\n%.4000s", s)
	}
}

// noErrors makes sure that nothing in the node's log, of all its processes, is
// an error: killing it is none.
func (h home) noErrors(t *testing.T) {
	t.Helper()
	log, err := os.ReadFile(h.path("node.log"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, `"level":"ERROR"`) {
			t.Errorf("in the node's log: %s", line)
		}
	}
}

// files returns the names of the node's files with such an ending.
func (h home) files(t *testing.T, ending string) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(h.path("node"))
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ending) {
			names[e.Name()] = true
		}
	}
	return names
}

// Package upgrade_test takes a domain from one version of the program to the next
// and back, each node a process of its own: two different binaries, of which the
// second has one more command of the log and a newer feature level.
package upgrade_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/test/built"
	"github.com/holdfast-kms/holdfast/test/versions"
)

// this and next are the paths of the two versions of cmd/holdfast, built once.
var this, next string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	flag.Parse()
	if testing.Short() { // nothing here would run
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "holdfast-upgrade-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	this, next = filepath.Join(dir, "this.exe"), filepath.Join(dir, "next.exe") // the name that Windows wants will do everywhere
	if err := versions.Build(dir, this, next); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// slow is longer than anything here may take.
const slow = 60 * time.Second

// A process is a node, as `dev node` runs it.
type process struct {
	URL, Peers string
	Node       string `json:"node_id"`

	program, dir string
	cmd          *exec.Cmd
	stderr       bytes.Buffer
	ended        sync.Once
}

// run starts a node of a version in a folder, and waits until it serves.
func run(t *testing.T, program, dir string, args ...string) *process {
	t.Helper()
	p := &process{program: program, dir: dir}
	p.cmd = exec.Command(program, append([]string{"--json", "dev", "node", "serve", "--dir", dir}, args...)...)
	p.cmd.Stderr = &p.stderr
	built.EndWithTest(p.cmd)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			lines := strings.Split(strings.TrimSpace(log(dir)), "\n")
			t.Logf("%s, node %s at %s, ends:\n%s", dir, p.Node, p.URL, strings.Join(lines[max(0, len(lines)-12):], "\n"))
		}
	})
	said := make(chan error, 1)
	go func() { said <- json.NewDecoder(out).Decode(p) }()
	select {
	case err = <-said:
	case <-time.After(slow):
		err = errors.New("it takes too long")
	}
	if err != nil {
		p.kill()
		t.Fatalf("the node in %s did not start: %v\n%s%s", dir, err, &p.stderr, log(dir))
	}
	return p
}

func log(dir string) string {
	b, _ := os.ReadFile(filepath.Join(dir, "node.log"))
	return string(b)
}

// kill ends the process as SIGKILL does, and waits until it is gone.
func (p *process) kill() {
	p.ended.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
}

// A person types commands at a terminal.
type person struct {
	t   *testing.T
	env []string
}

// does runs a command that has to succeed, and returns what it prints.
func (p person) does(program string, args ...string) string {
	p.t.Helper()
	status, stdout, stderr := p.tries(program, args...)
	if status != 0 {
		p.t.Fatalf("holdfast %s: status %d\n%s%s", strings.Join(args, " "), status, stdout, stderr)
	}
	return stdout
}

func (p person) tries(program string, args ...string) (status int, stdout, stderr string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, append(os.Environ(), p.env...)
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), out.String(), errs.String()
	} else if err != nil {
		p.t.Fatal(err)
	}
	return 0, out.String(), errs.String()
}

// eventually tries until it succeeds, or the test has waited for too long.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	for end := time.Now().Add(slow); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

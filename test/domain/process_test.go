// Package domain_test runs whole domains, each node a process of its own on a
// simulated machine of its own, as people start them.
package domain_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/test/built"
)

// program is the path of cmd/holdfast, built once.
var program string

func TestMain(m *testing.M) { os.Exit(built.Main(m, &program, "holdfast")) }

// ends runs a command that ends by itself, with a status.
func ends(t *testing.T, status int, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if got != status {
		t.Fatalf("holdfast %s: status %d, want %d\n%s", strings.Join(args, " "), got, status, out)
	}
	return string(out)
}

// tries runs a command that may fail.
func tries(ctx context.Context, args ...string) (out string, ok bool) {
	b, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	return string(b), err == nil
}

// A process is a node, as `dev node` runs it.
type process struct {
	URL, Peers string
	Node       string `json:"node_id"`

	dir    string
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  sync.Once
	err    error
}

// slowStart is longer than any start here may take.
const slowStart = 30 * time.Second

// run starts a node in a folder, and waits until it serves.
func run(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{dir: dir}
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
	t.Cleanup(func() { p.kill() })
	said := make(chan error, 1)
	go func() { said <- json.NewDecoder(out).Decode(p) }()
	select {
	case err = <-said:
	case <-time.After(slowStart):
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
		p.err = p.cmd.Wait()
	})
}

// stop asks the process to end, and waits.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.ended.Do(func() {
		_ = p.cmd.Process.Signal(os.Interrupt)
		p.err = p.cmd.Wait()
	})
	if p.err != nil {
		t.Errorf("asked to stop: %v\n%s", p.err, &p.stderr)
	}
}

// client is a client of the node, with the credential that dev has left in home.
func (p *process) client(t *testing.T, home string) *client.Client {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(home, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var cred struct{ AppID, APIKey string }
	if err := json.Unmarshal(read("credentials.json"), &cred); err != nil {
		t.Fatal(err)
	}
	app, err := kms.ParseAppID(cred.AppID)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{URL: p.URL, AppID: app, APIKey: client.NewAPIKey(cred.APIKey),
		Trust: &client.Trust{Charter: read("charter.json"), AllowSimulated: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// voters waits until n nodes vote, and returns the status.
func voters(t *testing.T, c *client.Client, n int) kms.Status {
	t.Helper()
	var st kms.Status
	eventually(t, func() (err error) {
		if st, err = c.Status(t.Context()); err == nil && st.Voters != n {
			err = fmt.Errorf("%d nodes vote, not %d", st.Voters, n)
		}
		return err
	})
	return st
}

// eventually tries until it succeeds, or the test has waited for too long.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	for end := time.Now().Add(slowStart); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// deaf checks that nobody listens where the node in dir did: its process is gone.
func deaf(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "addresses.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var at struct{ API, Peers string }
	if err := json.NewDecoder(io.LimitReader(f, 1<<10)).Decode(&at); err != nil || at.API == "" || at.Peers == "" {
		t.Fatalf("%+v, %v", at, err)
	}
	for _, addr := range []string{at.API, at.Peers} {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			t.Errorf("%s: somebody listens at %s", dir, addr)
		}
	}
}

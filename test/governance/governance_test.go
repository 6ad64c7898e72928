// Package governance_test runs docs/governance.md: what people are told to type
// is what is tested.
package governance_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const page = "../../docs/governance.md"

// address is where the page has the node serve; the test takes a free port.
const address = "127.0.0.1:9000"

// refused marks a command that must fail, and says what it must say.
const refused = " # REFUSED: "

// A step is one command of the page.
type step struct {
	line     int
	command  string
	says     string // of one that is to be refused
	service  bool   // it goes on in the background
	mayLack  string // a program that a machine need not have
	mustFail bool
}

func steps(t *testing.T) []step {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []step
	inside := false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```sh"
		case inside && strings.TrimSpace(line) != "":
			all = append(all, newStep(i+1, line))
		}
	}
	return all
}

func newStep(number int, line string) step {
	s := step{line: number}
	s.command, s.says, s.mustFail = strings.Cut(line, refused)
	s.command, s.service = strings.CutSuffix(s.command, " &")
	if program, _, _ := strings.Cut(s.command, " "); program == "curl" {
		s.mayLack = program
	}
	return s
}

// A desk is where somebody goes through the page.
type desk struct {
	t   *testing.T
	dir string
	bin string // the folder of the program
	at  string // where the node serves
}

func TestPage(t *testing.T) {
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("SKIPPED: there is no bash to run the page with")
	}
	d := &desk{t: t, dir: t.TempDir(), bin: t.TempDir(), at: freeAddress(t)}
	build := exec.Command("go", "build", "-o", filepath.Join(d.bin, "holdfast"), "github.com/holdfast-kms/holdfast/cmd/holdfast")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	all := steps(t)
	if len(all) < 50 {
		t.Fatalf("the page has %d commands: are its blocks marked sh?", len(all))
	}
	for _, s := range all {
		d.do(shell, s)
	}
}

// do runs a step, as the page says it ends.
func (d *desk) do(shell string, s step) {
	d.t.Helper()
	if s.mayLack != "" {
		if _, err := exec.LookPath(s.mayLack); err != nil {
			d.t.Logf("SKIPPED line %d: there is no %s", s.line, s.mayLack)
			return
		}
	}
	command := strings.ReplaceAll(s.command, address, d.at)
	cmd := exec.Command(shell, "-c", command)
	if s.service { // the shell must not stand between us and the process
		cmd = exec.Command(shell, "-c", "exec "+command)
	}
	cmd.Dir, cmd.Env = d.dir, d.environment()
	if s.service {
		d.serve(cmd, s)
		return
	}
	out, err := cmd.CombinedOutput()
	if s.mustFail != (err != nil) {
		d.t.Fatalf("line %d: %s\n%v\n%s", s.line, command, err, out)
	}
	if s.mustFail && !strings.Contains(string(out), s.says) {
		d.t.Fatalf("line %d: %s\ndoes not say %q:\n%s", s.line, command, s.says, out)
	}
	if s.mustFail && strings.Contains(command, "submit") && !strings.Contains(command, "--dry-run") && !strings.Contains(string(out), "hint: ") {
		d.t.Errorf("line %d: %s\ngives no hint:\n%s", s.line, command, out)
	}
}

// environment is that of somebody who never used the program.
func (d *desk) environment() []string {
	return []string{"PATH=" + d.bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + d.dir, "XDG_CONFIG_HOME=" + d.dir + "/.config", "TMPDIR=" + d.dir}
}

// serve starts a process and waits until it says where it serves.
func (d *desk) serve(cmd *exec.Cmd, s step) {
	d.t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	ready := make(chan error, 1)
	go func() {
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "serving") {
				ready <- nil
			}
		}
		ready <- fmt.Errorf("it ended")
	}()
	select {
	case err := <-ready:
		if err != nil {
			d.t.Fatalf("line %d: %v\n%s", s.line, err, &stderr)
		}
	case <-time.After(30 * time.Second):
		d.t.Fatalf("line %d: it does not serve", s.line)
	}
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestPageSays: each of the page's refusals is one that a person can look up,
// and no command of it trusts a simulated node without being told.
func TestPageSays(t *testing.T) {
	noun := regexp.MustCompile(`^holdfast (signer|charter|policy|bootstrap|dev node|trust) `)
	for _, s := range steps(t) {
		if strings.HasPrefix(s.command, "holdfast") && !noun.MatchString(s.command) {
			t.Errorf("line %d: %s", s.line, s.command)
		}
		if strings.Contains(s.command, "https://") && strings.HasPrefix(s.command, "holdfast") && !strings.Contains(s.command, "--charter") {
			t.Errorf("line %d talks to a node without the charter: %s", s.line, s.command)
		}
	}
}

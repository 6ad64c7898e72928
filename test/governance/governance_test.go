// Package governance_test runs docs/governance.md and docs/nodes.md: what people
// are told to type is what is tested.
package governance_test

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	page      = "../../docs/governance.md"
	nodesPage = "../../docs/nodes.md"
)

// address is where the pages have nodes listen; the test takes free ports.
var address = regexp.MustCompile(`127\.0\.0\.1:9[01]0[0-9]`)

// refused marks a command that must fail, and says what it must say.
const refused = " # REFUSED: "

// Marks of a page that are no commands, and of what goes on in the background.
const (
	waits     = " # waits: " // it does not serve yet, and says why
	interrupt = "# Ctrl-C in the terminal of "
	awaits    = "# the terminal of "
)

// A step is one command of the page.
type step struct {
	line     int
	command  string
	says     string // of one that is to be refused
	service  bool   // it goes on in the background
	waits    string // what a service says instead of serving
	mayLack  string // a program that a machine need not have
	mustFail bool
}

func steps(t *testing.T, page string) []step {
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
	s.command, s.waits, _ = strings.Cut(s.command, waits)
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

	at       map[string]string    // the free address in the place of one of the page
	services map[string]*terminal // by the folder of the node
}

// A terminal is where a node runs.
type terminal struct {
	process *exec.Cmd
	said    chan string // its lines, of both outputs
	over    chan error
}

func TestPage(t *testing.T) { run(t, page, 50) }

func TestNodesPage(t *testing.T) { run(t, nodesPage, 30) }

// run goes through a page of that many commands at least.
func run(t *testing.T, page string, least int) {
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("SKIPPED: there is no bash to run the page with")
	}
	d := &desk{t: t, dir: t.TempDir(), bin: t.TempDir(), at: map[string]string{}, services: map[string]*terminal{}}
	build := exec.Command("go", "build", "-o", filepath.Join(d.bin, "holdfast"), "github.com/holdfast-kms/holdfast/cmd/holdfast")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	all := steps(t, page)
	if len(all) < least {
		t.Fatalf("the page has %d commands: are its blocks marked sh?", len(all))
	}
	for _, s := range all {
		d.do(shell, s)
	}
}

// do runs a step, as the page says it ends.
func (d *desk) do(shell string, s step) {
	d.t.Helper()
	if d.atTerminal(s) {
		return
	}
	if s.mayLack != "" {
		if _, err := exec.LookPath(s.mayLack); err != nil {
			d.t.Logf("SKIPPED line %d: there is no %s", s.line, s.mayLack)
			return
		}
	}
	command := address.ReplaceAllStringFunc(s.command, d.free)
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

// free is the address in the place of one of the page.
func (d *desk) free(of string) string {
	if d.at[of] == "" {
		d.at[of] = freeAddress(d.t)
	}
	return d.at[of]
}

// atTerminal does what the page says of a node's terminal, if it does.
func (d *desk) atTerminal(s step) bool {
	d.t.Helper()
	if dir, ok := strings.CutPrefix(s.command, interrupt); ok {
		term := d.services[dir]
		if err := term.process.Process.Signal(os.Interrupt); err != nil {
			d.t.Fatalf("line %d: %v", s.line, err)
		}
		if err := <-term.over; err != nil {
			d.t.Fatalf("line %d: it ended with %v", s.line, err)
		}
		return true
	}
	rest, ok := strings.CutPrefix(s.command, awaits)
	if dir, says, said := strings.Cut(rest, " says: "); ok && said {
		d.services[dir].await(d.t, s.line, says)
	}
	return ok
}

// environment is that of somebody who never used the program.
func (d *desk) environment() []string {
	return []string{"PATH=" + d.bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + d.dir, "XDG_CONFIG_HOME=" + d.dir + "/.config", "TMPDIR=" + d.dir}
}

var folder = regexp.MustCompile(`--dir ([a-z]+)`)

// serve starts a process and waits until it says where it serves, or what it
// waits for.
func (d *desk) serve(cmd *exec.Cmd, s step) {
	d.t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		d.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	_ = in.Close() // the process has it
	term := &terminal{process: cmd, said: make(chan string, 256), over: make(chan error, 1)}
	d.t.Cleanup(func() { _ = cmd.Process.Kill() })
	go func() {
		defer out.Close()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			term.said <- lines.Text()
		}
		close(term.said)
		term.over <- cmd.Wait()
	}()
	if dir := folder.FindStringSubmatch(s.command); dir != nil {
		d.services[dir[1]] = term
	}
	says := "serving"
	if s.waits != "" {
		says = s.waits
	}
	term.await(d.t, s.line, says)
}

// await reads until a line has some words.
func (term *terminal) await(t *testing.T, line int, words string) {
	t.Helper()
	var seen strings.Builder
	for end := time.After(time.Minute); ; {
		select {
		case said, more := <-term.said:
			if seen.WriteString(said + "\n"); strings.Contains(said, words) {
				return
			}
			if !more {
				t.Fatalf("line %d: it ended, and did not say %q:\n%s", line, words, &seen)
			}
		case <-end:
			t.Fatalf("line %d: it does not say %q:\n%s", line, words, &seen)
		}
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
	for _, s := range steps(t, page) {
		if strings.HasPrefix(s.command, "holdfast") && !noun.MatchString(s.command) {
			t.Errorf("line %d: %s", s.line, s.command)
		}
		if strings.Contains(s.command, "https://") && strings.HasPrefix(s.command, "holdfast") && !strings.Contains(s.command, "--charter") {
			t.Errorf("line %d talks to a node without the charter: %s", s.line, s.command)
		}
	}
}

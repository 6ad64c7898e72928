package governance_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/test/versions"
)

// address is where the pages have nodes listen; the test takes free ports.
var address = regexp.MustCompile(`127\.0\.0\.1:9[01]0[0-9]`)

// refused marks a command that must fail, and says what it must say. One that warns
// does so with an exit status, too.
const (
	refused = " # REFUSED: "
	warns   = " # WARNS: "
	prints  = " # says: " // it succeeds, and says so
	soon    = " # soon: " // not at once perhaps
)

// Marks of a page that are no commands, and of what goes on in the background.
const (
	waits     = " # waits: " // it does not serve yet, and says why
	interrupt = "# Ctrl-C in the terminal of "
	burns     = "# the machine is lost of "
	awaits    = "# the terminal of "
)

// A step is one command of the page.
type step struct {
	line     int
	command  string
	says     string // what it must say
	soon     bool   // it may take some time until it does
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
	inside, begun, until := false, "", ""
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```sh"
		case !inside || begun == "" && strings.TrimSpace(line) == "":
		case until != "" && line != until:
			begun += line + "\n"
		case until == "" && strings.HasSuffix(line, " \\"):
			begun += line + "\n"
		default:
			if end := hereDocument.FindStringSubmatch(line); until == "" && end != nil {
				begun, until = line+"\n", end[1]
				continue
			}
			all = append(all, newStep(i+1, begun+line))
			begun, until = "", ""
		}
	}
	return all
}

// hereDocument begins a text that a command reads, up to a line with that word.
var hereDocument = regexp.MustCompile(`<<'([A-Z]+)'$`)

func newStep(number int, line string) step {
	s := step{line: number}
	s.command, s.says, s.mustFail = strings.Cut(strings.Replace(line, warns, refused, 1), refused)
	for _, mark := range []string{prints, soon} {
		if command, says, ok := strings.Cut(s.command, mark); ok {
			s.command, s.says, s.soon = command, says, mark == soon
		}
	}
	s.command, s.waits, _ = strings.Cut(s.command, waits)
	s.command, s.service = strings.CutSuffix(s.command, " &")
	if program, _, _ := strings.Cut(s.command, " "); program == "curl" {
		s.mayLack = program
	}
	return s
}

// A desk is where somebody goes through the page.
type desk struct {
	t     *testing.T
	shell string
	dir   string

	at       map[string]string    // the free address in the place of one of the page
	named    map[string]string    // what the page gave a name to: NAME=$(…)
	services map[string]*terminal // by the folder of the node
}

// A terminal is where a node runs.
type terminal struct {
	process *exec.Cmd
	said    chan string // its lines, of both outputs
	over    chan error
}

// programs is the folder of this version of the program, "holdfast", and the next,
// "holdfast-next".
var programs string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	var err error
	if programs, err = os.MkdirTemp("", "holdfast-pages-"); err == nil {
		defer os.RemoveAll(programs)
		err = versions.Build(programs, filepath.Join(programs, "holdfast"), filepath.Join(programs, "holdfast-next"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func newDesk(t *testing.T) *desk {
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("SKIPPED: there is no bash to run the page with")
	}
	return &desk{t: t, shell: shell, dir: t.TempDir(), at: map[string]string{}, named: map[string]string{}, services: map[string]*terminal{}}
}

// goThrough runs steps, one after the other.
func (d *desk) goThrough(all []step) {
	for _, s := range all {
		d.do(s)
	}
}

// do runs a step, as the page says it ends.
func (d *desk) do(s step) {
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
	name := naming.FindStringSubmatch(command)
	switch {
	case s.service: // the shell must not stand between us and the process
		command = "exec " + command
	case name != nil:
		command += ` && printf %s "$` + name[1] + `"`
	}
	if s.service {
		d.serve(d.typed(command), s)
		return
	}
	out, err := d.typed(command).CombinedOutput()
	for end := time.Now().Add(time.Minute); s.soon && !strings.Contains(string(out), s.says) && time.Now().Before(end); {
		time.Sleep(200 * time.Millisecond)
		out, err = d.typed(command).CombinedOutput()
	}
	if name != nil {
		d.named[name[1]] = string(out)
	}
	if s.mustFail != (err != nil) {
		d.t.Fatalf("line %d: %s\n%v\n%s", s.line, command, err, out)
	}
	if !strings.Contains(string(out), s.says) {
		d.t.Fatalf("line %d: %s\ndoes not say %q:\n%s", s.line, command, s.says, out)
	}
	if s.mustFail && strings.Contains(command, "submit") && !strings.Contains(command, "--dry-run") && !strings.Contains(string(out), "hint: ") {
		d.t.Errorf("line %d: %s\ngives no hint:\n%s", s.line, command, out)
	}
}

// typed is a command at the desk's terminal.
func (d *desk) typed(command string) *exec.Cmd {
	cmd := exec.Command(d.shell, "-c", command)
	cmd.Dir, cmd.Env = d.dir, d.environment()
	return cmd
}

// naming is a command that does nothing but give what another one prints a name.
var naming = regexp.MustCompile(`^([A-Z]+)=\$\(.*\)$`)

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
	if dir, ok := strings.CutPrefix(s.command, burns); ok {
		_ = d.services[dir].process.Process.Kill()
		<-d.services[dir].over // by the signal
		return true
	}
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
	env := []string{"PATH=" + programs + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + d.dir, "XDG_CONFIG_HOME=" + d.dir + "/.config", "TMPDIR=" + d.dir}
	for name, value := range d.named {
		env = append(env, name+"="+value)
	}
	return env
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

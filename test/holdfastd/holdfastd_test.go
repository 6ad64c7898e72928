// Package holdfastd_test starts the measured server, as it is built, and sees
// it refuse: without a TEE, and on devices that only pretend to be one. The
// same assembly that serves, with a development root, is tested beside it in
// cmd/holdfastd.
package holdfastd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/test/built"
)

// program is the path of cmd/holdfastd, built once.
var program string

// As it is shipped, and as it runs in an empty folder.
func TestMain(m *testing.M) { os.Exit(built.Main(m, &program, "holdfastd", "CGO_ENABLED=0")) }

func newCharter(t *testing.T) []byte { return governtest.New(t).Charter.Canonical() }

// slow is longer than any refusal may take.
const slow = time.Minute

// A refusal is the line in which the program says why it stops.
type refusal struct {
	Level, Msg, Cause, Hint string
	lines                   []map[string]any // all that it logged
}

// start makes a command; refused runs it. edit may change how it runs.
func start(t *testing.T, path string, edit func(*exec.Cmd), args ...string) (cmd *exec.Cmd, log *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), slow)
	t.Cleanup(cancel)
	cmd, log = exec.CommandContext(ctx, path, args...), new(bytes.Buffer)
	cmd.Stderr = log
	// What a host could put there. It must not matter.
	cmd.Env = []string{"HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1", "GODEBUG=http2debug=2", "HOLDFAST_DEVELOPMENT=true"}
	if edit != nil {
		edit(cmd)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, log
}

// refused waits for the program to end, which must be with status 1.
func refused(t *testing.T, cmd *exec.Cmd, log *bytes.Buffer) refusal {
	t.Helper()
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("%v, want status 1\n%s", err, log)
	}
	var r refusal
	for line := range bytes.Lines(log.Bytes()) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Errorf("not JSON: %s", line)
		}
		r.lines = append(r.lines, fields)
		if fields["msg"] == "holdfastd stops" {
			if err := json.Unmarshal(line, &r); err != nil {
				t.Error(err)
			}
		}
	}
	if r.Level != "ERROR" || r.Cause == "" || r.Hint == "" {
		t.Errorf("no cause, or no hint:\n%s", log)
	}
	return r
}

// TestNoTEE starts the program on this machine as it is.
func TestNoTEE(t *testing.T) {
	for _, device := range []string{"/dev/attestation", "/sys/kernel/config/tsm"} {
		if _, err := os.Stat(device); !errors.Is(err, fs.ErrNotExist) {
			t.Skipf("SKIPPED: this machine has %s, so it may have a TEE", device)
		}
	}
	dir := t.TempDir()
	charter := filepath.Join(dir, "charter.json")
	if err := os.WriteFile(charter, newCharter(t), 0o600); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(dir, "node")
	for _, args := range [][]string{
		{"found", "--dir", node, "--charter", charter, "--out", filepath.Join(dir, "founder.json")},
		{"serve", "--dir", node, "--charter", charter, "--listen", "127.0.0.1:0"},
	} {
		t.Run(args[0], func(t *testing.T) {
			cmd, log := start(t, program, nil, args...)
			r := refused(t, cmd, log)
			if !strings.Contains(r.Cause, "found no trusted execution environment") || !strings.Contains(r.Hint, "holdfast dev") || !strings.Contains(r.Hint, "gramine-sgx") {
				t.Errorf("cause %q, hint %q", r.Cause, r.Hint)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "founder.json")); err == nil {
		t.Error("evidence was written")
	}
	nothingSealed(t, node)
}

// nothingSealed checks that the node's folder has nothing in it but what any
// folder gets that a process holds: a lock, and folders.
func nothingSealed(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || !e.IsDir() && info.Size() > 0 {
			t.Errorf("%s was written, %v", e.Name(), err)
		}
	}
}

// TestLinksNoSimulator looks for the words that are in every certificate that
// the simulated platform makes. internal/boundary looks at the imports.
func TestLinksNoSimulator(t *testing.T) {
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("found no trusted execution environment")) {
		t.Error("the program's own words are not found in it, so this test shows nothing")
	}
	for _, word := range []string{"DEVELOPMENT ONLY", "attest/simtee"} {
		if bytes.Contains(b, []byte(word)) {
			t.Errorf("the program contains %q", word)
		}
	}
}

// TestSources looks at each file that the program is built from, for the go
// command's cache: it remembers what a test has looked at, and knows nothing
// of what a compiler has that the test started.
func TestSources(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-f", `{{if .Module}}{{if .Module.Main}}{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`,
		"github.com/holdfast-kms/holdfast/cmd/holdfastd")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(string(out))
	if len(files) < 100 {
		t.Errorf("only %d files", len(files))
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

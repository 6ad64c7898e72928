package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/client/clienttest"
)

var update = flag.Bool("update", false, "write what was printed into testdata")

// TestMain lets the test binary stand in for the program where a command
// starts itself again as a child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main()
	}
	os.Exit(m.Run())
}

// A terminal runs commands in this process, against a server in memory. What
// any of them prints is searched for the API key when the test ends.
type terminal struct {
	t       *testing.T
	server  *clienttest.Server
	dir     string
	env     map[string]string
	secrets []string
	printed bytes.Buffer
}

// An outcome is what a command left.
type outcome struct {
	stdout, stderr string
	status         int
}

// newTerminal makes a terminal where an app is enrolled.
func newTerminal(t *testing.T) *terminal {
	t.Helper()
	term := &terminal{t: t, server: clienttest.NewServer(t), dir: t.TempDir(), env: map[string]string{}}
	t.Cleanup(term.searchSecrets)
	term.write("ca.pem", term.server.CA(), 0o644)
	path := filepath.Join(term.dir, "credentials.json")
	term.ok("", "enroll", "--url", term.server.URL(), "--ca", term.path("ca.pem"), "--out", path)
	term.env["HOLDFAST_CREDENTIALS"] = path
	term.secrets = append(term.secrets, term.credentials().APIKey)
	return term
}

func (term *terminal) searchSecrets() {
	for _, s := range term.secrets {
		if s == "" || strings.Contains(term.printed.String(), s) {
			term.t.Errorf("the API key was printed, or there is none")
		}
	}
}

func (term *terminal) path(name string) string { return filepath.Join(term.dir, name) }

func (term *terminal) write(name string, data []byte, mode os.FileMode) string {
	term.t.Helper()
	path := term.path(name)
	if err := os.WriteFile(path, data, mode); err != nil {
		term.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		term.t.Fatal(err)
	}
	return path
}

func (term *terminal) read(name string) string {
	term.t.Helper()
	b, err := os.ReadFile(term.path(name))
	if err != nil {
		term.t.Fatal(err)
	}
	return string(b)
}

func (term *terminal) credentials() credentialsFile {
	term.t.Helper()
	var c credentialsFile
	if err := json.Unmarshal([]byte(term.read("credentials.json")), &c); err != nil {
		term.t.Fatal(err)
	}
	return c
}

// run runs a command.
func (term *terminal) run(stdin string, args ...string) outcome {
	return term.runWith(strings.NewReader(stdin), args...)
}

func (term *terminal) runWith(stdin io.Reader, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	status := run(args, &session{
		ctx: context.Background(), stdin: stdin,
		stdout: io.MultiWriter(&stdout, &term.printed), stderr: io.MultiWriter(&stderr, &term.printed),
		getenv: func(name string) string { return term.env[name] },
	})
	return outcome{stdout.String(), stderr.String(), status}
}

// ok runs a command that must succeed and returns what it printed.
func (term *terminal) ok(stdin string, args ...string) string {
	term.t.Helper()
	o := term.run(stdin, args...)
	if o.status != 0 {
		term.t.Fatalf("holdfast %s: status %d: %s", strings.Join(args, " "), o.status, o.stderr)
	}
	return o.stdout
}

// json runs a command with --json, which must succeed and print one document.
func (term *terminal) json(stdin string, args ...string) map[string]any {
	term.t.Helper()
	out := term.ok(stdin, append(args, "--json")...)
	return term.document(out)
}

func (term *terminal) document(out string) map[string]any {
	term.t.Helper()
	d := json.NewDecoder(strings.NewReader(out))
	var doc map[string]any
	if err := d.Decode(&doc); err != nil {
		term.t.Fatalf("%q: %v", out, err)
	}
	if _, err := d.Token(); err != io.EOF {
		term.t.Fatalf("more than one document: %q", out)
	}
	return doc
}

// fails runs a command that must fail and returns what it says.
func (term *terminal) fails(status int, stdin string, args ...string) string {
	term.t.Helper()
	o := term.run(stdin, args...)
	if o.status != status {
		term.t.Errorf("holdfast %s: status %d, want %d\n%s%s", strings.Join(args, " "), o.status, status, o.stdout, o.stderr)
	}
	if status == exitUsage && o.stdout != "" {
		term.t.Errorf("holdfast %s: printed %q", strings.Join(args, " "), o.stdout)
	}
	return o.stderr
}

// with returns a terminal with other variables in the environment.
func (term *terminal) with(env map[string]string) *terminal {
	other := &terminal{t: term.t, server: term.server, dir: term.dir, env: maps.Clone(env), secrets: term.secrets}
	term.t.Cleanup(other.searchSecrets)
	return other
}

var (
	anyUUID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	anyTime = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
)

// golden compares what was printed, but for ids and times, with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = anyUUID.ReplaceAllString(got, "00000000-0000-4000-8000-000000000000")
	got = anyTime.ReplaceAllString(got, "2026-01-01T00:00:00Z")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), -update accepts it:\n%s", path, diff)
	}
}

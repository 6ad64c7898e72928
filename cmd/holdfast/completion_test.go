package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestCompletion has bash itself complete.
func TestCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("!!! SKIPPED: no bash here")
	}
	term := &terminal{t: t, dir: t.TempDir(), env: map[string]string{}}
	script := term.write("script", []byte(term.ok("", "completion", "bash")), 0o600)
	for _, tt := range []struct{ line, offers, not string }{
		{"", "key", "dev-node"},
		{"comp", "completion", "key"},
		{"key ", "create", "enroll"},
		{"key cr", "create", "list"},
		{"key create ", "--spec", "--watch"},
		{"status --w", "--watch", "--json"},
		{"status --url https://h:1 --wat", "--watch", "--url"},
		{"completion ", "zsh", "key"},
	} {
		words := strings.Split("holdfast "+tt.line, " ")
		run := `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _holdfast; echo "${COMPREPLY[@]}"`
		out, err := exec.Command(bash, append([]string{"-uc", run, "-", script}, words...)...).CombinedOutput()
		offered := strings.Fields(string(out))
		if err != nil || !contains(offered, tt.offers) || contains(offered, tt.not) {
			t.Errorf("%q offers %q (%v), want %q and not %q", tt.line, offered, err, tt.offers, tt.not)
		}
	}
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

// TestCompletionScripts: the scripts of shells that are not here have each command
// and flag of the program; those that are here read them.
func TestCompletionScripts(t *testing.T) {
	term := &terminal{t: t, dir: t.TempDir(), env: map[string]string{}}
	for shell, want := range map[string]string{"fish": "-l credentials -d", "zsh": "#compdef holdfast", "bash": "complete -o default -F _holdfast holdfast"} {
		out := term.ok("", "completion", shell)
		if !strings.Contains(out, want) || strings.Contains(out, "bench-floor") {
			t.Errorf("%s: no %q, or a hidden command", shell, want)
		}
		if path, err := exec.LookPath(shell); err == nil {
			if out, err := exec.Command(path, "-n", term.write("script", []byte(out), 0o600)).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", shell, err, out)
			}
		}
	}
	if o := term.run("", "completion", "tcsh"); o.status != exitUsage {
		t.Errorf("%+v", o)
	}
}

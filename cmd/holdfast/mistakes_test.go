package main

import (
	"encoding/json"
	"net"
	"strings"
	"testing"
)

// TestMistakes: what people take for something else is refused where they make the
// mistake, with what to do.
func TestMistakes(t *testing.T) {
	c := newCouncil(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c.ok("", "dev", "node", "prepare", "--dir", c.path("node"), "--charter", c.path("charter"), "--out", c.path("founder"))
	c.ok("", "policy", "new", "--charter", c.path("charter"), "--founder", c.path("founder"), "--allow-simulated", "--out", c.path("p1"))
	c.ok("", "signer", "new", "--no-passphrase", "--out", c.path("stranger"))
	c.env["HOLDFAST_CREDENTIALS"] = c.path("nowhere.json")
	sign := []string{"policy", "sign", c.path("p1"), "--out", c.path("p1s"), "--key"}
	// Nobody is at port 1: who asked there first would ask for good.
	join := []string{"dev", "node", "serve", "--dir", c.path("joins"), "--charter", c.path("charter"), "--join", "127.0.0.1:1", "--listen", taken.Addr().String()}
	for _, m := range []struct {
		name   string
		args   []string
		status int
		hint   string
	}{
		{"a public key to sign with", append(sign, c.path("alice.pub")), exitFailed, "name the private key"},
		{"a key that is not there", append(sign, c.path("nobody")), exitFailed, "`holdfast signer new` makes a key"},
		{"a key without a say", append(sign, c.path("stranger"), "--charter", c.path("charter")), exitFailed, "of the owner or of a signer"},
		{"a policy for a charter", []string{"dev", "node", "prepare", "--dir", c.path("other"), "--charter", c.path("p1"), "--out", c.path("f")}, exitFailed, "it takes the charter"},
		{"to serve before founding", []string{"dev", "node", "serve", "--dir", c.path("node")}, exitFailed, "found it with what owner and signers signed"},
		{"to join where the API's port is taken", join, exitFailed, "is taken"},
		{"credentials that are not there", []string{"key", "list"}, exitFailed, "`holdfast enroll --out` makes such a file"},
		{"metrics of what does not serve", []string{"dev", "node", "found", "--dir", c.path("node"), "--bootstrap", c.path("b"), "--policy", c.path("p1"), "--metrics", ":1"}, exitUsage, "dev node serve"},
	} {
		if said := c.fails(m.status, "", m.args...); !strings.Contains(said, m.hint) {
			t.Errorf("%s: %s", m.name, said)
		}
	}
	for _, file := range []string{"p1s", "other", "f"} {
		if exists(c.path(file)) {
			t.Errorf("%s was made all the same", file)
		}
	}
	for _, key := range []string{"alice", "owner"} {
		c.ok("", append(sign[:len(sign)-1], "--force", "--key", c.path(key), "--charter", c.path("charter"))...)
	}
}

// TestOneDocument: what goes to standard output is the document, and nothing else.
func TestOneDocument(t *testing.T) {
	c := newCouncil(t)
	for _, d := range []struct {
		file string
		args []string
	}{
		{"founder", []string{"dev", "node", "prepare", "--dir", c.path("node"), "--charter", c.path("charter")}},
		{"p1", []string{"policy", "new", "--charter", c.path("charter"), "--founder", c.path("founder"), "--allow-simulated"}},
		{"p1s", []string{"policy", "sign", c.path("p1"), "--key", c.path("alice")}},
	} {
		for _, more := range [][]string{nil, {"--json"}} {
			out := c.ok("", append(append(d.args, "--out", "-"), more...)...)
			if !json.Valid([]byte(out)) {
				t.Errorf("%s %v: %s", d.file, more, out)
			}
			c.write(d.file, []byte(out), 0o644)
		}
	}
}

// TestFlagsThatMeanSomething: a command that serves nobody has no flags of one that does.
func TestFlagsThatMeanSomething(t *testing.T) {
	c := newCouncil(t)
	for _, command := range []string{"prepare", "survey"} {
		help := c.ok("", "dev", "node", command, "--help")
		for _, flag := range []string{"--metrics", "--audit"} {
			if strings.Contains(help, flag) {
				t.Errorf("%s --help shows %s", command, flag)
			}
		}
		c.fails(exitUsage, "", "dev", "node", command, "--dir", c.path("x"), "--out", c.path("y"), "--charter", c.path("charter"), "--metrics", ":1")
	}
}

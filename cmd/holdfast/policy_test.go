package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// A council is a terminal with a charter, its signers' keys, and a node that was
// prepared under it.
type council struct{ *terminal }

func newCouncil(t *testing.T) council {
	t.Helper()
	c := council{&terminal{t: t, dir: t.TempDir(), env: map[string]string{}}}
	for _, name := range []string{"owner", "alice", "bob", "carol"} {
		c.ok("", "signer", "new", "--no-passphrase", "--out", c.path(name))
		c.secrets = append(c.secrets, strings.Split(c.read(name), "\n")[1])
	}
	t.Cleanup(c.searchSecrets)
	c.ok("", "charter", "new", "--name", "council", "--owner", c.path("owner.pub"), "--signer", c.path("alice.pub"), "--signer", c.path("bob.pub"),
		"--signer", c.path("carol.pub"), "--threshold", "2", "--out", c.path("charter"))
	return c
}

// found prepares a node and founds a domain.
func (c council) found() {
	c.t.Helper()
	c.ok("", "dev", "node", "prepare", "--dir", c.path("node"), "--charter", c.path("charter"), "--out", c.path("founder"))
	c.ok("", "policy", "new", "--charter", c.path("charter"), "--founder", c.path("founder"), "--allow-simulated", "--out", c.path("p1"))
	c.sign("policy", "p1", "p1s", "alice", "bob")
	c.ok("", "bootstrap", "new", "--charter", c.path("charter"), "--founder", c.path("founder"), "--policy", c.path("p1s"), "--allow-simulated", "--out", c.path("b"))
	c.sign("bootstrap", "b", "bs", "alice", "bob", "owner")
	c.ok("", "dev", "node", "found", "--dir", c.path("node"), "--bootstrap", c.path("bs"), "--policy", c.path("p1s"))
}

// sign signs a draft one after the other.
func (c council) sign(noun, draft, out string, keys ...string) {
	c.t.Helper()
	c.ok("", noun, "sign", c.path(draft), "--key", c.path(keys[0]), "--out", c.path(out))
	for _, k := range keys[1:] {
		c.ok("", noun, "sign", c.path(out), "--key", c.path(k))
	}
}

func TestSigner(t *testing.T) {
	c := newCouncil(t)
	for name, mode := range map[string]os.FileMode{"alice": 0o600, "alice.pub": 0o644} {
		if info, err := os.Stat(c.path(name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	private, public := c.json("", "signer", "show", c.path("alice")), c.json("", "signer", "show", c.path("alice.pub"))
	if private["public_key"] != public["public_key"] || private["key_id"] == "" || private["public_key"] != strings.TrimSpace(c.read("alice.pub")) {
		t.Errorf("%v, %v", private, public)
	}
	c.write("pass", []byte("correct horse\n"), 0o600)
	c.write("wrong", []byte("battery staple\n"), 0o600)
	c.write("empty", []byte("\n"), 0o600)
	c.write("open", []byte("correct horse\n"), 0o644)
	c.secrets = append(c.secrets, "correct horse")
	c.ok("", "signer", "new", "--type", "p256", "--passphrase-file", c.path("pass"), "--out", c.path("dave"))
	if !strings.Contains(c.read("dave"), "ENCRYPTED") {
		t.Error("the key lies in clear")
	}
	c.ok("", "signer", "show", c.path("dave"), "--passphrase-file", c.path("pass"))
	for name, args := range map[string][]string{
		"exists already":      {"new", "--no-passphrase", "--out", c.path("alice")},
		"alice.pub.pub":       {"show", c.path("alice.pub.pub")},
		"is empty":            {"new", "--passphrase-file", c.path("empty"), "--out", c.path("e")},
		"is open to others":   {"new", "--passphrase-file", c.path("open"), "--out", c.path("e")},
		"no terminal":         {"show", c.path("dave")},
		"passphrase is wrong": {"show", c.path("dave"), "--passphrase-file", c.path("wrong")},
	} {
		if said := c.fails(exitFailed, "", append([]string{"signer"}, args...)...); !strings.Contains(said, strings.Split(name, " ")[0]) {
			t.Errorf("%s: %s", name, said)
		}
	}
	if said := c.fails(exitUsage, "", "signer", "new", "--out", c.path("e")); !strings.Contains(said, "--no-passphrase") || exists(c.path("e")) {
		t.Errorf("no terminal to ask at: %s", said)
	}
}

// TestNothingIsReplaced unless it is asked for.
func TestNothingIsReplaced(t *testing.T) {
	c := newCouncil(t)
	c.found()
	before := c.read("charter")
	again := []string{"charter", "new", "--name", "other", "--owner", c.path("owner.pub"), "--signer", c.path("alice.pub"), "--threshold", "1", "--out", c.path("charter")}
	for _, args := range [][]string{
		again,
		{"policy", "new", "--charter", c.path("charter"), "--founder", c.path("founder"), "--allow-simulated", "--out", c.path("p1")},
		{"policy", "sign", c.path("p1"), "--key", c.path("alice"), "--out", c.path("p1s")},
		{"policy", "edit", c.path("p1s"), "--charter", c.path("charter"), "--bootstrap", c.path("bs"), "--set", "halt=true", "--out", c.path("p1")},
		{"bootstrap", "new", "--charter", c.path("charter"), "--founder", c.path("founder"), "--policy", c.path("p1"), "--allow-simulated", "--out", c.path("b")},
	} {
		if said := c.fails(exitFailed, "", args...); !strings.Contains(said, "exists already") {
			t.Errorf("%v: %s", args[:2], said)
		}
	}
	if c.read("charter") != before {
		t.Error("the charter was replaced")
	}
	c.ok("", append(again, "--force")...)
	if c.read("charter") == before {
		t.Error("the charter was not replaced")
	}
}

// TestFoundByHand: what is not right is refused before anybody signs it.
func TestFoundByHand(t *testing.T) {
	c := newCouncil(t)
	prepare := []string{"dev", "node", "prepare", "--dir", c.path("node"), "--charter", c.path("charter"), "--force", "--out", c.path("founder")}
	one, two := c.json("", prepare...), c.json("", prepare...)
	if one["node_id"] != two["node_id"] {
		t.Error("another key when prepared again")
	}
	newPolicy := []string{"policy", "new", "--charter", c.path("charter"), "--founder", c.path("founder")}
	c.ok("", append(newPolicy, "--allow-simulated", "--out", c.path("p1"))...)
	newBootstrap := []string{"bootstrap", "new", "--charter", c.path("charter"), "--policy", c.path("p1"), "--out", c.path("b"), "--founder"}
	f, err := govern.ParseFounder([]byte(c.read("founder")))
	if err != nil {
		t.Fatal(err)
	}
	altered := func(name string, edit func(*govern.Founder)) string {
		g := *f
		edit(&g)
		return c.write(name, g.Text(), 0o644)
	}
	c.ok("", "charter", "new", "--name", "other", "--owner", c.path("owner.pub"), "--signer", c.path("alice.pub"), "--threshold", "1", "--out", c.path("other"))
	for name, args := range map[string][]string{
		"simulated":               append(newBootstrap, c.path("founder")),
		"another charter":         {"bootstrap", "new", "--allow-simulated", "--charter", c.path("other"), "--policy", c.path("p1"), "--out", c.path("b"), "--founder", c.path("founder")},
		"not that of its key":     append(newBootstrap, altered("f1", func(f *govern.Founder) { f.Node = kms.NodeID{} }), "--allow-simulated"),
		"the founder is refused":  append(newBootstrap, altered("f2", func(f *govern.Founder) { f.Evidence.Quote = f.Evidence.Quote[:400] }), "--allow-simulated"),
		"not the evidence of":     append(newBootstrap, c.path("charter"), "--allow-simulated"),
		"version 9":               append(newBootstrap, altered("f3", func(f *govern.Founder) { f.Version = 9 }), "--allow-simulated"),
		"does not admit":          {"bootstrap", "new", "--charter", c.path("charter"), "--founder", c.path("founder"), "--allow-simulated", "--out", c.path("b"), "--policy", c.strict()},
		"belongs to another char": {"dev", "node", "prepare", "--dir", c.path("node"), "--charter", c.path("other"), "--out", c.path("f")},
	} {
		if said := c.fails(exitFailed, "", args...); !strings.Contains(said, name) || !strings.Contains(said, "hint: ") {
			t.Errorf("%s: %s", name, said)
		}
	}
	if exists(c.path("b")) {
		t.Error("a bootstrap was written")
	}
	c.lostState()
}

// strict is a policy that admits no simulated platform.
func (c council) strict() string {
	c.ok("", "policy", "new", "--charter", c.path("charter"), "--mrenclave", strings.Repeat("a", 64), "--out", c.path("strict"))
	return c.path("strict")
}

// lostState: beside a charter, state that is missing is an error.
func (c council) lostState() {
	c.t.Helper()
	if err := os.RemoveAll(c.path("node/node")); err != nil {
		c.t.Fatal(err)
	}
	for _, args := range [][]string{
		{"dev", "node", "serve", "--dir", c.path("node")},
		{"dev", "node", "prepare", "--dir", c.path("node"), "--charter", c.path("charter"), "--out", c.path("f")},
	} {
		if said := c.fails(exitFailed, "", args...); !strings.Contains(said, "put the folder back") {
			c.t.Errorf("%v: %s", args[2], said)
		}
	}
	if exists(c.path("node/node")) {
		c.t.Error("the state was made anew")
	}
}

func TestPolicyEdit(t *testing.T) {
	c := newCouncil(t)
	c.found()
	edit := func(args ...string) []string {
		return append([]string{"policy", "edit", c.path("p1s"), "--charter", c.path("charter"), "--bootstrap", c.path("bs"), "--force", "--out", c.path("p2")}, args...)
	}
	doc := c.json("", edit("--set", "enrolment/mode=open", "--set", "operators/-="+strings.TrimSpace(c.read("carol.pub")), "--set", "nodes/0/name=first",
		"--set", `nodes/0/may_query=[{"runtime":"r","identities":[{"sgx":{"mrenclave":"`+strings.Repeat("b", 64)+`"}}]}]`, "--unset", "attestation/tdx")...)
	p, err := govern.ParsePolicy([]byte(c.read("p2")))
	if err != nil {
		t.Fatal(err)
	}
	one, _, err := readPolicy(c.path("p1s"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Serial != 2 || p.Previous != one.Digest() || p.Domain.String() == "" || p.Enrolment.Mode != govern.EnrolOpen || len(p.Operators) != 1 ||
		p.Nodes[0].Name != "first" || p.Nodes[0].MayQuery[0].Runtime != "r" || p.Attestation.TDX.Simulated || doc["digest"] != p.Digest().String() || len(doc["changes"].([]any)) == 0 {
		t.Errorf("%s\n%v", c.read("p2"), doc)
	}
	// A draft is edited in place, and keeps its serial.
	c.ok("", "policy", "edit", c.path("p2"), "--unset", "operators/0", "--valid", "1h")
	if p, _, err := readPolicy(c.path("p2")); err != nil || p.Serial != 2 || len(p.Operators) != 0 {
		t.Errorf("%v, %v", p, err)
	}
	c.env["EDITOR"] = "sed -i s/first/edited/"
	c.ok("", "policy", "edit", c.path("p2"))
	if p, _, err := readPolicy(c.path("p2")); err != nil || p.Nodes[0].Name != "edited" {
		t.Errorf("%v, %v", p, err)
	}
	c.env["EDITOR"] = "sed -i s/edited/,/;s/:/,/"
	if said := c.fails(exitFailed, "", "policy", "edit", c.path("p2")); !strings.Contains(said, "what you wrote is in ") {
		t.Errorf("%s", said)
	}
	c.env["EDITOR"] = ""
	for says, args := range map[string][]string{
		"no policy":            edit("--set", "nodes/0/name="),
		"is no policy":         edit("--set", "no_such=1"),
		"serial":               edit("--set", "serial=0"),
		"policy 2 names it":    {"policy", "edit", c.path("p1s"), "--valid", "1h", "--out", c.path("p3")},
		"needs a place":        {"policy", "edit", c.path("p1s"), "--charter", c.path("charter"), "--bootstrap", c.path("bs"), "--valid", "1h"},
		"no $EDITOR":           {"policy", "edit", c.path("p2")},
		"is not PATH=VALUE":    edit("--set", "halt"),
		`has no "7"`:           edit("--set", "nodes/7/name=x"),
		`there is no "nosuch"`: edit("--unset", "nosuch"),
		"has no members":       edit("--set", "halt/x=1"),
	} {
		o := c.run("", args...)
		if o.status == 0 || !strings.Contains(o.stderr, says) || !strings.Contains(o.stderr, "hint: ") {
			t.Errorf("%s: status %d: %s", says, o.status, o.stderr)
		}
	}
}

func TestSetMember(t *testing.T) {
	for _, c := range []struct{ doc, path, value, want string }{
		{`{"a":1}`, "a", "2", `{"a":2}`},
		{`{"a":1}`, "/b/c/", "text", `{"a":1,"b":{"c":"text"}}`},
		{`{"a":[1,2]}`, "a/-", `{"x":1}`, `{"a":[1,2,{"x":1}]}`},
		{`{"a":[1,2]}`, "a/-/y", `1`, `{"a":[1,2,{"y":1}]}`},
		{`{"a":[{"x":1}]}`, "a/0/x", `9007199254740993`, `{"a":[{"x":9007199254740993}]}`},
		{`{"a":1}`, "a", "1 2", `{"a":"1 2"}`},
		{`{"a":1}`, "a", "null", `{"a":"null"}`},
		{`{"a":[1]}`, "a/1", "2", ""},
		{`{"a":[1]}`, "a/-1", "2", ""},
		{`{"a":[1]}`, "a/x", "2", ""},
		{`{"a":1}`, "a/b", "2", ""},
	} {
		var doc any
		if err := json.Unmarshal([]byte(c.doc), &doc); err != nil {
			t.Fatal(err)
		}
		got, err := setMember(doc, splitPath(c.path), valueOf(c.value))
		if err != nil {
			if c.want != "" {
				t.Errorf("%s = %s: %v", c.path, c.value, err)
			}
			continue
		}
		b, err := json.Marshal(got)
		if err != nil || string(b) != c.want {
			t.Errorf("%s = %s (-want +got):\n%s%v", c.path, c.value, cmp.Diff(c.want, string(b)), err)
		}
	}
}

// TestVerify says who signed, and what is wrong with the rest.
func TestVerify(t *testing.T) {
	c := newCouncil(t)
	c.found()
	c.ok("", "signer", "new", "--no-passphrase", "--out", c.path("mallory"))
	c.secrets = append(c.secrets, strings.Split(c.read("mallory"), "\n")[1])
	check := func(name string, valid bool, missing float64, says string) {
		t.Helper()
		o := c.run("", "policy", "verify", c.path(name), "--charter", c.path("charter"), "--json")
		doc := c.document(o.stdout)
		reason, _ := doc["reason"].(string)
		if (o.status == 0) != valid || doc["valid"] != valid || doc["missing"] != missing || !strings.Contains(reason, says) {
			t.Errorf("%s: status %d: %v", name, o.status, doc)
		}
	}
	check("p1s", true, 0, "")
	c.sign("policy", "p1", "short", "alice", "owner")
	check("short", false, 1, "1 of the 2")
	c.sign("policy", "p1", "twice", "alice", "alice")
	check("twice", false, 1, "1 of the 2")
	c.sign("policy", "p1", "stranger", "alice", "bob", "mallory")
	check("stranger", false, 0, "has no say")
	for _, path := range []string{"short", "stranger"} { // with the bootstrap, the rules of govern say the same
		if o := c.run("", "policy", "verify", c.path(path), "--charter", c.path("charter"), "--bootstrap", c.path("bs")); o.status != exitFailed || !strings.Contains(o.stdout, "REFUSED") {
			t.Errorf("%s: %s%s", path, o.stdout, o.stderr)
		}
	}
	var e map[string]any
	if err := json.Unmarshal([]byte(c.read("p1s")), &e); err != nil {
		t.Fatal(err)
	}
	sigs := e["signatures"].([]any)
	sigs[0].(map[string]any)["sig"] = sigs[1].(map[string]any)["sig"]
	b, _ := json.Marshal(e)
	c.write("forged", b, 0o644)
	check("forged", false, 1, "not good")
	if said := c.fails(exitFailed, "", "policy", "verify", c.path("p1"), "--charter", c.path("charter")); !strings.Contains(said, "draft") {
		t.Errorf("a draft: %s", said)
	}
	if said := c.fails(exitFailed, "", "policy", "sign", c.path("bs"), "--key", c.path("alice")); !strings.Contains(said, "bootstrap, not a policy") {
		t.Errorf("another document: %s", said)
	}
}

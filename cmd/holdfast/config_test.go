package main

import (
	"strings"
	"testing"
)

func TestConfigCheck(t *testing.T) {
	term := &terminal{t: t, dir: t.TempDir(), env: map[string]string{}}
	good := term.write("good.json", []byte("{\n\"dir\": \"/d\",\n\"charter\": \"/c\",\n\"peer-listen\": \":1\",\n\"join\": [\"a:1\", \"b:2\"]\n}"), 0o644)
	out := term.ok("", "config", "check", good)
	for _, want := range []string{"dir          /d", "join         b:2", "verdict      valid"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	bad := term.write("bad.json", []byte("{\n\"dir\": 7,\n\"listn\": \":9000\"\n}"), 0o644)
	o := term.run("", "config", "check", bad)
	for _, want := range []string{bad + ":2: dir has to be a text", bad + `:3: "listn" is no setting`, `hint: is "listen" meant?`} {
		if o.status != exitFailed || !strings.Contains(o.stdout, want) {
			t.Errorf("status %d, no %q in:\n%s%s", o.status, want, o.stdout, o.stderr)
		}
	}
	o = term.run("", "config", "check", bad, "--json")
	doc := term.document(o.stdout)
	if faults, _ := doc["faults"].([]any); o.status != exitFailed || doc["valid"] != false || len(faults) != 2 {
		t.Errorf("status %d: %v", o.status, doc)
	}
	if doc := term.json("", "config", "check", term.write("few.json", []byte("{}"), 0o644)); len(doc["missing"].([]any)) != 2 {
		t.Errorf("%v", doc)
	}
	if o := term.run("", "config", "check", term.path("none")); o.status != exitFailed || !strings.Contains(o.stderr, "hint:") {
		t.Errorf("%+v", o)
	}
}

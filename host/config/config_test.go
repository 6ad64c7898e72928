package config_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/host/config"
	"github.com/holdfast-kms/holdfast/kms"
)

func TestParse(t *testing.T) {
	f, faults := config.Parse([]byte("{\n  \"dir\": \"d\",\n  \"join\": [\"a:1\", \"b:2\"],\n\n  \"listen\": \":9000\"\n}\n"))
	want := config.File{{Name: "dir", Values: []string{"d"}, Line: 2}, {Name: "join", Values: []string{"a:1", "b:2"}, Line: 3}, {Name: "listen", Values: []string{":9000"}, Line: 5}}
	if diff := cmp.Diff(want, f); diff != "" || len(faults) > 0 {
		t.Errorf("%v\n%s", faults, diff)
	}
	if f.Value("listen") != ":9000" || f.Value("pcs") != "" || len(f.Values("join")) != 2 {
		t.Errorf("%+v", f)
	}
}

// TestFaults: each with its line, and what to do.
func TestFaults(t *testing.T) {
	for _, tt := range []struct{ text, want, hint string }{
		{"", "line 1: the file ends", "JSON object"},
		{"[]", "line 1: it is not one JSON object", "JSON object"},
		{"{\n\"dir\": \"d\"", "line 2: the file ends", "JSON object"},
		{"{\n\"dir\": \"d\",\n}", "line 2:", "comma"},
		{"{\n// dir\n\"dir\": \"d\"}", "line 2:", "comments"},
		{"{\n\"dir\": \"d\",\n\"dir\": \"e\"}", `line 3: "dir" is there twice`, "leave one"},
		{"{\"dir\": \"d\"}\n{}", "line 2: there is something behind", "JSON object"},
		{"{\n\"listn\": \":1\"}", `line 2: "listn" is no setting`, `is "listen" meant?`},
		{"{\n\"peer_listen\": \":1\"}", "is no setting", `is "peer-listen" meant?`},
		{"{\"--dir\": \"d\"}", "is no setting", `is "dir" meant?`},
		{"{\"Dir\": \"d\"}", "is no setting", `is "dir" meant?`},
		{"{\"platform\": \"simulated\"}", "is no setting", "the settings are approval, audit"},
		{"{\"config\": \"f\"}", "is no setting", "the settings are"},
		{"{\n\"dir\": 7}", "line 2: dir has to be a text", `"dir": "/var`},
		{"{\"dir\": \"\"}", "dir: it is empty", `"dir": "/var`},
		{"{\"dir\": null}", "dir has to be a text", ""},
		{"{\"dir\": [\"d\"]}", "dir has to be a text", ""},
		{"{\"join\": \"a:1\"}", "join has to be a list", `["kms-0`},
		{"{\"join\": []}", "join has to be a list", ""},
		{"{\"join\": [\"a:1\", 2]}", "join has to be a list", ""},
		{"{\"join\": [\"a\"], \"peer-listen\": \":1\"}", "no address that another node can dial", "kms-0"},
		{"{\"listen\": \"9000\"}", "no address to listen at", ":9000"},
		{"{\"pcs\": \"pccs.example\"}", "not the address of a service", "https://"},
		{"{\"audit\": [\"main\"]}", "not NAME=PLACE", "main=file:"},
		{"{\"audit\": [\"main=file:\"]}", "no such kind of place", "main=file:"},
		{"{\"log-level\": \"loud\"}", "none of debug", "info"},
		{"{\"join\": [\"a:1\"]}", "line 1: join without peer-listen", "peer-listen"},
		{"{\n\"name\": \"n\"}", "line 2: name without peer-listen", "peer-listen"},
		{"{\"peer-listen\": \":1\",\n\"approval\": \"f\"}", "line 2: approval without join", "join"},
		{"{\"command\": \"dev\"}", "it is none of found, serve, survey, recover", `"command": "serve"`},
		{"{\"command\": 7}", "command has to be a text", `"command"`},
		{"{\n\"out\": \"f\"}", `line 2: "out" is no setting of the command "serve"`, `"command": "found"`},
		{"{\"join\": [\"a:1\"],\n\"command\": \"found\"}", `line 1: "join" is no setting of the command "found"`, `"serve"`},
		{"{\"listen\": \":1\",\n\"command\": \"found\"}", "line 1: listen without stay", `"stay": "true"`},
		{`{"command": "found", "stay": "true", "node-name": "n"}`, "node-name without peer-listen", "peer-listen"},
		{"{\"command\": \"found\", \"name\": \"n\"}", "name has to be a list", `["kms-0`},
		{"{\"command\": \"found\", \"bootstrap\": \"b\"}", "bootstrap without policy", "policy"},
		{"{\"command\": \"found\", \"policy\": \"b\"}", "policy without bootstrap", "bootstrap"},
		{"{\"command\": \"found\", \"policy\": \"b\", \"bootstrap\": \"b\",\n\"out\": \"o\"}", "line 2: out and bootstrap", "leave one"},
		{"{\"command\": \"recover\", \"share\": [\"s\"]}", "share without backup", "backup"},
		{"{\"command\": \"recover\", \"join\": [\"a:1\"]}", `no setting of the command "recover"`, `"serve"`},
		{"{\"command\": \"survey\", \"outt\": \"s\"}", "is no setting", `is "out" meant?`},
		{"{\"collateral-bundle\": \"f\", \"pcs\": \"https://p\"}", "a bundle stands in place", "leave one"},
	} {
		path := filepath.Join(t.TempDir(), "c.json")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, faults, err := config.Faults(path)
		if err != nil || len(faults) == 0 || !strings.Contains(faults[0].Error(), tt.want) || !strings.Contains(faults[0].Hint, tt.hint) || faults[0].Hint == "" {
			t.Errorf("%s\n%v %+v, want %q, hint %q", tt.text, err, faults, tt.want, tt.hint)
		}
		if _, err := config.Read(path); !errors.Is(err, kms.Invalid) || kms.HintOf(err) == "" || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\nread: %v", tt.text, err)
		}
	}
}

// TestCommand: a file is of one command, wherever in it that is said, and tells what
// that one lacks.
func TestCommand(t *testing.T) {
	for text, want := range map[string][]string{
		`{}`:                   {"serve", "dir", "charter"},
		`{"command": "serve"}`: {"serve", "dir", "charter"},
		`{"dir": "d", "command": "found", "name": ["a", "b"]}`:                                 {"found", "charter", "out"},
		`{"bootstrap": "b", "policy": "p", "name": ["a"], "command": "found"}`:                 {"found", "dir", "charter"},
		`{"command": "survey", "dir": "d", "charter": "c"}`:                                    {"survey", "out"},
		`{"command": "recover", "dir": "d", "charter": "c", "name": "n", "peer-listen": ":1"}`: {"recover", "recovery"},
	} {
		f, faults := config.Parse([]byte(text))
		if faults = append(faults, f.Check()...); len(faults) > 0 {
			t.Errorf("%s: %v", text, faults)
		}
		if diff := cmp.Diff(want, append([]string{f.Command()}, f.Missing()...)); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
		for _, s := range f.Flags() {
			if s.Name == "command" {
				t.Errorf("%s: the command is among its flags", text)
			}
		}
	}
}

// TestAllFaults: one look at the file finds all of them.
func TestAllFaults(t *testing.T) {
	_, faults := config.Parse([]byte("{\"a\": 1,\n\"listen\": 2,\n\"dir\": \"d\",\n\"metrics\": \"x\"}"))
	if len(faults) != 3 || faults[0].Line != 1 || faults[1].Line != 2 || faults[2].Line != 4 {
		t.Errorf("%+v", faults)
	}
}

func TestTooLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.json")
	if err := os.WriteFile(path, []byte(strings.Repeat(" ", config.MaxFile+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Read(path); !errors.Is(err, kms.TooLarge) {
		t.Error(err)
	}
	if _, err := config.Read(path + "none"); !errors.Is(err, kms.Invalid) || kms.HintOf(err) == "" {
		t.Error(err)
	}
}

// FuzzParse: what is taken is JSON without repeats, of settings that there are.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"{}", `{"dir":"d","join":["a:1"],"peer-listen":":1"}`, `{"dir":"d","dir":"e"}`, `{"a":[{}]}`, `{"dir":"d"} x`, `{"command":"found","name":["a"]}`, `{"command":"x","name":"a"}`, "", "[", `{"join":["\ud800"]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, faults := config.Parse(b)
		if len(faults) > 0 {
			for _, f := range faults {
				if f.Line < 1 || f.Hint == "" || f.What == "" {
					t.Fatalf("%+v", f)
				}
			}
			return
		}
		var plain map[string]any
		if err := json.Unmarshal(b, &plain); err != nil || len(plain) != len(file) {
			t.Fatalf("%d settings, %v", len(file), err)
		}
		for _, s := range file {
			if _, ok := plain[s.Name]; !ok || len(s.Values) == 0 {
				t.Fatalf("%+v", s)
			}
		}
	})
}

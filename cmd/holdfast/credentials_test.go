package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEnroll(t *testing.T) {
	term := newTerminal(t)
	info, err := os.Stat(term.path("credentials.json"))
	if err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o600) {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	cred := term.credentials()
	if cred.URL != term.server.URL() || cred.CA != string(term.server.CA()) || len(cred.APIKey) != 32 {
		t.Errorf("wrote url %q, a CA of %d and a key of %d bytes", cred.URL, len(cred.CA), len(cred.APIKey))
	}

	t.Run("never replaces a file", func(t *testing.T) {
		before, asked := term.read("credentials.json"), term.server.Calls("Enroll")
		msg := term.fails(exitFailed, "", "enroll", "--url", term.server.URL(), "--ca", term.path("ca.pem"), "--out", term.path("credentials.json"))
		if !strings.Contains(msg, "exists already") || term.read("credentials.json") != before || term.server.Calls("Enroll") != asked {
			t.Errorf("said %q", msg)
		}
	})
	t.Run("leaves no file without an app", func(t *testing.T) {
		out := term.path("none.json")
		term.server.Fault(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
		defer term.server.Fault(nil)
		msg := term.fails(exitFailed, "", "enroll", "--url", term.server.URL(), "--ca", term.path("ca.pem"), "--out", out)
		if _, err := os.Stat(out); !os.IsNotExist(err) || !strings.Contains(msg, "may have happened") {
			t.Errorf("file: %v; said %q", err, msg)
		}
	})
	t.Run("at the default place", func(t *testing.T) {
		other := term.with(map[string]string{"HOLDFAST_CREDENTIALS": filepath.Join(term.dir, "new", "folder", "c.json")})
		doc := other.json("", "enroll", "--url", term.server.URL(), "--ca", term.path("ca.pem"))
		if doc["credentials"] != other.env["HOLDFAST_CREDENTIALS"] || doc["apikey"] != nil || doc["appid"] == "" {
			t.Errorf("%v", doc)
		}
		other.ok("", "key", "create")
	})
}

func TestCredentialsFileMustBePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no mode bits")
	}
	term := newTerminal(t)
	body := []byte(term.read("credentials.json"))
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o610, 0o644, 0o666} {
		path := term.write("open.json", body, mode)
		msg := term.fails(exitFailed, "", "key", "list", "--credentials", path)
		if !strings.Contains(msg, "is open to others (mode") || !strings.Contains(msg, "hint: chmod 600 "+path) {
			t.Errorf("mode %04o: %q", mode, msg)
		}
	}
	for _, mode := range []os.FileMode{0o600, 0o400, 0o700} {
		term.ok("", "key", "list", "--credentials", term.write("open.json", body, mode))
		os.Remove(term.path("open.json"))
	}
	if n := term.server.Calls("ListKey"); n != 3 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestCredentialsFileIsStrict(t *testing.T) {
	term := newTerminal(t)
	good := term.credentials()
	spoil := func(f func(*credentialsFile)) string {
		c := good
		f(&c)
		b, _ := json.Marshal(c)
		return string(b)
	}
	tests := map[string]struct{ body, want string }{
		"not JSON":      {"APIKEY=" + good.APIKey, "is not a credentials file"},
		"unknown field": {`{"url":"x","apikey":"` + good.APIKey + `","API_KEY":"x"}`, "is not a credentials file"},
		"two documents": {spoil(func(*credentialsFile) {}) + "{}", "is not a credentials file"},
		"another type":  {`{"apikey":["` + good.APIKey + `"]}`, "is not a credentials file"},
		"no AppID":      {spoil(func(c *credentialsFile) { c.AppID = "" }), "the AppID in"},
		"bad AppID":     {spoil(func(c *credentialsFile) { c.AppID = good.APIKey }), "the AppID in"},
		"no APIKey":     {spoil(func(c *credentialsFile) { c.APIKey = "" }), "there is no APIKey in"},
		"line feed":     {spoil(func(c *credentialsFile) { c.APIKey += "\n" }), "look for a space or a line feed"},
		"no URL":        {spoil(func(c *credentialsFile) { c.URL = "" }), "no node to talk to"},
		"missing CA":    {spoil(func(c *credentialsFile) { c.CA = "no-such.pem" }), "reading the CA"},
		"CA of nothing": {spoil(func(c *credentialsFile) { c.CA = "credentials.json" }), "no certificate in PEM"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := term.write("spoilt.json", []byte(tt.body), 0o600)
			msg := term.fails(exitFailed, "", "key", "list", "--credentials", path)
			if !strings.Contains(msg, tt.want) {
				t.Errorf("said %q, want %q", msg, tt.want)
			}
		})
	}
	t.Run("CA beside the file", func(t *testing.T) {
		path := term.write("beside.json", []byte(spoil(func(c *credentialsFile) { c.CA = "ca.pem" })), 0o600)
		term.ok("", "key", "list", "--credentials", path)
	})
	t.Run("missing file", func(t *testing.T) {
		if msg := term.fails(exitFailed, "", "key", "list", "--credentials", term.path("none.json")); !strings.Contains(msg, "no such file") {
			t.Errorf("said %q", msg)
		}
	})
}

// TestWhereCredentialsComeFrom tells two apps apart by their keys.
func TestWhereCredentialsComeFrom(t *testing.T) {
	term := newTerminal(t)
	inFile := term.credentials()
	term.ok("", "key", "create")
	inEnv := term.server.Enroll()
	environment := map[string]string{
		"HOLDFAST_URL": term.server.URL(), "HOLDFAST_CA": term.path("ca.pem"),
		"HOLDFAST_APPID": inEnv.AppID.String(), "HOLDFAST_APIKEY": inEnv.APIKey.Reveal(),
	}
	term.secrets = append(term.secrets, inEnv.APIKey.Reveal())
	file := term.env["HOLDFAST_CREDENTIALS"]
	with := func(more map[string]string) map[string]string {
		all := map[string]string{}
		for k, v := range environment {
			all[k] = v
		}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	tests := []struct {
		name string
		env  map[string]string
		args []string
		keys int // that the app has: 1 is the one in the file, 0 the one in the environment, -1 an error
	}{
		{"file named by the environment", map[string]string{"HOLDFAST_CREDENTIALS": file}, nil, 1},
		{"environment alone", environment, nil, 0},
		{"environment before the file it names", with(map[string]string{"HOLDFAST_CREDENTIALS": file}), nil, 0},
		{"flag before the environment", environment, []string{"--credentials", file}, 1},
		{"flag alone, although the environment's URL is wrong", with(map[string]string{"HOLDFAST_URL": "https://127.0.0.1:1"}), []string{"--credentials", file}, 1},
		{"URL of the environment for the file", map[string]string{"HOLDFAST_CREDENTIALS": file, "HOLDFAST_URL": "https://127.0.0.1:1"}, nil, -1},
		{"URL of the flag before all", with(map[string]string{"HOLDFAST_URL": "https://127.0.0.1:1"}), []string{"--url", term.server.URL()}, 0},
		{"CA as text", with(map[string]string{"HOLDFAST_CA": string(term.server.CA())}), nil, 0},
		{"AppID without APIKey", with(map[string]string{"HOLDFAST_APIKEY": "", "HOLDFAST_CREDENTIALS": file}), nil, -1},
		{"APIKey without AppID", with(map[string]string{"HOLDFAST_APPID": "", "HOLDFAST_CREDENTIALS": file}), nil, -1},
		{"missing file named by the environment", map[string]string{"HOLDFAST_CREDENTIALS": file + "x"}, nil, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			other := term.with(tt.env)
			o := other.run("", append([]string{"key", "list", "--json"}, tt.args...)...)
			if tt.keys < 0 {
				if o.status != exitFailed {
					t.Errorf("accepted: %s", o.stdout)
				}
				return
			}
			if o.status != 0 {
				t.Fatal(o.stderr)
			}
			if keys := other.document(o.stdout)["keys"].([]any); len(keys) != tt.keys {
				t.Errorf("%d keys, want %d: the wrong app (%s is in the file)", len(keys), tt.keys, inFile.AppID)
			}
		})
	}
}

func TestThereIsNoFlagForTheAPIKey(t *testing.T) {
	term := newTerminal(t)
	for _, flag := range []string{"--apikey", "--api-key", "--appid"} {
		if msg := term.fails(exitUsage, "", "key", "list", flag, "x"); !strings.Contains(msg, "unknown flag") {
			t.Errorf("%s: %q", flag, msg)
		}
	}
}

func TestNothingSaysWhereTheNodeIs(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	term := newTerminal(t).with(nil)
	if msg := term.fails(exitFailed, "", "key", "list"); !strings.Contains(msg, "hint: give --url") {
		t.Errorf("said %q", msg)
	}
	if msg := term.fails(exitFailed, "", "key", "list", "--url", term.server.URL()); !strings.Contains(msg, "there is no credential\nhint: run `holdfast enroll") {
		t.Errorf("said %q", msg)
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{"/a/b.json": "/a/b.json", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$(x)": "'$(x)'"} {
		if diff := cmp.Diff(want, shellQuote(in)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

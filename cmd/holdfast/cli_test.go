package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/kms"
)

func TestHelp(t *testing.T) {
	t.Setenv("COLUMNS", "100")
	term := newTerminal(t)
	commands := []string{"", "enroll", "key", "key create", "key list", "key show", "key public", "key enable", "key disable",
		"key delete", "key import", "key export", "encrypt", "decrypt", "seal", "open", "datakey", "sign", "verify", "mac", "status",
		"version", "bench"}
	var all strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&all, "$ holdfast %s\n", strings.TrimSpace(c+" --help"))
		all.WriteString(term.ok("", append(strings.Fields(c), "--help")...) + "\n")
	}
	golden(t, "help.golden", all.String())
	if term.ok("") != term.ok("", "--help") {
		t.Error("without arguments there is no help")
	}
}

func TestEncryptAndDecrypt(t *testing.T) {
	term := newTerminal(t)
	key := strings.TrimSpace(term.ok("", "key", "create"))
	secret := "two lines\nand \x00 bytes \xff"
	plain := term.write("plain", []byte(secret), 0o600)
	aad := term.write("aad", []byte{0, 1, 2}, 0o600)

	sealed := term.ok(secret, "encrypt", "--key", key)
	if got := term.ok(sealed, "decrypt", "--key", key); got != secret {
		t.Errorf("opened %q", got)
	}
	wrapped := sealed[:20] + "\r\n" + sealed[20:] // as mail and editors do
	if got := term.ok(wrapped, "decrypt", "--key", key); got != secret {
		t.Errorf("opened %q", got)
	}

	term.ok("", "encrypt", "--key", key, "--in", plain, "--out", term.path("ct"), "--out-format", "raw", "--aad-file", aad)
	term.ok("", "decrypt", "--key", key, "--in", term.path("ct"), "--in-format", "raw", "--aad-file", aad, "--out", term.path("again"))
	if got := term.read("again"); got != secret {
		t.Errorf("opened %q", got)
	}
	if info, _ := os.Stat(term.path("again")); info.Mode().Perm() != 0o600 {
		t.Errorf("the plaintext's file has mode %v", info.Mode())
	}

	doc := term.json(base64.StdEncoding.EncodeToString([]byte(secret)), "encrypt", "--key", key, "--in-format", "base64", "--aad", "x")
	opened := term.json(doc["ciphertext"].(string), "decrypt", "--key", key, "--aad", "x")
	want := map[string]any{"key_id": key, "plaintext": base64.StdEncoding.EncodeToString([]byte(secret))}
	if diff := cmp.Diff(want, opened); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	doc = term.json(secret, "encrypt", "--key", key, "--out", term.path("ct2"))
	if diff := cmp.Diff(map[string]any{"key_id": key, "ciphertext_file": term.path("ct2")}, doc); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := term.ok(term.read("ct2"), "decrypt", "--key", key); got != secret {
		t.Errorf("opened %q", got)
	}
}

func TestDataKey(t *testing.T) {
	term := newTerminal(t)
	key := strings.TrimSpace(term.ok("", "key", "create", "--spec", "AES-128-GCM"))
	doc := term.json("", "datakey", "--key", key, "--length", "16", "--aad", "a")
	opened := term.json(doc["wrapped"].(string), "decrypt", "--key", key, "--aad", "a")
	if opened["plaintext"] != doc["plaintext"] {
		t.Errorf("the wrapped data key opens to another one")
	}
	if raw, _ := base64.StdEncoding.DecodeString(doc["plaintext"].(string)); len(raw) != 16 {
		t.Errorf("%d bytes", len(raw))
	}

	table := strings.Fields(term.ok("", "datakey", "--key", key))
	if len(table) != 4 || table[0] != "plaintext" || table[2] != "wrapped" {
		t.Errorf("printed %q", table)
	}
	doc = term.json("", "datakey", "--key", key, "--no-plaintext")
	if _, told := doc["plaintext"]; told || doc["wrapped"] == nil {
		t.Errorf("without plaintext: %v", doc)
	}

	dk, wrapped := term.path("dk"), term.path("wrapped")
	out := term.ok("", "datakey", "--key", key, "--plaintext-out", dk, "--wrapped-out", wrapped, "--out-format", "raw")
	if want := "plaintext  in " + dk + "\nwrapped    in " + wrapped + "\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	if got := term.ok("", "decrypt", "--key", key, "--in", wrapped, "--in-format", "raw"); got != term.read("dk") || len(got) != 32 {
		t.Error("the files do not belong together")
	}
	term.fails(exitUsage, "", "datakey", "--key", key, "--no-plaintext", "--plaintext-out", dk)
	term.fails(exitFailed, "", "datakey", "--key", key, "--length", "1025")
}

func TestSignAndVerify(t *testing.T) {
	term := newTerminal(t)
	key := strings.TrimSpace(term.ok("", "key", "create", "--spec", "EC-P256"))
	sig := term.path("sig")
	term.ok("message", "sign", "--key", key, "--out", sig)
	if out := term.ok("message", "verify", "--key", key, "--signature", sig); out != "signature is valid\n" {
		t.Errorf("printed %q", out)
	}
	bad := term.run("massage", "verify", "--key", key, "--signature", sig)
	if bad.status != exitFailed || bad.stdout != "signature is NOT valid\n" || bad.stderr != "" {
		t.Errorf("a bad signature: %+v", bad)
	}
	bad = term.run("massage", "verify", "--key", key, "--signature", sig, "--json")
	if diff := cmp.Diff(map[string]any{"key_id": key, "valid": false}, term.document(bad.stdout)); diff != "" || bad.status != exitFailed {
		t.Errorf("status %d (-want +got):\n%s", bad.status, diff)
	}
	if doc := term.json("message", "verify", "--key", key, "--signature", sig); doc["valid"] != true {
		t.Errorf("%v", doc)
	}
	doc := term.json("message", "sign", "--key", key)
	message := term.write("m", []byte("message"), 0o600)
	term.ok(doc["signature"].(string), "verify", "--key", key, "--signature", "-", "--in", message)
	term.fails(exitUsage, "x", "verify", "--key", key, "--signature", "-")

	digest := string(make([]byte, 32))
	term.ok(digest, "sign", "--key", key, "--prehashed", "--out", sig, "--out-format", "raw")
	term.ok(digest, "verify", "--key", key, "--prehashed", "--signature", sig, "--signature-format", "raw")
	if msg := term.fails(exitFailed, "short", "sign", "--key", key, "--prehashed"); !strings.Contains(msg, "a default digest has 32 bytes, not 5") {
		t.Errorf("said %q", msg)
	}
	term.fails(exitUsage, "x", "sign", "--key", key, "--digest", "MD5")
	if msg := term.fails(exitFailed, "x", "sign", "--key", key, "--digest", "SM3"); !strings.Contains(msg, "digest_mode") {
		t.Errorf("the digest is not passed on: %q", msg)
	}

	pem := term.ok("", "key", "public", key)
	if !strings.HasPrefix(pem, "-----BEGIN PUBLIC KEY-----\n") || term.json("", "key", "public", key)["pem"] != pem {
		t.Errorf("public key %q", pem)
	}
	term.ok("", "key", "public", key, "--out", term.path("pub"), "--out-format", "der")
	if der := term.read("pub"); len(der) != 91 || der[0] != 0x30 {
		t.Errorf("DER of %d bytes", len(der))
	}
}

func TestKeys(t *testing.T) {
	term := newTerminal(t)
	golden(t, "key_list_empty.golden", term.ok("", "key", "list"))
	key := term.json("", "key", "create", "--spec", "EH_AES_GCM_256", "--usage", "encrypt-decrypt")["key_id"].(string)
	golden(t, "key_list.golden", term.ok("", "key", "list"))
	golden(t, "key_show.golden", term.ok("", "key", "show", key))

	if out := term.ok("", "key", "disable", key); out != key+" is disabled\n" {
		t.Errorf("printed %q", out)
	}
	if doc := term.json("", "key", "show", key); doc["state"] != "disabled" || doc["spec"] != "AES-256-GCM" || doc["key_id"] != key {
		t.Errorf("%v", doc)
	}
	msg := term.fails(exitFailed, "x", "encrypt", "--key", key)
	if want := "holdfast: encrypt: disabled: keyid is disabled (code 400)\nhint: enable the key first\n"; msg != want {
		t.Errorf("said %q, want %q", msg, want)
	}
	if doc := term.json("", "key", "enable", key); doc["state"] != "enabled" {
		t.Errorf("%v", doc)
	}
	term.fails(exitFailed, "", "key", "create", "--spec", "AES-256-GCM", "--usage", "sign-verify")

	keys := term.json("", "key", "list")["keys"].([]any)
	if len(keys) != 1 || keys[0].(map[string]any)["key_id"] != key {
		t.Errorf("listed %v", keys)
	}
	if msg := term.fails(exitFailed, "", "key", "show", "11111111-2222-4333-8444-555555555555"); !strings.Contains(msg, "has no key") {
		t.Errorf("said %q", msg)
	}
}

func TestDelete(t *testing.T) {
	term := newTerminal(t)
	key := strings.TrimSpace(term.ok("", "key", "create"))
	if msg := term.fails(exitFailed, "yes\n", "key", "delete", key); !strings.Contains(msg, "hint: add --yes") {
		t.Errorf("without a person: %q", msg)
	}
	null, err := os.Open(os.DevNull) // a terminal at which nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	o := term.runWith(null, "key", "delete", key)
	if o.status != exitFailed || !strings.Contains(o.stderr, "Type yes: ") || !strings.Contains(o.stderr, "nothing was deleted") {
		t.Errorf("without an answer: %+v", o)
	}
	if n := term.server.Calls("DeleteKey") + term.server.Calls("DeleteAllKey"); n != 0 {
		t.Fatalf("%d deletions before anyone agreed", n)
	}
	if out := term.ok("", "key", "delete", key, "--yes"); out != "key "+key+" is deleted\n" {
		t.Errorf("printed %q", out)
	}
	term.fails(exitFailed, "", "key", "show", key)
	if msg := term.fails(exitFailed, "", "key", "delete", key, "--yes"); !strings.Contains(msg, "the app has no key "+key) {
		t.Errorf("deleted again: %q", msg)
	}
	term.ok("", "key", "create")
	if doc := term.json("", "key", "delete", "--all", "-y"); doc["deleted"] != "all" {
		t.Errorf("%v", doc)
	}
	if keys := term.json("", "key", "list")["keys"].([]any); len(keys) != 0 {
		t.Errorf("left: %v", keys)
	}
	term.fails(exitUsage, "", "key", "delete")
	term.fails(exitUsage, "", "key", "delete", key, "--all")
}

func TestAgree(t *testing.T) {
	for answer, want := range map[string]bool{"yes\n": true, " yes \r\n": true, "yes": true, "y\n": false, "": false, "no\nyes\n": false} {
		s := &session{ctx: t.Context(), stdin: strings.NewReader(answer), stderr: new(strings.Builder)}
		if got, err := s.agree("Really?"); err != nil || got != want {
			t.Errorf("%q counts as %v (%v)", answer, got, err)
		}
	}
}

func TestStatusAndVersion(t *testing.T) {
	term := newTerminal(t)
	golden(t, "status.golden", term.ok("", "status"))
	if doc := term.json("", "status"); doc["ready"] != true || doc["domain"] != "test" {
		t.Errorf("%v", doc)
	}
	stranger := term.with(nil)
	stranger.ok("", "status", "--url", term.server.URL(), "--ca", term.path("ca.pem"))
	if doc := stranger.json("", "version"); doc["go"] == "" || doc["server"] != nil {
		t.Errorf("%v", doc)
	}
	if doc := term.json("", "version", "--server"); doc["server"].(map[string]any)["git_sha"] != "0123456" {
		t.Errorf("%v", doc)
	}
	term.server.Fault(func(w http.ResponseWriter, _ *http.Request) bool {
		fmt.Fprintf(w, `{"domain":"d","domain_id":"%064d","node_id":"%064d","ready":false,"reason":"catching up\u001b[2J","warnings":["w"]}`, 0, 0)
		return true
	})
	o := term.run("", "status")
	if o.status != exitFailed || !strings.Contains(o.stdout, "NO: catching up[2J\n") || !strings.Contains(o.stdout, "warning") {
		t.Errorf("not ready: %+v", o)
	}
}

func TestErrors(t *testing.T) {
	term := newTerminal(t)
	key := strings.TrimSpace(term.ok("", "key", "create"))
	ec := strings.TrimSpace(term.ok("", "key", "create", "--spec", "EC-P256"))
	tests := []struct {
		name   string
		args   []string
		stdin  string
		status int
		want   string
	}{
		{"mistyped command", []string{"encript"}, "", exitUsage, "did you mean \"encrypt\"?\nhint: run `holdfast --help`"},
		{"mistyped subcommand", []string{"key", "lst"}, "", exitUsage, "did you mean \"list\"?\nhint: run `holdfast key --help`"},
		{"mistyped flag", []string{"encrypt", "--kye", "x"}, "", exitUsage, "did you mean \"--key\"?\nhint: run `holdfast encrypt --help`"},
		{"half a command", []string{"key"}, "", exitUsage, "hint: run `holdfast key --help`"},
		{"missing flag", []string{"encrypt"}, "x", exitUsage, "missing flags: --key=ID"},
		{"not an id", []string{"encrypt", "--key", "1234"}, "x", exitUsage, `"1234" is not a key's id`},
		{"upper-case id", []string{"key", "show", strings.ToUpper(key)}, "", exitUsage, "is not a key's id"},
		{"unknown spec", []string{"key", "create", "--spec", "DES"}, "", exitUsage, "there are AES-128-GCM"},
		{"unknown spec of eHSM", []string{"key", "create", "--spec", "EH_DES"}, "", exitUsage, "there are AES-128-GCM"},
		{"both sorts of aad", []string{"encrypt", "--key", key, "--aad", "x", "--aad-file", "y"}, "x", exitUsage, "--aad"},
		{"empty input", []string{"encrypt", "--key", key}, "", exitFailed, "encrypt: the plaintext is empty"},
		{"long input", []string{"encrypt", "--key", key}, strings.Repeat("x", 6145), exitFailed, "6144 bytes\nhint: for more, seal it"},
		{"endless input", []string{"encrypt", "--key", key}, strings.Repeat("x", 1<<20), exitFailed, "too long for one call\nhint: `holdfast seal` takes any length"},
		{"not base64", []string{"decrypt", "--key", key}, "sec-ret!", exitFailed, "standard input is not base64"},
		{"no such file", []string{"decrypt", "--key", key, "--in", "/no/such"}, "", exitFailed, "no such file"},
		{"other ciphertext", []string{"decrypt", "--key", key}, strings.Repeat("AAAA", 20), exitFailed, "Decryption failed"},
		{"key of another sort", []string{"encrypt", "--key", ec}, "x", exitFailed, "hint: the key's spec or usages"},
		{"unknown key", []string{"encrypt", "--key", "11111111-2222-4333-8444-555555555555"}, "x", exitFailed, "keyid error"},
		{"another CA", []string{"status", "--url", "https://127.0.0.1:1"}, "", exitFailed, "hint: nothing listens there"},
		{"plain HTTP", []string{"status", "--url", "http://127.0.0.1:1"}, "", exitFailed, "hint: a node speaks HTTPS only"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := term.run(tt.stdin, tt.args...)
			if o.status != tt.status || !strings.HasPrefix(o.stderr, "holdfast: ") || !strings.Contains(o.stderr, tt.want) || o.stdout != "" {
				t.Errorf("%+v, want status %d and %q", o, tt.status, tt.want)
			}
			if strings.Contains(o.stderr, "sec-ret") {
				t.Error("the input is repeated")
			}
			o = term.run(tt.stdin, append(tt.args, "--json")...)
			failure, is := term.document(o.stderr)["error"].(map[string]any)
			if o.status != tt.status || !is || failure["message"] == "" || o.stdout != "" {
				t.Errorf("with --json: %+v", o)
			}
		})
	}
}

func TestErrorDocument(t *testing.T) {
	term := newTerminal(t)
	o := term.run("x", "encrypt", "--json", "--key", "11111111-2222-4333-8444-555555555555")
	want := map[string]any{"error": map[string]any{"command": "encrypt", "message": "not found: keyid error (code 400)", "kind": "not found",
		"code": 400.0, "hint": "list the app's keys; a deleted key does not come back"}}
	if diff := cmp.Diff(want, term.document(o.stderr)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestInterrupt(t *testing.T) {
	term := newTerminal(t)
	key := strings.TrimSpace(term.ok("", "key", "create"))
	blocked, keyboard := io.Pipe() // nobody types
	defer keyboard.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	var stderr strings.Builder
	status := run([]string{"encrypt", "--key", key}, &session{ctx: ctx, stdin: blocked, stdout: io.Discard, stderr: &stderr,
		getenv: func(name string) string { return term.env[name] }})
	if status != exitFailed || stderr.String() != "holdfast: encrypt: interrupted\n" {
		t.Errorf("status %d: %q", status, stderr.String())
	}
}

// TestMoreKeysThanTheProtocolLists has a server that lists as many as it may.
func TestMoreKeysThanTheProtocolLists(t *testing.T) {
	term := newTerminal(t)
	var list []string
	for i := range kms.MaxKeysPage {
		list = append(list, fmt.Sprintf(`{"keyid":"00000000-0000-4000-8000-%012d","keyspec":"EH_OF_THE_FUTURE","keyState":1}`, i))
	}
	body := `{"code":200,"message":"successful","result":{"list":[` + strings.Join(list, ",") + `]}}`
	term.server.Fault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("Action") != "ListKey" {
			return false
		}
		io.WriteString(w, body)
		return true
	})
	o := term.run("", "key", "list")
	if !strings.Contains(o.stderr, "the first 10000 keys") || !strings.Contains(o.stdout, "  unknown  enabled  ") {
		t.Errorf("said %q", o.stderr)
	}
	if doc := term.json("", "key", "list"); doc["truncated"] != true {
		t.Error("the document does not say that the list is cut")
	}
	const unlisted = "11111111-2222-4333-8444-555555555555"
	if msg := term.fails(exitFailed, "", "key", "show", unlisted); !strings.Contains(msg, "not among the first 10000 keys") {
		t.Errorf("said %q", msg)
	}
	term.ok("", "key", "delete", unlisted, "--yes") // it may exist
}

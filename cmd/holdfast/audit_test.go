package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/auditlog"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// An auditedTerminal is at a real node whose audit log is in small files.
type auditedTerminal struct {
	*terminal
	node *trustedtest.Node
}

func newAuditedTerminal(t *testing.T) *auditedTerminal {
	t.Helper()
	d := trustedtest.NewDomain(t, 1)
	node := d.Nodes[0]
	term := &terminal{t: t, dir: t.TempDir(), env: map[string]string{}}
	if err := os.Mkdir(term.path("audit"), 0o700); err != nil {
		t.Fatal(err)
	}
	node.Edit = func(c *server.Config) {
		f, err := auditlog.OpenFile(auditlog.FileConfig{Path: term.path("audit/audit.log"), Size: 2 << 10})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		c.Mount, c.AuditSinks = program().Handler, map[string]server.AuditSink{"file": f}
	}
	node.Restart()
	if _, err := node.Core().SubmitPolicy(t.Context(), d.Rulers.Next(func(p *govern.Policy) { p.AuditSinks = []string{"file"} })); err != nil {
		t.Fatal(err)
	}
	endpoint := node.Serve(listen.Config{}, nil)
	t.Cleanup(term.searchSecrets)
	ca := term.write("ca.pem", node.Server().CA(), 0o644)
	path := term.path("credentials.json")
	term.ok("", "enroll", "--url", endpoint.URL, "--ca", ca, "--out", path)
	term.env["HOLDFAST_CREDENTIALS"] = path
	term.secrets = append(term.secrets, term.credentials().APIKey)
	p := d.Rulers.Policy(bytes.Repeat([]byte{1}, 32), node.Clock.Now())
	term.write("policy.json", append(p.Canonical(), '\n'), 0o644)
	return &auditedTerminal{term, node}
}

// use leaves some entries.
func (term *auditedTerminal) use() (key string) {
	key = term.id("key", "create")
	sealed := term.ok("hello", "encrypt", "--key", key)
	for range 10 {
		term.ok(sealed, "decrypt", "--key", key)
	}
	term.fails(exitFailed, "nonsense", "decrypt", "--key", key)
	return key
}

// place puts the files of the page into the terminal's folder.
func (term *auditedTerminal) place(args []string) []string {
	for i, a := range args {
		a = strings.Trim(a, "'")
		args[i] = a
		if strings.HasPrefix(a, "audit/") || a == "audit" && i > 1 || strings.HasSuffix(a, ".json") {
			args[i] = term.path(a)
		}
	}
	return args
}

// TestAuditDocs runs every command of docs/audit.md, in order.
func TestAuditDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	term := newAuditedTerminal(t)
	term.use()
	commands := 0
	for _, block := range consoleBlock.FindAllStringSubmatch(string(page), -1) {
		for line := range strings.Lines(block[1]) {
			line, isCommand := strings.CutPrefix(strings.TrimSpace(line), "$ holdfast ")
			if !isCommand {
				t.Fatalf("not a command: %q", line)
			}
			term.ok("", term.place(shellWord.FindAllString(line, -1))...)
			commands++
		}
	}
	if commands < 8 {
		t.Errorf("only %d commands were run", commands)
	}
}

// TestAuditOnANode reads, finds and checks what a node recorded, over files that
// were changed for new ones.
func TestAuditOnANode(t *testing.T) {
	term := newAuditedTerminal(t)
	key := term.use()
	if out := term.ok("", "audit", "search", term.path("audit"), "--key", key, "--outcome", "!ok"); !strings.Contains(out, "Decrypt decrypt_failed") || strings.Count(out, "\n") != 1 {
		t.Errorf("found %q", out)
	}
	if out := term.ok("", "audit", "search", term.path("audit/audit.log"), "--op", "decrypt", "--app", term.credentials().AppID); strings.Count(out, "\n") != 11 {
		t.Errorf("found %q", out)
	}
	if out := term.ok("", "audit", "tail", term.path("audit/audit.log"), "-n", "3"); strings.Count(out, "\n") != 3 {
		t.Errorf("the last three: %q", out)
	}
	url := term.credentials().URL
	_ = term.node.Stop() // with a Stop and a head
	term.node.MustStart()
	endpoint := term.node.Serve(listen.Config{}, nil)
	term.ok("", "audit", "export", "-o", term.path("checkpoint.json"), "--url", endpoint.URL)
	if endpoint.URL == url {
		t.Log("the same address again")
	}
	_ = term.node.Stop()
	verify := []string{"audit", "verify", term.path("audit/audit.log"), "--checkpoint", term.path("checkpoint.json")}
	if out := term.ok("", verify...); !strings.Contains(out, "complete up to entry") || !strings.HasSuffix(out, "\nas it was written\n") {
		t.Errorf("verified: %q", out)
	}
	full, err := auditlog.Files(term.path("audit/audit.log"))
	if err != nil || len(full) < 3 {
		t.Fatalf("%d files: %v", len(full), err)
	}
	b, err := os.ReadFile(full[1])
	if err != nil {
		t.Fatal(err)
	}
	term.write(filepath.Join("audit", filepath.Base(full[1])), bytes.Replace(b, []byte(`"outcome":"ok"`), []byte(`"outcome":"denied"`), 1), 0o600)
	out := term.run("", verify...)
	if out.status != exitFailed || !strings.Contains(out.stdout, filepath.Base(full[1])) || !strings.Contains(out.stdout, "altered") || !strings.Contains(out.stdout, "NOT as it was written") {
		t.Errorf("altered: %d %q", out.status, out.stdout)
	}
	term.write(filepath.Join("audit", filepath.Base(full[1])), b, 0o600)
	for _, gone := range full[2:] { // more than what came behind the last head
		if err := os.Remove(gone); err != nil {
			t.Fatal(err)
		}
	}
	if out := term.run("", verify...); out.status != exitFailed || !strings.Contains(out.stdout, "truncated") {
		t.Errorf("cut off: %d %q", out.status, out.stdout)
	}
	term.fails(exitFailed, "", "audit", "verify", term.path("nothing"))
}

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// newDomainTerminal is newNodeTerminal with the domain in hand, and its address.
func newDomainTerminal(t *testing.T) (*terminal, *trustedtest.Domain, string) {
	t.Helper()
	d := trustedtest.NewDomain(t, 1)
	node := d.Nodes[0]
	node.Edit = func(c *server.Config) { c.Mount = program().Handler }
	node.Restart()
	endpoint := node.Serve(listen.Config{}, nil)
	term := &terminal{t: t, dir: t.TempDir(), env: map[string]string{}}
	t.Cleanup(term.searchSecrets)
	term.write("ca.pem", node.Server().CA(), 0o644)
	path := term.path("credentials.json")
	term.ok("", "enroll", "--url", endpoint.URL, "--ca", term.path("ca.pem"), "--out", path)
	term.env["HOLDFAST_CREDENTIALS"] = path
	term.secrets = append(term.secrets, term.credentials().APIKey)
	return term, d, endpoint.URL
}

// take uses another credentials file from here on, whose secret is not to be
// printed, and says which credential and app it is of.
func (term *terminal) take(name string) (credential, app string) {
	term.t.Helper()
	var doc credentialsFile
	if err := json.Unmarshal([]byte(term.read(name)), &doc); err != nil {
		term.t.Fatal(err)
	}
	term.env["HOLDFAST_CREDENTIALS"] = term.path(name)
	term.secrets = append(term.secrets, doc.APIKey)
	return doc.Credential, doc.AppID
}

func TestCredentialCommands(t *testing.T) {
	term, _, _ := newDomainTerminal(t)
	key := term.id("key", "create")
	term.ok("", "credential", "create", "--name", "ci job", "--permissions", "use,read", "--expires", "720h", "--out", term.path("ci.json"))
	list := term.ok("", "credential", "list")
	if strings.Count(list, "\n") != 3 || !strings.Contains(list, "use,read") || !strings.Contains(list, "ci job") || strings.Count(list, "(this one)") != 1 {
		t.Errorf("%s", list)
	}
	if info, err := os.Stat(term.path("ci.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	ci, _ := term.take("ci.json")
	sealed := term.ok("secret", "encrypt", "--key", key)
	if got := term.fails(exitFailed, "", "key", "delete", key, "--yes"); !strings.Contains(got, "not allowed") {
		t.Errorf("%s", got)
	}
	if got := term.fails(exitFailed, "", "credential", "rotate", "--out", term.path("never.json")); !strings.Contains(got, "may not manage") {
		t.Errorf("%s", got)
	}
	if exists(term.path("never.json")) {
		t.Error("a file without a credential was left")
	}

	first, _ := term.take("credentials.json")
	if first != "" {
		t.Errorf("the first credential has an id of its own: %s", first)
	}
	term.ok("", "credential", "rotate", ci, "--grace", "1h", "--out", term.path("ci2.json"))
	next, _ := term.take("ci2.json")
	if next == ci || next == "" {
		t.Errorf("rotated from %q to %q", ci, next)
	}
	for _, file := range []string{"ci.json", "ci2.json"} {
		term.take(file)
		if got := term.ok(sealed, "decrypt", "--key", key); got != "secret" {
			t.Errorf("%s opened %q", file, got)
		}
	}
	term.take("credentials.json")
	term.ok("", "credential", "revoke", ci)
	term.take("ci.json")
	if got := term.fails(exitFailed, sealed, "decrypt", "--key", key); !strings.Contains(got, "not authenticated") {
		t.Errorf("%s", got)
	}
	// The one that a command uses itself, at once.
	term.take("credentials.json")
	doc := term.json("", "credential", "rotate", "--grace", "0s", "--out", term.path("new.json"))
	if doc["credentials"] != term.path("new.json") || doc["credential_id"] == "" {
		t.Errorf("%v", doc)
	}
	if got := term.fails(exitFailed, "", "credential", "list"); !strings.Contains(got, "not authenticated") {
		t.Errorf("%s", got)
	}
	own, _ := term.take("new.json")
	if got := term.fails(exitFailed, "", "credential", "revoke", own); !strings.Contains(got, "last credential that may manage") {
		t.Errorf("%s", got)
	}
	for _, args := range [][]string{
		{"create", "--permissions", "admin", "--out", "x"}, {"create", "--permissions", "use,use", "--out", "x"},
		{"create", "--permissions", "use", "--expires", "-1h", "--out", "x"}, {"rotate", "--grace", "1ms", "--out", "x"},
		{"rotate", "--grace", "9999h", "--out", "x"}, {"revoke", "x"}, {"create", "--permissions", "use"},
	} {
		if got := term.run("", append([]string{"credential"}, args...)...); got.status != exitUsage {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

func TestEnrollByTicket(t *testing.T) {
	term, d, url := newDomainTerminal(t)
	ca := term.path("ca.pem")
	setMode(t, d, govern.Enrolment{Mode: govern.EnrolTicket})
	pem, err := d.Rulers.Operator.EncodePEM([]byte("a passphrase"))
	if err != nil {
		t.Fatal(err)
	}
	key := term.write("operator.pem", pem, 0o600)
	word := term.write("passphrase", []byte("a passphrase\n"), 0o600)
	issue := func(more ...string) string {
		t.Helper()
		return term.ok("", append([]string{"ticket", "issue", "--operator-key", key, "--passphrase-file", word,
			"--domain", d.Rulers.Founding.Domain.String()}, more...)...)
	}
	n := 0
	enroll := func(stdin string, more ...string) outcome {
		n++
		return term.run(stdin, append([]string{"enroll", "--url", url, "--ca", ca, "--out", filepath.Join(term.dir, "new", string(rune('a'+n)))}, more...)...)
	}
	code := issue("--permissions", "use,manage,read")
	for _, c := range []struct {
		name   string
		got    outcome
		status int
		said   string
	}{
		{"without a ticket", enroll(""), exitFailed, "say --ticket @FILE"},
		{"with a file's name", enroll("", "--ticket", key), exitUsage, "write --ticket @"},
		{"with one", enroll("", "--ticket", strings.TrimSpace(code)), exitOK, "credentials"},
		{"with it again", enroll("", "--ticket", strings.TrimSpace(code)), exitFailed, "used before"},
		{"with one from a file", enroll("", "--ticket", "@"+term.write("ticket", []byte(issue()), 0o600)), exitOK, "credentials"},
		{"with one from standard input", enroll(issue("--expires", "10m"), "--ticket", "-"), exitOK, "credentials"},
		{"with nonsense", enroll("", "--ticket", "nonsense"), exitFailed, "see that the ticket is for this domain"},
		{"from no TEE", enroll("", "--attested"), exitFailed, "found no trusted execution environment"},
		{"as a simulated program, where tickets are wanted", enroll("", "--attested", "--simulated-machine", filepath.Join(term.dir, "machine")), exitFailed, "does not let"},
		{"showing what no machine shows", enroll("", "--attested", "--sim-mrenclave", strings.Repeat("ab", 32)), exitUsage, "--simulated-machine"},
		{"in two ways", enroll("", "--attested", "--ticket", "x"), exitUsage, ""},
	} {
		if c.got.status != c.status || !strings.Contains(c.got.stdout+c.got.stderr, c.said) {
			t.Errorf("%s: %+v", c.name, c.got)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(term.dir, "new", "*")); len(left) != 3 {
		t.Errorf("files of three apps are %v", left)
	}
	for name, args := range map[string][]string{
		"no passphrase":             {"--operator-key", key, "--domain", d.Rulers.Founding.Domain.String()},
		"a key that others read":    {"--operator-key", term.write("open.pem", pem, 0o644), "--passphrase-file", word, "--domain", d.Rulers.Founding.Domain.String()},
		"no domain's id":            {"--operator-key", key, "--passphrase-file", word, "--domain", "x"},
		"a ticket that is over":     {"--operator-key", key, "--passphrase-file", word, "--domain", d.Rulers.Founding.Domain.String(), "--expires", "-1h"},
		"permissions that are none": {"--operator-key", key, "--passphrase-file", word, "--domain", d.Rulers.Founding.Domain.String(), "--permissions", "x"},
	} {
		if got := term.run("", append([]string{"ticket", "issue"}, args...)...); got.status == exitOK || got.stdout != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestEnrollAttested enrolls as a program on a simulated machine.
func TestEnrollAttested(t *testing.T) {
	term, d, url := newDomainTerminal(t)
	platform, err := simtee.Create(filepath.Join(term.dir, "fuses"))
	if err != nil {
		t.Fatal(err)
	}
	m := platform.Measurement()
	setMode(t, d, govern.Enrolment{Mode: govern.EnrolAttested, Identities: []govern.Identity{{SGX: &attest.SGXIdentity{MRENCLAVE: m[:]}}}})
	cfg := client.Config{URL: url, CA: []byte(term.read("ca.pem")),
		Workload: &client.Workload{Evidence: platform.Guest(attest.SGX, d.Nodes[0].Clock.Now).Evidence}}
	app, err := enroll(t.Context(), cfg, term.path("attested.json"), (*client.Client).EnrolAttested)
	if err != nil {
		t.Fatal(err)
	}
	if _, kept := term.take("attested.json"); kept != app.String() {
		t.Errorf("kept %q of app %s", kept, app)
	}
	term.id("key", "create")
	setMode(t, d, govern.Enrolment{Mode: govern.EnrolClosed})
	if _, err := enroll(t.Context(), cfg, term.path("late.json"), (*client.Client).EnrolAttested); err == nil || exists(term.path("late.json")) {
		t.Errorf("enrolled where that is closed: %v", err)
	}
}

func setMode(t *testing.T, d *trustedtest.Domain, e govern.Enrolment) {
	t.Helper()
	if _, err := d.Nodes[0].Core().SubmitPolicy(t.Context(), d.Rulers.Next(func(p *govern.Policy) { p.Enrolment = e })); err != nil {
		t.Fatal(err)
	}
}

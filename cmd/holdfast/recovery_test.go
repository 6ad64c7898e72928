package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// TestRecoveryCommands goes through docs/recovery.md: a backup over the API, every
// node lost, and a new machine that restores the domain with two of three shares,
// each step by the command that a person would type. The node's own steps are those
// of `holdfastd survey` and `holdfastd recover`.
func TestRecoveryCommands(t *testing.T) {
	d := trustedtest.NewRecoverable(t, 1)
	node := d.Nodes[0]
	node.Edit = func(c *server.Config) { c.Mount = program().Handler }
	node.Restart()
	endpoint := node.Serve(listen.Config{}, nil)
	term := &terminal{t: t, dir: t.TempDir(), env: map[string]string{"HOLDFAST_URL": endpoint.URL}}
	t.Setenv("XDG_CONFIG_HOME", term.dir) // where it is remembered what was signed
	term.env["HOLDFAST_CA"] = term.write("ca.pem", node.Server().CA(), 0o644)
	term.write("charter.json", d.Charter, 0o644)
	term.write("operator.key", must(d.Rulers.Operator.EncodePEM(nil)), 0o600)
	term.write("owner.key", must(d.Rulers.Owner.EncodePEM(nil)), 0o600)
	for i, k := range d.Rulers.Signers {
		term.write(fmt.Sprintf("signer%d.key", i), must(k.EncodePEM(nil)), 0o600)
	}
	for i, k := range d.Rulers.Holders {
		term.write(fmt.Sprintf("holder%d.key", i), must(k.EncodePEM(nil)), 0o600)
	}
	app := node.Enrol()
	key := must(app.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})).ID
	sealed := must(app.MustCaller().Encrypt(t.Context(), kms.EncryptRequest{Key: kms.KeyRef{ID: key}, Plaintext: []byte("secret"), Layout: kms.LayoutNative})).Data

	saved := term.path("domain.backup")
	if says := term.fails(1, "", "domain", "backup", "--key", term.path("holder0.key"), "--out", saved); !strings.Contains(says, "no say") {
		t.Errorf("ordered by nobody: %s", says)
	}
	if _, err := os.Stat(saved); err == nil {
		t.Error("a refused backup left a file")
	}
	if out := term.ok("", "domain", "backup", "--key", term.path("operator.key"), "--out", saved); !strings.Contains(out, "2 of 3 shares") {
		t.Errorf("backup: %s", out)
	}
	if out := term.ok("", "recovery", "show", saved); !strings.Contains(out, "SIMULATED: anybody") {
		t.Errorf("show: %s", out)
	}
	if st := node.Server().Status(); st.LastBackup.IsZero() {
		t.Error("status knows of no backup")
	}
	_ = node.Stop()

	machine := d.Machine()
	c := must(machine.PrepareRestore([]byte(term.read("domain.backup"))))
	request := term.write("node.json", must(c.Request.Encode()), 0o644)
	claim := []string{"--charter", term.path("charter.json"), "--backup", saved, "--to", request}
	say := func(words ...string) []string { return append(append([]string{"recovery"}, words...), claim...) }
	if says := term.fails(1, "", say("draft", "--out", term.path("recovery.json"))...); !strings.Contains(says, "simulated") {
		t.Errorf("a simulated platform: %s", says)
	}
	claim = append(claim, "--allow-simulated")
	unproved := term.write("unproved.backup", withoutEvidence(t, []byte(term.read("domain.backup"))), 0o644)
	if says := term.fails(1, "", "recovery", "draft", "--charter", term.path("charter.json"), "--backup", unproved, "--to", request, "--allow-simulated", "--out", term.path("no.json")); !strings.Contains(says, "nothing proves") {
		t.Errorf("a backup that anybody may have made: %s", says)
	}
	if out := term.ok("", "recovery", "show", unproved); !strings.Contains(out, "NOBODY KNOWS") {
		t.Errorf("show: %s", out)
	}
	term.ok("", say("draft", "--out", term.path("recovery.json"))...)
	term.ok("", "recovery", "sign", term.path("recovery.json"), "--key", term.path("owner.key"))
	signed := term.path("recovery.signed.json")
	for i := range 2 {
		term.ok("", "recovery", "sign", signed, "--key", term.path(fmt.Sprintf("signer%d.key", i)))
	}
	var shares [][]byte
	elsewhere := must(d.Machine().PrepareRestore([]byte(term.read("domain.backup"))))
	for name, doc := range map[string][]byte{
		"recovery is for node":    d.Recovery(elsewhere, nil),
		"names entry":             d.Recovery(c, func(r *govern.Recovery) { r.Head.Index++ }),
		"signature":               d.SignRecovery(c, nil, d.Rulers.Owner, d.Rulers.Signers[0]),
		"takes a signed recovery": []byte(term.read("recovery.json")),
	} {
		path := term.write("other.json", doc, 0o644)
		if says := term.fails(1, "", say("open-share", "--recovery", path, "--key", term.path("holder0.key"), "--out", term.path("no.share"))...); !strings.Contains(says, name) {
			t.Errorf("a recovery that does not say so (%s): %s", name, says)
		}
	}
	term.fails(2, "", say("open-share", "--key", term.path("holder0.key"), "--out", term.path("no.share"))...)
	for i := range 2 {
		term.ok("", say("open-share", "--recovery", signed, "--key", term.path(fmt.Sprintf("holder%d.key", i)), "--out", term.path(fmt.Sprintf("%d.share", i)))...)
		shares = append(shares, []byte(term.read(fmt.Sprintf("%d.share", i))))
	}
	if says := term.fails(1, "", say("open-share", "--recovery", signed, "--key", term.path("owner.key"), "--out", term.path("no.share"))...); !strings.Contains(says, "no share") {
		t.Errorf("by who holds none: %s", says)
	}
	later := c.Request.Head
	later.PolicySerial++
	if err := (heads{filepath.Join(term.dir, "holdfast", "heads")}).remember(c.Request.Domain, later); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"draft", "--out", term.path("old.json")}, {"open-share", "--recovery", signed, "--key", term.path("holder2.key"), "--out", term.path("old.share")}} {
		if says := term.fails(1, "", say(words...)...); !strings.Contains(says, "was seen in force") {
			t.Errorf("under an old policy: %s", says)
		}
		term.ok("", append(say(words...), "--behind")...)
	}
	if err := machine.Restore([]byte(term.read("domain.backup")), []byte(term.read("recovery.signed.json")), shares...); err != nil {
		t.Fatal(err)
	}
	plain := must(app.On(machine).MustCaller().Decrypt(t.Context(), kms.DecryptRequest{Data: sealed, Layout: kms.LayoutNative})).Data
	if string(plain) != "secret" {
		t.Errorf("opened to %q", plain)
	}
}

// withoutEvidence is a backup of which nothing says who made it.
func withoutEvidence(t *testing.T, from []byte) []byte {
	t.Helper()
	h, _, err := backup.Read(bytes.NewReader(from))
	if err != nil {
		t.Fatal(err)
	}
	h.Evidence = attest.Evidence{}
	return must(h.Encode())
}

// TestRecoverySignRemembers: no head is signed that is behind one that was.
func TestRecoverySignRemembers(t *testing.T) {
	term := &terminal{t: t, dir: t.TempDir(), env: map[string]string{}}
	t.Setenv("XDG_CONFIG_HOME", term.dir)
	term.ok("", "recovery", "key", "new", "--out", term.path("a.key"), "--no-passphrase")
	write := func(name string, term1, index, serial int) string {
		return term.write(name, fmt.Appendf(nil, `{"version":1,"domain":%q,"charter_digest":%q,"amendments":0,"head":{"term":%d,"index":%d,"digest":%q,"policy_serial":%d},"survivor":%q,"nonce":%q}`,
			strings.Repeat("11", 32), strings.Repeat("22", 32), term1, index, strings.Repeat("33", 32), serial, strings.Repeat("44", 32), strings.Repeat("55", 16)), 0o644)
	}
	term.ok("", "recovery", "sign", write("high.json", 4, 100, 2), "--key", term.path("a.key"))
	for name, path := range map[string]string{"term": write("term.json", 3, 200, 2), "index": write("index.json", 5, 99, 2), "policy": write("policy.json", 4, 100, 1)} {
		if says := term.fails(1, "", "recovery", "sign", path, "--key", term.path("a.key")); !strings.Contains(says, "was seen") {
			t.Errorf("a lower %s: %s", name, says)
		}
	}
	term.ok("", "recovery", "sign", write("behind.json", 4, 50, 2), "--key", term.path("a.key"), "--behind")
	term.ok("", "recovery", "sign", write("next.json", 5, 101, 2), "--key", term.path("a.key"))
}

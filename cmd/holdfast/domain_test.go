package main

import (
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// newRulersTerminal makes a terminal at the first of n nodes. The keys of who rule
// are files in its folder, and it has an app.
func newRulersTerminal(t *testing.T, n int) (*terminal, *trustedtest.Domain) {
	t.Helper()
	d := trustedtest.NewDomain(t, n)
	first := d.Nodes[0]
	first.Edit = func(c *server.Config) { c.Mount = program().Handler }
	first.Restart()
	d.AwaitVoters(n)
	endpoint := first.Serve(listen.Config{}, nil)
	term := &terminal{t: t, dir: t.TempDir(), env: map[string]string{"HOLDFAST_URL": endpoint.URL}}
	t.Setenv("XDG_CONFIG_HOME", term.dir) // where it is remembered what was seen
	term.env["HOLDFAST_CA"] = term.write("ca.pem", first.Server().CA(), 0o644)
	term.write("operator.key", must(d.Rulers.Operator.EncodePEM(nil)), 0o600)
	term.write("owner.key", must(d.Rulers.Owner.EncodePEM(nil)), 0o600)
	for i, k := range d.Rulers.Signers {
		term.write(fmt.Sprintf("signer%d.key", i), must(k.EncodePEM(nil)), 0o600)
	}
	term.ok("", "enroll", "--url", endpoint.URL, "--ca", term.env["HOLDFAST_CA"], "--out", term.path("app.json"))
	term.env["HOLDFAST_CREDENTIALS"] = term.path("app.json")
	return term, d
}

// says waits until a command prints something.
func (term *terminal) says(want string, args ...string) string {
	term.t.Helper()
	out := ""
	for range 600 {
		if out = term.ok("", args...); strings.Contains(out, want) {
			return out
		}
		time.Sleep(50 * time.Millisecond)
	}
	term.t.Fatalf("%v: after 30 s not %q:\n%s", args, want, out)
	return ""
}

// trustAgain takes the authority that there is now. The one before is refused.
func (term *terminal) trustAgain(d *trustedtest.Domain) {
	term.t.Helper()
	if msg := term.fails(exitFailed, "", "domain", "status"); !strings.Contains(msg, "certificate") {
		term.t.Errorf("with the old authority: %s", msg)
	}
	term.write("ca.pem", d.Nodes[0].Server().CA(), 0o644)
}

// TestDomainCommands goes through docs/rotation.md: generations come and go, one is
// declared compromised, and an app finds which of its keys that concerns.
func TestDomainCommands(t *testing.T) {
	term, d := newRulersTerminal(t, 1)
	operator, signers := term.path("operator.key"), []string{term.path("signer0.key"), term.path("signer1.key")}
	key := term.id("key", "create", "--alias", "alias/main")
	sign := term.id("key", "create", "--spec", "EC-P256")
	sealed := term.ok("secret", "encrypt", "--key", key)

	term.fails(exitUsage, "", "domain", "rotate")
	if msg := term.fails(exitFailed, "", "domain", "rotate", "--key", signers[0]); !strings.Contains(msg, "no say") {
		t.Errorf("ordered by a signer: %s", msg)
	}
	if out := term.ok("", "domain", "rotate", "--key", operator); !strings.Contains(out, "generation   1") {
		t.Errorf("printed %q", out)
	}
	term.says("left to re-wrap  0", "domain", "status")
	if msg := term.fails(exitFailed, "", "domain", "retire-generation", "0", "--key", signers[0]); !strings.Contains(msg, "signers") {
		t.Errorf("ordered by one signer: %s", msg)
	}
	order := term.path("retire.json")
	term.ok("", "domain", "retire-generation", "0", "--out", order)
	for _, k := range signers {
		if o := term.run("", "domain", "sign", order, "--key", k); o.status != 0 || !strings.Contains(o.stderr, "generation 0") {
			t.Errorf("what is signed is not shown: %+v", o)
		}
	}
	if out := term.ok("", "domain", "submit", order); !strings.Contains(out, "retired      0") || !strings.Contains(out, "not reached  backups") {
		t.Errorf("printed %q", out)
	}

	if out := term.ok("", "key", "list", "--exposed"); strings.Count(out, "\n") != 1 {
		t.Errorf("before anything was said others know\n%s", out)
	}
	order = term.path("compromised.json")
	term.ok("", "domain", "retire-generation", "1", "--compromised", "--grace", "1h", "--out", order)
	for _, k := range signers {
		if o := term.run("", "domain", "sign", order, "--key", k); o.status != 0 || !strings.Contains(o.stderr, "compromised") {
			t.Errorf("what is signed is not shown: %+v", o)
		}
	}
	if msg := term.fails(exitFailed, "", "domain", "compromised", term.path("retire.json")); !strings.Contains(msg, "another deed") && !strings.Contains(msg, "retire") {
		t.Errorf("with another order: %s", msg)
	}
	term.ok("", "domain", "submit", order)
	before := term.read("ca.pem")
	for range 600 {
		if string(d.Nodes[0].Server().CA()) != before {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	term.trustAgain(d)
	term.says("dealt with", "domain", "status")
	if out := term.ok("", "domain", "compromised", order); !strings.Contains(out, "key "+key+" (AES-256-GCM), versions 1") || !strings.Contains(out, "3 items") {
		t.Errorf("printed %q", out)
	}
	term.exposed(key, sign, sealed)
}

// exposed: an app sees what it has to do, without an order.
func (term *terminal) exposed(key, sign, sealed string) {
	term.t.Helper()
	out := term.ok("", "key", "list", "--exposed")
	for _, want := range []string{key + "  AES-256-GCM  enabled  1         others may know versions of this key", sign + "  EC-P256      enabled  1         others may know this key as it is used now"} {
		if !strings.Contains(out, want) {
			term.t.Errorf("the list lacks %q:\n%s", want, out)
		}
	}
	if out := term.ok("", "key", "describe", key); !strings.Contains(out, "warning        others may know") {
		term.t.Errorf("described as\n%s", out)
	}
	if out := term.ok("", "key", "versions", key); !strings.Contains(out, "1        enabled, others may know it") || strings.Count(out, "others") != 1 {
		term.t.Errorf("versions:\n%s", out)
	}
	if got := term.ok(sealed, "decrypt", "--key", key); got != "secret" {
		term.t.Errorf("opened %q", got)
	}
	term.ok("", "key", "versions", key, "--disable", "1")
	term.ok("", "key", "versions", key, "--destroy", "1", "--yes")
	term.ok("", "key", "delete", sign, "--yes")
	if out := term.ok("", "key", "list", "--exposed"); strings.Count(out, "\n") != 1 {
		term.t.Errorf("after all was done others know\n%s", out)
	}
}

// TestReplaceCACommands: another certificate authority by order, and with a node
// that is removed for cause, and not with one that is removed otherwise.
func TestReplaceCACommands(t *testing.T) {
	term, d := newRulersTerminal(t, 3)
	operator := term.path("operator.key")
	if msg := term.fails(exitFailed, "", "domain", "replace-ca", "--key", term.path("signer0.key")); !strings.Contains(msg, "no say") {
		t.Errorf("ordered by a signer: %s", msg)
	}
	if out := term.ok("", "domain", "replace-ca", "--key", operator); !strings.Contains(out, "BEGIN CERTIFICATE") || !strings.Contains(out, "holdfast trust") {
		t.Errorf("printed %q", out)
	}
	term.trustAgain(d)
	term.ok("", "domain", "status")

	removes := func(n *trustedtest.Node, flags ...string) {
		id := n.Server().Status().Node.String()
		if out := term.ok("", append([]string{"node", "remove", id[:16], "--operator", operator}, flags...)...); !strings.Contains(out, "removed  "+id) {
			t.Errorf("printed %q", out)
		}
		_ = n.Stop()
	}
	before := d.Nodes[0].Server().CA()
	removes(d.Nodes[2])
	d.AwaitVoters(2)
	if out := term.ok("", "events"); strings.Count(out, "certificate authority") != 1 {
		t.Errorf("the authority was replaced without a cause:\n%s", out)
	}
	removes(d.Nodes[1], "--for-cause")
	for range 600 {
		if string(d.Nodes[0].Server().CA()) != string(before) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	term.trustAgain(d)
	if out := term.ok("", "events"); strings.Count(out, "certificate authority") != 2 {
		t.Errorf("events:\n%s", out)
	}
}

// TestPolicyCommandsOnANode: signers who sign copies at the same time put them
// together, and nobody signs a policy that is behind one that was seen.
func TestPolicyCommandsOnANode(t *testing.T) {
	term, d := newRulersTerminal(t, 1)
	term.write("charter.json", d.Charter, 0o644)
	url, trust := term.env["HOLDFAST_URL"], []string{"--charter", term.path("charter.json"), "--allow-simulated"}
	bare := func(args ...string) []string { return append(args, trust...) }
	delete(term.env, "HOLDFAST_CREDENTIALS")
	delete(term.env, "HOLDFAST_CA")
	term.ok("", bare("policy", "show", url, "--out", term.path("p1"))...)
	term.ok("", bare("policy", "history", url)...)
	draft := term.path("p2")
	r := d.Rulers
	term.write("bootstrap", r.Sign(govern.BootstrapType, r.Founding.Bootstrap.Canonical(), r.Owner, r.Signers[0], r.Signers[1]), 0o644)
	term.ok("", "policy", "edit", term.path("p1"), "--charter", term.path("charter.json"), "--bootstrap", term.path("bootstrap"), "--set", "require_v2=true", "--out", draft)

	var copies []string
	for _, name := range []string{"signer0", "signer1", "owner"} {
		copies = append(copies, term.path(name+".json"))
		term.ok("", "policy", "sign", draft, "--key", term.path(name+".key"), "--out", term.path(name+".json"))
	}
	merged := term.path("merged.json")
	for name, c := range map[string]struct {
		status int
		args   []string
	}{
		"nothing to merge with": {exitUsage, copies[:1]},
		"other documents":       {exitFailed, []string{copies[0], term.path("p1")}},
		"a draft":               {exitFailed, []string{copies[0], draft}},
		"no document":           {exitFailed, []string{copies[0], term.path("owner.key")}},
	} {
		term.fails(c.status, "", append([]string{"policy", "merge", "--out", merged}, c.args...)...)
		if _, err := os.Stat(merged); err == nil {
			t.Fatalf("%s: merged", name)
		}
	}
	if out := term.ok("", append([]string{"policy", "merge", "--out", merged}, copies...)...); !strings.Contains(out, "signatures  3") {
		t.Errorf("printed %q", out)
	}
	term.ok("", "policy", "merge", "--out", merged, "--force", merged, copies[1]) // again changes nothing
	term.ok("", "policy", "verify", merged, "--charter", term.path("charter.json"), "--bootstrap", term.path("bootstrap"))
	if out := term.ok("", bare("policy", "submit", url, merged)...); !strings.Contains(out, "2") {
		t.Errorf("printed %q", out)
	}

	// From here on this user has seen policy 2, and how far the domain was.
	term.ok("", bare("status", "--url", url)...)
	st := d.Nodes[0].Server().Status()
	if head, err := os.ReadFile(filepath.Join(term.dir, "holdfast", "heads", st.DomainID.String()+".json")); err != nil || !strings.Contains(string(head), `"policy_serial":2`) {
		t.Errorf("remembered: %s, %v", head, err)
	}
	other := term.path("another-2")
	term.ok("", "policy", "edit", term.path("p1"), "--charter", term.path("charter.json"), "--bootstrap", term.path("bootstrap"), "--valid", "24h", "--out", other)
	behind := []string{"policy", "sign", other, "--key", term.path("signer0.key"), "--out", term.path("behind.json")}
	if msg := term.fails(exitFailed, "", behind...); !strings.Contains(msg, "policy 2 was seen in force") || !strings.Contains(msg, "--behind") {
		t.Errorf("a policy behind what was seen: %s", msg)
	}
	if err := os.RemoveAll(filepath.Join(term.dir, "holdfast", "heads")); err != nil {
		t.Fatal(err)
	}
	if msg := term.fails(exitFailed, "", behind...); !strings.Contains(msg, "policy 2 was seen in force") {
		t.Errorf("seen when a node proved itself alone: %s", msg)
	}
	term.ok("", append(behind, "--behind")...)
	term.ok("", bare("policy", "show", url, "--out", term.path("p2.signed"))...)
	term.ok("", "policy", "edit", term.path("p2.signed"), "--valid", "24h", "--out", term.path("p3"))
	term.ok("", "policy", "sign", term.path("p3"), "--key", term.path("signer0.key"), "--out", term.path("p3.signed"))
}

// TestStatusSaysAll: an operator finds in the status what the domain is, in text, in
// JSON and in what the API answers.
func TestStatusSaysAll(t *testing.T) {
	term, d := newRulersTerminal(t, 2)
	scheduled := time.Now().Add(240 * time.Hour).UTC().Truncate(time.Second)
	must(d.Nodes[0].Core().SubmitPolicy(t.Context(), d.Rulers.Next(func(p *govern.Policy) { p.Activates = scheduled })))
	term.ok("", "domain", "rotate", "--key", term.path("operator.key"))
	term.says("left to re-wrap  0", "domain", "status")
	doc, domain := term.json("", "status"), term.json("", "domain", "status")
	newest := must(d.Nodes[0].Server().MasterSecrets(t.Context())).Generations[1]
	for name, want := range map[string]any{"domain_id": domain["domain_id"], "initialized": true, "secure": false, "rollback_and_fork_protected": false,
		"time": "host", "feature_level": domain["feature_level"], "generation": 1.0, "checksum": hex.EncodeToString(newest.Checksum),
		"runtime_signing_key": hex.EncodeToString(newest.SigningKey), "left_to_rewrap": 0.0, "policy_serial": 1.0, "policy_digest": domain["policy_digest"]} {
		if doc[name] != want || want == nil {
			t.Errorf("%s is %v, not %v", name, doc[name], want)
		}
	}
	for _, name := range []string{"last_rotation", "epoch", "epoch_ends", "domain_time", "policy_valid_until", "nodes", "scheduled", "warnings"} {
		if doc[name] == nil || doc[name] == 0.0 {
			t.Errorf("%s is missing", name)
		}
	}
	for _, n := range doc["nodes"].([]any) {
		for _, name := range []string{"program", "identity", "tcb_status", "proved", "valid_until"} {
			if n.(map[string]any)[name] == nil {
				t.Errorf("%s of a node is missing: %v", name, n)
			}
		}
	}
	out := term.ok("", "status")
	for _, want := range []string{hex.EncodeToString(newest.Checksum), hex.EncodeToString(newest.SigningKey), domain["policy_digest"].(string), "policy 2 at ",
		"next rotation          on demand", "TCB ", " ago", "asked: SGX ", "epoch "} {
		if !strings.Contains(out, want) {
			t.Errorf("the status lacks %q:\n%s", want, out)
		}
	}
	if strings.Count(out, "proved ") != 2 {
		t.Errorf("not both nodes are there:\n%s", out)
	}
}

// TestBenchWhileRotating: no request of `holdfast bench` fails while the master
// secret rotates three times and all keys are wrapped anew.
func TestBenchWhileRotating(t *testing.T) {
	term, d := newRulersTerminal(t, 1)
	app := d.Nodes[0].Enrol()
	for range 500 { // beside bench's own
		must(app.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated}))
	}
	var rotated atomic.Bool
	ends := make(chan error, 1)
	loader := &terminal{t: t, dir: term.dir, env: maps.Clone(term.env)}
	go func() {
		for !rotated.Load() {
			o := loader.run("", "bench", "--op", "encrypt,decrypt,sign", "--conns", "8", "--duration", "300ms", "--warmup", "0s", "--json")
			if o.status != 0 {
				ends <- fmt.Errorf("status %d: %s%s", o.status, o.stdout, o.stderr)
				return
			}
		}
		ends <- nil
	}()
	for g := range 3 {
		if out := term.ok("", "domain", "rotate", "--key", term.path("operator.key")); !strings.Contains(out, fmt.Sprintf("generation   %d", g+1)) {
			t.Errorf("printed %q", out)
		}
		term.says("left to re-wrap  0", "domain", "status")
	}
	rotated.Store(true)
	if err := <-ends; err != nil {
		t.Error(err)
	}
	if m := must(d.Nodes[0].Server().MasterSecrets(t.Context())); m.Generations[3].Wrapped < 500 {
		t.Errorf("wrapped under the newest: %d", m.Generations[3].Wrapped)
	}
}

package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// newNodeTerminal makes a terminal where an app is enrolled at a real node, as
// `holdfast dev` runs it, in this process.
func newNodeTerminal(t *testing.T) *terminal {
	t.Helper()
	node := trustedtest.NewDomain(t, 1).Nodes[0]
	node.Edit = func(c *server.Config) { c.Mount = program().Handler }
	node.Restart()
	endpoint := node.Serve(listen.Config{}, nil)
	term := &terminal{t: t, dir: t.TempDir(), env: map[string]string{}}
	t.Cleanup(term.searchSecrets)
	ca := term.write("ca.pem", node.Server().CA(), 0o644)
	path := term.path("credentials.json")
	term.ok("", "enroll", "--url", endpoint.URL, "--ca", ca, "--out", path)
	term.env["HOLDFAST_CREDENTIALS"] = path
	term.secrets = append(term.secrets, term.credentials().APIKey)
	return term
}

// TestEverySpecOnANode makes a key of each spec, uses it for all that it can
// do, takes it out, brings it back as another key, and goes on with that.
func TestEverySpecOnANode(t *testing.T) {
	term := newNodeTerminal(t)
	few := []kms.Spec{kms.AES128GCM, kms.ECP256, kms.SM2, kms.HMACSHA512}
	for _, row := range kms.Capabilities() {
		if row.Spec == kms.RSA4096 || raceEnabled && !slices.Contains(few, row.Spec) {
			continue // RSA keys take long to make, and each import makes one
		}
		sets := row.UsageSets
		if row.Slow && row.Spec != kms.RSA2048 {
			sets = sets[:1] // making keys takes most of the time
		}
		for _, set := range sets {
			usage := map[kms.Usages]string{kms.EncryptDecrypt: "encrypt-decrypt", kms.SignVerify: "sign-verify", kms.GenerateVerifyMAC: "mac",
				kms.KeyAgreement: "agree", kms.KeyAgreement | kms.Usages(kms.UseRaw): "agree-raw",
				kms.Encapsulation: "encapsulate", kms.Encapsulation | kms.Usages(kms.UseRaw): "encapsulate-raw"}[set]
			t.Run(row.Name+" "+usage, func(t *testing.T) {
				term.t = t
				flags := []string{"--spec", row.Name, "--usage", usage, "--exportable"}
				first := term.id(append([]string{"key", "create"}, flags...)...)
				file := term.path("exported")
				defer os.Remove(file)
				term.ok("", "key", "export", first, "--out", file)
				second := term.id(append(append([]string{"key", "import"}, flags...), file)...)
				switch set {
				case kms.EncryptDecrypt:
					term.crossEncrypt(first, second)
				case kms.SignVerify:
					term.crossSign(row, first, second)
				case kms.KeyAgreement, kms.KeyAgreement | kms.Usages(kms.UseRaw):
					term.crossAgree(row, first, second, set.Has(kms.UseRaw))
				case kms.Encapsulation, kms.Encapsulation | kms.Usages(kms.UseRaw):
					term.crossEncapsulate(first, second, set.Has(kms.UseRaw))
				case kms.GenerateVerifyMAC:
					term.ok("message", "mac", "--key", first, "--out", term.path("mac"))
					term.ok("message", "mac", "--key", second, "--verify", term.path("mac"))
				}
			})
		}
	}
}

// crossAgree agrees with a third key from each of two keys that are one, and from
// the third with them, which gives the same where no id is bound.
func (term *terminal) crossAgree(row kms.Capability, first, second string, raw bool) {
	term.t.Helper()
	third := term.id("key", "create", "--spec", row.Name, "--usage", "agree-raw")
	how := []string{"--info", "session", "--length", "20"}
	if raw {
		how = []string{"--raw"}
	}
	agree := func(key, other string, more ...string) string {
		term.t.Helper()
		public := term.path("public.pem")
		term.ok("", "key", "public", other, "--out", public)
		return term.ok("", slices.Concat([]string{"key", "agree", key, "--peer", public, "--secret-out", "-"}, how, more)...)
	}
	if one, two := agree(first, third, "--peer-id", third), agree(third, first, "--peer-id", first); one != two || one == "" {
		term.t.Errorf("%q and %q", one, two)
	}
	if one, two := agree(first, third), agree(second, third); raw != (one == two) { // another id is another secret
		term.t.Errorf("%q and %q", one, two)
	}
}

// crossEncapsulate makes a secret with one of two keys that are one, and finds it
// with the other, where no id is bound.
func (term *terminal) crossEncapsulate(first, second string, raw bool) {
	term.t.Helper()
	var how []string
	if raw {
		how = []string{"--raw"}
	}
	ciphertext := term.path("ciphertext")
	made := term.ok("", slices.Concat([]string{"key", "encapsulate", first, "--secret-out", "-", "--ciphertext-out", ciphertext}, how)...)
	for key, same := range map[string]bool{first: true, second: raw} {
		got := term.ok("", slices.Concat([]string{"key", "decapsulate", key, "--in", ciphertext, "--secret-out", "-"}, how)...)
		if (got == made) != same {
			term.t.Errorf("made %q, found %q", made, got)
		}
	}
}

// crossEncrypt encrypts with each of two keys that are one, and decrypts with
// the other.
func (term *terminal) crossEncrypt(first, second string) {
	term.t.Helper()
	for _, way := range [][2]string{{first, second}, {second, first}} {
		sealed := term.ok("secret", "encrypt", "--key", way[0])
		if got := term.ok(sealed, "decrypt", "--key", way[1]); got != "secret" {
			term.t.Errorf("opened %q", got)
		}
	}
}

func (term *terminal) crossSign(row kms.Capability, first, second string) {
	term.t.Helper()
	sig := term.path("sig")
	digests := append([]kms.Digest{0}, row.Digests...)
	for _, d := range digests {
		for _, padding := range append([]kms.Padding{0}, row.SignPaddings...) {
			var flags []string
			if d != 0 {
				flags = append(flags, "--digest", d.String())
			}
			if padding != 0 {
				flags = append(flags, "--padding", padding.String())
			}
			term.ok("message", append([]string{"sign", "--key", first, "--out", sig}, flags...)...)
			term.ok("message", append([]string{"verify", "--key", second, "--signature", sig}, flags...)...)
			if o := term.run("massage", append([]string{"verify", "--key", first, "--signature", sig}, flags...)...); o.status != exitFailed {
				term.t.Errorf("%v: another message passes: %+v", flags, o)
			}
		}
	}
	doc := term.json("", "key", "public", second)
	if doc["spec"] != row.Name || doc["pem"] != term.json("", "key", "public", first)["pem"] {
		term.t.Errorf("public keys of %v differ", doc["spec"])
	}
}

func TestTransfersOnANode(t *testing.T) {
	term := newNodeTerminal(t)
	key := term.id("key", "create")
	to := term.id("key", "create", "--spec", "RSA-2048", "--usage", "encrypt-decrypt")

	plain := strings.Repeat("data ", 40_000)
	if got := term.ok(term.ok(plain, "seal", "-"), "open", "-"); got != plain {
		t.Error("sealed data opens to something else")
	}
	doc := term.json("", "datakey", "--key", key, "--to", to, "--aad", "a")
	want := term.json(doc["wrapped"].(string), "decrypt", "--key", key, "--aad", "a")["plaintext"]
	if got := term.json(doc["exported"].(string), "decrypt", "--key", to)["plaintext"]; got != want {
		t.Error("the data key opens to another one")
	}
	imported := term.id("key", "import", "--spec", "AES-256-GCM", term.write("aes", make([]byte, 32), 0o600))
	if got := term.ok(term.ok(plain, "seal", "-", "--key", imported), "open", "-"); got != plain {
		t.Error("sealed under an imported key, it opens to something else")
	}

	refused := map[string][]string{
		"export of what is not exportable": {"key", "export", key, "--out", term.path("out")},
		"import of the wrong key":          {"key", "import", "--spec", "RSA-2048", term.write("bad", []byte("no key"), 0o600)},
	}
	for name, args := range refused {
		msg := term.fails(exitFailed, "", args...)
		if !strings.Contains(msg, "hint: ") && !strings.Contains(msg, "not made exportable") {
			t.Errorf("%s: %q", name, msg)
		}
	}
	if keys := term.json("", "key", "list")["keys"].([]any); len(keys) != 3 {
		t.Errorf("%d keys, want 3", len(keys))
	}
}

// TestSignatureV1OnANode speaks to a node as eHSM's own SDKs do.
func TestSignatureV1OnANode(t *testing.T) {
	term := newNodeTerminal(t)
	cfg, err := loadCredentials(term.path("credentials.json"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.SignatureV1 = true
	c := must(client.New(cfg))
	defer c.Close()
	for _, spec := range []kms.Spec{kms.RSA2048, kms.ECP384, kms.SM2} {
		id := must(c.CreateKey(t.Context(), kms.CreateKeyRequest{Spec: spec}))
		in := kms.SigningInput{Message: []byte("m")}
		if spec == kms.SM2 {
			in.Digest = kms.SM3
		}
		sig := must(c.Sign(t.Context(), id, in))
		if !must(c.Verify(t.Context(), id, in, sig)) {
			t.Errorf("%s: the signature is not valid", spec)
		}
	}
}

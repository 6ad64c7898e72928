package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// marshalled is der of a key that does marshal.
func marshalled(t *testing.T, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (term *terminal) id(args ...string) string {
	term.t.Helper()
	return strings.TrimSpace(term.ok("", args...))
}

// TestImportAndExport brings keys in every form, and takes them out again.
func TestImportAndExport(t *testing.T) {
	term := newTerminal(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaDER := marshalled(t, must(x509.MarshalPKCS8PrivateKey(rsaKey)), nil)
	ecDER := marshalled(t, must(x509.MarshalPKCS8PrivateKey(ecKey)), nil)
	sec1 := pemOf("EC PARAMETERS", []byte{6, 1, 1}) + pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey)))
	aes := "0123456789abcdef"
	tests := []struct {
		name, spec, file string
		args             []string
		want             string // what comes out
	}{
		{"raw", "AES-128-GCM", aes, nil, aes},
		{"base64", "AES-128-GCM", base64.StdEncoding.EncodeToString([]byte(aes)) + "\n", []string{"--in-format", "base64"}, aes},
		{"HMAC of any length", "HMAC-SHA-256", "any length", nil, "any length"},
		{"PKCS #8 in PEM", "RSA-2048", "comment\n" + pemOf("PRIVATE KEY", rsaDER), nil, pemOf("PRIVATE KEY", rsaDER)},
		{"PKCS #8 in DER", "RSA-2048", string(rsaDER), nil, pemOf("PRIVATE KEY", rsaDER)},
		{"PKCS #1 in PEM", "RSA-2048", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), nil, pemOf("PRIVATE KEY", rsaDER)},
		{"SEC 1 in PEM", "EC-P256", sec1, nil, pemOf("PRIVATE KEY", ecDER)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := strings.TrimPrefix(tt.file, "comment\n")
			in := term.write("in", []byte(file), 0o600)
			key := term.id(append([]string{"key", "import", "--spec", tt.spec, "--exportable", in}, tt.args...)...)
			out := term.path("out")
			defer os.Remove(out)
			if printed := term.ok("", "key", "export", key, "--out", out); printed != "" {
				t.Errorf("printed %q", printed)
			}
			if got := term.read("out"); got != tt.want {
				t.Errorf("%d bytes came out, want %d", len(got), len(tt.want))
			}
			if info, _ := os.Stat(out); runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
				t.Errorf("the key's file has mode %v", info.Mode())
			}
			if doc := term.json(file, append([]string{"key", "import", "--spec", tt.spec, "-"}, tt.args...)...); doc["origin"] != "imported" || doc["spec"] != tt.spec {
				t.Errorf("%v", doc)
			}
		})
	}
}

// must is for what cannot fail in a test.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestImportedKeyIsTheKey compares what it computes with what is computed here.
func TestImportedKeyIsTheKey(t *testing.T) {
	term := newTerminal(t)
	key := term.id("key", "import", "--spec", "HMAC-SHA-256", term.write("k", []byte("Jefe"), 0o600))
	h := hmac.New(sha256.New, []byte("Jefe"))
	h.Write([]byte("what do ya want for nothing?"))
	want := base64.StdEncoding.EncodeToString(h.Sum(nil)) + "\n"
	if got := term.ok("what do ya want for nothing?", "mac", "--key", key); got != want {
		t.Errorf("MAC %s, want %s", got, want)
	}
}

func TestImportFails(t *testing.T) {
	term := newTerminal(t)
	encrypted := "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"
	tests := []struct {
		name, spec, file string
		status           int
		want             string
	}{
		{"line feed", "AES-128-GCM", "0123456789abcdef\n", exitFailed, "has 17 bytes; a key of spec AES-128-GCM has 16\nhint: is it base64"},
		{"no private key", "RSA-2048", pemOf("CERTIFICATE", []byte("x")), exitFailed, "there is no private key in"},
		{"encrypted", "RSA-2048", pemOf("ENCRYPTED PRIVATE KEY", []byte("x")), exitFailed, "is encrypted\nhint: decrypt it first"},
		{"encrypted, the old way", "RSA-2048", encrypted, exitFailed, "is encrypted\nhint: decrypt it first"},
		{"another spec", "RSA-2048", "not a key", exitFailed, "Import key failed. (code 500)\nhint: the material does not fit"},
		{"unknown spec", "RSA-1024", "x", exitUsage, "is not a key's spec"},
		{"empty", "HMAC-SHA-256", "", exitFailed, "the key material is empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msg := term.fails(tt.status, tt.file, "key", "import", "--spec", tt.spec, "-")
			if !strings.Contains(msg, tt.want) {
				t.Errorf("said %q, want %q", msg, tt.want)
			}
		})
	}
	if keys := term.json("", "key", "list")["keys"].([]any); len(keys) != 0 {
		t.Errorf("keys without material are left: %v", keys)
	}
}

func TestExportFails(t *testing.T) {
	term := newTerminal(t)
	closed, secret := term.id("key", "create"), term.id("key", "create", "--exportable")
	out := term.path("out")
	if msg := term.fails(exitFailed, "", "key", "export", closed, "--out", out); !strings.Contains(msg, "Server exception") || exists(out) {
		t.Errorf("said %q; left a file: %v", msg, exists(out))
	}
	term.fails(exitFailed, "", "key", "export", secret, "--out", out, "--out-format", "pem")
	if exists(out) {
		t.Error("left a file")
	}
	term.fails(exitUsage, "", "key", "export", secret)
	term.write("there", []byte("precious"), 0o600)
	if msg := term.fails(exitFailed, "", "key", "export", secret, "--out", term.path("there")); !strings.Contains(msg, "exists already") || term.read("there") != "precious" {
		t.Errorf("said %q", msg)
	}

	o := term.run("", "key", "export", secret, "--out", "-")
	if len(o.stdout) != 32 || !strings.Contains(o.stderr, "whoever reads it") {
		t.Errorf("%d bytes, said %q", len(o.stdout), o.stderr)
	}
	doc := term.json("", "key", "export", secret, "--out", "-")
	if doc["key_material"] != base64.StdEncoding.EncodeToString([]byte(o.stdout)) {
		t.Errorf("%v", doc)
	}
	doc = term.json("", "key", "export", secret, "--out", out, "--out-format", "base64")
	if diff := cmp.Diff(map[string]any{"key_id": secret, "key_material_file": out}, doc); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := term.read("out"); got != base64.StdEncoding.EncodeToString([]byte(o.stdout))+"\n" {
		t.Errorf("wrote %d bytes", len(got))
	}
}

func TestAsymmetricKeys(t *testing.T) {
	term := newTerminal(t)
	enc := term.id("key", "create", "--spec", "RSA-2048", "--usage", "encrypt-decrypt")
	for _, padding := range [][]string{nil, {"--padding", "OAEP"}, {"--padding", "PKCS1"}} {
		sealed := term.ok("secret", append([]string{"encrypt", "--key", enc}, padding...)...)
		if got := term.ok(sealed, append([]string{"decrypt", "--key", enc}, padding...)...); got != "secret" {
			t.Errorf("padding %v: opened %q", padding, got)
		}
	}
	pub := must(x509.ParsePKIXPublicKey(decodePEM(t, term.ok("", "key", "public", enc)))).(*rsa.PublicKey)
	sealed := must(rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, []byte("from elsewhere"), nil))
	if got := term.ok(string(sealed), "decrypt", "--key", enc, "--in-format", "raw"); got != "from elsewhere" {
		t.Errorf("opened %q", got)
	}
	if msg := term.fails(exitUsage, "x", "encrypt", "--key", enc, "--padding", "OAEP", "--aad", "a"); !strings.Contains(msg, "binds to nothing") {
		t.Errorf("with additional data: %q", msg)
	}
	term.fails(exitFailed, "x", "encrypt", "--key", enc, "--aad", "a")
	term.fails(exitUsage, "x", "encrypt", "--key", enc, "--padding", "PSS")

	sign := term.id("key", "create", "--spec", "RSA-2048")
	for _, padding := range [][]string{nil, {"--padding", "PSS"}, {"--padding", "PKCS1", "--digest", "SHA-512"}} {
		sig := term.path("sig")
		term.ok("m", append([]string{"sign", "--key", sign, "--out", sig}, padding...)...)
		term.ok("m", append([]string{"verify", "--key", sign, "--signature", sig}, padding...)...)
	}
	if msg := term.fails(exitFailed, "x", "encrypt", "--key", sign); !strings.Contains(msg, "Server exception") {
		t.Errorf("a signing key: %q", msg)
	}
	ed := term.id("key", "create", "--spec", "Ed25519")
	term.ok("m", "sign", "--key", ed, "--out", term.path("sig"))
	term.ok("m", "verify", "--key", ed, "--signature", term.path("sig"))
}

func decodePEM(t *testing.T, text string) []byte {
	t.Helper()
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		t.Fatalf("not PEM: %q", text)
	}
	return block.Bytes
}

func TestMac(t *testing.T) {
	term := newTerminal(t)
	key := term.id("key", "create", "--spec", "HMAC-SHA-512", "--usage", "mac")
	file := term.path("mac")
	term.ok("message", "mac", "--key", key, "--out", file, "--out-format", "raw")
	if out := term.ok("message", "mac", "--key", key, "--verify", file, "--verify-format", "raw"); out != "MAC is valid\n" {
		t.Errorf("printed %q", out)
	}
	o := term.run("massage", "mac", "--key", key, "--verify", file, "--verify-format", "raw")
	if o.status != exitFailed || o.stdout != "MAC is NOT valid\n" || o.stderr != "" {
		t.Errorf("%+v", o)
	}
	doc := term.json("message", "mac", "--key", key)
	if doc["mac"] != base64.StdEncoding.EncodeToString([]byte(term.read("mac"))) {
		t.Errorf("%v", doc)
	}
	message := term.write("m", []byte("message"), 0o600)
	if doc := term.json(doc["mac"].(string), "mac", "--key", key, "--in", message, "--verify", "-"); doc["valid"] != true {
		t.Errorf("%v", doc)
	}
	term.fails(exitUsage, "x", "mac", "--key", key, "--verify", "-")
	term.fails(exitFailed, "x", "mac", "--key", term.id("key", "create"))
}

func TestDataKeyTo(t *testing.T) {
	term := newTerminal(t)
	key := term.id("key", "create")
	to := term.id("key", "create", "--spec", "RSA-2048", "--usage", "encrypt-decrypt")
	doc := term.json("", "datakey", "--key", key, "--to", to, "--aad", "a")
	if doc["plaintext"] != nil || doc["to_key_id"] != to {
		t.Errorf("%v", doc)
	}
	want := term.json(doc["wrapped"].(string), "decrypt", "--key", key, "--aad", "a")["plaintext"]
	if got := term.json(doc["exported"].(string), "decrypt", "--key", to)["plaintext"]; got != want {
		t.Error("it opens to another data key")
	}
	exported := term.path("exported")
	out := term.ok(doc["wrapped"].(string), "datakey", "--key", key, "--to", to, "--aad", "a", "--wrapped", "-", "--exported-out", exported)
	if !strings.Contains(out, "exported  in "+exported) || strings.Contains(out, "plaintext") {
		t.Errorf("printed %q", out)
	}
	if got := term.json(term.read("exported"), "decrypt", "--key", to)["plaintext"]; got != want {
		t.Error("it opens to another data key")
	}
	term.fails(exitUsage, "", "datakey", "--key", key, "--to", to, "--plaintext-out", term.path("p"))
	term.fails(exitUsage, "", "datakey", "--key", key, "--wrapped", "-")
	term.fails(exitUsage, "", "datakey", "--key", key, "--exported-out", exported)
}

func TestSignatureFlags(t *testing.T) {
	term := newTerminal(t)
	term.ok("", "key", "list", "--unbound")
	c := term.credentials()
	c.Unbound = true
	term.ok("", "key", "list", "--credentials", term.write("unbound.json", must(jsonOf(c)), 0o600))
	if n := term.server.Bindings("none"); n != 2 {
		t.Errorf("%d requests were not tied to their connection, want 2", n)
	}
	term.ok("", "key", "list", "--signature-v1")
	c.SignatureV1 = true
	term.ok("", "key", "list", "--credentials", term.write("v1.json", must(jsonOf(c)), 0o600))
	term.ok("", "key", "list")
	if n := term.server.Bindings("tls-exporter"); n != 1 || term.server.Bindings("none") != 2 {
		t.Errorf("%d requests were, want 1", n)
	}
}

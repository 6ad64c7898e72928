package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// TestRuntimeCommands: public keys for anyone, key pairs for the program that the
// policy lists.
func TestRuntimeCommands(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	node := d.Nodes[0]
	node.Edit = func(c *server.Config) { c.Mount = mount.Program{Version: "test"}.Handler }
	node.Restart()
	end := node.Serve(listen.Config{}, nil)

	program, fuses := simtee.Config{Measurement: sha256.Sum256([]byte("ledger"))}, t.TempDir()+"/fuses"
	machine, err := program.Create(fuses)
	if err != nil {
		t.Fatal(err)
	}
	m := program.Measurement
	envelope := d.Rulers.Next(func(p *govern.Policy) {
		p.Nodes = slices.Clone(p.Nodes)
		p.Nodes[0].MayQuery = []govern.RuntimeEntry{{Runtime: "ledger", Identities: []govern.Identity{{SGX: &attest.SGXIdentity{MRENCLAVE: m[:]}}}}}
	})
	if _, err := node.Core().SubmitPolicy(t.Context(), envelope); err != nil {
		t.Fatal(err)
	}
	if err := node.Server().TurnEpoch(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, node.Server().CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	call := func(w *client.Workload, args ...string) (int, string, string) {
		var out, errs strings.Builder
		s := &session{ctx: t.Context(), stdin: strings.NewReader("hello"), stdout: &out, stderr: &errs, workload: w,
			getenv: func(string) string { return "" }}
		status := run(append(args, "--url", end.URL, "--ca", ca), s)
		return status, out.String(), errs.String()
	}
	vouched := &client.Workload{Evidence: func(_ context.Context, reportData [64]byte) (attest.Evidence, error) {
		return machine.Evidence(attest.SGX, reportData, node.Clock.Now())
	}}

	if status, out, errs := call(nil, "runtime", "public", "ledger", "orders"); status != exitOK || !strings.Contains(out, "generation  0") || !strings.Contains(out, "valid") {
		t.Errorf("public: %d\n%s%s", status, out, errs)
	}
	if status, out, errs := call(nil, "runtime", "public", "ledger", "orders", "--ephemeral"); status != exitOK || !strings.Contains(out, "expires") {
		t.Errorf("ephemeral: %d\n%s%s", status, out, errs)
	}
	for what, args := range map[string][]string{
		"no such runtime":        {"runtime", "public", "lottery", "orders"},
		"no such generation":     {"runtime", "public", "ledger", "orders", "--generation", "7"},
		"an epoch of long ago":   {"runtime", "public", "ledger", "orders", "--epoch", "7"},
		"keys without a TEE":     {"runtime", "keys", "ledger", "orders", "-o", filepath.Join(dir, "none")},
		"a key id that is none":  {"runtime", "public", "ledger", strings.Repeat("x", 40)},
		"two periods at a time":  {"runtime", "public", "ledger", "orders", "--epoch", "7", "--generation", "7"},
		"keys of another's name": {"runtime", "keys", "lottery", "orders", "-o", filepath.Join(dir, "none")},
	} {
		if status, out, errs := call(nil, args...); status == exitOK || out != "" || errs == "" {
			t.Errorf("%s: %d\n%s%s", what, status, out, errs)
		}
	}

	sealed, keysFile := filepath.Join(dir, "sealed"), filepath.Join(dir, "keys.json")
	if status, _, errs := call(nil, "runtime", "public", "ledger", "orders", "--seal", "-", "-o", sealed); status != exitOK {
		t.Errorf("seal: %d\n%s", status, errs)
	}
	status, out, errs := call(vouched, "--json", "runtime", "keys", "ledger", "orders", "-o", keysFile)
	if status != exitOK || strings.Contains(out, "private") || strings.Contains(out, "state") {
		t.Fatalf("keys: %d\n%s%s", status, out, errs)
	}
	var keys struct {
		Private []byte `json:"private_key"`
		State   []byte `json:"state_key"`
	}
	text, err := os.ReadFile(keysFile)
	if err != nil || json.Unmarshal(text, &keys) != nil || len(keys.Private) != 32 || len(keys.State) != 32 {
		t.Fatalf("%v", err)
	}
	if info, err := os.Stat(keysFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is for others too: %v, %v", info.Mode(), err)
	}
	if status, _, _ := call(vouched, "runtime", "keys", "ledger", "orders", "-o", keysFile); status == exitOK {
		t.Error("a file of keys was replaced")
	}
	c, err := client.New(client.Config{URL: end.URL, CA: node.Server().CA(), Workload: vouched})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := os.ReadFile(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.RuntimeDecrypt(t.Context(), "ledger", b); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

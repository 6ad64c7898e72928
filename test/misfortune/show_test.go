package misfortune_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/test/built"
)

var verifiers = attest.Verifiers{SGX: sgx.Verify}

var update = flag.Bool("update", false, "write the golden files anew")

// TestShow: `holdfast attest show` says of each misfortune what it is and what
// to do about it.
func TestShow(t *testing.T) {
	const fuses = "../../attest/simtee/testdata" // so that platform and root are the same in every run
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	program, err := built.Build(dir, "holdfast")
	if err != nil {
		t.Fatal(err)
	}
	measurement := simtee.DevMeasurement()
	var policy attest.Policy
	policy.SGX.Simulated = true
	policy.SGX.Identities = []attest.SGXIdentity{{MRENCLAVE: measurement[:]}}
	for _, row := range []struct {
		name    string
		cfg     simtee.Config
		policed bool // judged by the policy
	}{
		{name: "simulated"},
		{name: "good", policed: true},
		{name: "revoked", cfg: simtee.Config{Misfortune: simtee.Misfortune{Revoked: true}}, policed: true},
		{name: "stale", cfg: simtee.Config{Misfortune: simtee.Misfortune{Stale: true}}, policed: true},
		{name: "out_of_date", cfg: simtee.Config{Misfortune: simtee.Misfortune{Recovery: simtee.Announced}}, policed: true},
		{name: "debug", cfg: simtee.Config{Misfortune: simtee.Misfortune{Debug: true}}, policed: true},
		{name: "foreign_root", cfg: simtee.Config{Misfortune: simtee.Misfortune{Foreign: true}}, policed: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, err := row.cfg.Open(fuses)
			if err != nil {
				t.Fatal(err)
			}
			ev, err := p.Evidence(attest.SGX, [64]byte{1, 2, 3}, at)
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"attest", "show", writeJSON(t, dir, "evidence", ev), "--time", at.Format(time.RFC3339)}
			if row.policed {
				policy := policy
				policy.SGX.Roots = []attest.Hex{rootOf(t, fuses, at)}
				args = append(args, "--policy", writeJSON(t, dir, "policy", policy))
			}
			golden(t, row.name, run(t, program, args...))
		})
	}
}

// rootOf is the root that the machine is under while nothing befalls it.
func rootOf(t *testing.T, fuses string, at time.Time) attest.Hex {
	t.Helper()
	p, err := simtee.Open(fuses)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := p.Evidence(attest.SGX, [64]byte{}, at)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := verifiers.Prove(ev, at)
	if err != nil {
		t.Fatal(err)
	}
	return claims.Root
}

func writeJSON(t *testing.T, dir, name string, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name+".json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run is what the program prints; evidence that is shown is no failure.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	return stdout.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "show_"+name+".golden")
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

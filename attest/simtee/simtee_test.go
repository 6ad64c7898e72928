package simtee_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/kms"
)

func sealingKey(t *testing.T, p *simtee.Platform) string {
	t.Helper()
	key, err := p.SealingKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(key)
}

func create(t *testing.T, dir string) *simtee.Platform {
	t.Helper()
	p, err := simtee.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestReopenGivesTheSameKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on", "demand")
	made := create(t, dir)
	opened, err := simtee.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := sealingKey(t, made), sealingKey(t, opened); a != b || len(a) != 64 {
		t.Errorf("key made %d digits, reopened %d digits, equal: %v; want 64 and equal", len(a), len(b), a == b)
	}
	if made.ID() != opened.ID() || len(made.ID()) != 32 {
		t.Errorf("id made %q, reopened %q", made.ID(), opened.ID())
	}
	if opened.Name() != "simulated" || !opened.Simulated() {
		t.Errorf("name %q, simulated %v", opened.Name(), opened.Simulated())
	}
}

func TestKeyFollowsMachineAndMeasurement(t *testing.T) {
	dir := t.TempDir()
	dev := create(t, dir)
	if dev.Measurement() != simtee.DevMeasurement() {
		t.Errorf("default measurement %x", dev.Measurement())
	}
	other, err := simtee.Config{Measurement: [32]byte{1}}.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if other.Measurement() != [32]byte{1} {
		t.Errorf("measurement %x, want 01 00…", other.Measurement())
	}
	machine := create(t, t.TempDir())
	keys := map[string]bool{sealingKey(t, dev): true, sealingKey(t, other): true, sealingKey(t, machine): true}
	if len(keys) != 3 {
		t.Errorf("%d different keys, want 3", len(keys))
	}
}

// TestVector pins the derivation: a change of it would orphan every folder.
// The value is from a separate computation of RFC 5869.
func TestVector(t *testing.T) {
	p, err := simtee.Open("testdata")
	if err != nil {
		t.Fatal(err)
	}
	const want = "c9a73fd2e7d9d3faab112a3017ab73ff584f5fca35799624c373585732c96b5e"
	if got := sealingKey(t, p); got != want {
		t.Errorf("sealing key %s, want %s", got, want)
	}
}

func TestSealingKeyIsTheCallersOwn(t *testing.T) {
	p := create(t, t.TempDir())
	key, err := p.SealingKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := hex.EncodeToString(key)
	clear(key)
	if sealingKey(t, p) != before {
		t.Error("clearing the key changed the next one")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if key, err := p.SealingKey(ctx); key != nil || !errors.Is(err, context.Canceled) || !errors.Is(err, kms.Unavailable) {
		t.Errorf("cancelled: %d bytes, %v", len(key), err)
	}
}

func TestCreateRefusesASecondTime(t *testing.T) {
	dir := t.TempDir()
	before := sealingKey(t, create(t, dir))
	_, err := simtee.Create(dir)
	checkError(t, err, kms.Exists)
	p, err := simtee.Open(dir)
	if err != nil || sealingKey(t, p) != before {
		t.Errorf("the refused call changed the platform (%v)", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files in the folder, want 1 (%v)", len(entries), err)
	}
}

func TestConcurrentCreateMakesOne(t *testing.T) {
	dir := t.TempDir()
	made := make([]*simtee.Platform, 8)
	var all sync.WaitGroup
	for i := range made {
		all.Go(func() { made[i], _ = simtee.Create(dir) })
	}
	all.Wait()
	opened, err := simtee.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	winners := 0
	for _, p := range made {
		if p == nil {
			continue
		}
		winners++
		if sealingKey(t, p) != sealingKey(t, opened) {
			t.Error("a creator that was told of success has another key than the folder")
		}
	}
	if winners != 1 {
		t.Errorf("%d creators succeeded, want 1", winners)
	}
}

func TestFileIsPrivateAndMarked(t *testing.T) {
	dir := t.TempDir()
	create(t, dir)
	file := filepath.Join(dir, "fuses.json")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "DEVELOPMENT ONLY") {
		t.Error("the file does not say DEVELOPMENT ONLY")
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != fs.FileMode(0o600) {
		t.Errorf("mode %v, want 0600", info.Mode().Perm())
	}
}

func TestMissing(t *testing.T) {
	_, err := simtee.Open(filepath.Join(t.TempDir(), "none"))
	checkError(t, err, kms.NotFound)
	_, err = simtee.Open(t.TempDir())
	checkError(t, err, kms.NotFound)
}

func TestDamage(t *testing.T) {
	secret := regexp.MustCompile(`"secret": "[0-9a-f]{64}"`)
	vendor := regexp.MustCompile(`"root": "[0-9a-f]{64}"`)
	edits := map[string]func(string) string{
		"empty":             func(string) string { return "" },
		"half":              func(s string) string { return s[:len(s)/2] },
		"no last newline":   func(s string) string { return s[:len(s)-1] },
		"trailing":          func(s string) string { return s + " " },
		"two documents":     func(s string) string { return s + s },
		"too long":          func(s string) string { return s + strings.Repeat(" ", 5000) },
		"other version":     func(s string) string { return strings.Replace(s, `"version": 2`, `"version": 1`, 1) },
		"unknown member":    func(s string) string { return strings.Replace(s, `{`, `{"more": 1,`, 1) },
		"member twice":      func(s string) string { return strings.Replace(s, `{`, `{"version": 2,`, 1) },
		"member gone":       func(s string) string { return secret.ReplaceAllString(s, `"secret": null`) },
		"other secret":      func(s string) string { return secret.ReplaceAllString(s, `"secret": "`+strings.Repeat("5a", 32)+`"`) },
		"other root":        func(s string) string { return vendor.ReplaceAllString(s, `"root": "`+strings.Repeat("5a", 32)+`"`) },
		"short secret":      func(s string) string { return secret.ReplaceAllString(s, `"secret": "5a"`) },
		"upper-case secret": func(s string) string { return secret.ReplaceAllStringFunc(s, strings.ToUpper) },
		"compact":           func(s string) string { return strings.ReplaceAll(s, "  ", "") },
		"zeros":             func(s string) string { return strings.Repeat("\x00", len(s)) },
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			create(t, dir)
			rewrite(t, dir, func(b []byte) []byte { return []byte(edit(string(b))) })
			_, err := simtee.Open(dir)
			checkError(t, err, kms.Damaged)
		})
	}
}

func TestEveryBitFlipIsFound(t *testing.T) {
	dir := t.TempDir()
	create(t, dir)
	path := filepath.Join(dir, "fuses.json")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1 << (i % 8)
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := simtee.Open(dir); !errors.Is(err, kms.Damaged) {
			t.Errorf("bit %d of byte %d flipped: %v, want Damaged", i%8, i, err)
		}
	}
}

func TestNotAFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "fuses.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := simtee.Open(dir)
	checkError(t, err, kms.Damaged)
	_, err = simtee.Create(dir)
	checkError(t, err, kms.Exists)
}

func TestCreateWhereNoFolderCanBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := simtee.Create(filepath.Join(file, "under"))
	checkError(t, err, kms.Unavailable)
}

// TestSecretNeverPrints tries each way a value ends up in a log.
func TestSecretNeverPrints(t *testing.T) {
	dir := t.TempDir()
	p := create(t, dir)
	file, err := os.ReadFile(filepath.Join(dir, "fuses.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Evidence(attest.SGX, [64]byte{}, time.Unix(0, 0)); err != nil { // now it holds its keys
		t.Fatal(err)
	}
	var fuses struct{ Secret, Root string }
	if err := json.Unmarshal(file, &fuses); err != nil {
		t.Fatal(err)
	}
	var raw [][]byte
	for _, text := range []string{fuses.Secret, fuses.Root} {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != 32 {
			t.Fatalf("secret of %d bytes (%v)", len(b), err)
		}
		raw = append(raw, b)
	}
	var out bytes.Buffer
	for _, v := range []any{p, *p, []*simtee.Platform{p}, map[string]any{"p": *p}, struct{ P *simtee.Platform }{p}, p.Root(), *p.Root()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		json.NewEncoder(&out).Encode(v)
		gob.NewEncoder(&out).Encode(v) // refused or empty; either way it must not hold the secret
		slog.New(slog.NewTextHandler(&out, nil)).Info("platform", "p", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("platform", "p", v)
	}
	rewrite(t, dir, func(b []byte) []byte { return b[:len(b)-3] })
	_, err = simtee.Open(dir)
	fmt.Fprintf(&out, "%v %+v %#v", err, err, err)

	printed := strings.ToLower(out.String())
	if len(printed) < 1000 {
		t.Fatalf("only %d bytes printed: the test looks at nothing", len(printed))
	}
	for i, secret := range raw {
		decimal := strings.Trim(fmt.Sprint(secret[:8]), "[]")
		goSyntax := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret[:8]), "[]byte{"), "}")
		for _, form := range []string{goSyntax, strings.ToLower(string(secret[:8])), hex.EncodeToString(secret[:8]), decimal, strings.ReplaceAll(decimal, " ", ", ")} {
			if strings.Contains(printed, form) {
				t.Errorf("secret %d shows as %d bytes of output", i, len(form))
			}
		}
	}
}

func checkError(t *testing.T, err error, want kms.Kind) {
	t.Helper()
	var e *kms.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want a *kms.Error", err, err)
	}
	if diff := cmp.Diff(want, e.Kind); diff != "" {
		t.Errorf("kind of %v (-want +got):\n%s", err, diff)
	}
	if e.File == "" || e.Hint == "" {
		t.Errorf("%v: file %q, hint %q; want both", err, e.File, e.Hint)
	}
}

func rewrite(t *testing.T, dir string, edit func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(dir, "fuses.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, edit(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

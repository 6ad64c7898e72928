package collateral_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/host/collateral"
	"github.com/holdfast-kms/holdfast/kms"
)

// filled is a folder with what tees need, and the names of the files.
func filled(t *testing.T, v *vendor, m *machine, tees ...attest.TEE) (dir string, files []string) {
	t.Helper()
	cfg := v.config()
	cfg.CacheDir = filepath.Join(t.TempDir(), "new", "cache")
	c := newClient(t, cfg)
	for _, tee := range tees {
		accepted(t, c, m.evidence(tee), noon)
	}
	files, err := filepath.Glob(filepath.Join(cfg.CacheDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg.CacheDir, files
}

func TestCache(t *testing.T) {
	m := newMachine(t)
	v := newVendor(t, m.with(simtee.Misfortune{}), atNoon)
	dir, files := filled(t, v, m, tees...)
	// Both kinds of quote share the lists.
	if len(files) != 6+3 {
		t.Errorf("%d files: %v", len(files), files)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 || !strings.HasSuffix(f, ".json") {
			t.Errorf("%s: %v, %v", f, info, err)
		}
	}
	v.requests()
	cfg := v.config()
	cfg.CacheDir = dir
	c := newClient(t, cfg)
	v.fail(status(500))
	for _, tee := range tees {
		accepted(t, c, m.evidence(tee), noon)
	}
	if asked := v.requests(); len(asked) != 0 {
		t.Errorf("asked for %v", asked)
	}
}

func TestDamagedCache(t *testing.T) {
	m := newMachine(t)
	v := newVendor(t, m.with(simtee.Misfortune{}), atNoon)
	for _, test := range []struct {
		name   string
		damage func(path string, old []byte) error
	}{
		{"empty", func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) }},
		{"truncated", func(path string, old []byte) error { return os.WriteFile(path, old[:len(old)/2], 0o600) }},
		{"garbage", func(path string, _ []byte) error { return os.WriteFile(path, []byte("\x00\xff garbage"), 0o600) }},
		{"another version", replaced(`"version":1`, `"version":2`)},
		{"another item", replaced(`"item":"`, `"item":"x`)},
		{"unknown member", replaced(`"version":1`, `"version":1,"trusted":true`)},
		{"member twice", replaced(`"version":1`, `"version":1,"version":1`)},
		{"another body", replaced(`"body":"`, `"body":"AAAA`)},
		{"huge", func(path string, old []byte) error {
			return os.WriteFile(path, append(old, make([]byte, 5<<20)...), 0o600)
		}},
		{"a folder", func(path string, _ []byte) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.MkdirAll(filepath.Join(path, "x"), 0o700)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, files := filled(t, v, m, attest.SGX)
			for _, f := range files {
				old, err := os.ReadFile(f)
				if err == nil {
					err = test.damage(f, old)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			v.requests()
			log := &journal{}
			cfg := v.config()
			cfg.CacheDir, cfg.Logger = dir, slog.New(log)
			accepted(t, newClient(t, cfg), m.evidence(attest.SGX), noon)
			if asked := v.requests(); len(asked) != 4 {
				t.Errorf("asked for %v", asked)
			}
			if n := log.count(slog.LevelWarn, "ignored"); n != 4 {
				t.Errorf("%d warnings: %q", n, log.lines)
			}
			if test.name == "a folder" {
				return
			}
			// It is whole again.
			accepted(t, newClient(t, cfg), m.evidence(attest.SGX), noon)
			if asked := v.requests(); len(asked) != 0 {
				t.Errorf("asked again for %v", asked)
			}
		})
	}
}

func replaced(old, new string) func(string, []byte) error {
	return func(path string, b []byte) error {
		text := string(b)
		if !strings.Contains(text, old) {
			return errors.New("nothing to replace")
		}
		return os.WriteFile(path, []byte(strings.Replace(text, old, new, 1)), 0o600)
	}
}

// TestCacheOfAnotherRoot: what another machine's files hold is not even found.
func TestCacheOfAnotherRoot(t *testing.T) {
	m, other := newMachine(t), newMachine(t)
	v := newVendor(t, m.with(simtee.Misfortune{}), atNoon)
	dir, files := filled(t, v, m, attest.SGX)
	v.set(func(v *vendor) { v.platform = other.with(simtee.Misfortune{}) })
	cfg := v.config()
	cfg.CacheDir = dir
	accepted(t, newClient(t, cfg), other.evidence(attest.SGX), noon)
	all, err := os.ReadDir(dir)
	if err != nil || len(all) != 2*len(files) {
		t.Errorf("%d files, %v", len(all), err)
	}
}

func TestCacheThatCannotBeWritten(t *testing.T) {
	m := newMachine(t)
	v, log := newVendor(t, m.with(simtee.Misfortune{}), atNoon), &journal{}
	cfg := v.config()
	cfg.CacheDir, cfg.Logger = filepath.Join(t.TempDir(), "cache"), slog.New(log)
	c := newClient(t, cfg)
	if err := os.Remove(cfg.CacheDir); err != nil {
		t.Fatal(err)
	}
	accepted(t, c, m.evidence(attest.SGX), noon)
	if n := log.count(slog.LevelWarn, "not kept on disk"); n != 4 {
		t.Errorf("%d warnings: %q", n, log.lines)
	}
	cfg.CacheDir = filepath.Join(m.dir, "file")
	if err := os.WriteFile(cfg.CacheDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := collateral.New(cfg); !errors.Is(err, kms.Unavailable) {
		t.Errorf("a file in the place of the folder: %v", err)
	}
}

func TestBundle(t *testing.T) {
	m, other := newMachine(t), newMachine(t)
	v := newVendor(t, m.with(simtee.Misfortune{}), atNoon)
	var all []attest.Evidence
	for _, tee := range tees {
		all = append(all, m.evidence(tee), m.evidence(tee))
	}
	bundle, until, err := newClient(t, v.config()).Bundle(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	if want := noon.Truncate(day).Add(30 * day); !until.Equal(want) {
		t.Errorf("until %s, want %s", until, want)
	}
	v.requests()
	now := noon
	cfg := collateral.Config{Bundle: bundle, Now: func() time.Time { return now }, Transport: inProcess{v}, DevelopmentRoots: true}
	c := newClient(t, cfg)
	for _, ev := range all {
		accepted(t, c, ev, now)
	}
	if err := c.Refresh(t.Context()); !errors.Is(err, kms.Invalid) {
		t.Errorf("refresh: %v", err)
	}
	now = noon.Add(20 * day)
	for _, s := range c.Status() {
		if s.State == collateral.Ageing && !strings.Contains(s.Advice, "new bundle") || s.Source != "" {
			t.Errorf("status %+v", s)
		}
	}
	now = noon.Add(31 * day)
	for name, ev := range map[string]attest.Evidence{"ended": all[0], "of another machine": other.evidence(attest.SGX)} {
		if _, err := c.Collateral(t.Context(), ev); !errors.Is(err, kms.Unavailable) || !strings.Contains(kms.HintOf(err), "new bundle") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if asked := v.requests(); len(asked) != 0 {
		t.Errorf("asked for %v", asked)
	}
}

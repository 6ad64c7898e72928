package disk_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/host/disk"
)

func openDisk(t *testing.T, dir string) *disk.Disk {
	t.Helper()
	d, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func names(t *testing.T, d *disk.Disk, dir string) []string {
	t.Helper()
	list, err := d.ListDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestOpenMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	if _, err := disk.Open(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Open made the folder")
	}
	d, err := disk.Create(filepath.Join(dir, "deeper"))
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	if _, err := disk.Open(dir); !errors.Is(err, disk.ErrInUse) {
		t.Errorf("a second time in this process: %v", err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestLockChild$")
	child.Env = append(os.Environ(), "HOLDFAST_TEST_LOCKED="+dir)
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("in another process: %v\n%s", err, out)
	}
	for _, name := range names(t, d, "") { // who clears the folder keeps hold of it
		if err := d.Delete("", name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := disk.Open(dir); !errors.Is(err, disk.ErrInUse) {
		t.Errorf("after the folder was cleared: %v", err)
	}
	d.Close()
	openDisk(t, dir)
}

// TestLockChild is the other process of TestLock.
func TestLockChild(t *testing.T) {
	dir := os.Getenv("HOLDFAST_TEST_LOCKED")
	if dir == "" {
		t.Skip("run by TestLock")
	}
	if _, err := disk.Open(dir); !errors.Is(err, disk.ErrInUse) {
		t.Fatalf("got %v", err)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	w, err := d.Create("", "a", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create("", "a", 0); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made twice: %v", err)
	}
	if _, err := w.WriteAt([]byte("hello"), 2); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first one syncs the folder too
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	got, err := d.ReadFile("", "a", 8)
	if err != nil || !bytes.Equal(got, []byte("\x00\x00hello\x00")) {
		t.Errorf("first bytes %q, %v", got, err)
	}
	if got, _ := d.ReadFile("", "a", 1<<20); len(got) != 1000 {
		t.Errorf("%d bytes were reserved", len(got))
	}
	r, err := d.OpenReader("", "a")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	again, err := d.OpenWriter("", "a")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := again.WriteAt([]byte("J"), 2); err != nil {
		t.Fatal(err)
	}
	if err := again.Sync(); err != nil {
		t.Fatal(err)
	}
	var read [5]byte
	if _, err := r.ReadAt(read[:], 2); err != nil || string(read[:]) != "Jello" {
		t.Errorf("read %q, %v", read, err)
	}
	for _, open := range []func() error{
		func() error { _, err := d.OpenReader("", "b"); return err },
		func() error { _, err := d.OpenWriter("", "b"); return err },
		func() error { _, err := d.ReadFile("", "b", 1); return err },
		func() error { return d.Delete("", "b") },
		func() error { _, err := d.ListDir("b"); return err },
	} {
		if err := open(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("missing: %v", err)
		}
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	dir := filepath.Join(t.TempDir(), "new")
	d, err := disk.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	w, err := d.Create("", "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := errors.Join(d.Replace("", "b", []byte("b")), d.MakeDir("sub/deep")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		".": fs.ModeDir | 0o700, "a": 0o600, "b": 0o600, "lock": 0o600, "aside": fs.ModeDir | 0o700,
		"sub": fs.ModeDir | 0o700, "sub/deep": fs.ModeDir | 0o700,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, not %v", name, info.Mode(), want)
		}
	}
}

// TestConfined: neither a name nor a symbolic link leads out of the folder.
func TestConfined(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := openDisk(t, dir)
	for _, name := range []string{"", ".", "..", "../secret", "a/b", `a\b`, filepath.Join(outside, "secret")} {
		if _, err := d.ReadFile("", name, 1); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("reading %q: %v", name, err)
		}
		if err := d.Replace("", name, nil); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("replacing %q: %v", name, err)
		}
	}
	if _, err := d.ListDir(".."); err == nil {
		t.Error("listed the folder above")
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")); err != nil {
		t.Skip("no symbolic links: ", err)
	}
	if data, err := d.ReadFile("", "link", 1); err == nil {
		t.Errorf("followed a link out: %q", data)
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	// What a crash in the middle of an earlier one has left is no obstacle.
	if err := os.WriteFile(filepath.Join(dir, "meta.new"), bytes.Repeat([]byte("x"), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"one", "", "another"} {
		if err := d.Replace("", "meta", []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.ReadFile("", "meta", 100); err != nil || string(got) != content {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if got := cmp.Diff([]string{"meta"}, names(t, d, "")); got != "" {
		t.Error(got)
	}
}

// TestAside: what is deleted can be put back until the next start has come up.
func TestAside(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	if err := d.MakeDir("sub"); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"first", "second"} {
		if err := errors.Join(d.Replace("sub", "a", []byte(content)), d.Delete("sub", "a")); err != nil {
			t.Fatal(err)
		}
	}
	aside := []string{"sub_a", "sub_a.1"}
	if got := cmp.Diff(aside, names(t, d, "aside")); got != "" {
		t.Error(got)
	}
	if err := d.PurgeAside(); err != nil {
		t.Fatal(err)
	}
	if got := cmp.Diff(aside, names(t, d, "aside")); got != "" {
		t.Errorf("what this run has set aside must stay: %s", got)
	}
	d.Close()

	d = openDisk(t, dir)
	if err := errors.Join(d.Replace("", "b", nil), d.Delete("", "b"), d.PurgeAside()); err != nil {
		t.Fatal(err)
	}
	if got := cmp.Diff([]string{"b"}, names(t, d, "aside")); got != "" {
		t.Error(got)
	}
}

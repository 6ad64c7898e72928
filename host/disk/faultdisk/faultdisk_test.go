package faultdisk_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
)

var _ faultdisk.Disk = (*disk.Disk)(nil)
var _ faultdisk.Disk = (*faultdisk.Mem)(nil)
var _ faultdisk.Disk = (*faultdisk.Faulty)(nil)

// TestSameAsReal does the same on a real disk and in memory.
func TestSameAsReal(t *testing.T) {
	real, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	var logs [2][]string
	for i, d := range []faultdisk.Disk{real, faultdisk.NewMem()} {
		note := func(what string, err error) {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				what += ": not there"
			case errors.Is(err, fs.ErrExist):
				what += ": there"
			case err != nil:
				what += ": " + err.Error()
			}
			logs[i] = append(logs[i], what)
		}
		w, err := d.Create("", "a", 16)
		note("create", err)
		_, err = d.Create("", "a", 16)
		note("create", err)
		n, err := w.WriteAt([]byte("0123456789"), 10)
		note(strings.Repeat("w", n), err)
		buf := make([]byte, 8)
		for _, off := range []int64{0, 9, 15, 20, 30} {
			n, err = w.ReadAt(buf, off)
			note(string(buf[:n]), err)
		}
		data, err := d.ReadFile("", "a", 12)
		note(string(data), err)
		note("replace", d.Replace("", "a", []byte("new")))
		n, err = w.ReadAt(buf, 10)
		note("the old file is still open: "+string(buf[:n]), err)
		data, err = d.ReadFile("", "a", 12)
		note(string(data), err)
		note("delete", d.Delete("", "a"))
		note("delete", d.Delete("", "a"))
		_, err = d.OpenReader("", "a")
		note("open", err)
		_, err = d.ListDir("nowhere")
		note("list", err)
	}
	if d := cmp.Diff(logs[0], logs[1]); d != "" {
		t.Errorf("-real +memory:\n%s", d)
	}
}

func TestPowerCut(t *testing.T) {
	m := faultdisk.NewMem()
	synced, err := m.Create("", "synced", 1024)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := synced.WriteAt([]byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	if err := synced.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := synced.WriteAt([]byte("lost"), 512); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Create("", "unnamed", 0); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		c := m.PowerCut(rng)
		data := string(c.Get("synced"))
		if !strings.HasPrefix(data, "kept") {
			t.Fatal("a synced write was lost")
		}
		if strings.Contains(data, "lost") {
			seen["write kept"]++
		} else {
			seen["write lost"]++
		}
		if c.Get("unnamed") != nil {
			seen["name kept"]++
		} else {
			seen["name lost"]++
		}
	}
	if len(seen) != 4 {
		t.Errorf("outcomes: %v", seen)
	}
}

func TestFaults(t *testing.T) {
	for _, how := range faultdisk.Hows() {
		m := faultdisk.NewMem()
		d := faultdisk.New(m)
		w, err := d.Create("", "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		d.Arm(faultdisk.Fault{Op: faultdisk.Write, Name: "a*", Skip: 1, How: how})
		if _, err := w.WriteAt([]byte("1234"), 0); err != nil {
			t.Fatalf("%s: the first was to succeed: %v", how, err)
		}
		_, err = w.WriteAt([]byte("5678"), 4)
		if !errors.Is(err, faultdisk.ErrInjected) || errors.Is(err, syscall.ENOSPC) != (how == faultdisk.Full) {
			t.Errorf("%s: %v", how, err)
		}
		want := map[faultdisk.How]string{faultdisk.NotDone: "1234", faultdisk.Done: "12345678", faultdisk.Full: "123456"}[how]
		if got := string(m.Get("a")); got != want {
			t.Errorf("%s: the file holds %q", how, got)
		}
		if _, err := w.WriteAt([]byte("9"), 0); err != nil || d.Hits() != 1 {
			t.Errorf("%s: the next: %v, %d hits", how, err, d.Hits())
		}
		d.Kill()
		if _, err := w.WriteAt([]byte("9"), 0); !errors.Is(err, faultdisk.ErrDead) {
			t.Errorf("%s: after Kill: %v", how, err)
		}
	}
}

func TestKillAfter(t *testing.T) {
	m := faultdisk.NewMem()
	d := faultdisk.New(m)
	d.KillAfter(2)
	for i, name := range []string{"first", "second", "third", "fourth"} {
		err := d.Replace("", name, []byte("x"))
		if dead := i >= 2; errors.Is(err, faultdisk.ErrDead) != dead || (m.Get(name) == nil) != dead {
			t.Errorf("%s: %v, on disk %q", name, err, m.Get(name))
		}
		if _, err := d.ReadFile("", "first", 1); (err != nil) != (i >= 2) {
			t.Errorf("reading after %s: %v", name, err)
		}
	}
}

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func jsonOf(v any) ([]byte, error) { return json.Marshal(v) }

// sealedHead is the length of the header of a file sealed under an AES key.
const sealedHead = 43 + 60 + 32

func TestSealAndOpen(t *testing.T) {
	term := newTerminal(t)
	key := term.id("key", "create")
	plain := strings.Repeat("0123456789", 20_000) // some chunks
	file := term.write("file", []byte(plain), 0o644)

	if out := term.ok("", "seal", file); out != file+".sealed\n" {
		t.Errorf("printed %q", out)
	}
	if strings.Contains(term.read("file.sealed"), "0123456789") {
		t.Error("it is not encrypted")
	}
	term.fails(exitFailed, "", "seal", file) // its output is there
	if msg := term.fails(exitFailed, "", "open", file+".sealed"); !strings.Contains(msg, "exists already") {
		t.Errorf("said %q", msg)
	}
	os.Remove(file)
	if out := term.ok("", "open", file+".sealed"); out != file+"\n" || term.read("file") != plain {
		t.Errorf("printed %q", out)
	}
	if info, _ := os.Stat(file); runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the plaintext's file has mode %v", info.Mode())
	}

	sealed := term.ok(plain, "seal", "-", "--key", key)
	if got := term.ok(sealed, "open", "-"); got != plain {
		t.Error("the pipe gave something else")
	}
	doc := term.json(plain, "seal", "-", "--out", term.path("out"))
	want := map[string]any{"file": term.path("out"), "bytes": float64(len(sealed)), "key_id": key}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	doc = term.json("", "open", term.path("out"), "--out", term.path("again"))
	if doc["bytes"] != float64(len(plain)) || term.read("again") != plain {
		t.Errorf("%v", doc)
	}
	term.ok("", "seal", file, "--out", file) // in its own place
	if got := term.ok("", "open", file, "--out", "-"); got != plain {
		t.Error("sealed in place, it opens to something else")
	}
	if got := term.ok(term.ok("", "seal", "-"), "open", "-"); got != "" {
		t.Errorf("nothing opens to %q", got)
	}
	term.noDrafts()
}

// noDrafts checks that no temporary file is left.
func (term *terminal) noDrafts() {
	term.t.Helper()
	left, err := filepath.Glob(filepath.Join(term.dir, ".holdfast-*"))
	if err != nil || len(left) > 0 {
		term.t.Errorf("left: %v %v", left, err)
	}
}

// TestOpenWhatWasAltered opens to a file and to a pipe.
func TestOpenWhatWasAltered(t *testing.T) {
	term := newTerminal(t)
	term.id("key", "create")
	plain := strings.Repeat("0123456789", 20_000)
	sealed := term.ok(plain, "seal", "-")
	const chunk = 64 << 10
	at := func(i int) int { return sealedHead + i*(chunk+16) }
	flip := func(i int) string { return sealed[:i] + string([]byte{sealed[i] ^ 1}) + sealed[i+1:] }
	tests := []struct {
		name, sealed string
		written      int // to a pipe
		says         string
	}{
		{"cut at a chunk's end", sealed[:at(2)], chunk, "the end of the sealed data is missing"},
		{"cut in a chunk", sealed[:at(2)+5], 2 * chunk, "the end of the sealed data is missing"},
		{"cut by a byte", sealed[:len(sealed)-1], 3 * chunk, "altered"},
		{"cut in the header", sealed[:60], 0, "ends in its header"},
		{"extended", sealed + "x", 3 * chunk, "altered"},
		{"swapped", sealed[:at(1)] + sealed[at(2):at(3)] + sealed[at(1):at(2)] + sealed[at(3):], chunk, "altered"},
		{"twice", sealed[:at(1)] + sealed[at(0):], chunk, "altered"},
		{"header altered", flip(sealedHead - 1), 0, "altered"},
		{"file id altered", flip(30), 0, "Decryption failed"},
		{"another key", flip(10), 0, "keyid error"},
		{"middle altered", flip(at(1) + 7), chunk, "altered"},
		{"something else", plain, 0, "not a sealed file"},
		{"nothing", "", 0, "not a sealed file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status := exitFailed
			if tt.written > 0 {
				status = exitIncomplete
			}
			o := term.run(tt.sealed, "open", "-")
			if o.status != status || o.stdout != plain[:tt.written] || !strings.Contains(o.stderr, tt.says) {
				t.Errorf("status %d with %d bytes, %q", o.status, len(o.stdout), o.stderr)
			}
			if tt.written > 0 && !strings.Contains(o.stderr, fmt.Sprintf("INCOMPLETE: only the first %d bytes", tt.written)) {
				t.Errorf("said %q", o.stderr)
			}
			file := term.write("x.sealed", []byte(tt.sealed), 0o600)
			term.write("kept", []byte("what was there"), 0o600)
			if msg := term.fails(exitFailed, "", "open", file); !strings.Contains(msg, tt.says) {
				t.Errorf("said %q, want %q", msg, tt.says)
			}
			term.fails(exitFailed, "", "open", file, "--out", term.path("kept"))
			if exists(term.path("x")) || term.read("kept") != "what was there" {
				t.Error("something was written")
			}
		})
	}
	term.noDrafts()
}

func TestSealWhichKey(t *testing.T) {
	term := newTerminal(t)
	if msg := term.fails(exitFailed, "x", "seal", "-"); !strings.Contains(msg, "no AES key to seal under\nhint: `holdfast key create`") {
		t.Errorf("without a key: %q", msg)
	}
	term.id("key", "create", "--spec", "EC-P256")
	disabled := term.id("key", "create")
	term.ok("", "key", "disable", disabled)
	term.fails(exitFailed, "x", "seal", "-")
	first := term.id("key", "create")
	sealed := term.ok("x", "seal", "-")
	second := term.id("key", "create")
	if msg := term.fails(exitFailed, "x", "seal", "-"); !strings.Contains(msg, "the app has 2 keys") {
		t.Errorf("with two keys: %q", msg)
	}
	term.ok("x", "seal", "-", "--key", second)
	term.ok("", "key", "delete", first, "--yes")
	if msg := term.fails(exitFailed, sealed, "open", "-"); !strings.Contains(msg, "keyid error") {
		t.Errorf("with its key deleted: %q", msg)
	}
}

func TestSealFails(t *testing.T) {
	term := newTerminal(t)
	key := term.id("key", "create")
	missing := term.path("no-such")
	tests := []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"missing file", []string{"seal", missing}, exitFailed, "no such file"},
		{"folder", []string{"seal", term.dir, "--out", term.path("x")}, exitFailed, "is a folder\nhint: a folder can be piped"},
		{"folder to write to", []string{"seal", "-", "--out", term.dir}, exitFailed, "is a folder\nhint: name a file"},
		{"no folder to write to", []string{"seal", "-", "--out", filepath.Join(missing, "x")}, exitFailed, "no such file"},
		{"JSON to a pipe", []string{"seal", "-", "--json"}, exitUsage, "cannot both go to standard output"},
		{"no name for what opens", []string{"open", missing}, exitUsage, "does not end in .sealed"},
		{"key of another sort", []string{"seal", "-", "--key", term.id("key", "create", "--spec", "EC-P256")}, exitFailed, "Server exception"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if args[0] == "seal" && len(args) < 4 {
				args = append(args, "--key", key)
			}
			if msg := term.fails(tt.status, "x", args...); !strings.Contains(msg, tt.want) {
				t.Errorf("said %q, want %q", msg, tt.want)
			}
		})
	}
	term.noDrafts()
}

// TestOutputIsNoOrdinaryFile writes to a device, and through a link: neither is
// to be replaced.
func TestOutputIsNoOrdinaryFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no /dev/null")
	}
	term := newTerminal(t)
	term.id("key", "create")
	null := term.path("null")
	if err := os.Symlink(os.DevNull, null); err != nil {
		t.Fatal(err)
	}
	term.ok("x", "seal", "-", "--out", null)
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Fatalf("the null device is gone: %v %v", info, err)
	}
	to, link := term.write("to", []byte("old"), 0o600), term.path("link")
	if err := os.Symlink(to, link); err != nil {
		t.Fatal(err)
	}
	term.ok("x", "seal", "-", "--out", link)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 || term.read("to") == "old" {
		t.Errorf("the link is not one any more, or was not followed: %v", err)
	}
}

func TestSealInterrupted(t *testing.T) {
	term := newTerminal(t)
	term.id("key", "create")
	silent, end := io.Pipe()
	defer end.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	var stderr strings.Builder
	status := run([]string{"seal", "-", "--out", term.path("out")}, &session{ctx: ctx, stdin: silent, stdout: io.Discard, stderr: &stderr,
		getenv: func(name string) string { return term.env[name] }})
	if status != exitFailed || stderr.String() != "holdfast: seal: interrupted\n" || exists(term.path("out")) {
		t.Errorf("status %d: %q", status, stderr.String())
	}
	term.noDrafts()
}

func TestProgressText(t *testing.T) {
	for want, got := range map[string]string{
		"0 B": progressText(0, -1, 0), "999 B, 99 B/s": progressText(999, -1, 10*time.Second),
		"512 MiB of 1 GiB, 50%, 256 MiB/s": progressText(512<<20, 1<<30, 2*time.Second),
		"1.5 KiB of 3 TiB, 0%, 1.5 KiB/s":  progressText(1536, 3<<40, time.Second),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A pattern is endless data that does not repeat soon.
type pattern struct{ at uint64 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(p.at * 0x9e3779b97f4a7c15 >> 56)
		p.at++
	}
	return len(b), nil
}

// maxMemory is far below what is sent through: what a process of this program
// takes anyway, and room.
const maxMemory = 64 << 20

// TestSealGigabyte sends 1 GiB through two processes, as `holdfast seal - |
// holdfast open -` would, and looks at the most memory that either ever had.
func TestSealGigabyte(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("takes some seconds")
	}
	term := newTerminal(t)
	term.id("key", "create")
	const size = 1 << 30
	in, out := sha256.New(), sha256.New()
	var opened counter
	opened.Writer = out
	seal, open := term.child("seal", "-"), term.child("open", "-")
	pipe := must(seal.StdoutPipe())
	seal.Stdin, open.Stdin, open.Stdout = io.TeeReader(io.LimitReader(&pattern{}, size), in), pipe, &opened
	begun := time.Now()
	memory := [2]func() int64{start(t, seal), start(t, open)}
	for i, p := range []*exec.Cmd{seal, open} {
		if err := p.Wait(); err != nil {
			t.Fatalf("%s: %v: %s", p.Args[1], err, p.Stderr)
		}
		most := memory[i]()
		t.Logf("%s: %v, at most %s of memory", p.Args[1], time.Since(begun).Round(time.Millisecond), sizeText(most))
		if most > maxMemory || runtime.GOOS == "linux" && most == 0 {
			t.Errorf("%s took %s of memory", p.Args[1], sizeText(most))
		}
	}
	if opened.n != size || !bytes.Equal(in.Sum(nil), out.Sum(nil)) {
		t.Errorf("%d bytes came out, or others", opened.n)
	}
}

// child is this program as a process of its own.
func (term *terminal) child(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(term.t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "HOLDFAST_CREDENTIALS="+term.env["HOLDFAST_CREDENTIALS"])
	cmd.Stderr = new(strings.Builder)
	return cmd
}

// start starts p. What it returns tells the most memory that p ever had, 0
// where that is not known, once p has ended.
func start(t *testing.T, p *exec.Cmd) func() int64 {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	status := fmt.Sprintf("/proc/%d/status", p.Process.Pid)
	most := make(chan int64, 1)
	go func() {
		// Not from wait4: that counts what this process had when it forked.
		var kB int64
		for {
			b, err := os.ReadFile(status)
			_, rest, found := strings.Cut(string(b), "VmHWM:")
			if err != nil || !found { // not Linux, or it has ended
				most <- kB << 10
				return
			}
			fmt.Sscan(rest, &kB)
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return func() int64 { return <-most }
}

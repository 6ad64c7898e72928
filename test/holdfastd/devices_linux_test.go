package holdfastd_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
)

// An enclave is a folder that the program takes for the root of the file
// system (chroot), with a fake /dev/attestation in it: the register and the
// quote are pipes, behind which a simulated machine signs. So the program opens
// the paths that it always opens, and needs no setting for a test.
//
// There are no sealing keys in it: a program that asks for one before it has
// refused its own evidence says so instead.
type enclave struct {
	root    string
	machine *simtee.Platform
	kind    string                        // of attestation
	swap    func(asked [64]byte) [64]byte // nil: what was asked
	edit    func(quote []byte) []byte     // nil: as it is
	stall   chan struct{}                 // not nil: no quote before it is closed
	asked   chan struct{}                 // gets something for each quote asked for
}

const attestation = "dev/attestation"

func newEnclave(t *testing.T) *enclave {
	t.Helper()
	machine, err := simtee.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	e := &enclave{root: t.TempDir(), machine: machine, kind: "dcap", asked: make(chan struct{}, 100)}
	for _, dir := range []string{attestation, "tmp", "node"} {
		if err := os.MkdirAll(e.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	e.write(t, "holdfastd", b, 0o755)
	e.write(t, "charter.json", newCharter(t), 0o644)
	return e
}

func (e *enclave) path(name string) string { return filepath.Join(e.root, filepath.FromSlash(name)) }

func (e *enclave) write(t *testing.T, name string, b []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(e.path(name), b, mode); err != nil {
		t.Fatal(err)
	}
}

// boot makes the devices, and answers until the test ends.
func (e *enclave) boot(t *testing.T) {
	t.Helper()
	e.write(t, attestation+"/attestation_type", []byte(e.kind), 0o644)
	register, quote := e.path(attestation+"/user_report_data"), e.path(attestation+"/quote")
	for _, pipe := range []string{register, quote} {
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in, err := os.OpenFile(register, os.O_RDWR, 0) // for both, so that opening waits for nobody
	if err != nil {
		t.Fatal(err)
	}
	var device sync.WaitGroup
	device.Go(func() { e.answer(t, in, quote) })
	t.Cleanup(func() {
		in.Close()
		// The device may be waiting for somebody to read, and be it more than a pipe holds.
		reader, err := os.OpenFile(quote, os.O_RDWR|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		var drain sync.WaitGroup
		drain.Go(func() { _, _ = io.Copy(io.Discard, reader) })
		device.Wait()
		reader.Close()
		drain.Wait()
	})
}

// answer is the device: report data in, a quote over it out.
func (e *enclave) answer(t *testing.T, in io.Reader, quote string) {
	for {
		var asked [64]byte
		if _, err := io.ReadFull(in, asked[:]); err != nil {
			return // closed
		}
		e.asked <- struct{}{}
		if e.stall != nil {
			<-e.stall
		}
		if e.swap != nil {
			asked = e.swap(asked)
		}
		ev, err := e.machine.Evidence(attest.SGX, asked, time.Now())
		if err != nil {
			t.Error(err)
			return
		}
		out := ev.Quote
		if e.edit != nil {
			out = e.edit(out)
		}
		pipe, err := os.OpenFile(quote, os.O_WRONLY, 0) // waits for the reader
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = pipe.Write(out) // a reader that has enough goes away
		pipe.Close()
	}
}

// start starts the program in the enclave.
func (e *enclave) start(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	return start(t, "/holdfastd", func(cmd *exec.Cmd) {
		cmd.Dir, cmd.SysProcAttr = "/", chroot(e.root)
	}, args...)
}

// chroot changes the root, which takes root's rights; others have them in a
// user namespace of their own.
func chroot(dir string) *syscall.SysProcAttr {
	if os.Geteuid() == 0 {
		return &syscall.SysProcAttr{Chroot: dir}
	}
	return &syscall.SysProcAttr{Chroot: dir, Cloneflags: syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}}
}

// needsChroot skips where nothing can be started under another root.
func needsChroot(t *testing.T) {
	t.Helper()
	e := newEnclave(t)
	cmd := exec.Command("/holdfastd", "help")
	cmd.Dir, cmd.SysProcAttr = "/", chroot(e.root)
	if err := cmd.Run(); err != nil {
		t.Skipf("SKIPPED: programs cannot be started under another root here, so nothing is known of fake devices: %v", err)
	}
}

// vendor plays Intel's service for the machine.
func (e *enclave) vendor(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := (simtee.Vendor{Platform: e.machine, At: time.Now()}).Answer(w, r); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestFakeDevices(t *testing.T) {
	needsChroot(t)
	for _, tt := range []struct {
		name string
		play func(*enclave)
		says string
		hint string
	}{
		// All of it is in order, but the root is no vendor's.
		{"simulated", func(*enclave) {}, "own evidence: root certificate: a simulated platform", "use real hardware"},
		{"report data swapped", func(e *enclave) { e.swap = func([64]byte) [64]byte { return [64]byte{9} } }, "signed other report data", "find out what else"},
		{"truncated quote", func(e *enclave) { e.edit = func(q []byte) []byte { return q[:len(q)-1] } }, "not in the exact format", "AESM"},
		{"endless quote", func(e *enclave) { e.edit = func(q []byte) []byte { return append(q, make([]byte, 1<<20)...) } }, "more than", "AESM"},
		{"one bit of the enclave altered", func(e *enclave) { e.edit = func(q []byte) []byte { q[48+64] ^= 1; return q } }, "this node's own evidence", ""},
		{"Gramine without SGX", func(e *enclave) { e.kind = "none" }, `attests by "none"`, "gramine-sgx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnclave(t)
			tt.play(e)
			e.boot(t)
			common := []string{"--dir", "/node", "--charter", "/charter.json", "--pcs", e.vendor(t)}
			for _, args := range [][]string{{"found", "--out", "/founder.json"}, {"serve", "--listen", "127.0.0.1:0"}} {
				cmd, log := e.start(t, append(args, common...)...)
				r := refused(t, cmd, log)
				if !strings.Contains(r.Cause, tt.says) || !strings.Contains(r.Hint, tt.hint) {
					t.Errorf("%s: cause %q, hint %q, want %q and %q", args[0], r.Cause, r.Hint, tt.says, tt.hint)
				}
			}
			if _, err := os.Stat(e.path("founder.json")); err == nil {
				t.Error("evidence was written")
			}
			nothingSealed(t, e.path("node"))
		})
	}
}

// TestEmptyRoot has no devices at all, whatever machine this is.
func TestEmptyRoot(t *testing.T) {
	needsChroot(t)
	e := newEnclave(t)
	cmd, log := e.start(t, "serve", "--dir", "/node", "--charter", "/charter.json")
	if r := refused(t, cmd, log); !strings.Contains(r.Cause, "found no trusted execution environment") {
		t.Errorf("cause %q", r.Cause)
	}
}

// TestHardened looks at the program while it waits for its first quote: by
// then, before any key is in memory, it must not be dumpable.
func TestHardened(t *testing.T) {
	needsChroot(t)
	e := newEnclave(t)
	e.stall = make(chan struct{})
	e.boot(t)
	cmd, log := e.start(t, "serve", "--dir", "/node", "--charter", "/charter.json", "--pcs", e.vendor(t))
	select {
	case <-e.asked:
	case <-time.After(slow):
		t.Fatalf("it asks for no quote\n%s", log)
	}
	limits, err := os.ReadFile(filepath.Join("/proc", pid(cmd), "limits"))
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok && strings.Join(strings.Fields(rest)[:2], " ") != "0 0" {
			t.Errorf("core dumps: %s", line)
		}
	}
	if !strings.Contains(string(limits), "Max core file size") {
		t.Errorf("limits %q", limits)
	}
	close(e.stall)
	refused(t, cmd, log)
}

func pid(cmd *exec.Cmd) string { return strconv.Itoa(cmd.Process.Pid) }

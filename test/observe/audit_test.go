// Package observe_test verifies an audit log as large as a busy node writes in a
// day, which the product's own code has written.
package observe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/auditlog"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/test/built"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// sizeVariable asks for so many entries, and for the time that `holdfast audit
// verify` takes.
const sizeVariable = "HOLDFAST_AUDIT_ENTRIES"

// A record is the audit log of a node, and what its domain published of it.
type record struct {
	t          *testing.T
	dir        string
	files      []string // oldest first
	checkpoint string
	program    string // cmd/holdfast; empty: verified in this process

	took, cpu time.Duration // of the last verification; cpu: of the program's process
}

// TestTamperingIsFound: in a log of any size each of four tamperings is found, and
// where it is.
func TestTamperingIsFound(t *testing.T) {
	entries, fileSize := 3000, int64(256<<10)
	size := os.Getenv(sizeVariable)
	if size != "" {
		var err error
		if entries, err = strconv.Atoi(size); err != nil {
			t.Fatal(err)
		}
		fileSize = 0
	}
	r := write(t, entries, fileSize)
	if size != "" {
		r.program = build(t)
	}
	if got := r.verify(); len(got) > 0 {
		t.Fatalf("in a log that nobody touched: %v", got)
	}
	t.Logf("%d entries in %d files, verified in %v, %v of processor time: %.0f entries/s", entries, len(r.files),
		r.took.Round(time.Millisecond), r.cpu.Round(time.Millisecond), float64(entries)/r.took.Seconds())
	r.tamper()
}

// write has a node write a log.
func write(t *testing.T, entries int, fileSize int64) *record {
	t.Helper()
	r := &record{t: t, dir: filepath.Join(t.TempDir(), "audit"), checkpoint: filepath.Join(t.TempDir(), "checkpoint.json")}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.dir, "audit.log")
	f, err := auditlog.OpenFile(auditlog.FileConfig{Path: path, Size: fileSize})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	n.Edit = func(c *server.Config) { c.AuditSinks = map[string]server.AuditSink{"file": f} }
	n.Restart()
	if _, err := n.Core().SubmitPolicy(t.Context(), d.Rulers.Next(func(p *govern.Policy) { p.AuditSinks = []string{"file"} })); err != nil {
		t.Fatal(err)
	}
	use(t, n.Enrol(), entries)
	n.Restart() // the last head is put on record when a node ends
	cp, err := n.Core().AuditCheckpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.checkpoint, cp.JSON(), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = n.Stop()
	if r.files, err = auditlog.Files(path); err != nil || len(r.files) < 2 {
		t.Fatalf("%d files, %v", len(r.files), err)
	}
	return r
}

// use has an app encrypt, with 64 requests under way at a time.
func use(t *testing.T, app *trustedtest.App, times int) {
	t.Helper()
	k, err := app.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		t.Fatal(err)
	}
	var left atomic.Int64
	left.Store(int64(times))
	var work sync.WaitGroup
	for range 64 {
		work.Go(func() {
			for left.Add(-1) >= 0 && !t.Failed() {
				c, err := app.Caller()
				if err == nil {
					_, err = c.Encrypt(context.Background(), kms.EncryptRequest{Key: kms.KeyRef{ID: k.ID}, Plaintext: []byte("a plaintext"), Layout: kms.LayoutNative})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
}

func build(t *testing.T) string {
	t.Helper()
	program, err := built.Build(t.TempDir(), "holdfast")
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC() // what the node has left does not share the processors
	return program
}

// verify is what is found in the log, as it is now.
func (r *record) verify() []audit.Finding {
	r.t.Helper()
	began := time.Now()
	defer func() { r.took = time.Since(began) }()
	var report audit.Report
	if r.program == "" {
		report = *r.verifyHere()
	} else {
		cmd := exec.Command(r.program, "--json", "audit", "verify", r.dir, "--checkpoint", r.checkpoint)
		out, err := cmd.Output()
		r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		if _, found := err.(*exec.ExitError); err != nil && !found {
			r.t.Fatal(err)
		}
		if err := json.Unmarshal(out, &report); err != nil {
			r.t.Fatalf("%v\n%s", err, out)
		}
	}
	if !report.Signed || len(report.Chains) != 1 {
		r.t.Fatalf("%+v", report)
	}
	return report.Findings
}

func (r *record) verifyHere() *audit.Report {
	b, err := os.ReadFile(r.checkpoint)
	if err != nil {
		r.t.Fatal(err)
	}
	cp, err := audit.ParseCheckpoint(b)
	if err != nil {
		r.t.Fatal(err)
	}
	v := audit.NewVerifier(audit.VerifyConfig{Checkpoint: cp})
	for _, path := range r.files {
		f, err := os.Open(path)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := v.Read(path, f); err != nil {
			r.t.Fatal(err)
		}
		_ = f.Close()
	}
	return v.Report()
}

// tamper does what a host can do to a file in the middle of the log, and to the last
// one, and puts all back each time.
func (r *record) tamper() {
	middle, last := r.files[len(r.files)/2-1], r.files[len(r.files)-1]
	for _, c := range []struct {
		fault  audit.Fault
		file   string
		change func(lines [][]byte, at int) [][]byte
		shift  int // where it shows, from the line that was touched
	}{
		{audit.Removed, middle, func(l [][]byte, at int) [][]byte { return append(l[:at:at], l[at+1:]...) }, 0},
		{audit.Altered, middle, func(l [][]byte, at int) [][]byte {
			l[at] = bytes.Replace(l[at], []byte(`"Encrypt"`), []byte(`"Decrypt"`), 1)
			return l
		}, 0},
		{audit.Misplaced, middle, func(l [][]byte, at int) [][]byte { l[at], l[at+1] = l[at+1], l[at]; return l }, 1},
		{audit.Truncated, last, func(l [][]byte, at int) [][]byte { return l[:at] }, -1},
	} {
		whole, err := os.ReadFile(c.file)
		if err != nil {
			r.t.Fatal(err)
		}
		lines := bytes.SplitAfter(whole, []byte("\n"))
		at, seq := place(r.t, lines)
		changed := bytes.Join(c.change(lines, at), nil)
		if err := os.WriteFile(c.file, changed, 0o600); err != nil {
			r.t.Fatal(err)
		}
		r.expect(c.fault, fmt.Sprintf("%s:%d", c.file, at+1+c.shift), seq)
		if err := os.WriteFile(c.file, whole, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

// place is the index of a line in the middle that is an entry, as the next is, and
// the number of the entry.
func place(t *testing.T, lines [][]byte) (at int, seq uint64) {
	for at = len(lines) / 2; at+1 < len(lines); at++ {
		e, err := audit.ParseEntry(bytes.TrimSuffix(lines[at], []byte("\n")))
		if err == nil && e.Operation == "Encrypt" && !audit.IsHead(lines[at-1]) && !audit.IsHead(lines[at+1]) {
			return at, e.Seq
		}
	}
	t.Fatal("no entries")
	return 0, 0
}

// expect demands one finding.
func (r *record) expect(fault audit.Fault, at string, seq uint64) {
	r.t.Helper()
	got := r.verify()
	if len(got) != 1 || got[0].Fault != fault || got[0].From != seq || got[0].Place.String() != at {
		r.t.Errorf("%s entry %d at %s: found %v", fault, seq, at, got)
		return
	}
	r.t.Logf("found in %v: %v", r.took.Round(time.Millisecond), got[0])
}

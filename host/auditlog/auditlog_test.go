package auditlog_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/host/auditlog"
	"github.com/holdfast-kms/holdfast/kms"
)

func open(t *testing.T, path string, size int64) *auditlog.File {
	t.Helper()
	f, err := auditlog.OpenFile(auditlog.FileConfig{Path: path, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func add(t *testing.T, f *auditlog.File, text string) {
	t.Helper()
	if err := f.Append(t.Context(), []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, paths ...string) string {
	t.Helper()
	r, err := auditlog.Open(paths)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestFile: files are full in turn, nothing is lost between them, and a process
// that comes later goes on with them.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	var want strings.Builder
	for run := range 3 {
		f := open(t, path, 30)
		for i := range 7 {
			line := fmt.Sprintf("run %d line %d\n", run, i)
			want.WriteString(line)
			add(t, f, line)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Append(t.Context(), []byte("x\n")); err == nil {
			t.Error("a closed file takes lines")
		}
	}
	all, err := auditlog.Files(path)
	if err != nil || len(all) != 11 || filepath.Base(all[0]) != "audit.000001.log" || all[10] != path {
		t.Fatalf("%v: %v", all, err)
	}
	if got := read(t, all...); got != want.String() {
		t.Errorf("reads %q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestTornLine: what a process left that ended in the middle of a line goes.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for _, c := range []struct{ left, want string }{
		{"", "next\n"}, {"half", "next\n"}, {"one\nhalf", "one\nnext\n"}, {"one\ntwo\n", "one\ntwo\nnext\n"},
		{"one\n" + strings.Repeat("x", 10_000), "one\nnext\n"},
	} {
		if err := os.WriteFile(path, []byte(c.left), 0o600); err != nil {
			t.Fatal(err)
		}
		f := open(t, path, 1<<20)
		add(t, f, "next\n")
		if got := read(t, path); got != c.want {
			t.Errorf("%.20q becomes %q", c.left, got)
		}
		f.Close()
	}
}

// TestInterruptedRotation: a file that was put aside, with nothing in its place
// yet, is no obstacle.
func TestInterruptedRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, 10)
	add(t, f, "12345678\n")
	if err := os.Rename(path, filepath.Join(filepath.Dir(path), "audit.000001.log")); err != nil {
		t.Fatal(err)
	}
	add(t, f, "abcdefgh\n")
	all, _ := auditlog.Files(path)
	if got := read(t, all...); got != "12345678\nabcdefgh\n" {
		t.Errorf("reads %q", got)
	}
}

// TestSince: what a node is shown begins no later than it asks for.
func TestSince(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, 1500)
	node := kms.NodeID{1}
	for seq := range uint64(30) {
		e := audit.Entry{Seq: seq + 1, Node: node, Time: time.Unix(1, 0), Operation: "Encrypt", Outcome: audit.OK}
		add(t, f, string(e.Append(nil))+"\n")
	}
	for seq := range uint64(31) {
		r, err := f.Since(t.Context(), node, seq)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		first, err := audit.ParseEntry(bytes.SplitN(b, []byte("\n"), 2)[0])
		if err != nil || first.Seq > seq+1 || !bytes.HasSuffix(b, []byte("\n")) {
			t.Errorf("since %d it begins with %d: %v", seq, first.Seq, err)
		}
	}
}

// TestWebhook posts lines, and takes nothing but success for success.
func TestWebhook(t *testing.T) {
	t.Setenv("HOLDFAST_AUDIT_TOKEN", "token")
	status, got := http.StatusNoContent, ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.Header.Get("Content-Type") + " " + r.Header.Get("Authorization") + " " + string(b)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	defer srv.Close()
	_, sink, err := auditlog.New("web="+srv.URL+"/in", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Append(t.Context(), []byte("a\nb\n")); err != nil || got != "POST application/x-ndjson Bearer token a\nb\n" {
		t.Errorf("%q, %v", got, err)
	}
	for _, status = range []int{301, 307, 400, 401, 500, 503} {
		if sink.Append(t.Context(), []byte("a\n")) == nil {
			t.Errorf("status %d is taken for success", status)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if sink.Append(ended, []byte("a\n")) == nil {
		t.Error("an ended context is taken for success")
	}
}

// TestNew reads settings.
func TestNew(t *testing.T) {
	var out bytes.Buffer
	name, sink, err := auditlog.New("std=stdout", &out)
	if err != nil || name != "std" || sink.Append(t.Context(), []byte("x\n")) != nil || out.String() != "x\n" {
		t.Errorf("%q %v %q", name, err, out.String())
	}
	for _, bad := range []string{"", "x", "=stdout", "x=", "x=file:", "x=file:/nowhere/at/all", "x=ftp://h/", "x=http://example.com/", "x=https://u:p@example.com/", "x=https:///p"} {
		if _, _, err := auditlog.New(bad, nil); err == nil {
			t.Errorf("taken: %q", bad)
		}
	}
}

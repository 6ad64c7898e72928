package perf_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestFigures measures domains of three nodes, each a process of its own, for
// docs/performance.md. It takes the machine for itself for some ten minutes:
//
//	HOLDFAST_FIGURES=1 go test ./test/perf -run Figures -v -timeout 30m
//
// Each part stands alone: -run Figures/Encrypt, Create, FailOver, Join. It
// prints rows of tables, and judges nothing: what else the machine does moves
// all of it.
func TestFigures(t *testing.T) {
	if os.Getenv("HOLDFAST_FIGURES") == "" {
		t.Skip("SKIPPED: it measures, and takes the machine for ten minutes; HOLDFAST_FIGURES=1 runs it")
	}
	if runtime.GOOS != "linux" {
		t.Skip("NOT MEASURED: processor time and memory of other processes are read as Linux shows them")
	}
	f := &figures{dir: t.TempDir()}
	f.program = f.build(t, "build", "../../cmd/holdfast")
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{{"Encrypt", f.encrypt}, {"Create", f.create}, {"FailOver", f.failOver}, {"Join", f.join}} {
		t.Run(part.name, func(t *testing.T) {
			start, before := time.Now(), loadAverage()
			part.run(t)
			fmt.Printf("(%s: %v, load average %s at its begin and %s at its end, with its own)\n\n",
				part.name, time.Since(start).Round(time.Second), before, loadAverage())
		})
	}
}

// figures is a run of all parts.
type figures struct {
	dir     string
	program string // cmd/holdfast
}

// build builds a command, or with "test -c" the tests of a package.
func (f *figures) build(t *testing.T, how, what string) string {
	t.Helper()
	out := filepath.Join(f.dir, filepath.Base(what))
	args := append(strings.Fields(how), "-o", out, what)
	if said, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, said)
	}
	return out
}

func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

// row prints a row of a table, as docs/performance.md has them.
func row(cells ...any) {
	var b strings.Builder
	for _, c := range cells {
		fmt.Fprintf(&b, "| %v ", c)
	}
	fmt.Println(b.String() + "|")
}

// heading prints the first rows of a table.
func heading(cells ...any) {
	fmt.Println()
	row(cells...)
	fmt.Println(strings.Repeat("|---", len(cells)) + "|")
}

func micros(d time.Duration) string {
	us := float64(d) / 1e3
	if us < 100 {
		return fmt.Sprintf("%.1f µs", us)
	}
	return fmt.Sprintf("%.0f µs", us)
}

// millis is empty where nothing was measured.
func millis(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f ms", float64(d)/1e6)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

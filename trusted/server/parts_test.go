package server_test

import (
	"encoding/gob"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Parts of a test run in processes of their own. Raft and the log run on
// goroutines of theirs, so a panic there ends the process: here it is one
// part's failure, the case is known by its last line, and the others go on.
const (
	envPart  = "HOLDFAST_TEST_PART"
	envStuff = "HOLDFAST_TEST_STUFF"

	// partsAtOnce is more than there are processors: most of the time a
	// starting node waits for its own election.
	partsAtOnce = 12

	// patience is how long one case may take before it counts as hanging. It
	// is far more than a start takes, and far less than its own time limit.
	patience = 15 * time.Second
)

// inParts runs the named parts of a test. make prepares what all of them need,
// once, in a folder that they share; it goes through a file, so only exported
// fields arrive.
func inParts[S any](t *testing.T, prepare func(dir string) (S, []string), run func(t *testing.T, stuff S, part string)) {
	if part := os.Getenv(envPart); part != "" {
		run(t, load[S](t, os.Getenv(envStuff)), part)
		return
	}
	dir := t.TempDir()
	stuff, parts := prepare(dir)
	file := filepath.Join(dir, "stuff")
	store(t, file, stuff)
	outputs := make([]string, len(parts))
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	slots := make(chan struct{}, partsAtOnce)
	for i, part := range parts {
		wg.Go(func() {
			slots <- struct{}{}
			outputs[i], errs[i] = runPart(t, file, part)
			<-slots
		})
	}
	wg.Wait()
	for i, part := range parts {
		t.Run(part, func(t *testing.T) {
			if errs[i] != nil {
				t.Fatalf("%v\n%s", errs[i], failureOf(outputs[i]))
			}
			for line := range strings.Lines(outputs[i]) {
				if note, ok := strings.CutPrefix(line, noteMark); ok {
					t.Log(strings.TrimSpace(note))
				}
			}
		})
	}
}

// failureOf is what matters of a part's output: the cases before the failure
// and what came with it.
func failureOf(output string) string {
	if before, after, ok := strings.Cut(output, "\npanic: "); ok {
		return tail(before, 5) + "\npanic: " + after[:min(len(after), 20_000)]
	}
	return tail(output, 12)
}

func runPart(t *testing.T, stuff, part string) (string, error) {
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", fmt.Sprintf("-test.short=%t", testing.Short()))
	cmd.Env = append(os.Environ(), envPart+"="+part, envStuff+"="+stuff, "GOTRACEBACK=all")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// noteMark begins a line of a part that its test logs.
const noteMark = "note: "

// caseStarts says which case comes, and limits its time. The caller calls what
// it returns when the case is over.
func caseStarts(name string) (over func()) {
	fmt.Println("case:", name)
	timer := time.AfterFunc(patience, func() { panic("hangs: " + name) })
	return func() { timer.Stop() }
}

func store(t testing.TB, file string, v any) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := gob.NewEncoder(f).Encode(v); err != nil {
		t.Fatal(err)
	}
}

func load[S any](t testing.TB, file string) (v S) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := gob.NewDecoder(f).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

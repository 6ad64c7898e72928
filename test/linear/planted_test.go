//go:build unix

package linear_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// envPlanted has all planted bugs tried.
const envPlanted = "HOLDFAST_LINEAR_PLANTED"

// A bug is planted into a copy of a source file, of which a node is then built.
type bug struct {
	name    string
	file    string // from the root of the module
	was, is string
	faults  []func(*host, *node) // that bring it out when they befall the leader
	cheap   bool                 // always tried
}

var bugs = []bug{
	{name: "reads by VerifyLeader", file: "trusted/internal/replica/read.go",
		was:    "\tvoters, _ := r.Configuration()\n\tif err := r.confirmTerm(ctx, lead.term, voters); err != nil {",
		is:     "\tif err := r.answer(r.raft.VerifyLeader()); err != nil {",
		faults: []func(*host, *node){(*host).slowReplies}},
	{name: "a vote lost under the live process", file: "trusted/internal/replica/storage/anchor.go",
		was:    "\treturn bytes.Clone(a.meta.stable[string(key)]), nil",
		is:     "\tif string(key) == \"LastVoteTerm\" {\n\t\treturn nil, nil\n\t}\n\treturn bytes.Clone(a.meta.stable[string(key)]), nil",
		faults: []func(*host, *node){(*host).rivals}},
	{name: "a retry that is not deduplicated", file: "trusted/internal/state/machine.go",
		was:    "\tif r, again := m.done.get(id); again {",
		is:     "\tif r, again := m.done.get(id); again && false {",
		faults: []func(*host, *node){(*host).holdReplies}},
}

// build builds a node with the bug in it.
func (b *bug) build(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, file := t.TempDir(), filepath.Join(root, b.file)
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), b.was); n != 1 {
		t.Fatalf("the place for the bug is there %d times in %s: see how that reads now", n, b.file)
	}
	mutant, overlay, program := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "node.test")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {file: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{mutant: strings.Replace(string(source), b.was, b.is, 1), overlay: string(text)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building with the bug: %v\n%s", err, out)
	}
	return program
}

// plantedLimit is how long a bug may go without being seen.
const plantedLimit = 4 * time.Minute

// TestPlanted: this test sees the bugs that it is there for.
func TestPlanted(t *testing.T) {
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			if os.Getenv(envPlanted) == "" && (testing.Short() || !b.cheap) {
				t.Skipf("set %s=1 to see that it is caught", envPlanted)
			}
			b.catch(t)
		})
	}
}

func (b *bug) catch(t *testing.T) {
	seed := newSeed(t)
	d := newDomain(t, b.build(t))
	d.planted = true
	w, h := newCrew(t, d), newHost(t, d, seed)
	w.begin(seed)
	defer w.end()
	began := time.Now()
	for n := 1; time.Since(began) < plantedLimit; n++ {
		for _, f := range b.faults {
			h.befall(fault{b.name, func(h *host, n *node) { f(h, d.nodes[max(d.leads(), 0)]) }})
		}
		if bad := w.history.violations(t); len(bad) > 0 {
			t.Logf("caught after %d faults, %v: %d of %d calls were about %s %s, which were not linearizable", n, time.Since(began).Round(time.Second),
				len(w.history.ops[bad[0]]), w.history.total(), bad[0].kind, bad[0].name)
			return
		}
	}
	t.Errorf("not caught; seed %d, %d calls, %d changes of leader, %s%s\n%q", seed, w.history.total(), d.changes, h.summary(), w.history.summary(), d.faults)
}

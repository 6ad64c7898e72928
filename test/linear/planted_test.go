//go:build unix

package linear_test

import (
	"encoding/json"
	"fmt"
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
		faults: []func(*host, *node){(*host).stopTime}},
	{name: "a vote lost under the live process", file: "trusted/internal/replica/storage/anchor.go",
		was:    "\treturn bytes.Clone(a.meta.stable[string(key)]), nil",
		is:     "\tif string(key) == \"LastVoteTerm\" {\n\t\treturn nil, nil\n\t}\n\treturn bytes.Clone(a.meta.stable[string(key)]), nil",
		faults: []func(*host, *node){(*host).rivals}},
	{name: "a retry that is not deduplicated", file: "trusted/internal/state/machine.go",
		was:    "\tif r, again := m.done.get(id); again {",
		is:     "\tif r, again := m.done.get(id); again && false {",
		faults: []func(*host, *node){(*host).holdReplies}},
}

// build builds a node with the bug in it, whose host has all clocks in its hand.
func (b *bug) build(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	o := newOverlay(t)
	o.edit(filepath.Join(root, b.file), b.was, b.is)
	o.hostTime()
	return o.build()
}

// An overlay is files that are other ones for one build.
type overlay struct {
	t       *testing.T `json:"-"`
	dir     string
	Replace map[string]string
}

func newOverlay(t *testing.T) *overlay {
	return &overlay{t: t, dir: t.TempDir(), Replace: make(map[string]string)}
}

// edit replaces text in a file, where it is there once.
func (o *overlay) edit(file string, pairs ...string) {
	o.t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		o.t.Fatal(err)
	}
	text := string(source)
	for i := 0; i < len(pairs); i += 2 {
		if n := strings.Count(text, pairs[i]); n != 1 {
			o.t.Fatalf("the place to change is there %d times in %s: see how that reads now", n, file)
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	o.put(file, text)
}

func (o *overlay) put(file, text string) {
	o.t.Helper()
	other := filepath.Join(o.dir, fmt.Sprintf("%d.go", len(o.Replace)))
	if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	o.Replace[file] = other
}

// hostTime gives the host the clock by which raft tells whether others have been
// silent for too long.
func (o *overlay) hostTime() {
	o.t.Helper()
	text, err := os.ReadFile("testdata/hosttime.go.txt")
	if err != nil {
		o.t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/hashicorp/raft").Output()
	if err != nil {
		o.t.Fatal(err)
	}
	dir := strings.TrimSpace(string(out))
	o.put(filepath.Join(dir, "hosttime.go"), string(text))
	for _, name := range []string{"raft.go", "replication.go"} {
		source, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			o.t.Fatal(err)
		}
		if !strings.Contains(string(source), "lastContact") {
			o.t.Fatalf("raft looks at the time elsewhere than in %s by now", name)
		}
		o.put(filepath.Join(dir, name), strings.NewReplacer("time.Now()", "hostNow()", "time.Since(", "hostSince(").Replace(string(source)))
	}
}

// build builds this program so.
func (o *overlay) build() string {
	o.t.Helper()
	file, program := filepath.Join(o.dir, "overlay.json"), filepath.Join(o.dir, "node.test")
	text, err := json.Marshal(o)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	if out, err := exec.Command("go", "test", "-c", "-tags", "hosttime", "-overlay", file, "-o", program, ".").CombinedOutput(); err != nil {
		o.t.Fatalf("building: %v\n%s", err, out)
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

//go:build unix

package linear_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	clock   bool                 // the host has to have raft's clock in its hand for that
}

var bugs = []bug{
	{name: "reads by VerifyLeader", file: "trusted/internal/replica/read.go",
		was:    "\tvoters, _ := r.Configuration()\n\tif err := r.confirmTerm(ctx, lead.term, voters); err != nil {",
		is:     "\tif err := r.answer(r.raft.VerifyLeader()); err != nil {",
		faults: []func(*host, *node){(*host).stopTime}, clock: true},
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
	v := newVariant(t)
	v.edit(b.file, b.was, b.is)
	if b.clock {
		v.hostTime()
	}
	return v.build()
}

// A variant is this program with some files that are other ones.
type variant struct {
	t       *testing.T
	root    string // of the module
	dir     string
	changed map[string]string // files of the module, or new ones, and where they are
	flags   []string
}

func newVariant(t *testing.T) *variant {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return &variant{t: t, root: root, dir: t.TempDir(), changed: make(map[string]string)}
}

func (v *variant) read(file string) string {
	v.t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		v.t.Fatal(err)
	}
	return string(b)
}

func (v *variant) write(file, text string) string {
	v.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		v.t.Fatal(err)
	}
	return file
}

func (v *variant) run(args ...string) string {
	v.t.Helper()
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		v.t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// edit replaces text in a file of the module, where it is there once.
func (v *variant) edit(file, was, is string) {
	v.t.Helper()
	text := v.read(filepath.Join(v.root, file))
	if n := strings.Count(text, was); n != 1 {
		v.t.Fatalf("the place to change is there %d times in %s: see how that reads now", n, file)
	}
	name := fmt.Sprintf("%d.go", len(v.changed))
	v.changed[filepath.Join(v.root, file)] = v.write(filepath.Join(v.dir, name), strings.Replace(text, was, is, 1))
}

// hostTime gives the host the clock by which raft tells whether others have been
// silent for too long: raft is a copy with another one.
func (v *variant) hostTime() {
	v.t.Helper()
	from, to := v.run("list", "-m", "-f", "{{.Dir}}", "github.com/hashicorp/raft"), filepath.Join(v.dir, "raft")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		v.t.Fatal(err)
	}
	v.write(filepath.Join(to, "hosttime.go"), v.read("testdata/hosttime.go.txt"))
	for _, name := range []string{"raft.go", "replication.go"} {
		file := filepath.Join(to, name)
		text := v.read(file)
		if !strings.Contains(text, "lastContact") || os.Remove(file) != nil { // it cannot be written to
			v.t.Fatalf("raft looks at the time elsewhere than in %s by now", name)
		}
		v.write(file, strings.NewReplacer("time.Now()", "hostNow()", "time.Since(", "hostSince(").Replace(text))
	}
	mod := v.write(filepath.Join(v.dir, "linear.mod"), v.read(filepath.Join(v.root, "go.mod"))+"\nreplace github.com/hashicorp/raft => "+to+"\n")
	v.write(filepath.Join(v.dir, "linear.sum"), v.read(filepath.Join(v.root, "go.sum")))
	v.flags = append(v.flags, "-modfile", mod)
	v.changed[filepath.Join(v.root, "test/linear/steady_test.go")] = v.write(filepath.Join(v.dir, "steady.go"), v.read("testdata/steady.go.txt"))
}

// build builds it.
func (v *variant) build() string {
	v.t.Helper()
	program := filepath.Join(v.dir, "node.test")
	text, err := json.Marshal(map[string]any{"Replace": v.changed})
	if err != nil {
		v.t.Fatal(err)
	}
	overlay := v.write(filepath.Join(v.dir, "overlay.json"), string(text))
	v.run(slices.Concat([]string{"test", "-c", "-overlay", overlay, "-o", program}, v.flags, []string{"."})...)
	return program
}

// plantedLimit is how long a bug may go without being seen.
const plantedLimit = 4 * time.Minute

// TestPlanted: this test sees the bugs that it is there for. It takes minutes: a node
// is built for each.
func TestPlanted(t *testing.T) {
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			if os.Getenv(envPlanted) == "" {
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

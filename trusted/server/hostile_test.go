package server_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A hostile runs tampered folders on the victim's machine.
type hostile struct {
	v    *victim
	node *trustedtest.Node

	intact int // cases so far
}

func newHostile(t *testing.T, v *victim) *hostile {
	n := trustedtest.On(t, v.Machine, filepath.Join(t.TempDir(), "node"))
	n.Edit = smallFiles
	return &hostile{v: v, node: n}
}

// start starts the node on a folder. It returns the error that it ended in,
// once that is what it should be.
func (h *hostile) start(t *testing.T, c tampering) error {
	t.Helper()
	c.files.write(t, h.node.Dir)
	err := h.node.Start()
	if err == nil {
		return nil
	}
	named := func(file string) bool { return strings.Contains(err.Error(), file) }
	switch {
	case kms.KindOf(err) != kms.Damaged:
		t.Fatalf("%s: not typed as damage: %v", c.name, err)
	case fileOf(err) == "" || !slices.ContainsFunc(c.names, named):
		t.Fatalf("%s: the error names %q, and none of %q: %v", c.name, fileOf(err), c.names, err)
	case kms.HintOf(err) == "":
		t.Fatalf("%s: no hint: %v", c.name, err)
	}
	after := readFolder(t, h.node.Dir).with("lock", nil)
	if before := c.files.with("lock", nil); !maps.EqualFunc(before, after, bytes.Equal) {
		t.Fatalf("%s: a refused start changed the folder: %q became %q", c.name, before.names(), after.names())
	}
	return err
}

// judge makes sure that a tampering ends in damage or in exactly the
// acknowledged state, from which the node goes on.
func (h *hostile) judge(t *testing.T, c tampering) (damaged bool) {
	t.Helper()
	defer caseStarts(c.name)()
	if h.start(t, c) != nil {
		return true
	}
	defer h.node.Stop()
	w := h.v.World.clone()
	w.on(h.node)
	if err := w.exactly(h.v.Lists); err != nil {
		t.Fatalf("%s: started, and %v", c.name, err)
	}
	if !bytes.Equal(h.node.Server().CA(), h.v.CA) {
		t.Fatalf("%s: started with another authority", c.name)
	}
	if h.intact++; strings.HasPrefix(c.name, "bit flip") && h.intact%8 != 0 {
		return false
	}
	w.must(t, createDeed(0, kms.AES256GCM), stateDeed(1, -1, kms.KeyDisabled))
	h.node.Restart()
	if err := w.settle(); err != nil {
		t.Fatalf("%s: went on, was started again, and %v", c.name, err)
	}
	return false
}

// The parts that are about more than one file.
const (
	partLeftovers = "leftovers"
	partSome      = "some files restored"
	partAll       = "all files restored"
	partShapes    = "no plain file"
)

// Those about one file, in two halves, since starting a node takes its time.
const (
	partEven = ", even cases"
	partOdd  = ", odd cases"
)

// A stopped node's folder is the host's to alter. Whatever is done to one file,
// the node ends in an error that names it, or in exactly the acknowledged state.
func TestHostileDisk(t *testing.T) {
	inParts(t, func(string) (victim, []string) {
		v := newVictim(t)
		parts := []string{partLeftovers, partSome, partAll, partShapes}
		counts := make(map[string]int)
		for _, name := range v.Files.names() {
			parts = append(parts, name+partEven, name+partOdd)
			counts[kindOf(name)]++
		}
		if counts["segment"] < 4 || counts["snapshot"] < 1 || len(v.Past) < 30 {
			t.Fatalf("only %v and %d older folders: too little to be a test", counts, len(v.Past))
		}
		return v, parts
	}, hostilePart)
}

func hostilePart(t *testing.T, v victim, part string) {
	h := newHostile(t, &v)
	sum := fnv.New64()
	sum.Write([]byte(part))
	rng := rand.New(rand.NewPCG(1, sum.Sum64()))
	switch part {
	case partLeftovers:
		h.leftovers(t)
	case partSome:
		h.some(t, rng)
	case partAll:
		h.all(t)
	case partShapes:
		h.shapes(t)
	default:
		file, half, _ := strings.Cut(part, ",")
		h.oneFile(t, file, ","+half == partOdd, rng)
	}
}

func (h *hostile) oneFile(t *testing.T, file string, odd bool, rng *rand.Rand) {
	outcome := make(map[bool]int)
	for i, c := range h.v.tamperings(file, rng) {
		if odd != (i%2 == 1) {
			continue
		}
		damaged := h.judge(t, c)
		outcome[damaged]++
		if meaningless := file == "lock" || strings.HasPrefix(file, "aside/"); damaged && meaningless && len(c.names) == 1 {
			t.Errorf("%s: damage in a file that means nothing", c.name)
		} else if !damaged && !meaningless && c.name == "deletion" {
			t.Errorf("the file is missing and nobody noticed")
		}
	}
	fmt.Printf("%s%d damaged, %d intact\n", noteMark, outcome[true], outcome[false])
}

// leftovers puts files into the folder that were there once, that another node
// has, or that look as if. They mean nothing.
func (h *hostile) leftovers(t *testing.T) {
	strangers := make(files)
	add := func(from files) {
		for name, data := range from {
			if _, there := h.v.Files[name]; !there && !strings.HasPrefix(name, "aside/") {
				strangers[name] = data
			}
		}
	}
	for _, other := range h.v.Others {
		add(other)
	}
	for _, past := range h.v.Past {
		add(past)
	}
	for _, name := range []string{"meta.new", "root.new", "identity.new", "snapshot-9-9000-0123456789abcdef.hfs", "snapshot-.hfs",
		"00000000000000009000-00000000000000ff.wal", "x.wal", "meta ", "HEAD", "charter.json"} {
		strangers[name] = h.v.Files["meta"]
	}
	all := maps.Clone(h.v.Files)
	for _, name := range strangers.names() {
		all[name] = strangers[name]
		if h.judge(t, tampering{"left over: " + name, nil, h.v.Files.with(name, strangers[name])}) {
			t.Errorf("%s: not ignored", name)
		}
	}
	if h.judge(t, tampering{"all of that", nil, all}) {
		t.Error("all of that: not ignored")
	}
	fmt.Printf("%s%d files that mean nothing\n", noteMark, len(strangers))
}

// some restores several older files together. That may be an earlier moment of
// the node, which it cannot tell from now; it must not be anything else.
func (h *hostile) some(t *testing.T, rng *rand.Rand) {
	outcome := make(map[string]int)
	for i := range share(restorings) {
		past := rng.IntN(len(h.v.Past))
		c := tampering{name: fmt.Sprintf("%d: of moment %d,", i, past), files: maps.Clone(h.v.Files), names: h.v.Files.names()}
		every := 2 + rng.IntN(3)
		for _, name := range h.v.Past[past].names() {
			c.names = append(c.names, name) // also where it is not restored, and restored files need it
			if rng.IntN(every) > 0 {
				c.name += " " + name
				c.files[name] = h.v.Past[past][name]
			}
		}
		became := h.moment(t, c)
		if became == earlier {
			h.wholly(t, c, h.v.Past[past])
		}
		outcome[became]++
	}
	fmt.Printf("%s%v\n", noteMark, outcome)
}

// wholly makes sure that a node that went back to a moment unnoticed was given
// all of its files of that moment: fewer are to be noticed. A snapshot, or a
// file's successor, may have been in the making then.
func (h *hostile) wholly(t *testing.T, c tampering, past files) {
	t.Helper()
	for name, data := range past {
		if kindOf(name) != "snapshot" && !strings.HasSuffix(name, ".new") && !bytes.Equal(c.files[name], data) {
			t.Errorf("%s: went back unnoticed, though %s is not of that moment", c.name, name)
		}
	}
}

// What became of a folder that mixes moments.
const (
	now     = "now"
	earlier = "an earlier moment"
	refused = "damaged"
)

// moment says what became of a folder that mixes moments of the node.
func (h *hostile) moment(t *testing.T, c tampering) string {
	t.Helper()
	defer caseStarts(c.name)()
	if h.start(t, c) != nil {
		return refused
	}
	defer h.node.Stop()
	got := h.lists(t)
	for i, lists := range slices.Backward(h.v.History) {
		if gocmp.Equal(lists, got) {
			if i == len(h.v.History)-1 {
				return now
			}
			return earlier
		}
	}
	t.Fatalf("%s: a state that never was (-newest +got):\n%.2000s", c.name, gocmp.Diff(h.v.Lists, got))
	return ""
}

// lists lists the keys of those tenants that the node knows.
func (h *hostile) lists(t *testing.T) (all [][]kms.Key) {
	t.Helper()
	w := h.v.World.clone()
	w.on(h.node)
	for _, x := range w.Tenants {
		l, err := x.list()
		if errors.Is(err, kms.Unauthenticated) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// all restores all files of a moment. One node alone cannot notice: it goes on
// from there, and says in its status that it cannot.
func (h *hostile) all(t *testing.T) {
	middle := len(h.v.History) / 2
	f := h.v.Past[middle]
	if became := h.moment(t, tampering{"all files", f.names(), f}); became != earlier {
		t.Fatalf("all files of an earlier moment: %s", became)
	}
	if err := h.node.Start(); err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(h.v.History[middle], h.lists(t)); d != "" {
		t.Errorf("not that moment (-want +got):\n%.1000s", d)
	}
	st := h.node.Server().Status()
	warned := slices.ContainsFunc(st.Warnings, func(s string) bool { return strings.Contains(s, "restoring all files of an older state") })
	if !st.Ready || st.RestartMode != "sealed" || st.Protected || !warned {
		t.Errorf("status does not say so: %+v", st)
	}
}

// shapes puts what is no plain file in the place of each file.
func (h *hostile) shapes(t *testing.T) {
	for _, file := range h.v.Files.names() {
		if strings.HasPrefix(file, "aside/") || file == "lock" {
			continue
		}
		for name, put := range map[string]func(path string) error{
			"folder":                 func(path string) error { return os.Mkdir(path, 0o700) },
			"link out of the folder": func(path string) error { return os.Symlink("../"+file, path) },
			"link to itself":         func(path string) error { return os.Symlink(file, path) },
			"link to nothing":        func(path string) error { return os.Symlink("nothing", path) },
			"link to another file": func(path string) error {
				return os.Symlink(cmp.Or(map[string]string{"head": "meta"}[file], "head"), path)
			},
		} {
			h.shape(t, file, name, put)
		}
	}
}

func (h *hostile) shape(t *testing.T, file, name string, put func(path string) error) {
	t.Helper()
	defer caseStarts(file + " is a " + name)()
	h.v.Files.with(file, nil).write(t, h.node.Dir)
	write(t, filepath.Join(filepath.Dir(h.node.Dir), file), h.v.Files[file]) // what the link out of it means
	if err := put(filepath.Join(h.node.Dir, file)); err != nil {
		t.Skip(err)
	}
	err := h.node.Start()
	if err == nil {
		h.node.Stop()
	}
	if !errors.Is(err, kms.Damaged) && !errors.Is(err, kms.Unavailable) || fileOf(err) != file || kms.HintOf(err) == "" {
		t.Errorf("%s is a %s: %q names %q, hint %q", file, name, err, fileOf(err), kms.HintOf(err))
	}
}

package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// What is done to each file of a stopped node.
const (
	bitFlips    = 150
	usedFlips   = 50
	truncations = 30
	zeroedTails = 20
	olderCopies = 20  // at most
	restorings  = 120 // of some files together
)

// files is a folder: contents by path.
type files map[string][]byte

func readFolder(t testing.TB, dir string) files {
	t.Helper()
	all := make(files)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(name)], err = os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // the node is running
			delete(all, filepath.ToSlash(name))
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// write makes dir hold these files and nothing else.
func (f files) write(t testing.TB, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "aside"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range f {
		write(t, filepath.Join(dir, filepath.FromSlash(name)), data)
	}
}

// with returns the files with one of them replaced; nil removes it.
func (f files) with(name string, data []byte) files {
	c := maps.Clone(f)
	if c[name] = data; data == nil {
		delete(c, name)
	}
	return c
}

func (f files) names() []string { return slices.Sorted(maps.Keys(f)) }

// A victim is a stopped node and everything that an attacker has who copied
// its folder all the time, and who has other nodes too.
type victim struct {
	Machine trustedtest.Machine
	Files   files
	World   *world
	Lists   [][]kms.Key // that are the acknowledged state
	CA      []byte
	Past    []files          // older copies of the folder
	History [][][]kms.Key    // Lists after every deed, oldest first
	Others  map[string]files // folders of other nodes
}

// smallFiles make a short life fill several segments and take snapshots.
func smallFiles(c *server.Config) { c.SegmentSize, c.SnapshotEvery = 8<<10, 40 }

// life is what the victim's clients do, with restarts between the chapters.
func life() [][]deed {
	chapters := [][]deed{{enrolDeed(), enrolDeed()}}
	for c := range 4 {
		var deeds []deed
		for i := range 8 {
			deeds = append(deeds, createDeed(i%2, []kms.Spec{kms.AES256GCM, kms.ECP256}[i/2%2]), stateDeed(i%2, -1, kms.KeyDisabled))
			if i%3 == 0 {
				deeds = append(deeds, stateDeed(i%2, -1, kms.Enabled))
			}
			if i%4 == 3 {
				deeds = append(deeds, stateDeed(i%2, c, kms.Destroyed), stateDeed(1-i%2, -1, kms.Enabled))
			}
		}
		chapters = append(chapters, deeds)
	}
	return append(chapters, []deed{enrolDeed(), createDeed(2, kms.AES256GCM), createDeed(2, kms.ECP256), stateDeed(2, 0, kms.KeyDisabled)})
}

// live founds a node in a new folder, leads a life on it, and returns its
// clients. It calls see after each deed, and leaves the node stopped.
func live(t testing.TB, n *trustedtest.Node, see func(*world)) *world {
	t.Helper()
	_ = n.Stop()
	n.Dir, n.Edit = filepath.Join(t.TempDir(), "node"), smallFiles
	n.Found()
	n.MustStart()
	w := &world{}
	w.on(n)
	for _, chapter := range life() {
		for _, d := range chapter {
			w.must(t, d)
			see(w)
		}
		n.Restart()
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	_ = n.Stop()
	return w
}

func newVictim(t *testing.T) victim {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	v := victim{Machine: n.Machine(), Others: make(map[string]files)}
	v.World = live(t, n, func(w *world) {
		lists, err := w.lists()
		if err != nil {
			t.Fatal(err)
		}
		v.History = append(v.History, lists)
		v.CA = n.Server().CA()
		v.Past = append(v.Past, readFolder(t, n.Dir))
	})
	v.Lists = v.History[len(v.History)-1]
	v.Files = readFolder(t, n.Dir)

	elsewhere := d.NewNode()
	live(t, elsewhere, func(*world) {})
	v.Others["another machine's"] = readFolder(t, elsewhere.Dir)

	// The same machine opens what it sealed for another node of the same charter.
	live(t, n, func(*world) {})
	v.Others["another node's of this machine"] = readFolder(t, n.Dir)
	return v
}

// A tampering is what the host did to the folder while the node was stopped.
type tampering struct {
	name  string
	names []string // files that an error may name
	files files
}

// tamperings are those of one file.
func (v *victim) tamperings(file string, rng *rand.Rand) []tampering {
	content := v.Files[file]
	used := max(1, len(bytes.TrimRight(content, "\x00")))
	var all []tampering
	put := func(name string, data []byte, also ...string) {
		all = append(all, tampering{name, append(also, file), v.Files.with(file, data)})
	}
	for range share(bitFlips) {
		put("bit flip", flipIn(content, len(content), rng))
	}
	for range share(usedFlips) { // much of a file may be unused
		put("bit flip where it is used", flipIn(content, min(used+16, len(content)), rng))
	}
	for range share(truncations) {
		put("truncation", content[:rng.IntN(used)])
	}
	for range share(zeroedTails) {
		zeroed := append(bytes.Clone(content), 0)
		clear(zeroed[rng.IntN(used):])
		put("zeroed tail", zeroed[:len(content)])
	}
	put("emptied", []byte{})
	put("deletion", nil)
	put("appended to itself", append(bytes.Clone(content), content...))
	return append(all, v.swaps(file)...)
}

// share is how many of n cases are run.
func share(n int) int {
	if testing.Short() {
		return max(1, n/10)
	}
	return n
}

func flipIn(content []byte, size int, rng *rand.Rand) []byte {
	if size == 0 {
		return []byte{1}
	}
	c := bytes.Clone(content)
	c[rng.IntN(size)] ^= 1 << rng.IntN(8)
	return c
}

// swaps put other files in a file's place.
func (v *victim) swaps(file string) (all []tampering) {
	put := func(name, from string, f files) { all = append(all, tampering{name, []string{file, from}, f}) }
	for _, with := range v.Files.names() {
		if with != file {
			put("a copy of "+with, with, v.Files.with(file, v.Files[with]))
			put("swapped with "+with, with, v.Files.with(file, v.Files[with]).with(with, v.Files[file]))
		}
	}
	for _, whose := range slices.Sorted(maps.Keys(v.Others)) {
		for _, theirs := range v.Others[whose].names() {
			if kindOf(theirs) == kindOf(file) {
				put(whose+" "+theirs, file, v.Files.with(file, v.Others[whose][theirs]))
			}
		}
	}
	var older [][]byte
	for _, past := range v.Past {
		if data, there := past[file]; there && !bytes.Equal(data, v.Files[file]) &&
			!slices.ContainsFunc(older, func(o []byte) bool { return bytes.Equal(o, data) }) {
			older = append(older, data)
		}
	}
	keep := share(olderCopies)
	for i := range min(keep, len(older)) {
		n := len(older) - 1 - i*len(older)/keep // the newest one always, the others evenly
		put(fmt.Sprintf("older copy %d of %d", n, len(older)), file, v.Files.with(file, older[max(n, 0)]))
	}
	return all
}

// kindOf is the same for files that are of one sort.
func kindOf(name string) string {
	switch base := filepath.Base(name); {
	case strings.HasSuffix(base, ".wal"):
		return "segment"
	case strings.HasPrefix(base, "snapshot-"):
		return "snapshot"
	default:
		return base
	}
}

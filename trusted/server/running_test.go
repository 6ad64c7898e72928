package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// noticedWithin is the interval at which a node looks at its disk, with slack
// for a slow machine.
const noticedWithin = 1*time.Second + 2*time.Second

// A meddling is what the host does to a file under the live process. old is
// the file as it was before.
type meddling struct {
	name string
	do   func(path string, old []byte) error
}

func meddlings() []meddling {
	return []meddling{
		{"written over", func(path string, old []byte) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(old, 0)
			return errors.Join(err, f.Close())
		}},
		{"put in its place", func(path string, old []byte) error {
			if err := os.WriteFile(path+".older", old, 0o600); err != nil {
				return err
			}
			return os.Rename(path+".older", path)
		}},
		{"removed", func(path string, _ []byte) error { return os.Remove(path) }},
		{"emptied", func(path string, _ []byte) error { return os.Truncate(path, 0) }},
		{"altered in one bit", func(path string, _ []byte) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for i := range data { // in whichever slot counts
				if data[i] != 0 {
					data[i] ^= 1
				}
			}
			return os.WriteFile(path, data, 0o600)
		}},
	}
}

// tailSegment stands for the log file that is being written. What becomes of
// that one shows when it is read again: after a restart.
const tailSegment = "the log's last file"

// Term and vote, which are in meta, and head are compared with what was written
// while the node runs: idle within a second, at work also at the next write.
func TestRunningNode(t *testing.T) {
	inParts(t, func(string) (bool, []string) {
		var parts []string
		for _, m := range meddlings() {
			for _, file := range []string{"meta", "head", "meta and head", tailSegment} {
				for _, how := range []string{"idle", "at work"} {
					parts = append(parts, strings.Join([]string{file, m.name, how}, ", "))
				}
			}
		}
		return true, parts
	}, func(t *testing.T, _ bool, part string) {
		x := strings.Split(part, ", ")
		m := slices.IndexFunc(meddlings(), func(m meddling) bool { return m.name == x[1] })
		meddle(t, strings.Split(x[0], " and "), meddlings()[m], x[2] == "at work")
	})
}

func meddle(t *testing.T, names []string, m meddling, atWork bool) {
	defer caseStarts(m.name)()
	n, w, old := middleAged(t)
	if names[0] == tailSegment {
		names = slices.DeleteFunc(old.names(), func(n string) bool { return !strings.HasSuffix(n, ".wal") })
		names = names[len(names)-1:]
	}
	for _, name := range names {
		if err := m.do(filepath.Join(n.Dir, name), old[name]); err != nil {
			t.Fatal(err)
		}
	}
	mustNotice := !strings.HasSuffix(names[0], ".wal")
	for began := time.Now(); n.Server().Status().Ready; {
		switch since := time.Since(began); {
		case mustNotice && since > noticedWithin:
			t.Fatalf("not noticed within %v", noticedWithin)
		case !mustNotice && since > 100*time.Millisecond:
			_ = n.Server().Close()
		case !atWork:
			time.Sleep(time.Millisecond)
		default:
			if err := createDeed(0, kms.AES256GCM).do(w); err != nil && kms.KindOf(err) != kms.Unavailable {
				t.Fatalf("a write: %v", err)
			}
		}
	}
	if mustNotice {
		deadAsADoornail(t, m.name, w)
	}
	_ = n.Stop()
	// Nothing repairs itself: the node says which file is at fault, or holds
	// all that it acknowledged, also after the file was swapped under it.
	if err := n.Start(); err != nil {
		// Where head and the file contradict each other the error names both.
		named := slices.ContainsFunc(names, func(name string) bool { return strings.Contains(err.Error(), name) })
		if kms.KindOf(err) != kms.Damaged || !named || kms.HintOf(err) == "" {
			t.Fatalf("start afterwards: %v names %q, hint %q", err, fileOf(err), kms.HintOf(err))
		}
		fmt.Printf("%srefuses to start\n", noteMark)
		return
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%sstarts with all that was acknowledged\n", noteMark)
}

// middleAged is a running node, its clients, and its files as they were before
// its last start: under another term, and with an older head.
func middleAged(t *testing.T) (*trustedtest.Node, *world, files) {
	t.Helper()
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	w := &world{}
	w.on(n)
	w.must(t, enrolDeed(), createDeed(0, kms.AES256GCM), createDeed(0, kms.AES256GCM))
	old := readFolder(t, n.Dir)
	n.Restart()
	w.must(t, createDeed(0, kms.ECP256), stateDeed(0, 0, kms.KeyDisabled))
	return n, w, old
}

// A second node on a folder that is in use is refused, and the first one goes on.
func TestTwoNodesOnOneFolder(t *testing.T) {
	n, w, _ := middleAged(t)
	second := trustedtest.On(t, n.Machine(), n.Dir)
	if err := second.Start(); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Fatalf("got %v", err)
	}
	w.must(t, createDeed(0, kms.AES256GCM))
	if err := w.settle(); err != nil {
		t.Error(err)
	}
}

// A host that takes the lock away can run two nodes on one folder. The first
// one notices that it is not alone and stops; nothing is lost in silence.
func TestLockTakenAway(t *testing.T) {
	inParts(t, func(string) (bool, []string) { return true, []string{"idle", "at work"} }, func(t *testing.T, _ bool, part string) {
		defer caseStarts(part)()
		n, w, _ := middleAged(t)
		if err := os.Remove(filepath.Join(n.Dir, "lock")); err != nil {
			t.Skip(err) // Windows keeps it
		}
		second := trustedtest.On(t, n.Machine(), n.Dir)
		second.MustStart()
		theirs := w.clone()
		theirs.on(second)
		for began := time.Now(); n.Server().Status().Ready; time.Sleep(time.Millisecond) {
			if time.Since(began) > noticedWithin {
				t.Fatal("the first node did not notice the second one")
			}
			if part == "at work" {
				_ = createDeed(0, kms.AES256GCM).do(w)
				_ = createDeed(0, kms.AES256GCM).do(theirs)
			}
		}
		_, _ = n.Stop(), second.Stop()
		if err := second.Start(); err != nil {
			if kms.KindOf(err) != kms.Damaged || fileOf(err) == "" {
				t.Fatal(err)
			}
			fmt.Printf("%sdamaged afterwards: %v\n", noteMark, err)
			return
		}
		w.on(second)
		for _, x := range []*world{w, theirs} {
			x.Tenants[0].StrayKeys += len(w.Tenants[0].Keys) + len(theirs.Tenants[0].Keys) // the other one's
			if err := x.settle(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The charter lies apart. One that was altered is no charter, or not that of
// the domain.
func TestAlteredCharter(t *testing.T) {
	n, w, _ := middleAged(t)
	_ = n.Stop()
	good := n.Machine().Charter
	for i := 0; i < len(good); i += 2 * stride() {
		for _, bit := range []byte{1, 0x20} {
			bad := bytes.Clone(good)
			bad[i] ^= bit
			n.Edit = func(c *server.Config) { c.Charter = bad }
			err := n.Start()
			if kind := kms.KindOf(err); err == nil || kind != kms.Invalid && kind != kms.Damaged || kms.HintOf(err) == "" {
				t.Fatalf("byte %d: %v, hint %q\n%s", i, err, kms.HintOf(err), bad)
			}
		}
	}
	n.Edit = nil
	n.MustStart()
	if err := w.settle(); err != nil {
		t.Error(err)
	}
}

// What lies beside the state of another node is not founded over.
func TestFoundingBesideLeftovers(t *testing.T) {
	n, w, _ := middleAged(t)
	_ = n.Stop()
	before := readFolder(t, n.Dir)
	for _, name := range before.names() {
		if name == "lock" || strings.HasPrefix(name, "aside/") {
			continue
		}
		files{name: before[name]}.write(t, n.Dir)
		if err := n.TryFound(); !errors.Is(err, kms.Exists) || fileOf(err) != name || kms.HintOf(err) == "" {
			t.Errorf("only %s left: got %v", name, err)
		}
		after := readFolder(t, n.Dir)
		delete(after, "lock")
		if len(after) != 1 || string(after[name]) != string(before[name]) {
			t.Errorf("only %s left: a refused founding left %q", name, after.names())
		}
	}
	before.write(t, n.Dir)
	n.MustStart()
	if err := w.settle(); err != nil {
		t.Error(err)
	}
}

// A request that a killed node may or may not have done is not done by a
// repeat of it after the restart, whatever the host does to its clock.
func TestReplayAfterRestart(t *testing.T) {
	n, w, _ := middleAged(t)
	a := w.Tenants[0].app
	cred := a.Credential("DisableKey, once")
	c, err := n.Core().Authenticate(ctx, cred)
	if err != nil {
		t.Fatal(err)
	}
	key := w.Tenants[0].Keys[1].ID
	if err := c.SetKeyEnabled(ctx, key, false); err != nil {
		t.Fatal(err)
	}
	w.must(t, stateDeed(0, 1, kms.Enabled))
	for _, back := range []time.Duration{0, time.Second, time.Minute, time.Hour} {
		n.Clock.Move(-back)
		n.Restart()
		c, err := n.Core().Authenticate(ctx, cred)
		if err == nil {
			err = c.SetKeyEnabled(ctx, key, false)
		}
		if err == nil {
			t.Errorf("clock set back by %v: the request was done again", back)
		}
		n.Clock.Move(back)
	}
	if err := w.settle(); err != nil {
		t.Error(err)
	}
}

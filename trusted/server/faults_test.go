package server_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A patient is a node that was killed at work, whose disk is about to fail.
type patient struct {
	Machine trustedtest.Machine
	Files   map[string][]byte
	World   *world
}

// tinyFiles make the short workload fill segments and take snapshots.
func tinyFiles(c *server.Config) { c.SegmentSize, c.SnapshotEvery = 4<<10, 9 }

// workload is what is done on the failing disk.
func workload() []deed {
	return []deed{
		enrolDeed(), createDeed(0, kms.AES256GCM), createDeed(1, kms.AES256GCM), stateDeed(0, 0, kms.KeyDisabled),
		createDeed(1, kms.ECP256), stateDeed(1, 0, kms.Destroyed), createDeed(0, kms.AES256GCM), stateDeed(0, 0, kms.Enabled),
		stateDeed(0, -1, kms.KeyDisabled), createDeed(1, kms.AES256GCM), stateDeed(1, 1, kms.KeyDisabled),
		createDeed(0, kms.ECP256), createDeed(0, kms.AES256GCM), stateDeed(1, -1, kms.Destroyed), enrolDeed(), createDeed(2, kms.AES256GCM),
	}
}

func newPatient(t *testing.T) patient {
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	_ = n.Stop()
	mem := faultdisk.NewMem()
	n.Dir, n.Edit = filepath.Join(t.TempDir(), "node"), tinyFiles
	n.Wrap = func(server.Disk) server.Disk { return mem }
	n.Found()
	n.MustStart()
	w := &world{}
	w.on(n)
	w.must(t, enrolDeed(), createDeed(0, kms.AES256GCM), createDeed(0, kms.ECP256), stateDeed(0, 1, kms.KeyDisabled))
	for range 4 {
		w.must(t, createDeed(0, kms.AES256GCM), stateDeed(0, -1, kms.Destroyed))
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	return patient{n.Machine(), contents(mem.Clone()), w}
}

func contents(m *faultdisk.Mem) map[string][]byte {
	all := make(map[string][]byte)
	for _, name := range m.Names() {
		all[name] = m.Get(name)
	}
	return all
}

// A kind of fault, which is tried at every position.
type faultKind struct {
	faultdisk.Fault
	name string
}

// faultKinds lists what can fail, and how. What does not happen may stay so:
// a full disk does.
func faultKinds() (all []faultKind) {
	for _, f := range []faultdisk.Fault{
		{Op: faultdisk.Write, Name: "*.wal"}, {Op: faultdisk.Sync, Name: "*.wal"}, {Op: faultdisk.Create, Name: "*.wal"},
		{Op: faultdisk.Write, Name: "head"}, {Op: faultdisk.Sync, Name: "head"}, {Op: faultdisk.Replace, Name: "meta"},
		{Op: faultdisk.Create, Name: "snapshot-*"}, {Op: faultdisk.Write, Name: "snapshot-*"}, {Op: faultdisk.Sync, Name: "snapshot-*"},
		{Op: faultdisk.Delete}, {Op: faultdisk.Read},
	} {
		for _, how := range faultdisk.Hows() {
			if f.Op == faultdisk.Read && how != faultdisk.NotDone {
				continue
			}
			f.How, f.Stay = how, how == faultdisk.Full
			all = append(all, faultKind{f, strings.TrimSpace(fmt.Sprintf("%v %s", f.Op, f.Name)) + ", " + how.String()})
		}
	}
	return all
}

// latches reports whether such a fault must stop the node. Raft-wal and the
// snapshots delete what nothing refers to any more; that can wait.
func (f *faultKind) latches() bool { return f.Op != faultdisk.Delete }

const (
	partPowerCuts = "power cuts"
	partFounding  = "founding"
	partCutShort  = "starts cut short"
)

// Every write of a node fails in turn, in every way. The node stops in order:
// it takes no more writes, says that it is not ready, and neither panics nor
// hangs. After a restart on a good disk everything that was acknowledged is
// there, whether the process was stopped, killed, or the power failed.
func TestFaults(t *testing.T) {
	inParts(t, func(string) (patient, []string) {
		parts := []string{partPowerCuts, partFounding, partCutShort}
		for _, k := range faultKinds() {
			parts = append(parts, k.name)
		}
		return newPatient(t), parts
	}, func(t *testing.T, p patient, part string) {
		switch part {
		case partPowerCuts:
			p.powerCuts(t)
			return
		case partFounding:
			p.foundings(t)
			return
		case partCutShort:
			p.cutShort(t)
			return
		}
		for _, k := range faultKinds() {
			if k.name == part {
				p.everywhere(t, k)
			}
		}
	})
}

// stride is the distance of the positions that are tried.
func stride() int {
	if testing.Short() {
		return 6
	}
	return 1
}

// everywhere lets a kind of fault strike at one position after another, until
// there is none left.
func (p *patient) everywhere(t *testing.T, k faultKind) {
	struck := 0
	for skip := 0; ; skip += stride() {
		k.Skip = skip
		if !p.strike(t, k) {
			break
		}
		struck++
	}
	if struck == 0 {
		t.Error("it never struck")
	}
	fmt.Printf("%sstruck at %d positions\n", noteMark, struck)
}

// node is the patient on some disk, not started.
func (p *patient) node(t *testing.T, d server.Disk) (*trustedtest.Node, *world) {
	n := trustedtest.On(t, p.Machine, t.TempDir())
	n.Edit = tinyFiles
	n.Wrap = func(server.Disk) server.Disk { return d }
	w := p.World.clone()
	w.on(n)
	return n, w
}

func (p *patient) disk() *faultdisk.Mem {
	m := faultdisk.NewMem()
	for name, data := range p.Files {
		m.Put(name, data)
	}
	return m
}

// strike runs the workload on a disk that fails once, or from then on, and
// reports whether it did.
func (p *patient) strike(t *testing.T, k faultKind) bool {
	t.Helper()
	name := fmt.Sprintf("%s, at position %d", k.name, k.Skip)
	over := caseStarts(name)
	mem := p.disk()
	faulty := faultdisk.New(mem)
	faulty.Arm(k.Fault)
	n, w := p.node(t, faulty)
	if err := n.Start(); err != nil {
		stoppedInOrder(t, name+": start", err)
		if faulty.Hits() == 0 || errors.Is(err, kms.Damaged) {
			t.Fatalf("%s: a fault of the disk is no damage: %v", name, err)
		}
	} else {
		work(t, name, w)
		if !awaitOutcome(t, name, k, faulty, n) {
			over()
			return false
		}
		if !n.Server().Status().Ready {
			deadAsADoornail(t, name, w)
		}
	}
	if k.Stay { // nobody has made room yet
		_ = n.Stop()
		if err := n.Start(); err != nil {
			stoppedInOrder(t, name+": start on the same disk", err)
		}
	}
	faulty.Kill()
	after := map[string]*faultdisk.Mem{"a kill": mem.Clone(), "a power cut": mem.PowerCut(rand.New(rand.NewPCG(3, uint64(k.Skip))))}
	_ = n.Stop()
	after["a stop"] = mem
	over()
	for how, m := range after {
		p.recovers(t, name+", then "+how, m, w)
	}
	return true
}

// work does the workload. Once a write has failed, none may succeed.
func work(t *testing.T, name string, w *world) {
	t.Helper()
	var failed error
	for _, d := range workload() {
		switch err := d.do(w); {
		case failed != nil && err == nil:
			t.Fatalf("%s: %s went through after a write had failed: %v", name, d.name, failed)
		case failed == nil && err != nil:
			stoppedInOrder(t, name+": "+d.name, err)
			failed = err
		}
	}
}

// stoppedInOrder checks the error of a node that has stopped.
func stoppedInOrder(t *testing.T, name string, err error) {
	t.Helper()
	if kms.KindOf(err) != kms.Unavailable || kms.HintOf(err) == "" {
		t.Fatalf("%s: kind %v, hint %q: %v", name, kms.KindOf(err), kms.HintOf(err), err)
	}
}

// awaitOutcome reports whether the fault struck, and waits until the node has
// stopped if it did: snapshots are written in the background.
func awaitOutcome(t *testing.T, name string, k faultKind, d *faultdisk.Faulty, n *trustedtest.Node) bool {
	t.Helper()
	for wait := time.Duration(0); d.Hits() == 0; wait += time.Millisecond {
		if wait == 50*time.Millisecond {
			if st := n.Server().Status(); !st.Ready {
				t.Fatalf("%s: not ready without a fault: %s", name, st.Reason)
			}
			return false
		}
		time.Sleep(time.Millisecond)
	}
	for began := time.Now(); n.Server().Status().Ready && k.latches(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 2*time.Second {
			t.Fatalf("%s: it struck, and the node is still ready", name)
		}
	}
	return true
}

// deadAsADoornail checks that a node that has stopped does nothing any more.
func deadAsADoornail(t *testing.T, name string, w *world) {
	t.Helper()
	st := w.node.Server().Status()
	if st.Ready || st.Reason == "" {
		t.Fatalf("%s: %+v", name, st)
	}
	before := w.clone()
	before.on(w.node)
	for _, d := range []deed{enrolDeed(), createDeed(0, kms.AES256GCM), stateDeed(0, 0, kms.KeyDisabled), stateDeed(0, 0, kms.Destroyed)} {
		err := d.do(before)
		if err == nil {
			t.Fatalf("%s: then %s went through", name, d.name)
		}
		stoppedInOrder(t, name+": then "+d.name, err)
	}
}

// recovers starts the node on a good disk: what was acknowledged is there, what
// was not may be, and the node goes on.
func (p *patient) recovers(t *testing.T, name string, m *faultdisk.Mem, was *world) {
	t.Helper()
	defer caseStarts(name)()
	n, _ := p.node(t, m)
	w := was.clone()
	w.on(n)
	if err := n.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := w.settle(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	w.must(t, createDeed(0, kms.AES256GCM), stateDeed(0, 0, kms.KeyDisabled), stateDeed(0, 0, kms.Enabled))
	n.Restart()
	if err := w.settle(); err != nil {
		t.Fatalf("%s, and once more: %v", name, err)
	}
	_ = n.Stop()
}

// powerCuts cuts the power after each deed, and while one is being done.
func (p *patient) powerCuts(t *testing.T) {
	cuts := 0
	for seed := range uint64(6 / stride()) {
		rng := rand.New(rand.NewPCG(4, seed))
		mem := p.disk()
		n, w := p.node(t, mem)
		n.MustStart()
		for _, d := range workload() {
			p.recovers(t, "power cut before: "+d.name, mem.PowerCut(rng), w)
			open := w.clone()
			cut := make(chan *faultdisk.Mem)
			go func() {
				time.Sleep(time.Duration(rng.IntN(300)) * time.Microsecond)
				cut <- mem.PowerCut(rng)
			}()
			w.must(t, d)
			p.recovers(t, "power cut during: "+d.name, <-cut, undecided(open, w))
			cuts += 2
		}
		_ = n.Stop()
	}
	fmt.Printf("%s%d power cuts\n", noteMark, cuts)
}

// undecided is the world before a deed that may have been done.
func undecided(before, after *world) *world {
	w := before.clone()
	w.StrayApps += len(after.Tenants) - len(before.Tenants)
	for i, x := range w.Tenants {
		x.StrayKeys += len(after.Tenants[i].Keys) - len(x.Keys)
		for j, k := range x.Keys {
			k.Maybe = append(k.Maybe, after.Tenants[i].Keys[j].State)
		}
	}
	return w
}

// cutShort kills one start after another, each somewhere, and a node at work
// now and then. What a start left unfinished must not add up.
func (p *patient) cutShort(t *testing.T) {
	starts := 0
	for seed := range uint64(60 / stride()) {
		rng := rand.New(rand.NewPCG(5, seed))
		mem, w := p.disk(), p.World.clone()
		for range 2 + rng.IntN(5) {
			d, writes := faultdisk.New(mem), rng.IntN(30)
			d.KillAfter(writes)
			n, _ := p.node(t, d)
			w.on(n)
			over := caseStarts(fmt.Sprintf("seed %d: dies after %d writes", seed, writes))
			if n.Start() == nil {
				work(t, "a short life", w)
			}
			d.Kill()
			_ = n.Stop()
			over()
			if starts++; rng.IntN(2) == 0 {
				mem = mem.PowerCut(rng)
			}
		}
		p.recovers(t, fmt.Sprintf("seed %d: the last start", seed), mem, w)
	}
	fmt.Printf("%s%d starts cut short\n", noteMark, starts)
}

// foundings lets each write of founding a domain fail. Founding then fails too;
// what it leaves either starts, or says what to do, and is never founded over.
func (p *patient) foundings(t *testing.T) {
	struck := 0
	for _, op := range []faultdisk.Op{faultdisk.Create, faultdisk.Write, faultdisk.Sync, faultdisk.Replace} {
		for _, how := range faultdisk.Hows() {
			for skip := 0; p.founding(t, faultdisk.Fault{Op: op, How: how, Skip: skip}); skip += stride() {
				struck++
			}
		}
	}
	fmt.Printf("%sstruck at %d positions\n", noteMark, struck)
}

func (p *patient) founding(t *testing.T, f faultdisk.Fault) (struck bool) {
	t.Helper()
	name := fmt.Sprintf("founding: %v, %v, at position %d", f.Op, f.How, f.Skip)
	defer caseStarts(name)()
	mem := faultdisk.NewMem()
	faulty := faultdisk.New(mem)
	faulty.Arm(f)
	n, w := p.node(t, faulty)
	*w = world{node: n}
	err := n.TryFound()
	if faulty.Hits() == 0 {
		if err != nil {
			t.Fatalf("%s: %v without a fault", name, err)
		}
		return false
	}
	if err == nil { // it struck what the log does ahead of need, when all was done
		if err := n.Start(); err != nil {
			t.Fatalf("%s: founded all the same, and then: %v", name, err)
		}
		_ = n.Stop()
		return true
	}
	stoppedInOrder(t, name, err)
	n.Wrap = func(server.Disk) server.Disk { return mem }
	// A key that was prepared is used again; anything else stands in the way.
	empty := !slices.ContainsFunc(mem.Names(), func(name string) bool {
		return !strings.HasPrefix(name, "founder") && !strings.HasPrefix(name, "aside/") && name != "lock"
	})
	if err := n.TryFound(); err == nil && !empty {
		t.Fatalf("%s: founded again over %q", name, mem.Names())
	} else if err != nil && (!errors.Is(err, kms.Exists) || kms.HintOf(err) == "") {
		t.Fatalf("%s: founding again: %v", name, err)
	}
	if err := n.Start(); err != nil {
		if kms.KindOf(err) != kms.Damaged || kms.HintOf(err) == "" {
			t.Fatalf("%s: start afterwards: %v, hint %q", name, err, kms.HintOf(err))
		}
		return true
	}
	w.must(t, enrolDeed(), createDeed(0, kms.AES256GCM))
	n.Restart()
	if err := w.settle(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	_ = n.Stop()
	return true
}

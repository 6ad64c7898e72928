package server_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// A rotating is a node whose disk can be had as it was before something that is
// about to be cut short.
type rotating struct {
	orderer
	before *faultdisk.Mem
	world  *world
}

// newRotating founds a node on a disk in memory, and does some more with it.
func newRotating(t *testing.T, more func(orderer)) *rotating {
	o := newOrderer(t)
	_ = o.n.Stop()
	mem := faultdisk.NewMem()
	o.n.Dir, o.n.Edit = filepath.Join(t.TempDir(), "node"), tinyFiles
	o.n.Wrap = func(server.Disk) server.Disk { return mem }
	o.n.Found()
	o.n.MustStart()
	w := &world{}
	w.on(o.n)
	w.must(t, enrolDeed())
	for range 4 {
		w.must(t, createDeed(0, kms.AES256GCM), createDeed(0, kms.ECP256))
	}
	more(o)
	_ = o.n.Stop()
	return &rotating{o, mem.Clone(), w}
}

// on has the node's next start use a disk.
func (r *rotating) on(d server.Disk) *world {
	r.n.Wrap = func(server.Disk) server.Disk { return d }
	w := r.world.clone()
	w.on(r.n)
	return w
}

// cut does something to a node that is killed after so many writes, and cuts the
// power too, perhaps. It returns the disk as it is then.
func (r *rotating) cut(writes int, rng *rand.Rand, do func()) *faultdisk.Mem {
	mem := r.before.Clone()
	dying := faultdisk.New(mem)
	dying.KillAfter(writes)
	r.on(dying)
	if r.n.Start() == nil {
		do()
	}
	dying.Kill()
	_ = r.n.Stop()
	if rng.IntN(2) == 0 {
		mem = mem.PowerCut(rng)
	}
	return mem
}

// recovers starts the node on what is left. Nothing is lost, what was begun is
// ended, and another rotation and its retirement succeed.
func (r *rotating) recovers(t *testing.T, name string, left *faultdisk.Mem, atLeast int) {
	t.Helper()
	w := r.on(left)
	if err := r.n.Start(); err != nil {
		t.Fatalf("%s: start: %v", name, err)
	}
	if err := w.settle(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	m := r.settled()
	if n := len(m.Generations); n < atLeast {
		t.Fatalf("%s: %d generations, %d were acknowledged", name, n, atLeast)
	}
	r.rotate()
	r.settled()
	newest := r.n.Server().Status().Generation
	if _, err := r.retire(newest - 1); err != nil {
		t.Fatalf("%s: retiring %d: %v", name, newest-1, err)
	}
	r.n.Restart()
	w.on(r.n)
	if err := w.settle(); err != nil {
		t.Fatalf("%s, and once more: %v", name, err)
	}
	_ = r.n.Stop()
}

// A node is killed at one write after another of a rotation: of the root file,
// between it and the log, in the middle of re-wrapping.
func TestRotationCutShort(t *testing.T) {
	r := newRotating(t, func(orderer) {})
	for writes := 0; writes < 40; writes += 1 + stride()/3 {
		rng := rand.New(rand.NewPCG(7, uint64(writes)))
		acknowledged := 1
		left := r.cut(writes, rng, func() {
			order := r.signed(r.order(govern.DeedRotate, 1, nil), r.d.Rulers.Operator)
			if _, err := r.n.Server().RotateMasterSecret(ctx, order); err == nil {
				acknowledged++
				r.awaitIdle()
			}
		})
		r.recovers(t, fmt.Sprintf("killed after %d writes", writes), left, acknowledged)
	}
}

// awaitIdle waits until re-wrapping is over, or the node is.
func (r *rotating) awaitIdle() {
	for range 200 {
		if m, err := r.n.Server().MasterSecrets(ctx); err != nil || m.Left == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// And so for a retirement: it is either done, or can be done again.
func TestRetirementCutShort(t *testing.T) {
	r := newRotating(t, func(o orderer) { o.rotate(); o.settled() })
	for writes := 0; writes < 40; writes += 1 + stride()/3 {
		rng := rand.New(rand.NewPCG(8, uint64(writes)))
		done := false
		left := r.cut(writes, rng, func() {
			_, err := r.retire(0)
			done = err == nil
		})
		name := fmt.Sprintf("killed after %d writes", writes)
		if done {
			r.on(left)
			r.n.MustStart()
			if r.secrets().Generations[0].Retired.IsZero() {
				t.Fatalf("%s: an acknowledged retirement is undone", name)
			}
			_ = r.n.Stop()
		}
		r.recovers(t, name, left, 2)
	}
}

// The root file cannot be written: the rotation does not happen, the node goes
// on, and the next attempt succeeds.
func TestRotationWithoutRootFile(t *testing.T) {
	r := newRotating(t, func(orderer) {})
	for _, how := range faultdisk.Hows() {
		t.Run(how.String(), func(t *testing.T) {
			mem := r.before.Clone()
			faulty := faultdisk.New(mem)
			faulty.Arm(faultdisk.Fault{Op: faultdisk.Replace, Name: "root", How: how})
			w := r.on(faulty)
			r.n.MustStart()
			order := r.signed(r.order(govern.DeedRotate, 1, nil), r.d.Rulers.Operator)
			if _, err := r.n.Server().RotateMasterSecret(ctx, order); kms.KindOf(err) != kms.Unavailable || kms.HintOf(err) == "" {
				t.Fatalf("rotating: %v, hint %q", err, kms.HintOf(err))
			}
			if n := len(r.secrets().Generations); n != 1 {
				t.Fatalf("%d generations", n)
			}
			w.must(t, createDeed(0, kms.AES256GCM))
			if _, err := r.n.Server().RotateMasterSecret(ctx, order); err != nil {
				t.Fatalf("the same order again: %v", err)
			}
			r.settled()
			r.n.Restart()
			w.on(r.n)
			if err := w.settle(); err != nil {
				t.Fatal(err)
			}
			_ = r.n.Stop()
		})
	}
}

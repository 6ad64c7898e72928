package faultdisk

import (
	"errors"
	"fmt"
	"path"
	"sync"
	"syscall"

	"github.com/hashicorp/raft-wal/types"
)

// A Disk is what Faulty wraps.
type Disk interface {
	types.VFS
	Replace(dir, name string, data []byte) error
	ReadFile(dir, name string, max int64) ([]byte, error)
}

// An Op is an operation of a disk.
type Op uint8

// The operations.
const (
	Create Op = iota + 1
	Write
	Sync
	Delete
	Replace
	Read // ReadAt and ReadFile
	opEnd
)

var opNames = [...]string{Create: "create", Write: "write", Sync: "sync", Delete: "delete", Replace: "replace", Read: "read"}

func (o Op) String() string { return opNames[o] }

// How an operation fails.
type How uint8

// The ways.
const (
	NotDone How = iota + 1 // it fails and did not happen
	Done                   // it fails and happened all the same
	Full                   // the disk is full: of a write, half happened; of the rest, nothing
)

var howNames = [...]string{NotDone: "not done", Done: "done all the same", Full: "disk full"}

func (h How) String() string { return howNames[h] }

// Hows lists the ways, for tables.
func Hows() []How { return []How{NotDone, Done, Full} }

// A Fault makes one operation fail.
type Fault struct {
	Op   Op
	Name string // pattern of the file's name, as in path.Match; "": any
	Skip int    // how many such operations succeed before
	How  How
	Stay bool // all later ones fail too
}

var (
	// ErrInjected is what a Fault gives.
	ErrInjected = errors.New("injected fault")
	// ErrDead is what every operation gives after Kill.
	ErrDead = errors.New("the process that used this disk is dead")
)

// A Faulty is a disk that fails as told. It is safe for concurrent use.
type Faulty struct {
	inner Disk

	mu    sync.Mutex
	fault *Fault
	hits  int
	count [opEnd]int
	dead  bool
	left  int // operations that change the disk, before it is dead; negative: no end to them
}

// New wraps a disk.
func New(inner Disk) *Faulty { return &Faulty{inner: inner, left: -1} }

// Arm sets the fault that comes next, in place of any before it.
func (d *Faulty) Arm(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.hits = &f, 0
}

// Hits returns how often the fault has struck.
func (d *Faulty) Hits() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hits
}

// Count returns how often an operation was asked for.
func (d *Faulty) Count(op Op) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count[op]
}

// Kill makes every later operation fail with ErrDead and do nothing, as if the
// process had died.
func (d *Faulty) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
}

// KillAfter is Kill once n more operations have changed the disk.
func (d *Faulty) KillAfter(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = n
}

// dies counts down to the end that KillAfter has set.
func (d *Faulty) dies(op Op) bool {
	if op != Read && d.left >= 0 {
		d.left--
		d.dead = d.dead || d.left < 0
	}
	return d.dead
}

// strikes says how an operation is to fail; 0: it is not.
func (d *Faulty) strikes(op Op, name string) (How, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dies(op) {
		return NotDone, ErrDead
	}
	d.count[op]++
	f := d.fault
	if f == nil || f.Op != op || (f.Name != "" && !matches(f.Name, name)) {
		return 0, nil
	}
	if f.Skip > 0 {
		f.Skip--
		return 0, nil
	}
	d.hits++
	if !f.Stay {
		d.fault = nil
	}
	if f.How == Full {
		return Full, fmt.Errorf("%s %s: %w: %w", op, name, ErrInjected, syscall.ENOSPC)
	}
	return f.How, fmt.Errorf("%s %s: %w", op, name, ErrInjected)
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// do runs an operation, or fails it.
func (d *Faulty) do(op Op, name string, run func() error) error {
	how, injected := d.strikes(op, name)
	if how == NotDone || how == Full {
		return injected
	}
	if err := run(); err != nil {
		return err
	}
	return injected
}

// ListDir never fails by a Fault.
func (d *Faulty) ListDir(dir string) ([]string, error) { return d.inner.ListDir(dir) }

// Create fails as told.
func (d *Faulty) Create(dir, name string, size uint64) (types.WritableFile, error) {
	var f types.WritableFile
	err := d.do(Create, name, func() (err error) { f, err = d.inner.Create(dir, name, size); return err })
	if err != nil {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
		return nil, err
	}
	return &file{f, d, name}, nil
}

// Delete fails as told.
func (d *Faulty) Delete(dir, name string) error {
	return d.do(Delete, name, func() error { return d.inner.Delete(dir, name) })
}

// OpenReader never fails by a Fault; the file's reads do.
func (d *Faulty) OpenReader(dir, name string) (types.ReadableFile, error) {
	f, err := d.inner.OpenReader(dir, name)
	if err != nil {
		return nil, err
	}
	return &readFile{f, d, name}, nil
}

// OpenWriter never fails by a Fault; the file's operations do.
func (d *Faulty) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := d.inner.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	return &file{f, d, name}, nil
}

// Replace fails as told. In memory, one that happened all the same is not
// durable: the failure was that of the last fsync.
func (d *Faulty) Replace(dir, name string, data []byte) error {
	how, injected := d.strikes(Replace, name)
	if m, ok := d.inner.(*Mem); ok && how == Done {
		m.replaceUnsynced(name, data)
		return injected
	}
	if how != 0 && how != Done {
		return injected
	}
	if err := d.inner.Replace(dir, name, data); err != nil {
		return err
	}
	return injected
}

// ReadFile fails as told.
func (d *Faulty) ReadFile(dir, name string, max int64) (data []byte, err error) {
	err = d.do(Read, name, func() (err error) { data, err = d.inner.ReadFile(dir, name, max); return err })
	return data, err
}

type readFile struct {
	types.ReadableFile
	d    *Faulty
	name string
}

func (f *readFile) ReadAt(p []byte, off int64) (int, error) {
	if how, err := f.d.strikes(Read, f.name); how != 0 {
		return 0, err
	}
	return f.ReadableFile.ReadAt(p, off)
}

type file struct {
	types.WritableFile
	d    *Faulty
	name string
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if how, err := f.d.strikes(Read, f.name); how != 0 {
		return 0, err
	}
	return f.WritableFile.ReadAt(p, off)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	how, injected := f.d.strikes(Write, f.name)
	switch how {
	case NotDone:
		return 0, injected
	case Full:
		p = p[:len(p)/2]
	}
	n, err := f.WritableFile.WriteAt(p, off)
	if err != nil {
		return n, err
	}
	return n, injected
}

func (f *file) Sync() error { return f.d.do(Sync, f.name, f.WritableFile.Sync) }

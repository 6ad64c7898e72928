// Package disk keeps a node's files: it stores and returns opaque bytes and
// knows nothing of what they hold. What it hands back is not to be trusted;
// the trusted side checks everything it reads.
//
// A Disk is a folder that one process at a time holds. Files are made with
// mode 0600, folders with 0700. A write is durable when Sync, Replace or
// Delete has returned. Deletion moves a file into the folder "aside", from
// where a person can put it back until PurgeAside is called after the next
// start.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/raft-wal/types"
)

const (
	fileMode = 0o600
	dirMode  = 0o700

	lockName  = "lock"
	asideName = "aside"

	// tempSuffix marks what Replace has not finished. Such a file means nothing.
	tempSuffix = ".new"
)

// ErrInUse says that another process holds the folder.
var ErrInUse = errors.New("in use by another process")

// A Disk is one folder, held by this process until Close. It implements the
// types.VFS of raft-wal; dir is a folder relative to the Disk's own, "" for
// the folder itself. It is safe for concurrent use.
type Disk struct {
	root  *os.Root
	path  string
	lock  *os.File
	stale []string // what lay aside when the Disk was opened
}

// Create makes the folder, and those above it, and opens it. A folder that is
// there already is opened as it is.
func Create(dir string) (*Disk, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("making the folder: %w", err)
	}
	if err := syncFolder(filepath.Dir(filepath.Clean(dir))); err != nil {
		return nil, fmt.Errorf("making %s durable: %w", dir, err)
	}
	return Open(dir)
}

// Open opens a folder that is there. It never makes one: a missing folder is
// an error that satisfies errors.Is(err, fs.ErrNotExist), since an empty folder
// in its place would look like a new node. The error is ErrInUse if another
// process, or another Disk of this one, holds the folder.
func Open(dir string) (*Disk, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening folder: %w", err)
	}
	d := &Disk{root: root, path: dir}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Disk) prepare() error {
	lock, err := d.root.OpenFile(lockName, os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return fmt.Errorf("opening lock file: %w", err)
	}
	d.lock = lock
	if err := lockFile(lock); err != nil {
		return fmt.Errorf("folder %s: %w", d.path, err)
	}
	if err := d.MakeDir(asideName); err != nil {
		return err
	}
	d.stale, err = d.ListDir(asideName)
	return err
}

// Close gives the folder up. Files that are open stay open.
func (d *Disk) Close() error {
	var err error
	if d.lock != nil {
		err = d.lock.Close() // which also releases the lock
	}
	return errors.Join(err, d.root.Close())
}

// MakeDir makes a folder inside the Disk; one that is there already will do.
func (d *Disk) MakeDir(dir string) error {
	if err := d.root.MkdirAll(clean(dir), dirMode); err != nil {
		return fmt.Errorf("making folder %s: %w", dir, err)
	}
	return d.syncDir(path.Dir(clean(dir)))
}

// clean makes "" the folder itself. The os.Root refuses what leads out of it.
func clean(dir string) string {
	if dir == "" {
		return "."
	}
	return path.Clean(dir)
}

func in(dir, name string) (string, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\`) {
		return "", fmt.Errorf("file name %q: %w", name, fs.ErrInvalid)
	}
	return path.Join(clean(dir), name), nil
}

// ListDir returns the names of the regular files in dir, sorted; without the Disk's
// own lock, which whoever clears the folder would take away from under it.
func (d *Disk) ListDir(dir string) ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), clean(dir))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Type().IsRegular() && (clean(dir) != "." || e.Name() != lockName) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Create makes a file that must not be there and reserves size bytes for it,
// where the file system can; they read as zeros. The file's name is durable
// after its first Sync.
func (d *Disk) Create(dir, name string, size uint64) (types.WritableFile, error) {
	p, err := in(dir, name)
	if err != nil {
		return nil, err
	}
	if size > math.MaxInt32 {
		return nil, fmt.Errorf("creating %s with %d bytes: %w", p, size, fs.ErrInvalid)
	}
	f, err := d.root.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_RDWR, fileMode)
	if err != nil {
		return nil, err
	}
	if size > 0 {
		if err := reserve(f, int64(size)); err != nil {
			return nil, errors.Join(fmt.Errorf("reserving %d bytes for %s: %w", size, p, err), f.Close())
		}
	}
	return &file{File: f, disk: d, dir: clean(dir)}, nil
}

// OpenReader opens a file for reading.
func (d *Disk) OpenReader(dir, name string) (types.ReadableFile, error) {
	p, err := in(dir, name)
	if err != nil {
		return nil, err
	}
	// An interface that holds a nil *os.File would not be nil.
	f, err := d.root.OpenFile(p, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// OpenWriter opens a file for reading and writing. Its first Sync makes its
// name durable too: the process that made the file may have died before.
func (d *Disk) OpenWriter(dir, name string) (types.WritableFile, error) {
	p, err := in(dir, name)
	if err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(p, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &file{File: f, disk: d, dir: clean(dir)}, nil
}

// ReadFile returns the first max bytes of a file, or all of it if it is shorter.
func (d *Disk) ReadFile(dir, name string, max int64) ([]byte, error) {
	p, err := in(dir, name)
	if err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(p, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, max))
}

// Replace makes data the content of a file, which need not be there. It is
// durable and atomic: after a crash the file holds the old content or the new
// one in full. After an error either may be there.
func (d *Disk) Replace(dir, name string, data []byte) error {
	p, err := in(dir, name)
	if err != nil {
		return err
	}
	temp := p + tempSuffix
	if err := d.writeSynced(temp, data); err != nil {
		return fmt.Errorf("writing %s: %w", temp, err)
	}
	if err := d.root.Rename(temp, p); err != nil {
		return err
	}
	return d.syncDir(clean(dir))
}

func (d *Disk) writeSynced(p string, data []byte) error {
	f, err := d.root.OpenFile(p, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// Delete moves a file into the folder "aside".
func (d *Disk) Delete(dir, name string) error {
	p, err := in(dir, name)
	if err != nil {
		return err
	}
	if err := d.root.Rename(p, d.asidePath(p)); err != nil {
		return err
	}
	if err := d.syncDir(asideName); err != nil {
		return err
	}
	return d.syncDir(clean(dir))
}

// asidePath finds a free name, so that no file set aside replaces another.
func (d *Disk) asidePath(p string) string {
	base := path.Join(asideName, strings.ReplaceAll(p, "/", "_"))
	free := base
	for n := 1; ; n++ {
		if _, err := d.root.Lstat(free); err != nil {
			return free
		}
		free = fmt.Sprintf("%s.%d", base, n)
	}
}

// PurgeAside removes for good what lay aside when the Disk was opened. Called
// once the node has come up, it leaves what this run has set aside until the
// run after it has come up in turn.
func (d *Disk) PurgeAside() error {
	var errs []error
	for _, name := range d.stale {
		if err := d.root.Remove(path.Join(asideName, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	d.stale = nil
	return errors.Join(errs...)
}

func (d *Disk) syncDir(dir string) error {
	if !foldersSync {
		return nil
	}
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func syncFolder(dir string) error {
	if !foldersSync {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// A file syncs its folder the first time it is synced itself: until then its
// name may be lost in a crash, and with it what was written.
type file struct {
	*os.File
	disk  *Disk
	dir   string
	named atomic.Bool
}

func (f *file) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	if f.named.Load() {
		return nil
	}
	if err := f.disk.syncDir(f.dir); err != nil {
		return err
	}
	f.named.Store(true)
	return nil
}

// Package faultdisk gives tests disks that misbehave: Mem is a disk in memory
// that can lose power and be copied and tampered with; Faulty wraps any disk
// and makes chosen operations fail, each both ways: as if it had not happened,
// and although it happened all the same.
package faultdisk

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft-wal/types"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// A Mem is a disk in memory, in one folder, "". It is safe for concurrent use.
type Mem struct {
	mu    sync.Mutex
	files map[string]*memFile
	aside map[string][]byte
}

type memFile struct {
	data  []byte
	named bool   // its name outlives a power cut
	undo  []undo // of the writes since the last Sync
	was   []byte // what Replace replaced, if it was not made durable
}

// An undo is what lay in a piece of a file before a write.
type undo struct {
	off int64
	old []byte
}

// NewMem returns an empty disk.
func NewMem() *Mem {
	return &Mem{files: make(map[string]*memFile), aside: make(map[string][]byte)}
}

// Clone returns a copy of what the disk holds now, as after a crash of the
// process only.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem()
	for name, f := range m.files {
		c.files[name] = &memFile{data: bytes.Clone(f.data), named: f.named, undo: slices.Clone(f.undo), was: f.was}
	}
	c.aside = maps.Clone(m.aside)
	return c
}

// PowerCut returns a copy of what the disk holds if the power fails now: of
// what was not synced, any sectors may be as they were before, and a file
// whose name was not synced may be gone, or be the one that it replaced.
func (m *Mem) PowerCut(rng *rand.Rand) *Mem {
	c := m.Clone()
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		f := c.files[name]
		if !f.named && rng.IntN(2) == 0 {
			delete(c.files, name)
			continue
		}
		if f.was != nil && rng.IntN(2) == 0 {
			f.data, f.undo = f.was, nil
		}
		f.was = nil
		chance := rng.IntN(3) // none, some, or all of it is lost
		for _, u := range slices.Backward(f.undo) {
			for off := 0; off < len(u.old); {
				n := min(len(u.old)-off, sector-int((u.off+int64(off))%sector))
				if chance == 2 || (chance == 1 && rng.IntN(2) == 0) {
					copy(f.data[u.off+int64(off):], u.old[off:off+n])
				}
				off += n
			}
		}
		f.undo, f.named = nil, true
	}
	return c
}

// Names returns the files' names, sorted.
func (m *Mem) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.files))
}

// Aside returns the names of the files that were deleted, sorted.
func (m *Mem) Aside() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.aside))
}

// Get returns a file's content, nil if it is missing.
func (m *Mem) Get(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.files[name]; f != nil {
		return append([]byte{}, f.data...)
	}
	return nil
}

// Put makes data a file's content, under whoever has it open; nil removes it.
func (m *Mem) Put(name string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch f := m.files[name]; {
	case data == nil:
		delete(m.files, name)
	case f != nil:
		f.data, f.undo = bytes.Clone(data), nil
	default:
		m.files[name] = &memFile{data: append([]byte{}, data...), named: true}
	}
}

// Swap makes data the content of a new file under that name; whoever has the
// old one open keeps it, as after a rename.
func (m *Mem) Swap(name string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = &memFile{data: bytes.Clone(data), named: true}
}

func (m *Mem) get(dir, name string) (*memFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.files[name]; f != nil && dir == "" {
		return f, nil
	}
	return nil, &fs.PathError{Op: "open", Path: path.Join(dir, name), Err: fs.ErrNotExist}
}

// ListDir returns the files' names, sorted.
func (m *Mem) ListDir(dir string) ([]string, error) {
	if dir != "" {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: fs.ErrNotExist}
	}
	return m.Names(), nil
}

// Create makes a file of size zeros.
func (m *Mem) Create(dir, name string, size uint64) (types.WritableFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] != nil || strings.Contains(name, "/") || dir != "" {
		return nil, &fs.PathError{Op: "create", Path: path.Join(dir, name), Err: fs.ErrExist}
	}
	f := &memFile{data: make([]byte, size)}
	m.files[name] = f
	return &handle{m, f}, nil
}

// Delete moves a file aside.
func (m *Mem) Delete(dir, name string) error {
	f, err := m.get(dir, name)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, name)
	m.aside[name] = f.data
	return nil
}

// OpenReader opens a file.
func (m *Mem) OpenReader(dir, name string) (types.ReadableFile, error) {
	return m.OpenWriter(dir, name)
}

// OpenWriter opens a file.
func (m *Mem) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := m.get(dir, name)
	if err != nil {
		return nil, err
	}
	return &handle{m, f}, nil
}

// Replace makes data a file's content, in a new file, durably.
func (m *Mem) Replace(_, name string, data []byte) error {
	m.Swap(name, data)
	return nil
}

// replaceUnsynced replaces a file's content but dies before it syncs the
// folder: the old content may come back with a power cut.
func (m *Mem) replaceUnsynced(name string, data []byte) {
	was := m.Get(name)
	m.Swap(name, data)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name].was = was
}

// ReadFile returns the first max bytes of a file.
func (m *Mem) ReadFile(dir, name string, max int64) ([]byte, error) {
	f, err := m.get(dir, name)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]byte{}, f.data[:min(int64(len(f.data)), max)]...), nil
}

type handle struct {
	m *Mem
	f *memFile
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if off >= int64(len(h.f.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if grow := off + int64(len(p)) - int64(len(h.f.data)); grow > 0 {
		h.f.data = append(h.f.data, make([]byte, grow)...)
	}
	place := h.f.data[off : off+int64(len(p))]
	h.f.undo = append(h.f.undo, undo{off, bytes.Clone(place)})
	copy(place, p)
	return len(p), nil
}

func (h *handle) Sync() error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.f.undo, h.f.named = nil, true
	return nil
}

func (h *handle) Close() error { return nil }

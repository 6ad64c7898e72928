package storage

import (
	"io"
	"math"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfast-kms/holdfast/kms"
)

// silent is raft-wal's logger: what it would report, the wrappers below latch.
func silent() hclog.Logger { return hclog.NewNullLogger() }

// A guard stands between raft-wal and the disk. It latches what raft-wal would
// only log, hides from it what was not verified, and lets nothing through once
// the store has latched.
type guard struct {
	Disk
	latch *latch

	// tail is the file that raft-wal will recover the log's end from, and
	// verified how much of it counts: beyond that raft-wal sees the file's
	// end until opened is called. It would otherwise take an index frame of a
	// torn batch for real, and its checksum is not one to trust.
	tail     string
	verified int64

	mu   sync.Mutex
	held *heldFile
}

// ListDir returns segments only: raft-wal gives up at a name it cannot read.
func (g *guard) ListDir(dir string) ([]string, error) {
	names, err := g.Disk.ListDir(dir)
	if err != nil {
		return nil, err
	}
	segments := names[:0]
	for _, name := range names {
		if isSegment(name) {
			segments = append(segments, name)
		}
	}
	return segments, nil
}

// Create latches its error: at a rotation raft-wal would only log it.
func (g *guard) Create(dir, name string, size uint64) (types.WritableFile, error) {
	if err := g.latch.err(); err != nil {
		return nil, err
	}
	f, err := g.Disk.Create(dir, name, size)
	if err != nil {
		return nil, g.latch.trip(kms.Errorf(kms.Unavailable, "making the file: %w", err).WithFile(name))
	}
	return f, nil
}

// Delete does not latch: raft-wal deletes what nothing refers to any more, and
// does it again at the next start.
func (g *guard) Delete(dir, name string) error {
	if err := g.latch.err(); err != nil {
		return err
	}
	err := g.Disk.Delete(dir, name)
	if err != nil {
		g.latch.logger.Warn("a log file that is no longer needed stays until the next start", "file", name, "error", err)
	}
	return err
}

func (g *guard) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := g.Disk.OpenWriter(dir, name)
	if err != nil || name != g.tail {
		return f, err
	}
	held := &heldFile{WritableFile: f}
	held.limit.Store(g.verified)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = held
	return held, nil
}

// opened shows raft-wal the whole tail again, since it goes on writing there.
func (g *guard) opened() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held != nil {
		g.held.limit.Store(math.MaxInt64)
	}
}

// A heldFile seems to end at its limit.
type heldFile struct {
	types.WritableFile
	limit atomic.Int64
}

func (f *heldFile) ReadAt(p []byte, off int64) (int, error) {
	limit := f.limit.Load()
	if off >= limit {
		return 0, io.EOF
	}
	if int64(len(p)) <= limit-off {
		return f.WritableFile.ReadAt(p, off)
	}
	n, err := f.WritableFile.ReadAt(p[:limit-off], off)
	if err == nil {
		err = io.EOF
	}
	return n, err
}

// A filer is raft-wal's own, but for what it reads: a record reaches raft-wal's
// decoder, which can be made to panic, only if it has the form that ours have.
type filer struct{ *segment.Filer }

func newFiler(dir string, g *guard) filer { return filer{segment.NewFiler(dir, g)} }

func (f filer) Create(info types.SegmentInfo) (types.SegmentWriter, error) {
	w, err := f.Filer.Create(info)
	if err != nil {
		return nil, err
	}
	return strictWriter{w}, nil
}

func (f filer) RecoverTail(info types.SegmentInfo) (types.SegmentWriter, error) {
	w, err := f.Filer.RecoverTail(info)
	if err != nil {
		return nil, err
	}
	return strictWriter{w}, nil
}

func (f filer) Open(info types.SegmentInfo) (types.SegmentReader, error) {
	r, err := f.Filer.Open(info)
	if err != nil {
		return nil, err
	}
	return strictReader{r}, nil
}

type strictWriter struct{ types.SegmentWriter }

func (w strictWriter) GetLog(index uint64) (*types.PooledBuffer, error) {
	return strict(w.SegmentWriter, index)
}

type strictReader struct{ types.SegmentReader }

func (r strictReader) GetLog(index uint64) (*types.PooledBuffer, error) {
	return strict(r.SegmentReader, index)
}

func strict(r types.SegmentReader, index uint64) (*types.PooledBuffer, error) {
	buf, err := r.GetLog(index)
	if err != nil {
		return nil, err
	}
	if _, ok := unwrap(buf.Bs, index); !ok {
		buf.Close()
		return nil, types.ErrCorrupt
	}
	return buf, nil
}

// Package storage keeps what raft must not forget, on a disk that belongs to
// somebody else: the log, the term and vote, and the newest snapshot. All of
// it is sealed (package seal) and bound to one domain and node.
//
// What it guarantees against a host that alters, swaps, removes or puts back
// files: Open ends in an error of kind kms.Damaged that names the file, or in
// exactly the state that was acknowledged. It never starts anew, drops an
// acknowledged entry or returns an altered one, and neither raft nor raft-wal
// sees a byte before it is verified. While a Store is open, what lies on disk
// is compared with what was written. One thing cannot be seen by a node
// alone: that all of its files, together, are those of an earlier moment.
//
// # Files
//
//	head                    two slots; the newest says where the log begins and ends, with the tag of
//	                        the last record, what was applied, and how new meta is         (head.go)
//	meta                    raft-wal's list of segments, term and vote, which snapshot
//	                        counts and its digest                                          (meta.go)
//	<index>-<id>.wal        raft-wal's segments; every record in them is sealed and
//	                        carries the tag of the one before                              (record.go, segment.go)
//	snapshot-*.hfs          a snapshot in sealed chunks; only the one meta names counts    (snapshot.go)
//
// # What is true if we crash here
//
// Every write goes from the leaves to the root, and every removal from the
// root to the leaves, so that nothing names what is not durably there:
//
//   - Append: log records (fsync), then head (written, not synced), then the
//     acknowledgement. A crash between leaves records beyond head; they are
//     kept as far as they verify. A power cut may also leave an older head
//     (its page was not written back): the same case. So nothing that was
//     acknowledged is lost, and what was not may come back; raft allows for it.
//   - Term, vote, list of segments: meta (fsync, rename, fsync), then head
//     (fsync). So meta is never older than head says, and at most one step newer.
//   - Snapshot: file (fsync), then meta and head as above, then the older
//     snapshot goes aside, and raft compacts the log.
//   - Removing log records: head (fsync), then raft-wal drops them. A crash
//     between leaves records that head does not count: those before its first
//     are dropped at Open; those after its last are kept, as the removal was
//     never acknowledged; if head counts none at all, its tag, which was drawn
//     afresh for the purpose, tells old records from newer ones.
//
// Open makes durable what it found before anyone hears of it, since the
// process that wrote it may have died before its fsync.
//
// # Errors while running
//
// The first error latches: every later write is refused with kms.Unavailable
// and touches nothing, so that no state grows on ground that has given way.
// The owner hears of it through Config.OnLatch, stops raft and starts again.
// A write that was refused may have happened all the same.
package storage

import (
	"errors"
	"io/fs"
	"log/slog"
	"path"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/seal"
)

// A Disk keeps files for a Store. Nothing it returns is trusted.
//
// As types.VFS says, with these promises: Sync on a file makes its content and
// its name durable; Delete is durable, and the file can be got back by a person
// for a while; a missing file or folder is an error that satisfies
// errors.Is(err, fs.ErrNotExist).
type Disk interface {
	types.VFS
	// Replace makes data the content of a file, durably and atomically. After
	// an error the file holds the old content or the new one.
	Replace(dir, name string, data []byte) error
	// ReadFile returns the first max bytes of a file.
	ReadFile(dir, name string, max int64) ([]byte, error)
}

// defaultSegmentSize is small against raft-wal's 64 MiB, since each segment's
// space is reserved when it is made and a log is compacted after 50,000 entries.
const defaultSegmentSize = 16 << 20

// maxSegmentSize keeps offsets in a segment, which raft-wal counts in 32 bits,
// from overflowing even if the last batch is as large as one may be.
const maxSegmentSize = 1 << 30

// Config says what a Store is made of.
type Config struct {
	Disk    Disk   // required
	Dir     string // folder, as the Disk understands it; "" is the Disk's own
	Key     []byte // 32 bytes that only this node has; copied
	Domain  kms.DomainID
	Node    kms.NodeID
	Logger  *slog.Logger     // nil: logs nothing
	OnLatch func(error)      // called once, on a goroutine of its own, when an error latches; nil: nobody is told
	Now     func() time.Time // stamps segments, for raft-wal only; nothing depends on it. nil: the zero time plus one second

	SegmentSize int // of a log file, in bytes; zero: 16 MiB
}

func (c *Config) validate() error {
	switch {
	case c.Disk == nil:
		return kms.Errorf(kms.Invalid, "storage without a disk")
	case len(c.Key) != seal.KeyLen:
		return kms.Errorf(kms.Invalid, "storage key has %d bytes, not %d", len(c.Key), seal.KeyLen)
	case c.SegmentSize < 0 || c.SegmentSize > maxSegmentSize:
		return kms.Errorf(kms.Invalid, "segment size %d is not between 0 and %d", c.SegmentSize, maxSegmentSize)
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = defaultSegmentSize
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = func() time.Time { return time.Unix(1, 0) } // not zero: raft-wal takes a zero SealTime for "not sealed"
	}
	return nil
}

// A Store is a node's log, stable values and snapshots. It is safe for
// concurrent use.
type Store struct {
	cfg    Config
	boxes  boxes
	latch  *latch
	anchor *anchor
	wal    *wal.WAL

	// writeMu is held while the log changes: StoreLogs and DeleteRange come
	// from different goroutines of raft.
	writeMu sync.Mutex
	sealed  batch // what StoreLogs reuses

	// mu guards what readers need: which records the log holds, and those that
	// raft has not applied yet.
	mu      sync.RWMutex
	marks   window[mark]
	pending window[raft.Log]

	snapMu sync.Mutex
	snap   *raft.SnapshotMeta // of the snapshot that meta names; nil: none
}

// boxes seal one kind of record each, so that none passes for another.
type boxes struct{ log, head, meta, snap *seal.Box }

func newBoxes(cfg Config) (b boxes, err error) {
	for kind, box := range map[string]**seal.Box{"log": &b.log, "head": &b.head, "meta": &b.meta, "snapshot": &b.snap} {
		label := "holdfast/storage/v1/" + kind + "/" + cfg.Domain.String() + "/" + cfg.Node.String()
		if *box, err = seal.New(cfg.Key, label); err != nil {
			return b, err
		}
	}
	return b, nil
}

func newStore(cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	b, err := newBoxes(cfg)
	if err != nil {
		return nil, err
	}
	cfg.Key = nil // the boxes have it, where printing does not reach it
	l := &latch{logger: cfg.Logger, tell: cfg.OnLatch}
	return &Store{
		cfg: cfg, boxes: b, latch: l,
		anchor: &anchor{disk: cfg.Disk, dir: cfg.Dir, headBox: b.head, metaBox: b.meta, latch: l},
	}, nil
}

// Create makes an empty store. The error is kms.Exists if the folder holds
// anything of a store, even half of one: only a person may decide that it is
// worth nothing.
func Create(cfg Config) (*Store, error) {
	s, err := newStore(cfg)
	if err != nil {
		return nil, err
	}
	if err := Vacant(cfg.Disk, cfg.Dir); err != nil {
		return nil, err
	}
	if err := s.anchor.create(); err != nil {
		return nil, err
	}
	if err := s.openWAL(&guard{Disk: cfg.Disk, latch: s.latch}); err != nil {
		return nil, errors.Join(err, s.anchor.closeHead())
	}
	return s, nil
}

// Vacant refuses a folder that holds anything of a store, as Create does.
func Vacant(d Disk, dir string) error {
	names, err := d.ListDir(dir)
	if err != nil {
		return kms.Errorf(kms.Unavailable, "listing the folder: %w", err)
	}
	for _, name := range names {
		if Owns(name) {
			return kms.Errorf(kms.Exists, "the folder holds a node's state").WithFile(path.Join(dir, name)).
				WithHint("start the node that this state belongs to, or give the new one an empty folder")
		}
	}
	return nil
}

// Owns reports whether a file of this name is a store's.
func Owns(name string) bool {
	return name == headName || name == metaName || isSegment(name) || isSnapshot(name)
}

// openWAL opens raft-wal on what has been verified.
func (s *Store) openWAL(g *guard) error {
	w, err := wal.Open(s.cfg.Dir,
		wal.WithSegmentFiler(newFiler(s.cfg.Dir, g)),
		wal.WithMetaStore(s.anchor),
		wal.WithLogger(silent()),
		wal.WithSegmentSize(s.cfg.SegmentSize))
	if err != nil {
		return kms.Errorf(kms.Unavailable, "opening the log: %w", err).WithHint(diskHint)
	}
	s.wal = w
	return nil
}

// Log returns the store's log. It refuses gaps, as raft-wal does.
func (s *Store) Log() raft.LogStore { return (*logStore)(s) }

// Stable returns the store's stable values. Get of a key that was never set
// returns nothing, without an error.
func (s *Store) Stable() raft.StableStore { return (*stableStore)(s) }

// Snapshots returns the store's snapshots: the newest one, or none.
func (s *Store) Snapshots() raft.SnapshotStore { return (*snapshotStore)(s) }

// Applied says that the state machine has applied the entries up to index.
// Until then they are kept in memory, where the host cannot reach them: raft
// panics if it cannot read an entry that it is about to apply.
func (s *Store) Applied(index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending.dropThrough(index)
	s.anchor.reached(index)
}

// undoneHint is what to do where a leader would replace what was applied.
const undoneHint = "folders of most nodes were put back, or copies of them run: stop all nodes; the one whose `survey` shows the highest head carries the domain on, by a recovery document"

// Keeps refuses to lose the entry at an index if it was applied: it is committed, so
// every leader has it, unless the disks of most voters were put back. Who has it
// still is then the last to know that it was acknowledged.
func (s *Store) Keeps(index uint64) error {
	if index == 0 || index > s.anchor.applied.Load() {
		return nil
	}
	return s.latch.trip(kms.Errorf(kms.Damaged, "a leader has another entry %d than this node has applied: other nodes are in an older state", index).WithHint(undoneHint))
}

// covers is whether the newest snapshot holds all that was applied.
func (s *Store) covers() bool {
	s.snapMu.Lock()
	defer s.snapMu.Unlock()
	return s.snap != nil && s.snap.Index >= s.anchor.applied.Load()
}

// Check reads head and meta again and compares them with what was written. A
// difference latches. Its owner calls it now and then; writes check too.
func (s *Store) Check() error {
	if err := s.Latched(); err != nil {
		return err
	}
	return s.anchor.check()
}

// Latched returns the error that stopped all writes, of kind kms.Unavailable
// and wrapping its cause, or nil.
func (s *Store) Latched() error { return s.latch.err() }

// Close lets go of all files. Reads and writes fail afterwards. Raft must have
// been stopped before.
func (s *Store) Close() error {
	_ = s.anchor.check() // head says how far entries were applied; an error has latched
	s.latch.close()
	return errors.Join(s.wal.Close(), s.anchor.closeHead())
}

// damaged makes the error for a file that is not what was written.
func (a *anchor) damaged(name, format string, args ...any) *kms.Error {
	return damagedAt(path.Join(a.dir, name), format, args...)
}

func damagedAt(file, format string, args ...any) *kms.Error {
	return kms.Errorf(kms.Damaged, format, args...).WithFile(file).WithHint(
		"if the newest copy of " + file + " still exists (removed files lie in the folder aside for one start), put it back and start again; " +
			"otherwise replace this node: start a new one, let it join the domain, and remove this one")
}

// reading types an error that the disk gave: what is missing is damage, the
// rest may pass.
func (a *anchor) reading(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return a.damaged(name, "missing")
	}
	return unreadable(path.Join(a.dir, name), err)
}

const diskHint = "see to the disk, its room and its health, and start again"

func unreadable(file string, err error) *kms.Error {
	return kms.Errorf(kms.Unavailable, "reading: %w", err).WithFile(file).
		WithHint("see to the disk and to who may read " + file + ", which must be a plain file, and start again")
}

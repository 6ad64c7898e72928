// Package auditing writes a node's audit entries: it puts them in a chain, hands
// them to the host's sinks in batches, and says when they are there.
//
// What it guarantees: Record returns nil once the entry is in a batch that every
// required sink has accepted. Callers that come while a batch is being written
// share the next one, so a hundred of them cost one write. A sink gets the entries
// in order, and again where it failed, until it has them; none is left out but of
// a sink that is not required and cannot keep up. A required sink that fails or
// hangs makes Record and Admit refuse within twice Config.Patience, with kind
// Unavailable, until it takes what waits for it.
//
// Sinks are the host's: they can lose, alter or invent what they like, and
// package audit finds it. The chain goes on, after a start, from the last head
// that the domain's log knows and from what sinks show that fits behind it.
package auditing

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/kms"
)

// A Sink keeps audit lines on the host.
type Sink interface {
	// Append takes whole lines, each with its end, behind those of the call before.
	// It returns nil when they would outlive this process; an error, or a ctx that
	// ended, leaves open how many of them it took, and the same lines come again.
	// It keeps no part of lines. One goroutine calls it.
	Append(ctx context.Context, lines []byte) error
}

// A Source is a Sink that shows what it holds.
type Source interface {
	// Since returns lines, oldest first: at least those that it holds of a node's
	// entries behind a number. Others may be among them.
	Since(ctx context.Context, node kms.NodeID, seq uint64) (io.ReadCloser, error)
}

// Config says how a Log works.
type Config struct {
	Domain kms.DomainID
	Node   kms.NodeID
	Sinks  map[string]Sink // by the names that policies use; at most MaxSinks
	Logger *slog.Logger
	// Now is the host's clock: how far sinks are behind is told by it, nothing else.
	Now func() time.Time
	// Patience is how long a sink may take for one batch, tries included; zero means
	// DefaultPatience.
	Patience time.Duration
	// Backlog is how many bytes are kept for a sink that is not required; zero means
	// DefaultBacklog. What comes then is lost to it.
	Backlog int
}

// Defaults and limits of Config.
const (
	DefaultPatience = 2500 * time.Millisecond
	DefaultBacklog  = 16 << 20
	MaxSinks        = 8
	maxAppend       = 1 << 20 // bytes that a sink is given at once, but for one batch
)

// A Log is a node's audit log.
type Log struct {
	cfg   Config
	sinks []*sink
	down  atomic.Uint64 // sinks that take nothing, by bit

	mu      sync.Mutex
	seq     uint64 // the last entry
	hash    audit.Hash
	open    *batch            // being filled; never nil
	spare   []byte            // room that a batch had which every sink has accepted
	entered map[uint64]uint64 // entries by the index of the change they are about
	counts  [2]map[string]uint64

	refused atomic.Uint64
	stop    context.CancelFunc
	work    sync.WaitGroup
	closing sync.Once
}

// A batch is lines that were, or will be, written together.
type batch struct {
	lines  []byte
	last   uint64 // entry; zero: none is in it
	hash   audit.Hash
	begun  time.Time // when its first line was put in
	need   uint64    // sinks that it waits for, by bit
	has    uint64    // sinks that accepted it
	done   chan struct{}
	closed bool
	err    error // once done is closed
}

func newBatch(size int) *batch {
	return &batch{lines: make([]byte, 0, size), done: make(chan struct{})}
}

// finish tells who waits.
func (b *batch) finish(err error) {
	if !b.closed {
		b.closed, b.err = true, err
		close(b.done)
	}
}

// Open makes a Log that goes on behind the last head that the domain's log knows
// of, with what readable sinks hold behind that. It waits for no sink longer
// than Config.Patience.
func Open(ctx context.Context, cfg Config, known audit.Head) (*Log, error) {
	if len(cfg.Sinks) > MaxSinks {
		return nil, kms.Errorf(kms.Invalid, "%d audit sinks, at most %d", len(cfg.Sinks), MaxSinks)
	}
	if cfg.Patience == 0 {
		cfg.Patience = DefaultPatience
	}
	if cfg.Backlog == 0 {
		cfg.Backlog = DefaultBacklog
	}
	l := &Log{cfg: cfg, seq: known.Seq, hash: known.Hash, open: newBatch(0), entered: map[uint64]uint64{},
		counts: [2]map[string]uint64{{}, {}}}
	if known.Seq == 0 {
		l.hash = audit.Genesis(cfg.Domain, cfg.Node)
	}
	for i, name := range slices.Sorted(maps.Keys(cfg.Sinks)) {
		l.sinks = append(l.sinks, &sink{log: l, name: name, bit: 1 << i, to: cfg.Sinks[name], wake: make(chan struct{}, 1)})
	}
	l.resume(ctx, known)
	own, stop := context.WithCancel(context.Background())
	l.stop = stop
	for _, s := range l.sinks {
		l.work.Go(func() { s.run(own) })
	}
	return l, nil
}

// need finds the sinks of some names. The error is Unavailable where the host
// gave this node no such sink.
func (l *Log) need(required []string) (bits uint64, err error) {
	for _, name := range required {
		i := slices.IndexFunc(l.sinks, func(s *sink) bool { return s.name == name })
		if i < 0 {
			return 0, kms.Errorf(kms.Unavailable, "the policy requires the audit sink %q, which this node does not have", name).
				WithHint("configure the sink on this node, or have the signers issue a policy without it")
		}
		bits |= l.sinks[i].bit
	}
	return bits, nil
}

// Node is the node whose log it is.
func (l *Log) Node() kms.NodeID { return l.cfg.Node }

// Enabled reports whether there is anything to record for.
func (l *Log) Enabled(required []string) bool { return len(required) > 0 || len(l.sinks) > 0 }

// Admit says whether an operation may begin: whether its entry could be written.
// The error is Unavailable.
func (l *Log) Admit(required []string) error {
	need, err := l.need(required)
	if err != nil {
		return err
	}
	if down := l.down.Load() & need; down != 0 {
		return l.errDown(down)
	}
	return nil
}

// errDown is the refusal of who comes while a sink takes nothing.
func (l *Log) errDown(down uint64) error {
	for _, s := range l.sinks {
		if s.bit&down != 0 {
			return kms.Errorf(kms.Unavailable, "the audit sink %q takes no entries", s.name).
				WithHint("see why on the node's host; the node goes on by itself when it does")
		}
	}
	return nil
}

// Record puts an entry into the chain and waits until every required sink has
// it. The entry's number, node and predecessor are filled in. Where it returns an
// error the entry is in the chain all the same, and sinks get it when they can:
// it tells what was done, and the result is not released. The error is
// Unavailable.
func (l *Log) Record(ctx context.Context, e *audit.Entry, required []string) error {
	need, err := l.need(required)
	b := l.put(e, need)
	if err != nil || need == 0 {
		return err
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return kms.Errorf(kms.Unavailable, "gave up waiting for the audit log: %w", ctx.Err())
	}
}

// put appends an entry to the batch that is being filled.
func (l *Log) put(e *audit.Entry, need uint64) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq, e.Node, e.Prev = l.seq+1, l.cfg.Node, l.hash
	b := l.open
	start := len(b.lines)
	b.lines = e.Append(b.lines)
	l.seq, l.hash = e.Seq, audit.Sum(b.lines[start:])
	b.last, b.hash = l.seq, l.hash
	if e.Index != 0 {
		l.entered[e.Index] = e.Seq
	}
	l.filled(b, need)
	return b
}

// filled ends a line of the open batch and wakes who is to write it.
func (l *Log) filled(b *batch, need uint64) {
	b.lines = append(b.lines, '\n')
	b.need |= need
	if b.begun.IsZero() {
		b.begun = l.cfg.Now()
	}
	if down := l.down.Load() & need; down != 0 { // it went down since it was asked
		b.finish(l.errDown(down))
	}
	for _, s := range l.sinks {
		s.nudge()
	}
}

// PutHead hands sinks a head that the domain's log has taken.
func (l *Log) PutHead(h *audit.Head) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open.lines = h.Append(l.open.lines)
	l.filled(l.open, 0)
}

// Next is the head to be signed and put through the log: of the last entry that
// all required sinks have, or all that take anything where none is required. fresh
// is how many entries it covers beyond since.
func (l *Log) Next(required []string, since uint64) (h audit.Head, fresh uint64) {
	need, err := l.need(required)
	if err != nil {
		return h, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if need == 0 {
		need = ^l.down.Load()
	}
	first := true
	for _, s := range l.sinks {
		if s.bit&need != 0 && (first || s.seq < h.Seq) {
			h.Seq, h.Hash, first = s.seq, s.hash, false
		}
	}
	h.Node = l.cfg.Node
	if h.Seq <= since {
		return audit.Head{}, 0
	}
	return h, h.Seq - since
}

// Covered is the number of the entry about the change at an index of the domain's
// log; zero: there is none since the start.
func (l *Log) Covered(index uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entered[index]
}

// Settle forgets which entries are about changes up to an index.
func (l *Log) Settle(index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.entered, func(i, _ uint64) bool { return i <= index })
}

// Close lets sinks that take anything have what waits for them, as long as their
// patience lasts, and stops. A sink that hangs then is left hanging.
func (l *Log) Close() {
	l.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), l.cfg.Patience)
		defer cancel()
		for !l.idle() && ctx.Err() == nil {
			pause(ctx, time.Millisecond)
		}
		l.stop()
		l.work.Wait()
	})
}

// idle reports whether nothing waits for a sink that takes anything.
func (l *Log) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sinks {
		if s.fault == nil && len(s.queue)+len(s.busy)+len(l.open.lines) > 0 {
			return false
		}
	}
	return true
}

// Living are the sinks that a node's last entry waits for: the required ones, or
// all that take anything.
func (l *Log) Living(required []string) (names []string) {
	for _, s := range l.sinks {
		if s.bit&l.down.Load() == 0 && (len(required) == 0 || slices.Contains(required, s.name)) {
			names = append(names, s.name)
		}
	}
	return names
}

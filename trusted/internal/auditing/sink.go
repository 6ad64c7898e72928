package auditing

import (
	"context"
	"errors"
	"math/bits"
	"runtime"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/kms"
)

// A sink is one of the host's, with what waits for it. Its fields behind wake are
// guarded by the Log's mutex.
type sink struct {
	log  *Log
	name string
	bit  uint64
	to   Sink
	wake chan struct{}

	queue []*batch // oldest first
	bytes int      // in queue
	busy  []*batch // being written
	seq   uint64   // the last entry that it accepted
	hash  audit.Hash
	fault error     // why it takes nothing; nil: it does
	since time.Time // of fault
	lost  uint64    // entries that were not kept for it
}

const retryInterval = 100 * time.Millisecond

var errHangs = errors.New("it does not answer")

func (s *sink) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes what there is until ctx ends.
func (s *sink) run(ctx context.Context) {
	for {
		runtime.Gosched() // who is about to put an entry in shares this batch: it costs each of them less
		lines := s.next()
		if lines == nil {
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			}
			continue
		}
		if !s.deliver(ctx, lines) {
			return
		}
		s.accepted()
	}
}

// next takes what is to be written now; nil: nothing. Who finds nothing in his
// queue ends the batch that is being filled.
func (s *sink) next() []byte {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(s.queue) == 0 && len(l.open.lines) > 0 {
		l.seal()
	}
	n, size := 0, 0
	for n < len(s.queue) && (n == 0 || size+len(s.queue[n].lines) <= maxAppend) {
		size += len(s.queue[n].lines)
		n++
	}
	if n == 0 {
		return nil
	}
	s.busy, s.queue = s.queue[:n:n], s.queue[n:]
	s.bytes -= size
	if n == 1 {
		return s.busy[0].lines
	}
	lines := make([]byte, 0, size)
	for _, b := range s.busy {
		lines = append(lines, b.lines...)
	}
	return lines
}

// seal puts the open batch in every sink's queue.
func (l *Log) seal() {
	b := l.open
	l.open = l.newOpen(len(b.lines))
	for _, s := range l.sinks {
		if s.bit&b.need == 0 && s.bytes+len(b.lines) > l.cfg.Backlog {
			s.lose()
		}
		s.queue = append(s.queue, b)
		s.bytes += len(b.lines)
		s.nudge()
	}
}

// newOpen is a batch with room for about as much as the last one had.
func (l *Log) newOpen(size int) *batch {
	if cap(l.spare) < size {
		return newBatch(size)
	}
	b := newBatch(0)
	b.lines, l.spare = l.spare, nil
	return b
}

// reuse takes the room of a batch that nobody reads any more.
func (l *Log) reuse(b *batch) {
	if bits.OnesCount64(b.has) == len(l.sinks) && cap(b.lines) <= maxAppend {
		l.spare, b.lines = b.lines[:0], nil
	}
}

// lose drops what waits for a sink that nothing waits for. What it has then has a
// hole, which anybody who verifies it sees.
func (s *sink) lose() {
	kept, size := s.queue[:0:0], 0
	for _, b := range s.queue {
		if b.need&s.bit != 0 {
			kept, size = append(kept, b), size+len(b.lines)
			continue
		}
		s.lost++
	}
	if s.queue, s.bytes = kept, size; s.lost > 0 {
		s.log.cfg.Logger.Warn("an audit sink falls behind: entries are lost to it", "sink", s.name, "batches", s.lost)
	}
}

// deliver writes until the sink has taken it. It reports false when ctx ended
// first.
func (s *sink) deliver(ctx context.Context, lines []byte) bool {
	for {
		err := s.insist(ctx, lines)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.failed(err)
	}
}

// insist writes again and again, as long as patience lasts.
func (s *sink) insist(ctx context.Context, lines []byte) error {
	patience, cancel := context.WithTimeout(ctx, s.log.cfg.Patience)
	defer cancel()
	for {
		err := s.try(ctx, patience, lines)
		if err == nil || patience.Err() != nil {
			return err
		}
		pause(patience, retryInterval)
	}
}

// try writes once. A sink that hangs is waited for, after who waits has been told.
func (s *sink) try(ctx, patience context.Context, lines []byte) error {
	result := make(chan error, 1)
	go func() { result <- s.to.Append(patience, lines) }()
	select {
	case err := <-result:
		return err
	case <-patience.Done():
	}
	select {
	case err := <-result: // it took notice, or was done just now
		return err
	default:
	}
	if ctx.Err() == nil {
		s.failed(errHangs)
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pause waits, by a deadline: package time's own are the host's clock.
func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// failed tells everybody who waits for the sink that it takes nothing.
func (s *sink) failed(cause error) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.fault == nil {
		s.since = l.cfg.Now()
		l.cfg.Logger.Error("an audit sink takes nothing", "sink", s.name, "cause", cause)
	}
	s.fault = cause
	l.down.Or(s.bit)
	refusal := l.errDown(s.bit)
	for _, list := range [][]*batch{s.busy, s.queue, {l.open}} {
		for _, b := range list {
			if b.need&s.bit != 0 {
				b.finish(refusal)
			}
		}
	}
}

// accepted notes that the sink has what it was given.
func (s *sink) accepted() {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range s.busy {
		if b.has |= s.bit; b.need&^b.has == 0 {
			b.finish(nil)
		}
		if b.last != 0 {
			s.seq, s.hash = b.last, b.hash
		}
		l.reuse(b)
	}
	s.busy = nil
	if s.fault != nil {
		s.fault = nil
		l.down.And(^s.bit)
		l.cfg.Logger.Info("an audit sink takes entries again", "sink", s.name)
	}
}

// A SinkStatus is how a sink does.
type SinkStatus struct {
	Name    string
	Fault   error     // why it takes nothing; nil: it does
	Since   time.Time // of Fault, by the host's clock
	Entry   uint64    // the last one that it has
	Behind  uint64    // entries that it does not have yet
	Waiting time.Duration
	Lost    uint64 // batches that were not kept for it
}

// Status says how each sink does, in order of their names.
func (l *Log) Status() []SinkStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]SinkStatus, 0, len(l.sinks))
	for _, s := range l.sinks {
		st := SinkStatus{Name: s.name, Fault: s.fault, Since: s.since, Entry: s.seq, Lost: s.lost, Behind: l.seq - s.seq}
		if begun := s.oldest(); !begun.IsZero() {
			st.Waiting = max(0, l.cfg.Now().Sub(begun))
		}
		all = append(all, st)
	}
	return all
}

// oldest is when the first of what waits for the sink was made.
func (s *sink) oldest() time.Time {
	for _, list := range [][]*batch{s.busy, s.queue, {s.log.open}} {
		if len(list) > 0 && !list[0].begun.IsZero() {
			return list[0].begun
		}
	}
	return time.Time{}
}

// Progress is how far the required sinks are, all of them where none is required.
func (l *Log) Progress(required []string) kms.AuditProgress {
	p := kms.AuditProgress{Enabled: l.Enabled(required), Refused: l.refused.Load(), Failing: l.Admit(required) != nil}
	first := true
	for _, s := range l.Status() {
		if need, _ := l.need(required); need != 0 && need&l.bit(s.Name) == 0 {
			continue
		}
		if first || s.Entry < p.Entries {
			p.Entries, first = s.Entry, false
		}
		p.Waiting, p.Lag = max(p.Waiting, int(s.Behind)), max(p.Lag, s.Waiting)
	}
	return p
}

func (l *Log) bit(name string) uint64 {
	for _, s := range l.sinks {
		if s.name == name {
			return s.bit
		}
	}
	return 0
}

package auditing

import (
	"bytes"
	"context"
	"io"

	"github.com/holdfast-kms/holdfast/audit"
)

// maxTail bounds what is read of a sink at start: a second's entries are some
// megabytes.
const maxTail = 64 << 20

// A tail is entries behind the head that the log knows, as a sink shows them.
type tail struct {
	lines [][]byte // with their ends
	seq   uint64   // the last one
	hash  audit.Hash
}

// resume goes on behind the longest tail that any sink shows, and hands it to
// those who lack it. A sink that shows nothing is taken to have what the head
// covers, and gets what others have behind that, maybe a second time.
func (l *Log) resume(ctx context.Context, known audit.Head) {
	tails := make([]*tail, len(l.sinks))
	longest := &tail{seq: l.seq, hash: l.hash}
	for i, s := range l.sinks {
		tails[i] = l.readTail(ctx, s, known)
		if tails[i].seq > longest.seq {
			longest = tails[i]
		}
	}
	for i, s := range l.sinks {
		s.seq, s.hash = tails[i].seq, tails[i].hash
		if missing := longest.lines[tails[i].seq-known.Seq:]; len(missing) > 0 {
			b := newBatch(0)
			b.lines, b.last, b.hash, b.begun = bytes.Join(missing, nil), longest.seq, longest.hash, l.cfg.Now()
			s.queue, s.bytes = append(s.queue, b), len(b.lines)
		}
	}
	l.seq, l.hash = longest.seq, longest.hash
}

// readTail reads what fits behind the head, and no more.
func (l *Log) readTail(ctx context.Context, s *sink, known audit.Head) *tail {
	t := &tail{seq: l.seq, hash: l.hash}
	source, ok := s.to.(Source)
	if !ok {
		return t
	}
	b, err := l.read(ctx, source, known.Seq)
	if err != nil {
		l.cfg.Logger.Warn("an audit sink does not show what it holds: what it has behind the last head is not gone on from", "sink", s.name, "cause", err)
		return t
	}
	for line := range bytes.Lines(b) {
		content, whole := bytes.CutSuffix(line, []byte("\n"))
		if !whole || audit.IsHead(content) {
			continue
		}
		e, err := audit.ParseEntry(content)
		if err != nil || e.Node != l.cfg.Node || e.Seq <= known.Seq {
			continue
		}
		if e.Seq <= t.seq && e.Operation == audit.Start { // where it went on from less, once
			t.back(e.Seq-1, known, l)
		}
		if e.Seq == t.seq+1 && e.Prev == t.hash {
			t.lines, t.seq, t.hash = append(t.lines, line), e.Seq, audit.Sum(content)
		}
	}
	return t
}

// back shortens the tail to an entry.
func (t *tail) back(seq uint64, known audit.Head, l *Log) {
	t.lines, t.seq, t.hash = t.lines[:seq-known.Seq], seq, l.hash
	if n := len(t.lines); n > 0 {
		t.hash = audit.Sum(bytes.TrimSuffix(t.lines[n-1], []byte("\n")))
	}
}

// read waits no longer than the sink may let anybody wait.
func (l *Log) read(ctx context.Context, from Source, seq uint64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Patience)
	defer cancel()
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		r, err := from.Since(ctx, l.cfg.Node, seq)
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer r.Close()
		b, err := io.ReadAll(io.LimitReader(r, maxTail))
		done <- result{b, err}
	}()
	select {
	case r := <-done:
		return r.b, r.err
	case <-ctx.Done():
		return nil, errHangs
	}
}

package audit

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
)

// pieceSize is how much of a file is read at once: some hundred lines, and more
// than one.
const pieceSize = 4 * MaxLine

// A piece is whole lines of a file, which one goroutine reads while others read
// other pieces. What the lines mean together is found in their order.
type piece struct {
	text  []byte
	long  bool // the lines are followed by one that is longer than any entry
	open  bool // … by one without an end
	err   error
	lines []statement // what the lines say
	words words
	done  chan struct{} // has a value when the lines are read
}

// A statement is what one line says.
type statement struct {
	fault string // why the line is neither an entry nor a head; empty: it is one
	entry Entry
	sum   Hash // of an entry
	head  *Head
	valid bool // the head is signed by the domain, or nobody knows its keys
}

const (
	faultHead  = "a head in no known spelling"
	faultEntry = "neither an entry nor a head: it was altered, or is none of ours"
	faultLong  = "a line longer than any entry"
	faultOpen  = "a line without an end: it was cut off, or the node ended while it was written"
)

// pieces reads a file on as many processors as there are, and calls take with one
// piece after another, in their order. It returns when all its goroutines have ended.
func (v *Verifier) pieces(r io.Reader, take func(*piece)) {
	workers := runtime.GOMAXPROCS(0)
	unread, ordered := make(chan *piece, workers), make(chan *piece, 2*workers)
	free := make(chan *piece, 3*workers)
	for range cap(free) {
		free <- &piece{words: words{}, done: make(chan struct{}, 1)}
	}
	var work sync.WaitGroup
	defer work.Wait()
	for range workers {
		work.Go(func() {
			for p := range unread {
				v.readPiece(p)
				p.done <- struct{}{}
			}
		})
	}
	work.Go(func() {
		s := splitter{from: r}
		for more := true; more; {
			p := <-free
			more = s.next(p)
			unread <- p
			ordered <- p
		}
		close(unread)
		close(ordered)
	})
	for p := range ordered {
		<-p.done
		take(p)
		free <- p
	}
}

// readPiece reads the lines of a piece.
func (v *Verifier) readPiece(p *piece) {
	p.lines = p.lines[:0]
	for rest := p.text; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		p.lines = append(p.lines, v.readLine(rest[:end], p.words))
		rest = rest[end+1:]
	}
}

// readLine reads a line without its end.
func (v *Verifier) readLine(line []byte, w words) (s statement) {
	switch {
	case len(line) >= MaxLine:
		s.fault = faultLong
	case IsHead(line):
		h, err := ParseHead(line)
		if err != nil {
			s.fault = faultHead
			return s
		}
		s.head, s.valid = &h, v.signed(&h)
	default:
		var err error
		if s.entry, err = parseEntry(bytes.TrimSuffix(line, []byte("\r")), w); err != nil {
			s.fault = faultEntry
			return s
		}
		s.sum = Sum(line)
	}
	return s
}

// signed reports whether the domain signed a head, as far as its keys are known.
func (v *Verifier) signed(h *Head) bool {
	cp := v.cfg.Checkpoint
	if cp == nil {
		return true
	}
	public, ok := cp.Key(h.Generation)
	return ok && h.VerifiedBy(v.cfg.Domain, public)
}

// A splitter cuts a file into pieces.
type splitter struct {
	from io.Reader
	rest []byte // of the last piece: the beginning of a line
	skip bool   // what comes is still of a line that is too long
}

// next fills a piece. It reports false for the last one.
func (s *splitter) next(p *piece) bool {
	p.text, p.long, p.open, p.err = append(p.text[:0], s.rest...), false, false, nil
	begun := len(p.text)
	if cap(p.text) < pieceSize {
		p.text = append(make([]byte, 0, pieceSize), p.text...)
	}
	n, err := io.ReadFull(s.from, p.text[begun:pieceSize])
	p.text = s.skipped(p.text[:begun+n])
	if err != nil {
		s.end(p, err)
		return false
	}
	end := bytes.LastIndexByte(p.text, '\n') + 1
	s.rest = append(s.rest[:0], p.text[end:]...)
	p.text = p.text[:end]
	if len(s.rest) >= MaxLine { // its end is still to come, and it is too long already
		p.long, s.skip, s.rest = true, true, s.rest[:0]
	}
	return true
}

// skipped takes away what is of a line that was too long.
func (s *splitter) skipped(text []byte) []byte {
	if !s.skip {
		return text
	}
	end := bytes.IndexByte(text, '\n') + 1
	if end == 0 {
		return text[:0]
	}
	s.skip = false
	return text[end:]
}

// end ends the last piece, behind which nothing could be read.
func (s *splitter) end(p *piece, err error) {
	end := bytes.LastIndexByte(p.text, '\n') + 1
	rest := len(p.text) - end
	p.text = p.text[:end]
	switch {
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		p.err = err
	case rest >= MaxLine:
		p.long = true
	case rest > 0:
		p.open = true
	}
}

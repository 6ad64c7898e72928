package audit

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-kms/holdfast/kms"
)

var errLine = kms.Errorf(kms.Invalid, "not an audit entry in its one spelling")

// ParseEntry reads a line without its end. It takes what Append prints and
// nothing else, so that an entry has one hash. The error is Invalid.
func ParseEntry(line []byte) (Entry, error) { return parseEntry(line, nil) }

func parseEntry(line []byte, w words) (Entry, error) {
	if len(line) >= MaxLine {
		return Entry{}, errLine
	}
	s := &scanner{rest: line, words: w}
	e := s.entry()
	if s.failed || len(s.rest) != 0 {
		return Entry{}, errLine
	}
	var space [1024]byte
	if !bytes.Equal(e.Append(space[:0]), line) {
		return Entry{}, errLine
	}
	return e, nil
}

// A scanner reads one line from left to right. Its first failure stays.
type scanner struct {
	rest   []byte
	failed bool
	words  words
}

// words are texts that were read before, so that each is stored once: a record
// has few operations and outcomes. nil: all are stored.
type words map[string]string

// maxWords and maxWord bound what is kept.
const (
	maxWords = 256
	maxWord  = 64
)

func (w words) text(b []byte) string {
	if known, ok := w[string(b)]; ok {
		return known
	}
	s := string(b)
	if w != nil && len(w) < maxWords && len(s) <= maxWord {
		w[s] = s
	}
	return s
}

func (s *scanner) entry() (e Entry) {
	s.expect(`{"seq":`)
	e.Seq = s.number()
	s.expect(`,"node":"`)
	s.hex(e.Node[:])
	s.expect(`","time":"`)
	e.Time = s.time()
	s.expect(`","epoch":`)
	e.Epoch = s.number()
	s.expect(`,"op":`)
	e.Operation = s.text()
	if s.has(`,"app":"`) {
		e.App = s.uuid()
	}
	if s.has(`,"credential":"`) {
		e.Credential = s.uuid()
	}
	e.Identity = s.optional(`,"identity":`)
	e.Key = s.ref(`,"key":"`, `,"version":`)
	e.Source = s.ref(`,"source":"`, `,"source_version":`)
	e.Name = s.optional(`,"name":`)
	e.Object = s.optional(`,"object":`)
	e.Index = s.maybe(`,"index":`)
	s.expect(`,"outcome":`)
	e.Outcome = s.text()
	e.Reason = s.optional(`,"reason":`)
	e.Recovered = s.has(`,"recovered":true`)
	if s.has(`,"for_node":"`) {
		s.hex(e.For[:])
		s.expect(`"`)
		s.failed = s.failed || e.For == (kms.NodeID{}) // which is not said
	}
	e.Head = s.maybe(`,"head":`)
	e.Counts = s.counts()
	s.expect(`,"prev":"`)
	s.hex(e.Prev[:])
	s.expect(`"}`)
	return e
}

// has takes a text if it comes next.
func (s *scanner) has(text string) bool {
	if s.failed || len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

func (s *scanner) expect(text string) {
	if !s.has(text) {
		s.failed = true
	}
}

func (s *scanner) number() uint64 {
	n := 0
	for n < len(s.rest) && '0' <= s.rest[n] && s.rest[n] <= '9' {
		n++
	}
	v, err := strconv.ParseUint(string(s.rest[:n]), 10, 64)
	if err != nil {
		s.failed = true
		return 0
	}
	s.rest = s.rest[n:]
	return v
}

func (s *scanner) maybe(name string) uint64 {
	if !s.has(name) {
		return 0
	}
	return s.number()
}

func (s *scanner) hex(dst []byte) {
	n := hex.EncodedLen(len(dst))
	if len(s.rest) < n {
		s.failed = true
		return
	}
	if _, err := hex.Decode(dst, s.rest[:n]); err != nil {
		s.failed = true
	}
	s.rest = s.rest[n:]
}

// time reads digits; what stands between them, and that there is such a day and
// hour, shows when the time is printed.
func (s *scanner) time() time.Time {
	if len(s.rest) < len(timeLayout) {
		s.failed = true
		return time.Time{}
	}
	text := s.rest[:len(timeLayout)]
	s.rest = s.rest[len(timeLayout):]
	var n [7]int // year to microsecond
	for i, at := range [...][2]int{{0, 4}, {5, 7}, {8, 10}, {11, 13}, {14, 16}, {17, 19}, {20, 26}} {
		for _, c := range text[at[0]:at[1]] {
			s.failed = s.failed || c < '0' || c > '9'
			n[i] = 10*n[i] + int(c-'0')
		}
	}
	return time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], n[6]*1000, time.UTC)
}

func (s *scanner) uuid() (id [16]byte) {
	at := 0
	for i, n := range [...]int{4, 2, 2, 2, 6} {
		if i > 0 {
			s.expect("-")
		}
		s.hex(id[at : at+n])
		at += n
	}
	s.expect(`"`)
	return id
}

func (s *scanner) ref(id, version string) (ref kms.KeyRef) {
	if !s.has(id) {
		return ref
	}
	ref.ID = s.uuid()
	n := s.maybe(version)
	ref.Version = kms.KeyVersion(n)
	s.failed = s.failed || uint64(ref.Version) != n
	return ref
}

func (s *scanner) optional(name string) string {
	if !s.has(name) {
		return ""
	}
	return s.text()
}

// text reads a string; that it was in its one spelling shows when it is printed.
func (s *scanner) text() string {
	s.expect(`"`)
	end := bytes.IndexByte(s.rest, '"')
	if end >= 0 && bytes.IndexByte(s.rest[:end], '\\') < 0 { // as nearly all are
		out := s.words.text(s.rest[:end])
		s.rest = s.rest[end+1:]
		return out
	}
	var out strings.Builder
	for !s.failed {
		r, size := utf8.DecodeRune(s.rest)
		switch {
		case size == 0:
			s.failed = true
		case r == '"':
			s.rest = s.rest[1:]
			return out.String()
		case r == '\\':
			out.WriteByte(s.escaped())
		default:
			out.Write(s.rest[:size])
			s.rest = s.rest[size:]
		}
	}
	return ""
}

func (s *scanner) escaped() byte {
	if s.has(`\u00`) {
		var c [1]byte
		s.hex(c[:])
		return c[0]
	}
	if len(s.rest) < 2 {
		s.failed = true
		return 0
	}
	c := s.rest[1]
	s.rest = s.rest[2:]
	return c
}

func (s *scanner) counts() (all []Count) {
	if !s.has(`,"counts":{`) {
		return nil
	}
	for !s.failed && len(all) <= MaxCount {
		c := Count{Name: s.text()}
		s.expect(":")
		c.N = s.number()
		all = append(all, c)
		if s.has("}") {
			return all
		}
		s.expect(",")
	}
	s.failed = true
	return nil
}

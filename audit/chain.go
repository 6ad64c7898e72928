package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
)

// A chain is what is known of a node's while its entries are read.
type chain struct {
	Chain
	v *Verifier

	last    Place
	stopped bool                // the last entry is a Stop
	base    uint64              // hashes[i] is of entry base+1+i
	hashes  []Hash              // of the last entries, for heads that come after more of them
	missing []gap               // where entries were jumped over, in their order; found again: to is less than from
	heads   map[uint64][]placed // by entry, that no entry was read for yet
}

// A gap is entries that are missing, and where that shows.
type gap struct {
	from, to uint64
	at       Place
}

// A placed head stands in a file, or in the checkpoint.
type placed struct {
	Head
	at   Place
	from uint64 // not zero: the entry that was read is another, and this one the first it may be about
}

// maxWindow bounds how many hashes are kept: a head comes within some thousands.
const maxWindow = 1 << 17

// entry takes the next line of the chain.
func (c *chain) entry(e *Entry, sum Hash) {
	switch next := c.Chain.Last + 1; {
	case c.Entries == 0:
		c.begin(e)
	case e.Seq == next:
		c.link(e)
	case e.Seq > next:
		c.missing = append(c.missing, gap{next, e.Seq - 1, c.v.at})
		c.base, c.hashes = e.Seq-1, c.hashes[:0]
	default:
		if !c.again(e, sum) {
			return
		}
	}
	c.Entries++
	c.take(e, sum)
}

// begin takes the first entry that there is.
func (c *chain) begin(e *Entry) {
	c.First, c.base = e.Seq, e.Seq-1
	switch {
	case e.Seq == 0:
		c.find(Malformed, 0, 0, "an entry without a number")
	case e.Seq == 1 && c.v.cfg.Domain != (kms.DomainID{}) && e.Prev != Genesis(c.v.cfg.Domain, e.Node):
		c.find(Altered, 1, 1, "it is not the first entry of this node in this domain")
	case e.Seq > 1 && !c.v.cfg.Partial:
		c.find(Beheaded, 1, e.Seq-1, "the record begins later: where are the older files?")
	}
}

// link compares what an entry names with the one before it.
func (c *chain) link(e *Entry) {
	if before, ok := c.hash(e.Seq - 1); ok && before != e.Prev {
		c.v.report.find(Finding{Fault: Altered, Node: c.Node, From: e.Seq - 1, To: e.Seq - 1, Place: c.last,
			Why: fmt.Sprintf("it is not the entry that number %d was written after", e.Seq)})
	}
}

// again takes an entry whose number has been passed. It reports whether the
// chain goes on with it.
func (c *chain) again(e *Entry, sum Hash) bool {
	if c.fill(e.Seq) {
		c.Entries++
		c.find(Misplaced, e.Seq, e.Seq, fmt.Sprintf("it stands behind entry %d", c.Chain.Last))
		return false
	}
	had, known := c.hash(e.Seq)
	if !known || had == sum {
		c.Repeated++ // of one that is too long ago only the number is known
		return false
	}
	before, known := c.hash(e.Seq - 1)
	if e.Operation != Start || !known || before != e.Prev || e.Seq <= c.Proven {
		c.find(Doubled, e.Seq, e.Seq, "another entry has the same number")
		return false
	}
	c.Abandoned += c.Chain.Last - e.Seq + 1
	c.hashes = c.hashes[:e.Seq-1-c.base]
	return true
}

// fill closes a gap where an entry is found that was jumped over.
func (c *chain) fill(seq uint64) bool {
	i, exact := slices.BinarySearchFunc(c.missing, seq, func(g gap, seq uint64) int { return cmp.Compare(g.from, seq) })
	if !exact {
		i--
	}
	if i < 0 || seq > c.missing[i].to {
		return false
	}
	g := &c.missing[i]
	rest := gap{seq + 1, g.to, g.at}
	if g.to = seq - 1; rest.from <= rest.to {
		c.missing = slices.Insert(c.missing, i+1, rest)
	}
	return true
}

func (c *chain) take(e *Entry, sum Hash) {
	if e.Operation == Start && c.Entries > 1 && !c.stopped && e.Seq > e.Head+1 {
		c.Doubts = append(c.Doubts, Doubt{After: e.Seq - 1, Head: e.Head, Time: e.Time})
	}
	c.stopped = e.Operation == Stop
	c.Chain.Last, c.last = e.Seq, c.v.at
	if len(c.hashes) == maxWindow {
		c.base += maxWindow / 2
		c.hashes = append(c.hashes[:0], c.hashes[maxWindow/2:]...)
	}
	c.hashes = append(c.hashes, sum)
	if heads, ok := c.heads[e.Seq]; ok {
		c.compare(e.Seq, heads, sum)
	}
}

// compare takes the heads of an entry that has come now.
func (c *chain) compare(seq uint64, heads []placed, sum Hash) {
	heads = slices.DeleteFunc(heads, func(h placed) bool { return h.Hash == sum && c.prove(h) })
	for i := range heads {
		heads[i].from = c.suspect()
	}
	if c.heads[seq] = heads; len(heads) == 0 {
		delete(c.heads, seq)
	}
}

// prove notes what a head covers.
func (c *chain) prove(h placed) bool {
	if h.Seq > c.Proven {
		c.Proven, c.ProvenAt = h.Seq, h.Time
	}
	return true
}

// suspect is the first entry that was altered, where a head says that one was.
func (c *chain) suspect() uint64 { return max(c.Proven+1, c.First) }

// hash is that of an entry, if it is known still.
func (c *chain) hash(seq uint64) (Hash, bool) {
	if seq <= c.base || seq-c.base > uint64(len(c.hashes)) {
		return Hash{}, false
	}
	return c.hashes[seq-c.base-1], true
}

// expect takes a head of the checkpoint.
func (c *chain) expect(h Head) {
	c.keep(placed{Head: h, at: Place{File: "checkpoint"}})
}

func (c *chain) keep(h placed) { c.heads[h.Seq] = append(c.heads[h.Seq], h) }

// head takes a head that stands in a file. One that does not fit is kept to the
// end: what it is about may come, where a node went on from there.
func (c *chain) head(h Head, at Place) {
	sum, known := c.hash(h.Seq)
	switch {
	case h.Seq > c.Chain.Last || c.Entries == 0:
		c.keep(placed{Head: h, at: at})
	case !known: // it is missing, which is told elsewhere, or too long ago
	case sum == h.Hash:
		c.prove(placed{Head: h})
	default:
		c.keep(placed{Head: h, at: at, from: c.suspect()})
	}
}

// end says what is missing when everything was read.
func (c *chain) end() {
	for _, g := range c.missing {
		if g.to < g.from {
			continue
		}
		c.v.report.find(Finding{Fault: Removed, Node: c.Node, From: g.from, To: g.to, Place: g.at, Why: "the record jumps over them here"})
	}
	var farthest placed
	for _, seq := range slices.Sorted(maps.Keys(c.heads)) {
		for _, h := range c.heads[seq] {
			if seq > c.Chain.Last && seq > farthest.Seq {
				farthest = h
			}
			if h.from != 0 {
				c.v.report.find(Finding{Fault: Altered, Node: c.Node, From: h.from, To: seq, Place: h.at,
					Why: "a head has another hash: one of them at least was altered, and those behind it to fit"})
			}
		}
	}
	if farthest.Seq > 0 {
		c.v.report.find(Finding{Fault: Truncated, Node: c.Node, From: c.Chain.Last + 1, To: farthest.Seq, Place: c.last,
			Why: fmt.Sprintf("the domain has a head at entry %d (%s)", farthest.Seq, farthest.at)})
	}
}

func (c *chain) find(f Fault, from, to uint64, why string) {
	c.v.report.find(Finding{Fault: f, Node: c.Node, From: from, To: to, Place: c.v.at, Why: why})
}

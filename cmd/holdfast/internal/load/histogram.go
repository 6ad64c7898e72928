package load

import (
	"math/bits"
	"time"
)

const (
	// subBits splits each power of two into 32 buckets, so that a value is
	// known to 3%.
	subBits = 5
	sub     = 1 << subBits

	// topBits bounds what is told apart: 2^42 ns is over an hour.
	topBits = 42

	buckets = (topBits - subBits + 1) * sub
)

// A Histogram counts durations in buckets that widen with them, in 10 kB
// whatever it is given. It is not safe for concurrent use: one per worker, and
// Merge at the end.
type Histogram struct {
	counts [buckets]uint64
	total  uint64
	max    time.Duration
}

// Record counts d once. Negative is zero.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(d)]++
	h.total++
	h.max = max(h.max, d)
}

// Merge adds what o counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// Total is how many durations were counted.
func (h *Histogram) Total() uint64 { return h.total }

// Max is the longest of them.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns the duration that a share q of the counted ones, 0 to 1, do
// not exceed, rounded up by at most 3%; 0 where nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := uint64(q*float64(h.total) + 0.5)
	var seen uint64
	for i, n := range h.counts {
		seen += n
		if seen > 0 && seen >= want {
			return min(floorOf(i+1), h.max)
		}
	}
	return h.max
}

// A Band is a coarse bucket: Count durations from Low up to, not including, High.
type Band struct {
	Low, High time.Duration
	Count     uint64
}

// Bands sums the buckets up into two bands per power of two, from the first
// that counted something to the last.
func (h *Histogram) Bands() []Band {
	var all []Band
	last := 0
	for i := 0; i < buckets; i += sub / 2 {
		b := Band{Low: floorOf(i), High: floorOf(i + sub/2)}
		for _, n := range h.counts[i : i+sub/2] {
			b.Count += n
		}
		if b.Count == 0 && len(all) == 0 {
			continue
		}
		all = append(all, b)
		if b.Count > 0 {
			last = len(all)
		}
	}
	return all[:last]
}

// bucketOf is linear below sub, then sub buckets for each power of two.
func bucketOf(d time.Duration) int {
	v := min(uint64(d), 1<<topBits-1)
	if v < sub {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)*sub + int(v>>shift) - sub
}

// floorOf is the least duration in bucket i.
func floorOf(i int) time.Duration {
	if i < sub {
		return time.Duration(i)
	}
	shift := i/sub - 1
	return time.Duration(i%sub+sub) << shift
}

package load_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/cmd/holdfast/internal/load"
)

func TestQuantilesAreWithinThreePercent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	shapes := map[string]func() time.Duration{
		"uniform":   func() time.Duration { return time.Duration(rng.Int64N(int64(time.Millisecond))) },
		"lognormal": func() time.Duration { return time.Duration(math.Exp(rng.NormFloat64()*2 + 12)) },
		"tiny":      func() time.Duration { return time.Duration(rng.Int64N(40)) },
		"constant":  func() time.Duration { return 1234567 },
	}
	for name, draw := range shapes {
		t.Run(name, func(t *testing.T) {
			var parts [4]load.Histogram
			var all []time.Duration
			for i := range 20_000 {
				d := draw()
				all = append(all, d)
				parts[i%len(parts)].Record(d)
			}
			h := &parts[0]
			for i := range parts[1:] {
				h.Merge(&parts[i+1])
			}
			slices.Sort(all)
			for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
				want := all[max(int(q*float64(len(all))+0.5)-1, 0)]
				if got := h.Quantile(q); got < want || float64(got) > float64(want)*1.0313+1 {
					t.Errorf("quantile %v is %d, want %d", q, got, want)
				}
			}
			if h.Max() != all[len(all)-1] || h.Total() != 20_000 {
				t.Errorf("max %d of %d", h.Max(), h.Total())
			}
		})
	}
}

func TestQuantileOfExtremes(t *testing.T) {
	var h load.Histogram
	if h.Quantile(0.5) != 0 || len(h.Bands()) != 0 {
		t.Error("an empty histogram has a quantile or a band")
	}
	h.Record(-5)
	h.Record(1000 * time.Hour) // beyond what is told apart
	if got := h.Quantile(0.25); got > 1 {
		t.Errorf("a negative duration counts as %v", got)
	}
	if h.Max() != 1000*time.Hour {
		t.Errorf("max %v", h.Max())
	}
}

func TestBands(t *testing.T) {
	var h load.Histogram
	for _, d := range []time.Duration{1024, 1535, 1536, 2047, 4096} {
		h.Record(d)
	}
	want := []load.Band{
		{1024, 1536, 2}, {1536, 2048, 2},
		{2048, 3072, 0}, {3072, 4096, 0},
		{4096, 6144, 1},
	}
	if diff := cmp.Diff(want, h.Bands()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBandsMeetWithoutGaps(t *testing.T) {
	var h load.Histogram
	for d := time.Duration(1); d < time.Hour; d += d/7 + 1 {
		h.Record(d)
	}
	bands := h.Bands()
	var n uint64
	for i, b := range bands {
		n += b.Count
		if i > 0 && b.Low != bands[i-1].High {
			t.Errorf("gap between %v and %v", bands[i-1], b)
		}
	}
	if n != h.Total() {
		t.Errorf("bands hold %d, want %d", n, h.Total())
	}
}

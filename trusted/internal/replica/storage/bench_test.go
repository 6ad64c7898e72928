package storage_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/holdfast-kms/holdfast/host/disk"
)

// BenchmarkStoreLogs appends to plain raft-wal and to this store in turn, on
// the same file system, so that what else the machine does strikes both. One
// operation is one append to each; the figures are medians.
func BenchmarkStoreLogs(b *testing.B) {
	const payload = 300 // what a CreateKey is
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			plain, err := wal.Open(b.TempDir(), wal.WithLogger(hclog.NewNullLogger()), wal.WithSegmentSize(16<<20))
			if err != nil {
				b.Fatal(err)
			}
			defer plain.Close()
			d, err := disk.Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			cfg := config(d, 1)
			cfg.SegmentSize = 0
			sealed := create(b, cfg)
			defer sealed.Close()

			var took [2][]time.Duration
			index := uint64(1)
			for b.Loop() {
				logs := make([]*raft.Log, batch)
				for i := range logs {
					logs[i] = &raft.Log{Index: index + uint64(i), Term: 1, Data: make([]byte, payload)}
				}
				index += uint64(batch)
				for i, log := range []raft.LogStore{plain, sealed.Log()} {
					start := time.Now()
					if err := log.StoreLogs(logs); err != nil {
						b.Fatal(err)
					}
					took[i] = append(took[i], time.Since(start))
				}
				sealed.Applied(index - 1)
			}
			perSecond := func(i int) float64 { return float64(batch) / median(took[i]).Seconds() }
			b.ReportMetric(perSecond(0), "plain-entries/s")
			b.ReportMetric(perSecond(1), "sealed-entries/s")
			b.ReportMetric(perSecond(1)/perSecond(0), "sealed/plain")
		})
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

package replica_test

import (
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
)

// nothing is a state machine that does nothing.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nothing{}, nil }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }
func (nothing) Persist(s raft.SnapshotSink) error   { return s.Close() }
func (nothing) Release()                            {}

// BenchmarkRawApply is the floor under CreateKey: hashicorp/raft over the same
// sealed store, entries as large as a CreateKey command, and a state machine
// that does nothing.
func BenchmarkRawApply(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			r := rawRaft(b)
			entry := make([]byte, 290)
			apply := func() {
				if err := r.Apply(entry, 0).Error(); err != nil {
					b.Error(err)
				}
			}
			b.ResetTimer()
			if callers == 1 {
				for range b.N {
					apply()
				}
				return
			}
			b.SetParallelism(callers / runtime.GOMAXPROCS(0))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					apply()
				}
			})
		})
	}
}

func rawRaft(b *testing.B) *raft.Raft {
	d, err := disk.Create(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	store, err := storage.Create(storage.Config{Disk: d, Key: make([]byte, 32), Domain: kms.DomainID{1}, Node: kms.NodeID{1}})
	if err != nil {
		b.Fatal(err)
	}
	c := raft.DefaultConfig()
	c.LocalID = "node"
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	c.CommitTimeout, c.BatchApplyCh, c.MaxAppendEntries = 5*time.Millisecond, true, 512
	c.Logger = hclog.NewNullLogger()
	addr, transport := raft.NewInmemTransport("node")
	only := raft.Configuration{Servers: []raft.Server{{ID: "node", Address: addr}}}
	if err := raft.BootstrapCluster(c, store.Log(), store.Stable(), store.Snapshots(), transport, only); err != nil {
		b.Fatal(err)
	}
	r, err := raft.NewRaft(c, nothing{}, store.Log(), store.Stable(), store.Snapshots(), transport)
	if err != nil {
		b.Fatal(err)
	}
	<-r.LeaderCh()
	b.Cleanup(func() { _ = r.Shutdown().Error(); _ = store.Close(); _ = d.Close() })
	return r
}

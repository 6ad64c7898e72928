package replica_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A wiring is Peers over loopback sockets and TLS 1.3, as in use, but for
// evidence.
type wiring struct {
	server, client *tls.Config

	mu sync.Mutex
	at map[endpoint]string
}

func newWiring(tb testing.TB) *wiring {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &wiring{at: make(map[endpoint]string),
		server: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
		client: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}}
}

// wired is the wiring as a node sees it.
type wired struct {
	*wiring
	node kms.NodeID
}

type wiredConn struct {
	net.Conn
	peer kms.NodeID
}

func (c wiredConn) Peer() kms.NodeID { return c.peer }

func (w wired) Dial(ctx context.Context, to kms.NodeID, protocol string) (net.Conn, error) {
	w.mu.Lock()
	at := w.at[endpoint{to, protocol}]
	w.mu.Unlock()
	c, err := (&tls.Dialer{Config: w.client}).DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	_, err = c.Write(w.node[:])
	return wiredConn{c, to}, err
}

func (w wired) Listener(protocol string) net.Listener {
	l, err := tls.Listen("tcp", "127.0.0.1:0", w.server)
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[endpoint{w.node, protocol}] = l.Addr().String()
	return wiredListener{l}
}

type wiredListener struct{ net.Listener }

func (l wiredListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	var id kms.NodeID
	_, err = io.ReadFull(c, id[:])
	return wiredConn{c, id}, err
}

// benchDomain is a domain of n on real disks; the first one leads.
func benchDomain(b *testing.B, n int) []*replica.Replica {
	w, nodes := newWiring(b), make([]*replica.Replica, n)
	for i := range n {
		id := kms.NodeID{byte(i + 1)}
		cfg := replica.Config{Node: id, Store: benchStore(b, id), Machine: state.New(), Logger: slog.New(slog.DiscardHandler), Peers: wired{w, id}}
		open := replica.OpenJoining
		if i == 0 {
			if err := replica.Bootstrap(cfg); err != nil {
				b.Fatal(err)
			}
			open = replica.Open
		}
		r, err := open(b.Context(), cfg, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = r.Close() })
		if nodes[i] = r; i > 0 {
			if err := nodes[0].AddLearner(b.Context(), id); err != nil {
				b.Fatal(err)
			}
			if err := nodes[0].Promote(b.Context(), id); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, r := range nodes {
		if err := r.Ready(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return nodes
}

func benchStore(b testing.TB, id kms.NodeID) *storage.Store {
	d, err := disk.Create(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	s, err := storage.Create(storage.Config{Disk: d, Key: make([]byte, 32), Domain: kms.DomainID{1}, Node: id})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// inParallel runs f b.N times by some callers, and reports the processor time
// that the whole domain takes for one.
func inParallel(b *testing.B, callers int, f func() error) {
	b.SetParallelism((callers + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	before := cpu()
	b.ResetTimer()
	if callers == 1 {
		for range b.N {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
	} else {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := f(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N)/1000, "cpu-us/op")
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkView is what a confirmed read costs: nothing in a domain of one, a
// round of three nodes shared by all who wait at the leader or at a follower.
func BenchmarkView(b *testing.B) {
	for _, at := range []struct {
		name  string
		nodes int
		at    int
	}{{"one", 1, 0}, {"leader", 3, 0}, {"follower", 3, 1}} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", at.name, callers), func(b *testing.B) {
				r := benchDomain(b, at.nodes)[at.at]
				b.ReportAllocs()
				inParallel(b, callers, func() error { _, err := r.View(context.Background()); return err })
			})
		}
	}
}

// BenchmarkPropose is a command of the size of a CreateKey on three nodes, at
// the leader and at a follower, and BenchmarkRawApply3 raft's own floor under
// it: the same stores and channels, and a state machine that does nothing.
func BenchmarkPropose(b *testing.B) {
	for _, at := range []struct {
		name  string
		nodes int
		at    int
	}{{"one", 1, 0}, {"leader", 3, 0}, {"follower", 3, 1}} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", at.name, callers), func(b *testing.B) {
				r := benchDomain(b, at.nodes)[at.at]
				inParallel(b, callers, func() error {
					id := make([]byte, 16)
					_, _ = rand.Read(id)
					_, err := r.Propose(context.Background(), &command.Command{Id: id, Op: &command.Command_PutAlias{
						PutAlias: &command.PutAlias{Key: id, Name: string(make([]byte, 240))}}})
					if kms.KindOf(err) != kms.Conflict { // the domain is not founded
						return fmt.Errorf("proposing: %v", err)
					}
					return nil
				})
			})
		}
	}
}

func BenchmarkRawApply3(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			r, entry := rawRafts(b), make([]byte, 290)
			inParallel(b, callers, func() error { return r.Apply(entry, 0).Error() })
		})
	}
}

// rawStream is raft's stream layer over the wiring.
type rawStream struct {
	net.Listener
	wired
}

func (s rawStream) Addr() net.Addr { return fabricAddr(s.node.String()) }
func (s rawStream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, err := kms.ParseNodeID(string(to))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.wired.Dial(ctx, id, replica.RaftProtocol)
}

// rawRafts are three of hashicorp/raft's own, with the settings that a Replica
// has; it returns the leader.
func rawRafts(tb testing.TB) *raft.Raft {
	w, all := newWiring(tb), make([]*raft.Raft, 3)
	var servers []raft.Server
	for i := range all {
		id := kms.NodeID{byte(i + 1)}
		servers = append(servers, raft.Server{ID: raft.ServerID(id.String()), Address: raft.ServerAddress(id.String())})
	}
	for i := range all {
		id := kms.NodeID{byte(i + 1)}
		store, peer := benchStore(tb, id), wired{w, id}
		c := replica.RaftConfig(replica.Config{Node: id, Peers: peer, Logger: slog.New(slog.DiscardHandler)})
		t := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Logger: hclog.NewNullLogger(),
			MaxPool: replica.RaftPool, Timeout: replica.RaftTimeout, MaxRPCsInFlight: replica.RaftInFlight,
			Stream: rawStream{peer.Listener(replica.RaftProtocol), peer}})
		if err := raft.BootstrapCluster(c, store.Log(), store.Stable(), store.Snapshots(), t, raft.Configuration{Servers: servers}); err != nil {
			tb.Fatal(err)
		}
		r, err := raft.NewRaft(c, nothing{}, store.Log(), store.Stable(), store.Snapshots(), t)
		if err != nil {
			tb.Fatal(err)
		}
		all[i] = r
	}
	tb.Cleanup(func() {
		for _, r := range all {
			_ = r.Shutdown().Error()
		}
	})
	for {
		for _, r := range all {
			if r.State() == raft.Leader && r.Barrier(time.Second).Error() == nil {
				return r
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// nothing is a state machine that does nothing.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) ApplyBatch(l []*raft.Log) []any      { return make([]any, len(l)) }
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

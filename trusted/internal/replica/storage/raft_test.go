package storage_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
)

// A machine remembers every command, and tells the store what it has applied.
type machine struct {
	mu       sync.Mutex
	store    *storage.Store
	commands []string
}

func (m *machine) Apply(l *raft.Log) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commands = append(m.commands, string(l.Data))
	m.store.Applied(l.Index)
	return nil
}

func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return frozen(strings.Join(m.commands, "\n")), nil
}

func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commands = nil
	if len(data) > 0 {
		m.commands = strings.Split(string(data), "\n")
	}
	return nil
}

func (m *machine) seen() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string{}, m.commands...)
}

type frozen string

func (f frozen) Persist(sink raft.SnapshotSink) error {
	if _, err := io.WriteString(sink, string(f)); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (frozen) Release() {}

// A node is a raft of one.
type node struct {
	raft    *raft.Raft
	machine *machine
	store   *storage.Store
}

func raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = "one"
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 20*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	c.CommitTimeout = time.Millisecond
	c.TrailingLogs = 5
	c.Logger = hclog.NewNullLogger()
	return c
}

// start starts raft on a store and waits until it leads.
func start(t testing.TB, s *storage.Store, bootstrap bool) *node {
	t.Helper()
	_, transport := raft.NewInmemTransport("one")
	if bootstrap {
		servers := raft.Configuration{Servers: []raft.Server{{ID: "one", Address: "one"}}}
		if err := raft.BootstrapCluster(raftConfig(), s.Log(), s.Stable(), s.Snapshots(), transport, servers); err != nil {
			t.Fatal(err)
		}
	}
	m := &machine{store: s}
	r, err := raft.NewRaft(raftConfig(), m, s.Log(), s.Stable(), s.Snapshots(), transport)
	if err != nil {
		t.Fatalf("starting raft: %v", err)
	}
	n := &node{r, m, s}
	for deadline := time.Now().Add(10 * time.Second); r.State() != raft.Leader; time.Sleep(time.Millisecond) {
		if s.Latched() != nil {
			return n
		}
		if time.Now().After(deadline) {
			t.Fatal("no leader")
		}
	}
	if err := r.Barrier(10 * time.Second).Error(); err != nil && s.Latched() == nil {
		t.Fatalf("barrier: %v", err)
	}
	return n
}

func (n *node) stop(t testing.TB) {
	t.Helper()
	if err := n.raft.Shutdown().Error(); err != nil {
		t.Errorf("stopping raft: %v", err)
	}
	n.store.Close()
}

// apply proposes commands one after the other and returns those that were
// acknowledged before the first error.
func (n *node) apply(from, to int) (acked []string, err error) {
	for i := from; i < to; i++ {
		command := fmt.Sprintf("command %d %s", i, strings.Repeat("x", i%40))
		if err := n.raft.Apply([]byte(command), 10*time.Second).Error(); err != nil {
			return acked, err
		}
		acked = append(acked, command)
	}
	return acked, nil
}

// TestRaft lives through kills, snapshots and restarts on real files.
func TestRaft(t *testing.T) {
	d, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	cfg := config(d, 1)
	n := start(t, create(t, cfg), true)
	var want []string
	for round := range 6 {
		acked, err := n.apply(round*50, round*50+50)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, acked...)
		if round%2 == 1 {
			if err := n.raft.Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
		}
		n.stop(t)
		n = start(t, open(t, cfg), false)
		if d := cmp.Diff(want, n.machine.seen()); d != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, d)
		}
	}
	n.stop(t)
}

// raftLived returns the disk of a raft that lived for a while, and its commands.
func raftLived(t *testing.T) (*faultdisk.Mem, []string) {
	t.Helper()
	m := faultdisk.NewMem()
	n := start(t, create(t, config(m, 1)), true)
	defer n.stop(t)
	first, err := n.apply(0, 60)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	second, err := n.apply(60, 80)
	if err != nil {
		t.Fatal(err)
	}
	return m.Clone(), append(first, second...)
}

// TestRaftHostileDisk starts raft on what Open lets through of a disk that was
// tampered with: it must come up and know every command.
func TestRaftHostileDisk(t *testing.T) {
	m, want := raftLived(t)
	other, _ := raftLived(t)
	flips := 12
	if testing.Short() {
		flips = 3
	}
	for i, file := range m.Names() {
		rng := rand.New(rand.NewPCG(5, uint64(i)))
		cases := tamperings(m, file, rng)
		rng.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
		cases = append(cases[:2*flips], swaps(m, other, nil, file)...)
		damaged, intact := 0, 0
		for _, c := range cases {
			s, err := storage.Open(config(c.disk, 1))
			if err != nil {
				if !errors.Is(err, kms.Damaged) {
					t.Fatalf("%s of %s: %v", c.name, file, err)
				}
				damaged++
				continue
			}
			intact++
			n := start(t, s, false)
			if d := cmp.Diff(want, n.machine.seen()); d != "" {
				t.Fatalf("%s of %s (-want +got):\n%s", c.name, file, d)
			}
			if _, err := n.apply(900, 902); err != nil {
				t.Fatalf("%s of %s: going on: %v", c.name, file, err)
			}
			n.stop(t)
		}
		t.Logf("%s: %d damaged, %d intact", file, damaged, intact)
	}
}

// TestRaftFaults fails each kind of write under a running raft. Raft must not
// panic, not even for a term; it can be stopped; what was acknowledged is there
// afterwards.
func TestRaftFaults(t *testing.T) {
	for _, f := range faults {
		for _, how := range []faultdisk.How{faultdisk.NotDone, faultdisk.Done} {
			t.Run(fmt.Sprintf("%s, %s", f.what, how), func(t *testing.T) {
				m := faultdisk.NewMem()
				d := faultdisk.New(m)
				told := make(chan error, 1)
				cfg := config(d, 1)
				cfg.OnLatch = func(err error) { told <- err }
				n := start(t, create(t, cfg), true)
				want, err := n.apply(0, 30)
				if err != nil {
					t.Fatal(err)
				}
				d.Arm(faultdisk.Fault{Op: f.op, Name: f.pattern, How: how})
				acked, err := n.apply(30, 60)
				want = append(want, acked...)
				if n.store.Latched() == nil { // it takes a snapshot to strike
					err = n.raft.Snapshot().Error()
				}
				if err == nil || n.store.Latched() == nil {
					t.Fatalf("nothing struck: %v, latched %v", err, n.store.Latched())
				}
				<-told
				n.stop(t)
				again := start(t, open(t, config(m, 1)), false)
				defer again.stop(t)
				got := again.machine.seen()
				if len(got) < len(want) || !cmp.Equal(got[:len(want)], want) || len(got) > len(want)+1 {
					t.Fatalf("acknowledged %d commands, found %d", len(want), len(got))
				}
			})
		}
	}
}

// TestRaftTermFault fails the write of the term at an election, which raft
// answers with a panic if it hears of it.
func TestRaftTermFault(t *testing.T) {
	for _, how := range []faultdisk.How{faultdisk.NotDone, faultdisk.Done} {
		m, want := raftLived(t)
		d := faultdisk.New(m)
		s := open(t, config(d, 1))
		d.Arm(faultdisk.Fault{Op: faultdisk.Replace, Name: "meta", How: how})
		n := start(t, s, false) // its first write is the term of its election
		if s.Latched() == nil {
			t.Fatal("nothing latched")
		}
		n.stop(t)
		again := start(t, open(t, config(m, 1)), false)
		if d := cmp.Diff(want, again.machine.seen()); d != "" {
			t.Fatalf("%s (-want +got):\n%s", how, d)
		}
		again.stop(t)
	}
}

// TestRaftInstall lets a second raft node catch up by a snapshot, which empties
// its log, and kills it at once.
func TestRaftInstall(t *testing.T) {
	leaderDisk, followerDisk := faultdisk.NewMem(), faultdisk.NewMem()
	_, one := raft.NewInmemTransport("one")
	_, two := raft.NewInmemTransport("two")
	one.Connect("two", two)
	two.Connect("one", one)
	s := create(t, config(leaderDisk, 1))
	if err := raft.BootstrapCluster(raftConfig(), s.Log(), s.Stable(), s.Snapshots(), one,
		raft.Configuration{Servers: []raft.Server{{ID: "one", Address: "one"}}}); err != nil {
		t.Fatal(err)
	}
	run := func(s *storage.Store, id raft.ServerID, trans raft.Transport) *node {
		c := raftConfig()
		c.LocalID = id
		m := &machine{store: s}
		r, err := raft.NewRaft(c, m, s.Log(), s.Stable(), s.Snapshots(), trans)
		if err != nil {
			t.Fatal(err)
		}
		return &node{r, m, s}
	}
	leader := run(s, "one", one)
	defer leader.stop(t)
	for leader.raft.State() != raft.Leader {
		time.Sleep(time.Millisecond)
	}
	want, err := leader.apply(0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := leader.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	follower := run(create(t, config(followerDisk, 2)), "two", two)
	if err := leader.raft.AddNonvoter("two", "two", 0, 10*time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	caughtUp := func(n *node) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); len(n.machine.seen()) < len(want); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the follower has %d commands of %d", len(n.machine.seen()), len(want))
			}
		}
		if d := cmp.Diff(want, n.machine.seen()); d != "" {
			t.Fatal(d)
		}
	}
	caughtUp(follower)
	if snaps, err := follower.store.Snapshots().List(); err != nil || len(snaps) != 1 {
		t.Fatalf("no snapshot was installed: %v", err)
	}
	follower.stop(t)
	follower = run(open(t, config(followerDisk.Clone(), 2)), "two", two)
	more, err := leader.apply(100, 150)
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, more...)
	caughtUp(follower)
	follower.stop(t)
}

package replica_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

var began = time.Unix(1_700_000_000, 0).UTC()

// A cluster is a domain of n replicas on disks in memory, over a fabric.
type cluster struct {
	t      testing.TB
	fabric *fabric
	nodes  []*member
	ids    atomic.Uint64 // of commands, apps and keys
	rulers *governtest.Rulers
}

// A member is one replica, as long as it lives, and what outlives it.
type member struct {
	c    *cluster
	id   kms.NodeID
	mem  *faultdisk.Mem
	disk *faultdisk.Faulty
	peer *peers
	log  *storage.Store
	now  atomic.Int64 // its clock
	told *told
	*replica.Replica
}

// newCluster founds a domain on the first node, and has the others join and vote.
func newCluster(t testing.TB, n int) *cluster {
	t.Helper()
	c := &cluster{t: t, fabric: newFabric(), rulers: governtest.New(t)}
	for range n {
		c.add()
	}
	first := c.nodes[0]
	store := first.create()
	if err := replica.Bootstrap(first.config(store)); err != nil {
		t.Fatal(err)
	}
	first.open(store, replica.Open)
	c.found()
	for _, m := range c.nodes[1:] {
		m.open(m.create(), replica.OpenJoining)
		if err := first.AddLearner(t.Context(), m.id); err != nil {
			t.Fatal(err)
		}
		c.catchUp(m)
		if err := first.Promote(t.Context(), m.id); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range c.nodes {
		c.ready(m)
	}
	return c
}

// add makes a node that is not started.
func (c *cluster) add() *member {
	m := &member{c: c, id: kms.NodeID{byte(len(c.nodes) + 1)}, mem: faultdisk.NewMem()}
	m.told = &told{Handler: logs(m.id)}
	m.now.Store(began.UnixNano())
	c.nodes = append(c.nodes, m)
	return m
}

func (c *cluster) found() {
	bootstrap, policy := c.rulers.Found(c.nodes[0].id, c.rulers.Policy(make([]byte, 32), began))
	c.must(c.nodes[0].do(&command.Command{Op: &command.Command_Found{Found: &command.Found{
		Domain: c.rulers.Founding.Domain[:], FeatureLevel: 1, Charter: c.rulers.Charter.Canonical(), Bootstrap: bootstrap,
		Policy: policy, Checksum: []byte("s"), Authority: &command.Authority{Certificate: []byte("a")}}}}))
}

func (c *cluster) must(r state.Result, err error) state.Result {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// catchUp waits until a node has applied what the leader has.
func (c *cluster) catchUp(m *member) {
	c.t.Helper()
	want, err := c.leader().Local()
	if err != nil {
		c.t.Fatal(err)
	}
	c.eventually("catching up", func() bool {
		got, err := c.leader().Applied(c.t.Context(), m.id)
		return err == nil && got >= want.Index()
	})
}

// ready waits until a node serves.
func (c *cluster) ready(m *member) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := m.Ready(ctx); err != nil {
		c.t.Fatal(err)
	}
}

// patience is what no wait of a sound cluster comes near.
const patience = 60 * time.Second

func (c *cluster) eventually(what string, f func() bool) {
	c.t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("%s never happened", what)
		}
	}
}

// leader waits until one of the nodes that live leads.
func (c *cluster) leader(but ...*member) (found *member) {
	c.t.Helper()
	c.eventually("a leader", func() bool {
		for _, m := range c.nodes {
			if m.Replica != nil && m.Leads() && !slices.Contains(but, m) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// others are the living nodes but some.
func (c *cluster) others(but ...*member) (out []*member) {
	for _, m := range c.nodes {
		if m.Replica != nil && !slices.Contains(but, m) {
			out = append(out, m)
		}
	}
	return out
}

// cut holds back all that two nodes say to each other, until heal.
func (c *cluster) cut(a, b *member) {
	c.fabric.change(func() { c.fabric.cuts[way{a.id, b.id}], c.fabric.cuts[way{b.id, a.id}] = true, true })
}

// isolate cuts a node off from all others.
func (c *cluster) isolate(m *member) {
	for _, o := range c.nodes {
		if o != m {
			c.cut(m, o)
		}
	}
}

// cutOneWay holds back what one node says to another.
func (c *cluster) cutOneWay(from, to *member) {
	c.fabric.change(func() { c.fabric.cuts[way{from.id, to.id}] = true })
}

// delay makes all that one node says to another come later.
func (c *cluster) delay(from, to *member, d time.Duration) {
	c.fabric.change(func() { c.fabric.delays[way{from.id, to.id}] = d })
}

// heal ends all cuts and delays; what was held back arrives.
func (c *cluster) heal() {
	c.fabric.change(func() { clear(c.fabric.cuts); clear(c.fabric.delays) })
}

// freeze stops all that a node says and hears, as SIGSTOP would.
func (c *cluster) freeze(m *member, frozen bool) {
	c.fabric.change(func() { c.fabric.frozen[m.id] = frozen })
}

// campaign has a node stand for election at once, as where its timer has run
// out long before that of the leader.
func (c *cluster) campaign(m *member) {
	c.t.Helper()
	nobody := &peers{f: c.fabric, node: kms.NodeID{99}}
	t := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: fabricStream{nobody.Listener(replica.RaftProtocol), nobody},
		Timeout: patience, Logger: hclog.NewNullLogger()})
	defer t.Close()
	to := m.id.String()
	err := t.TimeoutNow(raft.ServerID(to), raft.ServerAddress(to), &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3}}, &raft.TimeoutNowResponse{})
	if err != nil {
		c.t.Fatal(err)
	}
}

// fabricStream is the fabric as raft's stream layer.
type fabricStream struct {
	net.Listener
	p *peers
}

func (s fabricStream) Dial(to raft.ServerAddress, _ time.Duration) (net.Conn, error) {
	id, err := kms.ParseNodeID(string(to))
	if err != nil {
		return nil, err
	}
	return s.p.Dial(context.Background(), id, replica.RaftProtocol)
}

func (m *member) storage() storage.Config {
	m.disk = faultdisk.New(m.mem)
	return storage.Config{Disk: m.disk, Key: bytes.Repeat([]byte{m.id[0]}, 32), Domain: kms.DomainID{1}, Node: m.id, SegmentSize: 1 << 20}
}

func (m *member) create() *storage.Store {
	m.c.t.Helper()
	s, err := storage.Create(m.storage())
	if err != nil {
		m.c.t.Fatal(err)
	}
	return s
}

func (m *member) config(s *storage.Store) replica.Config {
	m.peer, m.log = &peers{f: m.c.fabric, node: m.id}, s
	return replica.Config{Node: m.id, Store: s, Machine: state.New(), Logger: slog.New(m.told), Peers: m.peer,
		Member: m.knows, Now: func() time.Time { return time.Unix(0, m.now.Load()) }}
}

// logs show what the replicas log, where somebody looks for a fault.
func logs(id kms.NodeID) slog.Handler {
	if os.Getenv("HOLDFAST_TEST_LOG") == "" {
		return slog.DiscardHandler
	}
	return slog.NewTextHandler(os.Stderr, nil).WithAttrs([]slog.Attr{slog.Any("node", id[0])})
}

// knows is whether a node is a member as this one's raft has it.
func (m *member) knows(id kms.NodeID) bool {
	if m.Replica == nil {
		return true // it is being opened
	}
	voters, learners := m.Configuration()
	return slices.Contains(append(voters, learners...), id)
}

type openFunc func(context.Context, replica.Config, <-chan error) (*replica.Replica, error)

func (m *member) open(s *storage.Store, f openFunc) {
	m.c.t.Helper()
	r, err := f(m.c.t.Context(), m.config(s), nil)
	if err != nil {
		m.c.t.Fatal(err)
	}
	m.Replica = r
	m.c.t.Cleanup(func() { m.peer.kill(); _ = r.Close() })
}

// kill ends a node between two instructions: nothing of it reaches disk or
// network any more.
func (m *member) kill() {
	m.disk.Kill()
	m.peer.kill()
	m.mem = m.mem.Clone() // what the dead one still holds open is not what the next one finds
	m.Replica = nil
}

// restart starts a node that was killed or stopped.
func (m *member) restart() {
	m.c.t.Helper()
	s, err := storage.Open(m.storage())
	if err != nil {
		m.c.t.Fatal(err)
	}
	m.open(s, replica.Open)
}

// stop ends a node in order.
func (m *member) stop() {
	m.c.t.Helper()
	if err := m.Close(); err != nil {
		m.c.t.Fatal(err)
	}
	m.Replica = nil
}

// name makes an id that nothing had before.
func (c *cluster) name() []byte {
	id := make([]byte, 16)
	binary.BigEndian.PutUint64(id[8:], c.ids.Add(1))
	return id
}

// do proposes a command at a node.
func (m *member) do(cmd *command.Command) (state.Result, error) {
	if cmd.Id == nil {
		cmd.Id = m.c.name()
	}
	cmd.Time = m.now.Load()
	return m.Propose(context.Background(), cmd)
}

// enrol is a command that makes an app.
func (c *cluster) enrol() (*command.Command, kms.AppID) {
	id := c.name()
	return &command.Command{Op: &command.Command_PutApp{PutApp: &command.PutApp{
		App:        &command.App{Id: id},
		Credential: &command.Credential{Id: id, App: id, Permissions: 15, Wrapped: []byte("w")}}}}, kms.AppID(id)
}

// write enrols an app at a node.
func (m *member) write() (kms.AppID, error) {
	cmd, id := m.c.enrol()
	_, err := m.do(cmd)
	return id, err
}

// mustWrite is write where nothing keeps it from succeeding.
func (m *member) mustWrite() kms.AppID {
	m.c.t.Helper()
	id, err := m.write()
	if err != nil {
		m.c.t.Fatal(err)
	}
	return id
}

// reads reports whether a node's view has an app.
func (m *member) reads(app kms.AppID) (bool, error) {
	v, err := m.View(context.Background())
	if err != nil {
		return false, err
	}
	_, ok := v.App(app)
	return ok, nil
}

// mustRead fails the test if a node's view lacks an app.
func (m *member) mustRead(app kms.AppID) {
	m.c.t.Helper()
	if ok, err := m.reads(app); err != nil || !ok {
		m.c.t.Fatalf("node %d: it has app %v: %v, %v", m.id[0], app, ok, err)
	}
}

// refuses fails the test if a node serves a read. The error is Stale.
func (m *member) refuses() {
	m.c.t.Helper()
	if v, err := m.View(context.Background()); !errors.Is(err, kms.Stale) {
		m.c.t.Fatalf("node %d serves a view %v: %v", m.id[0], v != nil, err)
	}
}

// agree fails the test if a node lacks an app that was acknowledged, or if nodes
// do not come to the same state: what was given up may still be under way.
func (c *cluster) agree(acked ...kms.AppID) {
	c.t.Helper()
	c.eventually("agreement", func() bool {
		counts := make(map[int]struct{})
		for _, m := range c.others() {
			v, err := m.View(c.t.Context())
			if err != nil {
				c.t.Fatalf("node %d: %v", m.id[0], err)
			}
			counts[v.Apps()] = struct{}{}
			for _, id := range acked {
				if _, ok := v.App(id); !ok {
					c.t.Fatalf("node %d lacks app %v, which was acknowledged", m.id[0], id)
				}
			}
		}
		return len(counts) == 1
	})
}

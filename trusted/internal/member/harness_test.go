package member_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
)

var (
	start   = time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	domain  = kms.DomainID(sha256.Sum256([]byte("domain")))
	program = sha256.Sum256([]byte("program"))
	simRoot = sync.OnceValue(simtee.NewRoot)
)

// patience ends a test that hangs. Nothing waits for so long otherwise.
const patience = 30 * time.Second

// A world is what all nodes of a domain agree on, and the network between them.
type world struct {
	t  testing.TB
	mu sync.Mutex

	now       time.Time
	age       time.Duration
	policy    attest.Policy
	sockets   map[kms.NodeID]string
	listeners map[string]*listener
	claims    map[kms.NodeID]attest.Claims // for tests to keep some
}

func newWorld(t testing.TB) *world {
	return &world{t: t, now: start, sockets: map[kms.NodeID]string{}, listeners: map[string]*listener{}, policy: admitting(program)}
}

func admitting(measurement [32]byte) attest.Policy {
	return attest.Policy{SGX: attest.SGXPolicy{Terms: attest.Terms{Simulated: true}, Identities: []attest.SGXIdentity{{MRENCLAVE: measurement[:]}}}}
}

func (w *world) Socket(node kms.NodeID) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.sockets[node]
	return s, ok
}

func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) rules() (attest.Policy, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.policy, w.now
}

// dial opens a pipe to whoever listens at a socket. A pipe holds nothing back: a
// side that writes while the other does is stuck, so no test passes by luck.
func (w *world) dial(ctx context.Context, socket string) (net.Conn, error) {
	w.mu.Lock()
	l := w.listeners[socket]
	w.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
	case <-ctx.Done():
	}
	return nil, errors.New("connection refused")
}

type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (w *world) listen(socket string) *listener {
	l := &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
	w.change(func() { w.listeners[socket] = l })
	return l
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// A node is one with its machine and its channels.
type node struct {
	*member.Channels
	world   *world
	name    string
	key     *ecdsa.PrivateKey
	id      kms.NodeID
	boot    *member.Boot
	machine *simtee.Platform
	cfg     member.Config
	raft    net.Listener

	proved, judged atomic.Int64
	stopServing    context.CancelFunc
	served         chan error
}

// spki is the public half of a node's peer key.
func (n *node) spki() []byte { return publicOf(n.world.t, n.key) }

func publicOf(t testing.TB, key *ecdsa.PrivateKey) []byte {
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// stranger makes a node that is no member; edit changes how it is configured.
func (w *world) stranger(name string, edit ...func(*node)) *node {
	w.t.Helper()
	n := &node{world: w, name: name, key: newKey(w.t)}
	n.id = sha256.Sum256(n.spki())
	n.machine = newMachine(w.t, simtee.Config{Measurement: program})
	n.begin(edit...)
	return n
}

// node makes a member.
func (w *world) node(name string, edit ...func(*node)) *node {
	w.t.Helper()
	n := w.stranger(name, edit...)
	w.change(func() { w.sockets[n.id] = name })
	return n
}

func newMachine(t testing.TB, cfg simtee.Config) *simtee.Platform {
	t.Helper()
	cfg.Root = simRoot()
	m, err := cfg.Create(t.TempDir() + "/fuses")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// begin is a start of the node, with a boot key of its own.
func (n *node) begin(edit ...func(*node)) {
	t, w := n.world.t, n.world
	t.Helper()
	var err error
	if n.boot, err = member.NewBoot(); err != nil {
		t.Fatal(err)
	}
	n.cfg = member.Config{
		Node: n.id, Domain: domain, Key: n.key, Boot: n.boot, Dial: w.dial, Members: w, Now: w.time, Logger: slog.New(slog.DiscardHandler),
		Prove: n.prove, Judge: n.judge,
		Admits: func(_ kms.NodeID, c attest.Claims) error {
			p, now := w.rules()
			return p.Admit(c, now)
		},
		EvidenceAge: func() time.Duration {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.age
		},
	}
	for _, e := range edit {
		e(n)
	}
	if n.Channels, err = member.New(n.cfg); err != nil {
		t.Fatal(err)
	}
	n.raft = n.Listener(member.Raft)
	n.serve(w.listen(n.name))
	t.Cleanup(n.end)
}

func (n *node) serve(l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	n.stopServing, n.served = cancel, make(chan error, 1)
	c := n.Channels
	served := n.served
	go func() { served <- c.Serve(ctx, l) }()
}

// end is the end of the node's present start.
func (n *node) end() {
	n.stopServing()
	if err := n.Close(); err != nil {
		n.world.t.Error(err)
	}
}

func (n *node) prove(_ context.Context, reportData [64]byte) (attest.Evidence, error) {
	n.proved.Add(1)
	return n.machine.Evidence(attest.SGX, reportData, n.world.time())
}

func (n *node) judge(_ context.Context, _ kms.NodeID, ev attest.Evidence, reportData [64]byte) (attest.Claims, error) {
	n.judged.Add(1)
	p, now := n.world.rules()
	return attest.Verifiers{SGX: sgx.Verify}.Verify(ev, p.BoundTo(reportData), now)
}

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// try dials a node.
func (n *node) try(to *node, protocol string) (*member.Conn, error) {
	c, err := n.Dial(patient(n.world.t), to.id, protocol)
	if err != nil {
		if c != nil {
			n.world.t.Errorf("a channel with an error")
		}
		return nil, err
	}
	return c.(*member.Conn), nil
}

// dial opens a raft channel and returns both ends.
func (n *node) dial(to *node) (here, there *member.Conn) {
	n.world.t.Helper()
	here, err := n.try(to, member.Raft)
	if err != nil {
		n.world.t.Fatalf("%s to %s: %v", n.name, to.name, err)
	}
	return here, to.accept()
}

func (n *node) accept() *member.Conn {
	n.world.t.Helper()
	c, err := n.raft.Accept()
	if err != nil {
		n.world.t.Fatal(err)
	}
	return c.(*member.Conn)
}

// works fails the test unless bytes come through.
func works(t testing.TB, from, to net.Conn) {
	t.Helper()
	go from.Write([]byte("hello"))
	b := make([]byte, 5)
	if _, err := io.ReadFull(to, b); err != nil || string(b) != "hello" {
		t.Fatalf("read %q: %v", b, err)
	}
}

// ended fails the test unless a channel is over, on this side of it.
func ended(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); err == nil || n != 0 {
		t.Errorf("read %d bytes of a channel that was ended", n)
	}
	if _, err := c.Write([]byte{1}); err == nil {
		t.Error("wrote to a channel that was ended")
	}
}

// peer is what n knows of another.
func (n *node) peer(of *node) (member.Peer, bool) {
	for _, p := range n.Peers() {
		if p.Node == of.id {
			return p, true
		}
	}
	return member.Peer{}, false
}

// reaches waits until n has so many channels with another.
func (n *node) reaches(of *node, channels int) {
	n.world.t.Helper()
	for ctx := patient(n.world.t); ; time.Sleep(time.Millisecond) {
		p, _ := n.peer(of)
		if p.Channels == channels {
			return
		}
		if ctx.Err() != nil {
			n.world.t.Fatalf("%s has %d channels with %s, want %d", n.name, p.Channels, of.name, channels)
		}
	}
}

// Package trustedtest builds whole domains for tests of any package: real
// nodes, each on a simulated platform of its own, on a real folder, and a host
// in the middle that can lie about disk and clock. After every test each node
// is checked against the log that it wrote: nothing that was planted in it may
// be found there.
package trustedtest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/host/wallclock"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// A Domain is a set of nodes under one charter.
type Domain struct {
	Charter []byte
	Rulers  *governtest.Rulers // nil for a domain that another process founded
	Nodes   []*Node
	Network *Network // between nodes; nil: there is none
	Log     *Log     // what all nodes logged
	t       testing.TB
}

// A Node is a node with its own machine around it.
type Node struct {
	Dir   string // of its sealed state
	Clock *Clock
	// Wrap, where set before Start, puts the host between the node and its disk.
	Wrap func(server.Disk) server.Disk
	// Edit, where set before Start, changes how the node is configured.
	Edit func(*server.Config)

	Name string // for people
	// TEE, where set before the node starts, is what its machine pretends.
	TEE simtee.Config
	// Kind, where set before the node starts, is what kind of TEE that is; zero: SGX.
	// TDX has no sealing key, so such a node joins anew whenever it starts.
	Kind attest.TEE

	domain   *Domain
	socket   string // at which other nodes reach it
	fuses    string
	node     *server.Node
	core     *server.Core
	disk     *disk.Disk
	endpoint *Endpoint
}

// NewDomain founds a domain and starts its n nodes; they stop when the test
// ends. The first has founded it, and the others have joined it and vote.
func NewDomain(t testing.TB, n int) *Domain {
	t.Helper()
	return newDomain(t, n, governtest.New(t))
}

func newDomain(t testing.TB, n int, rulers *governtest.Rulers) *Domain {
	t.Helper()
	d := &Domain{Charter: rulers.Charter.Canonical(), Rulers: rulers, Log: &Log{}, t: t}
	if n > 1 {
		d.Network = newNetwork()
	}
	node := d.newNode()
	node.Found()
	node.MustStart()
	t.Cleanup(func() {
		for _, n := range d.Nodes {
			n.Stop()
		}
		d.Log.check(t)
	})
	for range n - 1 {
		d.Grow()
	}
	d.AwaitVoters(n)
	return d
}

// Machine makes another machine, which is not part of the domain yet.
func (d *Domain) Machine() *Node { return d.newNode() }

// Leader is the node that leads.
func (d *Domain) Leader() *Node {
	d.t.Helper()
	for range 1000 {
		for _, n := range d.Nodes {
			if n.node == nil {
				continue
			}
			if s := n.node.Status(); s.Leader == s.Node {
				return n
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	d.t.Fatal("nobody leads after 20 s")
	return nil
}

// Grow has another machine join the domain, and returns when it serves.
func (d *Domain) Grow() *Node {
	d.t.Helper()
	n := d.newNode()
	if err := n.Join(nil); err != nil {
		d.t.Fatal(err)
	}
	return n
}

// RestartAll stops all nodes and starts them again, at once: none serves before
// most of them have found each other.
func (d *Domain) RestartAll() {
	d.t.Helper()
	for _, n := range d.Nodes {
		_ = n.Stop()
	}
	started := make(chan error, len(d.Nodes))
	for _, n := range d.Nodes {
		go func() { started <- n.Start() }()
	}
	for range d.Nodes {
		if err := <-started; err != nil {
			d.t.Fatal(err)
		}
	}
}

// AwaitVoters waits until n nodes vote, and every one that runs is one of them.
func (d *Domain) AwaitVoters(n int) {
	d.t.Helper()
	for range 1000 {
		if d.vote(n) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	d.t.Fatalf("there are not %d voters after 20 s", n)
}

func (d *Domain) vote(n int) bool {
	for _, node := range d.Nodes {
		if node.node == nil {
			continue
		}
		s := node.node.Status()
		mine := slices.ContainsFunc(s.Nodes, func(i kms.NodeInfo) bool { return i.Self && i.Role == kms.RoleVoter })
		if s.Voters != n || !mine {
			return false
		}
	}
	return true
}

// NewNode makes another machine, with a founded domain of its own under the
// same charter, for tests that mix up files. It is not started.
func (d *Domain) NewNode() *Node {
	n := d.newNode()
	n.Found()
	return n
}

func (d *Domain) newNode() *Node {
	base := d.t.TempDir()
	n := &Node{Dir: filepath.Join(base, "node"), fuses: filepath.Join(base, "fuses"), Clock: &Clock{}, domain: d}
	if _, err := simtee.Create(n.fuses); err != nil {
		d.t.Fatal(err)
	}
	d.Nodes = append(d.Nodes, n)
	return n
}

// A Machine is what surrounds a node's state, for tests that go on with it in
// another process.
type Machine struct {
	Charter []byte
	Fuses   string // folder of the simulated platform
}

// Machine is where the node runs.
func (n *Node) Machine() Machine { return Machine{n.domain.Charter, n.fuses} }

// On returns a node whose state lies in dir, on a machine that was made
// before. It is not started, and stops when the test ends.
func On(t testing.TB, m Machine, dir string) *Node {
	d := &Domain{Charter: m.Charter, Log: &Log{}, t: t}
	n := &Node{Dir: dir, fuses: m.Fuses, Clock: &Clock{}, domain: d}
	d.Nodes = []*Node{n}
	t.Cleanup(func() {
		n.Stop()
		d.Log.check(t)
	})
	return n
}

// App is an app that was enrolled before.
func (n *Node) App(id kms.AppID, apiKey string) *App {
	n.domain.Log.Plant([]byte(apiKey))
	return &App{ID: id, APIKey: apiKey, node: n, series: rand.Text()}
}

// Found founds the node's domain.
func (n *Node) Found() {
	n.domain.t.Helper()
	if err := n.TryFound(); err != nil {
		n.domain.t.Fatal(err)
	}
}

// TryFound founds the node's domain, or says why not.
func (n *Node) TryFound() error {
	d, err := disk.Create(n.Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	cfg, err := n.config(d)
	if err != nil {
		return err
	}
	r := n.domain.Rulers
	if r == nil { // the domain that another process founded is not to be founded again, so this is another
		r = governtest.New(n.domain.t)
		n.domain.Rulers, n.domain.Charter = r, r.Charter.Canonical()
		cfg.Charter = n.domain.Charter
	}
	if cfg.Peers != nil {
		defer cfg.Peers.Listener.Close() // it is not served yet
	}
	founder, err := server.Prepare(context.Background(), cfg)
	if err != nil {
		return err
	}
	bootstrap, policy := r.Found(founder.Node, r.Policy(founder.Claims.SGX.MRENCLAVE, n.Clock.Now()))
	return server.Found(context.Background(), cfg, bootstrap, policy)
}

func (n *Node) config(d server.Disk) (server.Config, error) {
	platform, err := n.TEE.Open(n.fuses)
	if err != nil {
		return server.Config{}, err
	}
	if n.Wrap != nil {
		d = n.Wrap(d)
	}
	guest := platform.Guest(cmp.Or(n.Kind, attest.SGX), n.Clock.Now)
	cfg := server.Config{
		Platform: guest, Collateral: guest.Collateral, Disk: d, Clock: n.Clock, Charter: n.domain.Charter,
		Logger:      slog.New(slog.NewTextHandler(n.domain.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		SegmentSize: 64 << 10, Development: true,
		Mount: func(*server.Node) http.Handler { return http.NotFoundHandler() },
	}
	if n.domain.Network != nil {
		if cfg.Peers, err = n.domain.Network.peers(n); err != nil {
			return server.Config{}, err
		}
	}
	if n.Edit != nil {
		n.Edit(&cfg)
	}
	return cfg, nil
}

// Join has the node join the domain of the first node, and start, or says why not.
func (n *Node) Join(approval []byte) error {
	return n.start(disk.Create, func(cfg server.Config) (*server.Node, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return server.Join(ctx, cfg, server.Joining{Sponsors: []string{n.domain.Nodes[0].socket}, Approval: approval})
	})
}

// JoinBy is Join by any of the domain's other nodes, given up after a time.
func (n *Node) JoinBy(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	j := server.Joining{}
	for _, other := range n.domain.Nodes {
		if other != n && other.socket != "" {
			j.Sponsors = append(j.Sponsors, other.socket)
		}
	}
	return n.start(disk.Create, func(cfg server.Config) (*server.Node, error) { return server.Join(ctx, cfg, j) })
}

// Start starts the node on what its folder holds.
func (n *Node) Start() error { return n.StartWithin(time.Minute) }

// StartWithin is Start, given up after a time: a node whose domain does not answer
// waits for it.
func (n *Node) StartWithin(limit time.Duration) error {
	if n.Kind == attest.TDX {
		return n.JoinBy(limit)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return n.start(disk.Open, func(cfg server.Config) (*server.Node, error) { return server.Open(ctx, cfg) })
}

func (n *Node) start(openDisk func(string) (*disk.Disk, error), open func(server.Config) (*server.Node, error)) (err error) {
	if n.disk, err = openDisk(n.Dir); err != nil {
		return err
	}
	cfg, err := n.config(n.disk)
	if err == nil {
		n.node, err = open(cfg)
	}
	if err != nil {
		if cfg.Peers != nil {
			_ = cfg.Peers.Listener.Close()
		}
		_ = n.disk.Close() // the first error is the one to tell
		n.disk = nil
		return err
	}
	n.core = n.node.Core()
	return nil
}

// MustStart fails the test where Start fails.
func (n *Node) MustStart() {
	n.domain.t.Helper()
	if err := n.Start(); err != nil {
		n.domain.t.Fatal(err)
	}
}

// Stop stops the node, if it runs, and returns what that reported. Connections
// to its API are given the time that the server gives them.
func (n *Node) Stop() error {
	if n.node == nil {
		return nil
	}
	if n.endpoint != nil {
		_ = n.endpoint.stop() // requests that would not end are of no interest here
		n.endpoint = nil
	}
	err := n.node.Close()
	_ = n.disk.Close()
	n.node, n.core, n.disk = nil, nil, nil
	return err
}

// Restart stops and starts the node.
func (n *Node) Restart() {
	n.domain.t.Helper()
	_ = n.Stop()
	n.MustStart()
}

// Core is the running node's door.
func (n *Node) Core() *server.Core { return n.core }

// Server is the running node.
func (n *Node) Server() *server.Node { return n.node }

// An App is a tenant with its secret.
type App struct {
	ID     kms.AppID
	APIKey string
	node   *Node
	series string // that the requests are of, so that none is like one of another App
	count  atomic.Int64
}

// Enrol enrols an app, whose API key must never be logged.
func (n *Node) Enrol() *App {
	n.domain.t.Helper()
	e, err := n.core.Enrol(context.Background())
	if err != nil {
		n.domain.t.Fatal(err)
	}
	n.domain.Log.Plant([]byte(e.APIKey))
	return &App{ID: e.App, APIKey: e.APIKey, node: n, series: rand.Text()}
}

// Credential makes a valid credential over some text, dated now.
func (a *App) Credential(text string) kms.Credential {
	h := hmac.New(sha256.New, []byte(a.APIKey))
	h.Write([]byte(text))
	return kms.Credential{Scheme: kms.SchemeEHSMv1, ID: kms.CredentialID(a.ID), Known: true, Signed: []byte(text),
		MAC: h.Sum(nil), Time: a.node.Clock.Now()}
}

// On is the app, asking another node.
func (a *App) On(n *Node) *App {
	return &App{ID: a.ID, APIKey: a.APIKey, node: n, series: rand.Text()}
}

// Caller authenticates a fresh request.
func (a *App) Caller() (*server.Caller, error) {
	text := fmt.Sprintf("request %d of series %s", a.count.Add(1), a.series)
	return a.node.core.Authenticate(context.Background(), a.Credential(text))
}

// MustCaller fails the test where Caller fails.
func (a *App) MustCaller() *server.Caller {
	a.node.domain.t.Helper()
	c, err := a.Caller()
	if err != nil {
		a.node.domain.t.Fatal(err)
	}
	return c
}

// A Clock is a host's clock that can be moved and stopped.
type Clock struct {
	wallclock.Clock
	offset atomic.Int64
	stands atomic.Pointer[time.Time]
}

// Now is the host's time.
func (c *Clock) Now() time.Time {
	if at := c.stands.Load(); at != nil {
		return *at
	}
	return c.Clock.Now().Add(time.Duration(c.offset.Load()))
}

// Every calls nothing while the clock stands.
func (c *Clock) Every(ctx context.Context, d time.Duration, f func()) {
	c.Clock.Every(ctx, d, func() {
		if c.stands.Load() == nil {
			f()
		}
	})
}

// Stop has the clock stand, until Go.
func (c *Clock) Stop() {
	now := c.Now()
	c.stands.Store(&now)
}

// Go has the clock go on, at the time that it is then.
func (c *Clock) Go() { c.stands.Store(nil) }

// Move jumps the clock, either way.
func (c *Clock) Move(by time.Duration) { c.offset.Add(int64(by)) }

// A Log keeps what nodes log, and looks for what must not be in it.
type Log struct {
	mu      sync.Mutex
	text    bytes.Buffer
	planted [][]byte
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// Plant names bytes that must never be logged, in any of the usual encodings.
func (l *Log) Plant(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.ContainsFunc(l.planted, func(p []byte) bool { return bytes.Equal(p, b) }) {
		l.planted = append(l.planted, bytes.Clone(b))
	}
}

// String is everything that was logged.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *Log) check(t testing.TB) {
	t.Helper()
	for _, form := range l.Leaked() {
		t.Errorf("a planted secret was logged as %q", form)
	}
	if t.Failed() && os.Getenv("HOLDFAST_TEST_LOG") != "" {
		t.Logf("log:\n%s", l)
	}
}

// Leaked lists what of all that was planted has been logged, in the form that it
// was found in.
func (l *Log) Leaked() (forms []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.planted {
		for _, form := range Forms(b) {
			if bytes.Contains(l.text.Bytes(), form) {
				forms = append(forms, string(form))
			}
		}
	}
	return forms
}

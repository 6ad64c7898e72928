//go:build unix

package linear_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// envNode has this program be a node, as the JSON in it says.
const envNode = "HOLDFAST_LINEAR_NODE"

// A placing is where a node runs and how it reaches the others.
type placing struct {
	Name    string // which is also the socket that the others know it by
	Dir     string // of its sealed state
	Fuses   string
	Log     string
	Charter []byte
	Relay   string // through which it reaches the others
	Sponsor string // the node to join by; empty: it has joined
}

// A report is a line on a node's standard output.
type report struct {
	Peers   string `json:",omitempty"` // where it listens for other nodes
	URL     string `json:",omitempty"` // it serves
	Node    string `json:",omitempty"`
	Leader  string `json:",omitempty"` // it takes that one for the leader
	Voters  int    `json:",omitempty"`
	Stopped string `json:",omitempty"` // its replica has stopped by itself
	Error   string `json:",omitempty"` // it ends
}

// nodeMain is a node in a process of its own. It ends when its standard input does.
func nodeMain(text string) int {
	say := reporter()
	var p placing
	err := json.Unmarshal([]byte(text), &p)
	if err == nil {
		err = p.run(say)
	}
	if err != nil {
		say(report{Error: err.Error()})
		return 1
	}
	return 0
}

func reporter() func(report) {
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	return func(r report) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(r) // who listened is gone
	}
}

func (p *placing) run(say func(report)) (err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	clock := newHostClock()
	go func() {
		clock.follow(os.Stdin)
		stop()
	}()
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	open := disk.Open
	if p.Sponsor != "" {
		open = disk.Create
	}
	d, err := open(p.Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	cfg, err := p.config(d, clock, log)
	if err != nil {
		return err
	}
	say(report{Peers: cfg.Peers.Listener.Addr().String()})
	node, err := p.open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	api, err := listen.TCP("127.0.0.1:0", listen.Config{Log: cfg.Logger})
	if err != nil {
		return err
	}
	say(report{URL: "https://" + api.Addr().String(), Node: node.Status().Node.String()})
	go tellNews(ctx, node, say)
	return node.Serve(ctx, api)
}

func (p *placing) config(d *disk.Disk, clock *hostClock, log io.Writer) (server.Config, error) {
	platform, err := simtee.Config{}.Open(p.Fuses)
	if err != nil {
		return server.Config{}, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return server.Config{}, err
	}
	guest := platform.Guest(attest.SGX, clock.Now)
	return server.Config{
		Platform: guest, Collateral: guest.Collateral, Disk: d, Clock: clock, Charter: p.Charter, Development: true,
		Logger: slog.New(slog.NewTextHandler(log, nil)), Mount: mount.Program{Version: "linear"}.Handler,
		SegmentSize: 64 << 10, SnapshotEvery: 2_000,
		Peers: &server.Peers{Listener: l, Socket: p.Name, Name: p.Name, Dial: p.dial},
	}, nil
}

func (p *placing) open(ctx context.Context, cfg server.Config) (*server.Node, error) {
	if p.Sponsor == "" {
		return server.Open(ctx, cfg)
	}
	return server.Join(ctx, cfg, server.Joining{Sponsors: []string{p.Sponsor}})
}

// dial reaches another node through the relay, whose first line says whom.
func (p *placing) dial(ctx context.Context, socket string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.Relay)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintln(c, socket); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// tellNews says who leads, how many vote, and that the replica has stopped.
func tellNews(ctx context.Context, node *server.Node, say func(report)) {
	var last report
	for ctx.Err() == nil {
		st := node.Status()
		now := report{Voters: st.Voters}
		if st.Leader != (kms.NodeID{}) {
			now.Leader = st.Leader.String()
		}
		if !st.Ready && strings.Contains(st.Reason, "has stopped") {
			now.Stopped = st.Reason
		}
		if now != last {
			say(now)
		}
		last = now
		time.Sleep(50 * time.Millisecond)
	}
}

// A hostClock is a clock in the hands of a hostile host: it can be set, and go at
// any speed.
type hostClock struct {
	mu    sync.Mutex
	real  time.Time // when it was last set
	reads time.Time // what it read then
	speed float64
}

// trueTime does not go by the steady clock, which may be in the host's hands too.
func trueTime() time.Time { return time.Now().Round(0) }

func newHostClock() *hostClock {
	now := trueTime()
	return &hostClock{real: now, reads: now, speed: 1}
}

func (c *hostClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads.Add(time.Duration(float64(trueTime().Sub(c.real)) * c.speed))
}

// Every goes by the clock: f is not called while it stands.
func (c *hostClock) Every(ctx context.Context, interval time.Duration, f func()) {
	const look = 20 * time.Millisecond
	tick := time.NewTicker(min(look, interval))
	defer tick.Stop()
	next := c.Now().Add(interval)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := c.Now()
		if next.Sub(now) > interval { // it was set back
			next = now.Add(interval)
		}
		if !now.Before(next) && ctx.Err() == nil {
			f()
			next = c.Now().Add(interval)
		}
	}
}

// A setting is what the host does to a clock.
type setting struct {
	Ahead time.Duration // of the true time
	Speed float64
}

// setSteady does the same to the clock that raft measures time by, where the node is
// built so that this can be done.
var setSteady = func(ahead time.Duration, speed float64) {}

// follow sets the clock as each line says, until there are no more.
func (c *hostClock) follow(in io.Reader) {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var s setting
		if json.Unmarshal(lines.Bytes(), &s) == nil {
			now := trueTime()
			c.mu.Lock()
			c.real, c.reads, c.speed = now, now.Add(s.Ahead), s.Speed
			c.mu.Unlock()
			setSteady(s.Ahead, s.Speed)
		}
	}
}

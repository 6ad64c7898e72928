package member_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
)

func TestAdmittedBothWays(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a"), w.node("b")
	here, there := a.dial(b)
	works(t, here, there)
	works(t, there, here)
	for _, end := range []struct {
		conn *member.Conn
		peer *node
	}{{here, b}, {there, a}} {
		if end.conn.Peer() != end.peer.id || !bytes.Equal(end.conn.Boot(), end.peer.boot.Public()) || !bytes.Equal(end.conn.Key(), end.peer.spki()) {
			t.Errorf("the channel is to %s, of another start or key", end.conn.Peer())
		}
		if c := end.conn.Claims(); c.SGX == nil || !c.SGX.MRENCLAVE.Equal(program[:]) {
			t.Errorf("claims %+v", c)
		}
	}
	for _, n := range []*node{a, b} {
		if n.proved.Load() != 1 || n.judged.Load() != 1 {
			t.Errorf("%s proved %d times and judged %d times", n.name, n.proved.Load(), n.judged.Load())
		}
	}
	p, _ := a.peer(b)
	want := member.Peer{Node: b.id, Channels: 1, Claims: here.Claims(), Boot: b.boot.Public(), At: start, Until: here.Claims().ValidUntil}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	_, _ = here.Close(), there.Close() // who closes second finds the other gone
	if p, _ := a.peer(b); p.Channels != 0 {
		t.Errorf("%d channels after all were closed", p.Channels)
	}
}

// TestOnceForAStart: however many channels open at once, each way and between
// three nodes, a node is asked by each other node once.
func TestOnceForAStart(t *testing.T) {
	const each = 6
	w := newWorld(t)
	nodes := []*node{w.node("a"), w.node("b"), w.node("c")}
	for _, n := range nodes { // whoever dials, somebody accepts
		go func() {
			for {
				if _, err := n.raft.Accept(); err != nil {
					return
				}
			}
		}()
	}
	var all sync.WaitGroup
	for _, from := range nodes {
		for _, to := range nodes {
			for range each {
				if from != to {
					all.Go(func() {
						if _, err := from.try(to, member.Raft); err != nil {
							t.Errorf("%s to %s: %v", from.name, to.name, err)
						}
					})
				}
			}
		}
	}
	all.Wait()
	for _, n := range nodes {
		if n.proved.Load() != 2 || n.judged.Load() != 2 {
			t.Errorf("%s proved %d times and judged %d times", n.name, n.proved.Load(), n.judged.Load())
		}
	}
}

// TestRefusedEvidence: what is made for anything else than this very occasion is
// refused on both sides, whichever dials, and the one that refuses says why.
func TestRefusedEvidence(t *testing.T) {
	for _, tt := range []struct {
		name string
		bad  func(n *node) // changes how the bad node is made
		want attest.Reason
	}{
		{"another program", func(n *node) { n.machine = newMachine(t, simtee.Config{}) }, attest.IdentityNotAdmitted},
		{"debug", func(n *node) {
			n.machine = newMachine(t, simtee.Config{Measurement: program, Misfortune: simtee.Misfortune{Debug: true}})
		}, attest.DebugEnabled},
		{"revoked", func(n *node) {
			n.machine = newMachine(t, simtee.Config{Measurement: program, Misfortune: simtee.Misfortune{Revoked: true}})
		}, attest.Revoked},
		{"another domain", func(n *node) { n.cfg.Domain[0]++ }, attest.WrongReportData},
		{"for another nonce", func(n *node) {
			n.cfg.Prove = func(ctx context.Context, _ [64]byte) (attest.Evidence, error) {
				return n.prove(ctx, member.ReportData(n.spki(), n.boot.Public(), domain, []byte("another")))
			}
		}, attest.WrongReportData},
		{"for another purpose", func(n *node) {
			n.cfg.Prove = func(ctx context.Context, _ [64]byte) (attest.Evidence, error) {
				return n.prove(ctx, attest.ReportData(attest.ForSelf, attest.Binding{Domain: domain}))
			}
		}, attest.WrongReportData},
		{"no evidence", func(n *node) {
			n.cfg.Prove = func(context.Context, [64]byte) (attest.Evidence, error) { return attest.Evidence{}, nil }
		}, attest.Unsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			good, bad := w.node("good"), w.node("bad", tt.bad)
			for i, dial := range []func() error{
				func() error { _, err := good.try(bad, member.Raft); return err },
				func() error { _, err := bad.try(good, member.Raft); return err },
			} {
				good.Enforce() // forget how long it was refused for
				err := dial()
				if i == 0 && (!errors.Is(err, kms.Denied) || attest.ReasonOf(err) != tt.want) {
					t.Errorf("dialling it: %v, want %s", err, tt.want)
				}
				mutual := tt.name == "another domain" && attest.ReasonOf(err) == tt.want // then neither takes the other
				if i == 1 && !mutual && (!errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "refuses this one: the evidence of node "+bad.id.String())) {
					t.Errorf("dialled by it: %v", err)
				}
			}
			good.reaches(bad, 0)
			p, _ := good.peer(bad)
			if p.Claims.TEE != "" || attest.ReasonOf(p.Refusal) != tt.want || !p.RefusedAt.Equal(start) {
				t.Errorf("it stands as %+v", p)
			}
			select {
			case c := <-accepted(good):
				t.Errorf("a channel of %s was handed out", c.Peer())
			default:
			}
		})
	}
}

// accepted hands out what a node's listener has, without waiting for it.
func accepted(n *node) <-chan *member.Conn {
	out := make(chan *member.Conn, 1)
	n.raft.Close() // deliver finds nobody from here on
	if c, err := n.raft.Accept(); err == nil {
		out <- c.(*member.Conn)
	}
	return out
}

// TestReplayedEvidence: genuine evidence of one start of a node is of no use to
// another start, nor to another node, nor a second time.
func TestReplayedEvidence(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a"), w.node("b")
	var seen attest.Evidence
	a.end()
	a.begin(func(n *node) {
		judge := n.cfg.Judge
		n.cfg.Judge = func(ctx context.Context, id kms.NodeID, ev attest.Evidence, rd [64]byte) (attest.Claims, error) {
			seen = ev
			return judge(ctx, id, ev, rd)
		}
	})
	a.dial(b)
	replay := func(n *node) {
		n.cfg.Prove = func(context.Context, [64]byte) (attest.Evidence, error) { return seen, nil }
	}
	if len(seen.Quote) == 0 {
		t.Fatal("nothing was recorded")
	}
	other := w.node("c", replay)
	b.end()
	b.begin(replay)
	for _, thief := range []*node{other, b} {
		if _, err := a.try(thief, member.Raft); attest.ReasonOf(err) != attest.WrongReportData {
			t.Errorf("%s: %v", thief.name, err)
		}
	}
}

// TestRefusalIsRemembered: a node that is refused and comes again at once costs
// nothing, until something has changed.
func TestRefusalIsRemembered(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a"), w.node("b", func(n *node) { n.machine = newMachine(t, simtee.Config{}) })
	try := func(want int64, kind kms.Kind) {
		t.Helper()
		if _, err := b.try(a, member.Raft); !errors.Is(err, kind) {
			t.Errorf("%v, want %v", err, kind)
		}
		if n := a.judged.Load(); n != want {
			t.Errorf("%d verifications, want %d", n, want)
		}
	}
	try(1, kms.Denied)
	try(1, kms.Denied)
	w.change(func() { w.now = w.now.Add(2 * time.Second) })
	try(2, kms.Denied)
	a.Enforce()
	try(3, kms.Denied)
}

func TestCannotTell(t *testing.T) {
	w := newWorld(t)
	lame := w.node("lame", func(n *node) {
		n.cfg.Judge = func(context.Context, kms.NodeID, attest.Evidence, [64]byte) (attest.Claims, error) {
			return attest.Claims{}, kms.Errorf(kms.Unavailable, "no domain time yet")
		}
	})
	dumb := w.node("dumb", func(n *node) {
		n.cfg.Prove = func(context.Context, [64]byte) (attest.Evidence, error) {
			return attest.Evidence{}, kms.Errorf(kms.Unavailable, "the device is busy")
		}
	})
	huge := w.node("huge", func(n *node) {
		n.cfg.Prove = func(context.Context, [64]byte) (attest.Evidence, error) {
			return attest.Evidence{Quote: make([]byte, 1<<20)}, nil
		}
	})
	good := w.node("good")
	for _, bad := range []*node{lame, dumb} {
		if _, err := good.try(bad, member.Raft); !errors.Is(err, kms.Unavailable) {
			t.Errorf("dialling %s: %v", bad.name, err)
		}
		if _, err := bad.try(good, member.Raft); !errors.Is(err, kms.Unavailable) {
			t.Errorf("dialled by %s: %v", bad.name, err)
		}
	}
	if _, err := huge.try(good, member.Raft); !errors.Is(err, kms.TooLarge) {
		t.Errorf("evidence of a megabyte: %v", err)
	}
}

// TestStranger: who is no member costs no verification, on either side.
func TestStranger(t *testing.T) {
	w := newWorld(t)
	a, s := w.node("a"), w.stranger("s")
	for _, protocol := range []string{member.Raft, member.Node, member.Call} {
		if _, err := s.try(a, protocol); !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "no member") {
			t.Errorf("%s: %v", protocol, err)
		}
	}
	if _, err := a.try(s, member.Raft); !errors.Is(err, kms.Denied) {
		t.Errorf("dialling it: %v", err)
	}
	if n := a.proved.Load() + a.judged.Load(); n != 0 {
		t.Errorf("%d pieces of work for a stranger", n)
	}
	if _, known := a.peer(s); known {
		t.Error("a stranger is remembered")
	}
}

// TestWrongNode: a channel ends at the node that was asked for, or not at all.
func TestWrongNode(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.node("a"), w.node("b"), w.node("c")
	w.change(func() { w.sockets[b.id] = c.name })
	if _, err := a.try(b, member.Raft); !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "node "+c.id.String()+" listens there") {
		t.Errorf("%v", err)
	}
	w.change(func() { w.sockets[b.id] = "nowhere" })
	if _, err := a.try(b, member.Raft); !errors.Is(err, kms.Unavailable) {
		t.Errorf("%v", err)
	}
}

// TestRestart: a new start shows evidence again, and ends the channels of the old one.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a"), w.node("b")
	old, _ := a.dial(b)
	third, other := a.dial(w.node("c"))
	copied := &node{world: w, name: "copy", key: b.key, id: b.id, machine: b.machine}
	copied.begin() // while the old start runs on
	here, there := copied.dial(a)
	works(t, here, there)
	works(t, there, here)
	ended(t, old)
	b.end()
	b.begin()
	here, there = b.dial(a)
	works(t, here, there)
	if p, _ := a.peer(b); !bytes.Equal(p.Boot, b.boot.Public()) {
		t.Error("another start is admitted")
	}
	if b.proved.Load() != 2 || a.judged.Load() != 4 {
		t.Errorf("it proved itself %d times, and a judged %d times", b.proved.Load(), a.judged.Load())
	}
	works(t, third, other)
}

func TestOneNodeHasSoManyChannels(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a"), w.node("b")
	_, first := a.dial(b)
	for range member.MaxChannels - 1 {
		a.dial(b)
	}
	if _, err := a.try(b, member.Raft); !errors.Is(err, kms.Unavailable) {
		t.Errorf("one more: %v", err)
	}
	back, _ := b.dial(a) // those that it opens itself are not counted
	_ = back.Close()
	_ = first.Close()
	a.dial(b)
}

// TestClose: nothing that a node started outlives it, whatever it is in the
// middle of.
func TestClose(t *testing.T) {
	w := newWorld(t)
	stuck := make(chan struct{})
	a := w.node("a")
	b := w.node("b", func(n *node) {
		n.cfg.Prove = func(ctx context.Context, _ [64]byte) (attest.Evidence, error) {
			close(stuck)
			<-ctx.Done()
			return attest.Evidence{}, ctx.Err()
		}
	})
	c := w.node("c")
	open, _ := a.dial(c)
	failed := make(chan error)
	go func() { _, err := a.try(b, member.Raft); failed <- err }()
	<-stuck
	for _, n := range []*node{a, b, c} {
		n.end()
		if err := <-n.served; err != nil {
			t.Errorf("serving: %v", err)
		}
	}
	if err := <-failed; !errors.Is(err, kms.Unavailable) {
		t.Errorf("a dial under way: %v", err)
	}
	ended(t, open)
	for _, dial := range []func() error{
		func() error { _, err := a.try(b, member.Raft); return err },
		func() error { _, _, err := a.JoinClient(patient(t), "c"); return err },
		func() error { _, err := a.Listener(member.Raft).Accept(); return err },
		func() error { return a.Serve(context.Background(), w.listen("again")) },
	} {
		if dial() == nil {
			t.Error("it works after it was closed")
		}
	}
	if left := goroutines(); left != "" {
		t.Errorf("still running:\n%s", left)
	}
}

// goroutines are those that run code of the package, tests apart.
func goroutines() (found string) {
	for range 100 { // a goroutine that has done its work may not have gone yet
		b := make([]byte, 1<<20)
		found = ""
		for g := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
			if strings.Contains(g, "internal/member.(") {
				found += g + "\n\n"
			}
		}
		if found == "" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return found
}

// TestGivingUp: who stops waiting leaves the round of evidence to the others.
func TestGivingUp(t *testing.T) {
	w := newWorld(t)
	begun, go1 := make(chan struct{}), make(chan struct{})
	a := w.node("a")
	b := w.node("b", func(n *node) {
		n.cfg.Prove = func(ctx context.Context, rd [64]byte) (attest.Evidence, error) {
			close(begun)
			<-go1
			return n.prove(ctx, rd)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() { _, err := a.Dial(ctx, b.id, member.Raft); failed <- err }()
	<-begun
	cancel()
	if err := <-failed; !errors.Is(err, kms.Unavailable) {
		t.Errorf("%v", err)
	}
	close(go1)
	here, err := a.try(b, member.Raft)
	if err != nil {
		t.Fatal(err)
	}
	// The one that was given up may have been delivered before.
	for {
		there := b.accept()
		go here.Write([]byte("hello"))
		if n, err := there.Read(make([]byte, 5)); err == nil && n > 0 {
			break
		}
	}
	if b.proved.Load() != 1 {
		t.Errorf("asked %d times", b.proved.Load())
	}
}

func TestNewWants(t *testing.T) {
	w := newWorld(t)
	n := w.node("a")
	for name, edit := range map[string]func(*member.Config){
		"a key":                 func(c *member.Config) { c.Key = nil },
		"the id of that key":    func(c *member.Config) { c.Node[0]++ },
		"a start":               func(c *member.Config) { c.Boot = nil },
		"members":               func(c *member.Config) { c.Members = nil },
		"judgement":             func(c *member.Config) { c.Judge = nil },
		"judgement of claims":   func(c *member.Config) { c.Admits = nil },
		"evidence":              func(c *member.Config) { c.Prove = nil },
		"a dialler":             func(c *member.Config) { c.Dial = nil },
		"time":                  func(c *member.Config) { c.Now = nil },
		"somebody to report to": func(c *member.Config) { c.Logger = nil },
	} {
		cfg := n.cfg
		edit(&cfg)
		if _, err := member.New(cfg); !errors.Is(err, kms.Invalid) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

package replica_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
)

// told keeps what raft has logged of messages that failed.
type told struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func (h *told) Enabled(context.Context, slog.Level) bool { return true }

func (h *told) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if line := a.Value.String(); strings.Contains(line, "failed to") {
			h.mu.Lock()
			h.lines = append(h.lines, line)
			h.mu.Unlock()
		}
		return true
	})
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// What raft logs of a message that failed.
const (
	entriesFailed   = "failed to appendEntries to"
	heartbeatFailed = "failed to heartbeat to"
)

// failed counts the messages of a kind to a node that did.
func (m *member) failed(kind string, to *member) (n int) {
	m.told.mu.Lock()
	defer m.told.mu.Unlock()
	for _, line := range m.told.lines {
		if strings.Contains(line, kind) && strings.Contains(line, to.id.String()) {
			n++
		}
	}
	return n
}

// away is a cluster one of whose followers is gone, which its leader knows.
func away(t *testing.T) (c *cluster, leader, gone, other *member) {
	t.Helper()
	c = newCluster(t, 3)
	leader = c.leader()
	gone = c.others(leader)[0]
	before := leader.failed(entriesFailed, gone)
	gone.kill()
	leader.mustWrite()
	c.eventually("entries that fail", func() bool { return leader.failed(entriesFailed, gone) > before })
	leader.mustWrite() // which raft sends, too, and waits
	return c, leader, gone, c.others(leader, gone)[0]
}

// longer waits until n more heartbeats have failed.
func (c *cluster) longer(leader, gone *member, n int) {
	c.t.Helper()
	n += leader.failed(heartbeatFailed, gone)
	c.eventually("heartbeats that fail", func() bool { return leader.failed(heartbeatFailed, gone) >= n })
}

// A follower that was away gets what is new when it is back: raft has been told
// once that it cannot be reached, not again and again until it rests for seconds,
// in which the loss of another voter would keep everybody from writing.
func TestAwayAndBack(t *testing.T) {
	t.Parallel()
	c, leader, gone, other := away(t)
	before := leader.failed(entriesFailed, gone)
	for range 14 { // in which raft would have failed eight times, and would rest for a second and more
		leader.mustWrite()
		c.longer(leader, gone, 1)
	}
	if leader.Leads() { // else the next one began anew
		if n := leader.failed(entriesFailed, gone) - before; n > 2 {
			t.Errorf("raft has sent entries %d times more in vain, and rests the longer for each", n)
		}
	}
	gone.restart()
	c.catchUp(gone)
	other.kill()
	gone.mustRead(leader.mustWrite())
}

// A snapshot waits, too. Then the newest is looked for.
func TestSnapshotForAway(t *testing.T) {
	t.Parallel()
	c, leader, gone, _ := away(t)
	sent := make(chan error, 1)
	go func() { sent <- leader.SendSnapshotOf(gone.id, 0, 0) }()
	c.longer(leader, gone, 2)
	select {
	case err := <-sent:
		t.Fatalf("it was sent to nobody: %v", err)
	default:
	}
	gone.restart()
	select {
	case err := <-sent:
		if !errors.Is(err, kms.Unavailable) {
			t.Errorf("an old snapshot was sent: %v", err)
		}
	case <-time.After(patience):
		t.Error("it waits for ever")
	}
}

// Nobody waits for a follower longer than there is reason to: raft's heartbeats
// to it end with that.
func TestAwayForGood(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, c *cluster, leader, gone, other *member){
		"removed": func(t *testing.T, _ *cluster, leader, gone, _ *member) {
			if err := leader.RemoveServer(t.Context(), gone.id); err != nil {
				t.Fatal(err)
			}
		},
		"deposed": func(_ *testing.T, c *cluster, leader, _, other *member) {
			c.campaign(other)
			c.leader(leader)
		},
		"closed": func(_ *testing.T, _ *cluster, leader, _, _ *member) { leader.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, leader, gone, other := away(t)
			c.longer(leader, gone, 2)
			end(t, c, leader, gone, other)
			c.eventually("an end of heartbeats", func() bool {
				n := leader.failed(heartbeatFailed, gone)
				time.Sleep(time.Second) // they rest for a third of it
				return leader.failed(heartbeatFailed, gone) == n
			})
		})
	}
}

// A leader does not hand over to a follower that answers, but is not reached by
// raft: that would wait for it, and take no command until then.
func TestNoHeirAway(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	deaf, other := c.others(leader)[0], c.others(leader)[1]
	before := leader.failed(entriesFailed, deaf)
	deaf.closeRaft()
	leader.mustWrite()
	c.eventually("entries that fail", func() bool { return leader.failed(entriesFailed, deaf) > before })
	for range 2 { // the first attempt leaves behind what the second one waits for
		c.fabric.hold(other.id, leader.id, answerFrame)
		if err := leader.TransferLeadership(t.Context()); !errors.Is(err, kms.Unavailable) {
			t.Errorf("it went to one that lacks an entry: %v", err)
		}
	}
	leader.mustWrite()
}

// closeRaft has a node hear nothing more of raft's.
func (m *member) closeRaft() {
	for _, l := range m.peer.listeners {
		if l.at.protocol == replica.RaftProtocol {
			_ = l.Close()
		}
	}
	m.c.fabric.mu.Lock()
	defer m.c.fabric.mu.Unlock()
	for d := range m.c.fabric.open {
		if !d.frames && (d.from == m.id || d.to == m.id) {
			d.shut()
		}
	}
}

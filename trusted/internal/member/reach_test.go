package member_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
)

// moved is a node that listens where the domain does not know it yet.
func moved(w *world) *node {
	n := w.node("new", func(n *node) { n.cfg.Socket = "new" })
	w.change(func() { w.sockets[n.id] = "old" })
	return n
}

// TestMoved: a node that has come back at another address, and dials, is reached
// there: where nobody listens at the old one, where what is sent there is lost,
// and where another node is there by now.
func TestMoved(t *testing.T) {
	for name, old := range map[string]func(*world){
		"refused":      func(*world) {},
		"lost":         func(w *world) { w.listen("old") },
		"another node": func(w *world) { w.node("old") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, n := w.node("a"), moved(w)
			old(w)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := a.Dial(ctx, n.id, member.Raft); err == nil {
				t.Fatal("it was reached where nobody knows that it is")
			}
			n.dial(a)
			a.dial(n)
		})
	}
}

// TestMovedBack: where the state is right, and the node slow, what it said before
// does no harm, whether nobody listens there or what is sent there is lost.
func TestMovedBack(t *testing.T) {
	for name, gone := range map[string]func(*world){"refused": func(*world) {}, "lost": func(w *world) { w.listen("gone") }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a, n := w.node("a"), w.node("b", func(n *node) { n.cfg.Socket = "gone" })
			n.dial(a)
			a.dial(n)
			gone(w)
			n.stopServing()
			<-n.served
			slow := w.listen("b")
			time.AfterFunc(500*time.Millisecond, func() { n.serve(slow) }) // after the other one was tried
			a.dial(n)
		})
	}
}

// TestMovedElsewhere: an address that a node says is good for that node alone, by
// its key.
func TestMovedElsewhere(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a"), w.node("b")
	liar := w.node("liar", func(n *node) { n.cfg.Socket = "b" })
	liar.dial(a)
	w.change(func() { w.sockets[liar.id] = "old" })
	if conn, err := a.Dial(patient(t), liar.id, member.Raft); err == nil {
		t.Errorf("it was taken for %s", conn.(*member.Conn).Peer())
	}
	a.dial(b)
	w.change(func() { delete(w.sockets, liar.id) })
	if _, err := a.Dial(patient(t), liar.id, member.Raft); !errors.Is(err, kms.Denied) {
		t.Errorf("it is no member: %v", err)
	}
}

// TestMovedUnadmitted: what a node says counts once it is admitted.
func TestMovedUnadmitted(t *testing.T) {
	w := newWorld(t)
	a := w.node("a", func(n *node) {
		n.cfg.Judge = func(context.Context, kms.NodeID, attest.Evidence, [64]byte) (attest.Claims, error) {
			return attest.Claims{}, kms.Errorf(kms.Denied, "not that one")
		}
	})
	n := moved(w)
	if _, err := n.Dial(patient(t), a.id, member.Raft); !errors.Is(err, kms.Denied) {
		t.Fatalf("it was admitted: %v", err)
	}
	n.stopServing()
	<-n.served
	there := w.listen("new")
	asked := make(chan struct{})
	go func() {
		if c, err := there.Accept(); err == nil {
			_ = c.Close()
			close(asked)
		}
	}()
	defer there.Close()
	_, _ = a.Dial(patient(t), n.id, member.Raft) // nobody is at the old address, so it ends
	select {
	case <-asked:
		t.Error("it was dialled where it said")
	default:
	}
}

// TestSocketBounds: a node does not say what others take for no greeting.
func TestSocketBounds(t *testing.T) {
	w := newWorld(t)
	n := w.node("a")
	for _, socket := range []string{strings.Repeat("a", 257), "a\nb", "\xff"} {
		cfg := n.cfg
		cfg.Socket = socket
		if _, err := member.New(cfg); !errors.Is(err, kms.Invalid) {
			t.Errorf("%q: %v", socket, err)
		}
	}
}

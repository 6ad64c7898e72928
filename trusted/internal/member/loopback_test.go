package member_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/holdfast-kms/holdfast/trusted/internal/member"
)

var errTimeout = os.ErrDeadlineExceeded

func mustAddr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func listenTCP(t testing.TB) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// overTCP has a node listen on loopback.
func overTCP(t testing.TB, w *world, n *node) {
	l := listenTCP(t)
	n.serve(l)
	w.change(func() { w.sockets[n.id] = l.Addr().String() })
}

func tcp(ctx context.Context, socket string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", socket)
}

// dialTCP has a node dial there.
func dialTCP(n *node) { n.cfg.Dial = tcp }

// TestLoopback: the same over sockets, where writes do not wait for reads.
func TestLoopback(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a", dialTCP), w.node("b", dialTCP)
	overTCP(t, w, a)
	overTCP(t, w, b)
	for range 3 {
		here, there := a.dial(b)
		works(t, here, there)
		here, there = b.dial(a)
		works(t, here, there)
	}
	if a.judged.Load() != 1 || b.judged.Load() != 1 {
		t.Errorf("%d and %d verifications", a.judged.Load(), b.judged.Load())
	}
	s := w.stranger("s", dialTCP)
	if _, err := s.try(a, member.Raft); err == nil {
		t.Error("a stranger's channel")
	}
	bad := w.node("bad", dialTCP)
	overTCP(t, w, bad)
	w.change(func() { delete(w.sockets, bad.id) })
	if _, err := bad.try(a, member.Raft); err == nil {
		t.Error("a removed node's channel")
	}
}

// BenchmarkDial is a channel between nodes that have admitted each other.
func BenchmarkDial(b *testing.B) {
	w := newWorld(b)
	from, to := w.node("a", dialTCP), w.node("b", dialTCP)
	overTCP(b, w, to)
	here, there := from.dial(to)
	here.Close()
	there.Close()
	b.ReportAllocs()
	for b.Loop() {
		here, there := from.dial(to)
		here.Close()
		there.Close()
	}
	if from.judged.Load() != 1 {
		b.Errorf("%d verifications", from.judged.Load())
	}
}

package replica_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
)

// Frames of reads, as frame.go numbers them.
const (
	askFrame   = 1
	seekFrame  = 3
	foundFrame = 4
)

// A round that one voter keeps waiting is confirmed by the other, whichever it is.
func TestSlowVoter(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	for _, slow := range c.others(leader) {
		for range 3 {
			c.fabric.hold(slow.id, leader.id, answerFrame)
		}
		app := leader.mustWrite()
		for range 5 {
			leader.mustRead(app)
		}
	}
}

// What a node says when it asks the leader for an index counts as its answer if
// it votes and says the leader's term, and only then. No other voter answers here.
func TestVouched(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	leader := c.leader()
	term := leader.Progress().Term
	voter := c.others(leader)[0]
	for _, tt := range []struct {
		name string
		from kms.NodeID
		term uint64
		want byte
	}{
		{"a voter, the leader's term", voter.id, term, foundFrame},
		{"a voter, an earlier term", voter.id, term - 1, 0},
		{"a voter, a later term", voter.id, term + 1, 0},
		{"a stranger", kms.NodeID{77}, term, 0},
		{"the leader", leader.id, term, 0},
	} {
		conn, err := (&peers{f: c.fabric, node: tt.from}).Dial(t.Context(), leader.id, replica.NodeProtocol)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range c.others(leader) {
			for range 3 {
				c.fabric.hold(leader.id, o.id, askFrame)
			}
		}
		got := ask(t, conn, tt.term)
		if !leader.Leads() || leader.Progress().Term != term {
			t.Skip("it has lost the lead") // on a machine so busy nothing is shown
		}
		if (got == foundFrame) != (tt.want == foundFrame) {
			t.Errorf("%s: frame %d", tt.name, got)
		}
		_ = conn.Close()
	}
}

// ask seeks an index, and returns the kind of the reply.
func ask(t *testing.T, conn net.Conn, term uint64) byte {
	t.Helper()
	f := append([]byte{seekFrame}, make([]byte, 16)...)
	f = binary.BigEndian.AppendUint32(f, 8)
	if _, err := conn.Write(binary.BigEndian.AppendUint64(f, term)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 21)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatal(err)
	}
	return head[0]
}

// Nobody is given the outcome of a round that began before he came, and all who
// come are answered.
func TestLane(t *testing.T) {
	const callers, each = 64, 100
	var clock atomic.Uint64
	join := replica.NewLane(t.Context(), func() (uint64, error) { return clock.Add(1), nil })
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range each {
				came := clock.Add(1)
				if began, err := join()(); err != nil || began < came {
					t.Errorf("one who came at %d was given a round of %d (%v)", came, began, err)
				}
			}
		})
	}
	all.Wait()
	failed := errors.New("tried")
	join = replica.NewLane(t.Context(), func() (uint64, error) { return 0, failed })
	if _, err := join()(); !errors.Is(err, failed) {
		t.Errorf("%v, not what the attempt returned", err)
	}
}

// A round that panics, in a request whose server recovers, is not the last one.
func TestLaneAfterPanic(t *testing.T) {
	var rounds atomic.Uint64
	join := replica.NewLane(t.Context(), func() (uint64, error) {
		if n := rounds.Add(1); n > 1 {
			return n, nil
		}
		panic("in a round")
	})
	if _, err := join()(); err == nil {
		t.Error("a round that panicked succeeded")
	}
	if n, err := join()(); n != 2 || err != nil {
		t.Errorf("round %d, %v", n, err)
	}
}

// Who comes while a round is under way shares the next with all others who do.
func TestLaneShares(t *testing.T) {
	var rounds atomic.Uint64
	begun, gate := make(chan struct{}, 2), make(chan struct{})
	join := replica.NewLane(t.Context(), func() (uint64, error) {
		n := rounds.Add(1)
		begun <- struct{}{}
		<-gate
		return n, nil
	})
	waits := []func() (uint64, error){join()}
	<-begun
	for range 63 {
		waits = append(waits, join())
	}
	close(gate)
	for i, wait := range waits {
		want := uint64(2)
		if i == 0 {
			want = 1
		}
		if got, err := wait(); err != nil || got != want {
			t.Errorf("caller %d had round %d, not %d (%v)", i, got, want, err)
		}
	}
}

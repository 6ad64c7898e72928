package server_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// lastRefusal is the newest event of a node that was refused.
func lastRefusal(t *testing.T, on *trustedtest.Node) (last kms.Event) {
	t.Helper()
	err := on.Server().WatchEvents(ctx, kms.WatchRequest{Earliest: true, UntilNow: true}, func(batch kms.Events) error {
		for _, e := range batch.Events {
			if e.Kind == kms.EventNodeRefused {
				last = e
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// toldOf is the next event behind before of a node that by refused, as on tells it.
func toldOf(t *testing.T, by, on *trustedtest.Node, before kms.Position) kms.Event {
	t.Helper()
	return eventually(t, func() (kms.Event, error) {
		by.Server().TellRefusal()
		e := lastRefusal(t, on)
		if !before.Before(e.Position) {
			return e, errors.New("no other refusal is told")
		}
		return e, nil
	})
}

// TestRefusalsAreFew: nodes that are refused, however many, put a few entries into
// the log, and none is lost count of.
func TestRefusalsAreFew(t *testing.T) {
	t.Parallel()
	r, told, counted := &server.Refusals{}, 0, uint64(0)
	turns := func(n int) {
		for range n {
			if leftOut, ok := r.Turn(); ok {
				told++
				counted += 1 + leftOut
			}
		}
	}
	r.Note(1)
	if turns(1); told != 1 {
		t.Error("the first is not told at once")
	}
	const hour = 3600
	for range hour {
		r.Note(100)
		turns(1)
	}
	if told < 6 || told > 12 {
		t.Errorf("%d of a flood were told in an hour", told)
	}
	turns(hour)
	if counted != 100*hour+1 {
		t.Errorf("%d were told or counted, of %d", counted, 100*hour+1)
	}
	told = 0
	r.Note(1)
	if turns(1); told != 1 {
		t.Error("one after a quiet time is not told at once")
	}
}

// TestFloodOfJoiners: what a node refuses it tells the domain by itself, once.
func TestFloodOfJoiners(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	s := newStranger(t, d)
	for range 20 {
		if _, err := s.join(d.Nodes[0], func(j *wire.Join) { j.Evidence = nil }); !errors.Is(err, kms.Denied) {
			t.Fatal(err)
		}
	}
	e := eventually(t, func() (kms.Event, error) {
		e := lastRefusal(t, d.Nodes[1])
		if e.Node != s.node {
			return e, errors.New("nothing is told")
		}
		return e, nil
	})
	if kinds := told(t, d.Nodes[0], s.node); len(kinds) > 2 || e.Reason != "unsupported" {
		t.Errorf("%d events, the last %+v", len(kinds), e)
	}
	if n := strings.Count(d.Log.String(), `level=WARN msg="another node is refused"`); n == 0 || n > 3 {
		t.Errorf("%d lines in the log", n)
	}
}

// TestWaitingAgain: a node that waits and asks again puts nothing into the log of all,
// unless it has something new to say.
func TestWaitingAgain(t *testing.T) {
	t.Parallel()
	_, d := approved(t)
	s := newStrangerOn(t, d, d.Machine().Machine().Fuses)
	ask := func(edit func(*wire.Join)) uint64 {
		if _, err := s.join(d.Nodes[0], edit); err != nil {
			t.Fatal(err)
		}
		return waiting(t, d.Nodes[0]).Revision
	}
	first := ask(nil)
	for range 5 {
		if again := ask(nil); again != first {
			t.Fatalf("revision %d, then %d", first, again)
		}
	}
	news := []func(*wire.Join){
		func(j *wire.Join) { j.Socket = "127.0.0.1:2" },
		func(j *wire.Join) { j.Socket, j.Name = "127.0.0.1:2", "b" },
		func(j *wire.Join) {
			id := d.Nodes[0].Server().Status().Node
			j.Socket, j.Name, j.Replaces = "127.0.0.1:2", "b", id[:]
		},
	}
	for i, edit := range news[:2] {
		if after := ask(edit); after <= first {
			t.Errorf("news %d are not on record", i)
		} else {
			first = after
		}
	}
	if _, err := s.join(d.Nodes[1], news[2]); !errors.Is(err, kms.Denied) { // that one is alive
		t.Errorf("in place of another one: %v", err)
	}
}

// TestCrowdOfJoiners: evidence of strangers is verified in the line of all strangers'
// slow work; who finds it full asks again, and is no event.
func TestCrowdOfJoiners(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	s := newStranger(t, d)
	release := d.Nodes[0].Server().Crowd()
	_, err := s.join(d.Nodes[0], nil)
	release()
	if !errors.Is(err, kms.Unavailable) || strings.Contains(d.Log.String(), "another node is refused") {
		t.Errorf("got %v", err)
	}
	eventually(t, func() (*wire.Join, error) { return s.join(d.Nodes[0], nil) })
}

// TestUnapproved: a node that waits for an operator's approval has no part in the
// domain, whatever it asks for.
func TestUnapproved(t *testing.T) {
	t.Parallel()
	_, d := approved(t)
	machine := d.Machine()
	s := newStrangerOn(t, d, machine.Machine().Fuses)
	handed := strings.Count(d.Log.String(), "master secrets handed over")
	if _, err := s.join(d.Nodes[0], nil); err != nil {
		t.Fatal(err)
	}
	if w := waiting(t, d.Nodes[1]); w.ID != s.node {
		t.Errorf("%+v waits", w)
	}
	for id := range s.members {
		for _, protocol := range []string{member.Call, member.Raft, member.Node} {
			if c, err := s.channels.Dial(ctx, id, protocol); err == nil {
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				if _, err = c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("it has a channel of %s", protocol)
				}
				_ = c.Close()
			}
		}
	}
	if n := strings.Count(d.Log.String(), "master secrets handed over"); n != handed {
		t.Errorf("master secrets were handed over %d times", n-handed)
	}
	if got := told(t, d.Nodes[0], s.node); !slices.Equal(got, []kms.EventKind{kms.EventNodeWaiting}) {
		t.Errorf("these events: %v", got)
	}
}

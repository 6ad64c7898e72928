package server_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A slowSink takes nothing while somebody holds it.
type slowSink struct {
	nodeSink
	held sync.Mutex
}

func (s *slowSink) Append(ctx context.Context, lines []byte) error {
	s.held.Lock()
	defer s.held.Unlock()
	return s.nodeSink.Append(ctx, lines)
}

// toDrain is an order for a node to leave.
func (o orderer) toDrain(n *trustedtest.Node) []byte {
	id := n.Server().Status().Node
	return o.signed(o.order(govern.DeedDrain, 0, func(x *govern.Order) { x.Node = id }), o.d.Rulers.Operator)
}

// departure is why a node is gone, as another one tells.
func departure(t *testing.T, told *trustedtest.Node, id kms.NodeID) kms.Departure {
	t.Helper()
	l, err := told.Server().Nodes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range l.Departed {
		if d.ID == id {
			return d.Reason
		}
	}
	return 0
}

// TestDrain: a node that leads and is ordered to leave, by way of another one, hands
// the lead over, finishes what it has begun while it refuses what comes and says
// why, ends its audit log, and is gone for the reason that it was drained.
func TestDrain(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	sinks := map[*trustedtest.Node]*slowSink{}
	for _, n := range d.Nodes {
		s := &slowSink{}
		sinks[n] = s
		n.Edit = func(c *server.Config) { c.AuditSinks = map[string]server.AuditSink{"file": s} }
	}
	d.RestartAll()
	if _, err := d.Nodes[0].Core().SubmitPolicy(ctx, d.Rulers.Next(func(p *govern.Policy) { p.AuditSinks = []string{"file"} })); err != nil {
		t.Fatal(err)
	}
	app := d.Nodes[0].Enrol()
	key := aesKey(t, app)
	gone, told := roles(d)
	id := gone.Server().Status().Node

	sinks[gone].held.Lock()
	begun := make(chan error, 1)
	go begin(gone, func() error {
		_, err := app.On(gone).MustCaller().Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: key}, Plaintext: []byte("x"), Layout: kms.LayoutNative})
		return err
	}, begun)
	comesTrue(t, "a request is under way", func() bool { return gone.Server().Metrics().Load.UnderWay == 1 })
	drained := make(chan error, 1)
	go func() { // an order is good for one try
		drained <- insist(func() error { return told.Server().RemoveNode(ctx, id, orderer{t, told, d}.toDrain(gone)) })
	}()
	comesTrue(t, "it takes on nothing new", func() bool { return !gone.Server().Readiness().Ready && gone.Server().Status().Leader != id })
	if r := gone.Server().Readiness(); !strings.Contains(fmt.Sprint(r.Reasons), "leaves the domain") {
		t.Errorf("%+v", r)
	}
	if _, err := app.On(gone).Caller(); !errors.Is(err, kms.Unavailable) || kms.HintOf(err) == "" {
		t.Errorf("a new request: %v", err)
	}
	if err := gone.Server().Drain(ctx); !errors.Is(err, kms.Exists) {
		t.Errorf("a second time: %v", err)
	}
	if r := departure(t, told, id); r != 0 {
		t.Errorf("gone while a request is under way: %s", r)
	}
	sinks[gone].held.Unlock()
	if err := errors.Join(<-begun, <-drained); err != nil {
		t.Fatal(err)
	}
	if r := departure(t, told, id); r != kms.NodeDrained {
		t.Errorf("gone, because: %s", r)
	}
	if len(sinks[gone].find(t, "Stop")) == 0 {
		t.Error("its audit log has no end")
	}
	comesTrue(t, "it knows that it has left", func() bool { return strings.Contains(fmt.Sprint(gone.Server().Readiness().Reasons), "has left") })
	_ = gone.Stop()
	for _, n := range d.Nodes {
		if n != gone {
			used(t, app, key, n, told)
		}
	}
	if err := gone.StartWithin(time.Second); err == nil {
		t.Error("a node that has left serves again")
	}
}

// insist tries again while others are too busy to answer, as they may be on the
// machine of a test.
func insist(do func() error) (err error) {
	for tried := range 10 {
		err = do()
		if tried > 0 && errors.Is(err, kms.Exists) { // it had gone, and nobody could say so
			return nil
		}
		if !errors.Is(err, kms.Unavailable) {
			return err
		}
	}
	return err
}

// begin has a node do something as a request of its API would.
func begin(n *trustedtest.Node, do func() error, done chan<- error) {
	err := n.Server().Enter(ctx)
	if err == nil {
		defer n.Server().Leave()
		err = do()
	}
	done <- err
}

// TestDrainRefused: who may not order it, what is not ordered, and what the domain
// would not survive leaves a node as it was.
func TestDrainRefused(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	app := d.Nodes[0].Enrol()
	key := aesKey(t, app)
	leader, other := roles(d)
	o := orderer{t, other, d}
	id := leader.Server().Status().Node
	to := func(deed govern.Deed, edit func(*govern.Order)) *govern.Order {
		return o.order(deed, 0, func(x *govern.Order) {
			x.Node = id
			if edit != nil {
				edit(x)
			}
		})
	}
	for name, c := range map[string]struct {
		node  kms.NodeID
		order []byte
		want  kms.Kind
	}{
		"by nobody":           {id, o.signed(to(govern.DeedDrain, nil)), kms.Denied},
		"by signers":          {id, o.signed(to(govern.DeedDrain, nil), d.Rulers.Signers[:2]...), kms.Denied},
		"of another node":     {other.Server().Status().Node, o.signed(to(govern.DeedDrain, nil), d.Rulers.Operator), kms.Conflict},
		"of a stranger":       {kms.NodeID{7}, o.signed(to(govern.DeedDrain, func(x *govern.Order) { x.Node = kms.NodeID{7} }), d.Rulers.Operator), kms.NotFound},
		"of another domain":   {id, o.signed(to(govern.DeedDrain, func(x *govern.Order) { x.Domain = kms.DomainID{7} }), d.Rulers.Operator), kms.Denied},
		"past its time":       {id, o.signed(to(govern.DeedDrain, func(x *govern.Order) { x.Expires = x.Expires.Add(-2 * time.Hour) }), d.Rulers.Operator), kms.Expired},
		"nothing was ordered": {id, nil, kms.Invalid},
	} {
		for _, asked := range d.Nodes {
			if err := asked.Server().RemoveNode(ctx, c.node, c.order); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %s", name, err, c.want)
			}
		}
	}
	for _, n := range d.Nodes {
		if n != leader && n != other {
			_ = n.Stop()
		}
	}
	for _, n := range []*trustedtest.Node{leader, other} {
		if err := n.Server().Drain(ctx); !errors.Is(err, kms.Conflict) || kms.HintOf(err) == "" {
			t.Errorf("one of two that live: %v", err)
		}
	}
	refused := o.toDrain(leader)
	if err := other.Server().RemoveNode(ctx, id, refused); !errors.Is(err, kms.Conflict) {
		t.Errorf("by order: %v", err)
	}
	used(t, app, key, leader, other)
	used(t, app, key, other, leader)
	if r := leader.Server().Readiness(); !r.Ready {
		t.Errorf("%+v", r)
	}
	for _, n := range d.Nodes { // it could go now, and nobody expects it any more
		if n != leader && n != other {
			n.MustStart()
		}
	}
	d.AwaitVoters(3)
	for _, n := range d.Nodes {
		if err := n.Server().RemoveNode(ctx, id, refused); !errors.Is(err, kms.Exists) || kms.HintOf(err) == "" {
			t.Errorf("what was refused once: %v", err)
		}
	}
	used(t, app, key, other, leader)
	if err := insist(func() error { return other.Server().RemoveNode(ctx, id, o.toDrain(leader)) }); err != nil {
		t.Errorf("another order: %v", err)
	}
}

// TestDrainUnreachable: an order to drain a node that does not answer is not carried
// out when that one is back.
func TestDrainUnreachable(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	leader, other := roles(d)
	id := other.Server().Status().Node
	order := orderer{t, leader, d}.toDrain(other)
	_ = other.Stop()
	if err := leader.Server().RemoveNode(ctx, id, order); !errors.Is(err, kms.Unavailable) {
		t.Fatalf("it is not there: %v", err)
	}
	other.MustStart()
	d.AwaitVoters(3)
	for _, n := range []*trustedtest.Node{leader, other} {
		if err := n.Server().RemoveNode(ctx, id, order); !errors.Is(err, kms.Exists) {
			t.Errorf("once it is back: %v", err)
		}
	}
	if r := other.Server().Readiness(); !r.Ready {
		t.Errorf("%+v", r)
	}
}

// TestDrainToOne: nodes leave until one is left, which stays.
func TestDrainToOne(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	app := d.Nodes[0].Enrol()
	key := aesKey(t, app)
	for _, n := range d.Nodes[1:] { // each by itself, as its host wants it
		id := n.Server().Status().Node
		if err := insist(func() error { return n.Server().Drain(ctx) }); err != nil {
			t.Fatal(err)
		}
		if r := departure(t, d.Nodes[0], id); r != kms.NodeDrained {
			t.Errorf("gone, because: %s", r)
		}
		_ = n.Stop()
	}
	used(t, app, key, d.Nodes[0], d.Nodes[0])
	if err := d.Nodes[0].Server().Drain(ctx); !errors.Is(err, kms.Conflict) {
		t.Errorf("the last one: %v", err)
	}
	if r := d.Nodes[0].Server().Readiness(); !r.Ready {
		t.Errorf("%+v", r)
	}
}

// TestDrainedByAnother: of two nodes neither loses its vote on the other one's word that
// it wanted to leave.
func TestDrainedByAnother(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	leader := d.Leader()
	other := d.Nodes[0]
	if other == leader {
		other = d.Nodes[1]
	}
	by, id := leader.Server().Status().Node, other.Server().Status().Node
	if err := leader.Server().End(by, id, kms.NodeDrained); !errors.Is(err, kms.Conflict) {
		t.Errorf("got %v", err)
	}
	if s := leader.Server().Status(); s.Voters != 2 {
		t.Errorf("%d voters", s.Voters)
	}
}

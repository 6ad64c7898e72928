package server

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// MasterSecret is a copy of a master secret that the node holds; nil: it has none.
func (n *Node) MasterSecret(generation uint32) (b []byte) {
	s, err := n.generations.set.Secret(generation)
	if err == nil {
		_ = s.Use(func(held []byte) error { b = append(b, held...); return nil })
	}
	return b
}

// A Taker is a node that holds no master secret yet, in the state of one that runs:
// what others hand it, it proves as that one would.
type Taker struct {
	node *Node
	g    *generations
}

// Taker makes one in the state of n. It writes nothing.
func (n *Node) Taker() *Taker {
	set := root.NewSetOf(map[uint32]secret.Bytes{})
	fresh := &Node{cfg: n.cfg, who: n.who, machine: n.machine, root: root.New(set, n.who.domain, root.HoldfastLabels)}
	fresh.generations = newGenerations(fresh, n.generations.sealer, set, nil)
	return &Taker{fresh, fresh.generations}
}

// Take takes what a member hands over as a generation, and says what is missing then.
func (k *Taker) Take(generation uint32, b []byte) (missing []uint32, err error) {
	err = k.g.prove(k.node.machine.View(), generation, secret.Copy(b))
	return k.g.missing(k.node.machine.View()), err
}

// Offered takes what a member offers as the next generation.
func (n *Node) Offered(generation uint32, b, checksum []byte) error {
	return n.generations.keep(generation, secret.Copy(b), checksum)
}

// Handed is what another member would hand this node as a generation, sealed for it
// and its present start, and what becomes of it when it comes as another one.
func (n *Node) Handed(b []byte, generation, as uint32) error {
	h := func(g uint32) member.Handover {
		return n.members.handover(n.who.node, member.MasterSecret, uint64(g))
	}
	sealed, err := h(generation).Seal(n.members.boot.Public(), secret.Copy(b))
	if err != nil {
		return err
	}
	_, err = h(as).Open(n.members.boot, sealed)
	return err
}

// TellRefusal has the node tell the domain now of a node that it refused, as it
// does within a second where it has told of none for a while.
func (n *Node) TellRefusal() {
	n.members.tellRefusal(context.Background(), n.members.refusals.last())
}

// Refusals are those of a node that tells nobody.
type Refusals struct{ r refusals }

// Note has so many refused.
func (r *Refusals) Note(times int) {
	for range times {
		r.r.note(nil, string(kms.RefusedOther))
	}
}

// Turn is a turn of the clock. ok: one is told, and how many were left out.
func (r *Refusals) Turn() (leftOut uint64, ok bool) {
	c := r.r.turn()
	return c.GetLeftOut(), c != nil
}

// PeerKey is the node's own, as SubjectPublicKeyInfo.
func (n *Node) PeerKey() []byte { return n.who.public }

// Introduction is what the node answers a stranger's nonce with.
func (n *Node) Introduction(nonce []byte) (*wire.Introduction, error) {
	return n.members.introduce(context.Background(), &wire.Introduce{Nonce: nonce})
}

// Lies are what a node answers others with in place of what is true. Nil: the truth.
type Lies struct {
	Introduction func(nonce []byte, in *wire.Introduction)
	Joined       func(out *wire.Joined) error
	Secrets      func(to *member.Conn, out *wire.SealedSecrets) error
}

// Lie has the node answer those who come from now on as lies says, which may
// change, as if its TEE had been broken.
func (n *Node) Lie(lies *atomic.Pointer[Lies]) {
	m := n.members
	strangers, calls := http.NewServeMux(), http.NewServeMux()
	strangers.Handle(member.MethodIntroduce, member.Handler(func(ctx context.Context, ask *wire.Introduce) (*wire.Introduction, error) {
		in, err := m.introduce(ctx, ask)
		if f := lies.Load().Introduction; err == nil && f != nil {
			f(ask.GetNonce(), in)
		}
		return in, err
	}))
	strangers.Handle(member.MethodJoin, member.Handler(func(ctx context.Context, ask *wire.Join) (*wire.Joined, error) {
		out, err := m.join(ctx, ask)
		if f := lies.Load().Joined; err == nil && f != nil {
			err = f(out)
		}
		return out, err
	}))
	calls.Handle("/", m.calls())
	calls.Handle(member.MethodSecrets, member.Handler(func(ctx context.Context, ask *wire.Secrets) (*wire.SealedSecrets, error) {
		out, err := m.giveSecrets(ctx, ask)
		if f := lies.Load().Secrets; err == nil && f != nil {
			to, _ := member.PeerOf(ctx)
			err = f(to, out)
		}
		return out, err
	}))
	for protocol, h := range map[string]http.Handler{member.Join: strangers, member.Call: calls} {
		srv, l := m.channels.Server(h), m.channels.Listener(protocol)
		n.channels.Go(func() { _ = srv.Serve(l) }) // until the channels are closed
	}
}

// Post calls a method of another member.
func (n *Node) Post(to kms.NodeID, method string, ask, answer proto.Message) error {
	return n.members.call(context.Background(), to, method, ask, answer)
}

// Boot is the public key of the node's present start.
func (n *Node) Boot() []byte { return n.members.boot.Public() }

// Follows is the checksum by which a secret, as a generation, follows another one.
func (n *Node) Follows(number uint32, b []byte, previous uint32) []byte {
	link, err := candidate{number, secret.Copy(b)}.link(n.who.domain, n.machine.View().Generations()[previous].Checksum)
	if err != nil {
		panic(err)
	}
	return link.Checksum
}

// Candidates is how many master secrets the node keeps that the domain knows nothing of.
func (n *Node) Candidates() int {
	n.generations.mu.Lock()
	defer n.generations.mu.Unlock()
	return len(n.generations.candidates)
}

// Draw makes, or takes again, the next master secret as a rotation would, offers it to
// the others, and returns it. No log hears of it.
func (n *Node) Draw(ctx context.Context) ([]byte, error) {
	g, view := n.generations, n.machine.View()
	g.mu.Lock()
	defer g.mu.Unlock()
	next := view.Generation() + 1
	if _, err := g.prepare(ctx, view, next, view.Generations()[next-1].Checksum); err != nil {
		return nil, err
	}
	var b []byte
	err := g.drawn.secret.Use(func(held []byte) error { b = append(b, held...); return nil })
	return b, err
}

// TellOffers has the node tell took, instead of keeping it, of each generation that
// another one hands it sealed for it.
func (n *Node) TellOffers(took func(generation uint32)) {
	m, mux := n.members, http.NewServeMux()
	mux.Handle(member.MethodOffer, member.Handler(func(_ context.Context, ask *wire.Offer) (*wire.Held, error) {
		if _, err := m.handover(n.who.node, member.MasterSecret, uint64(ask.GetGeneration())).Open(m.boot, ask.GetSealed()); err == nil {
			took(ask.GetGeneration())
		}
		return &wire.Held{}, nil
	}))
	srv, l := m.channels.Server(mux), m.channels.Listener(member.Call)
	n.channels.Go(func() { _ = srv.Serve(l) }) // until the channels are closed
}

// CandidatesLast has the node drop candidates so many entries after the last one came.
func (n *Node) CandidatesLast(entries uint64) {
	n.generations.mu.Lock()
	defer n.generations.mu.Unlock()
	n.generations.life = entries
}

// End has a node's part ended as the leader does it that is asked to by another one.
func (n *Node) End(by, id kms.NodeID, why kms.Departure) error {
	return n.members.end(context.Background(), by, &wire.Remove{Node: id[:], Reason: uint32(why)})
}

// Crowd fills the line of strangers' slow work until release is called.
func (n *Node) Crowd() (release func()) {
	ctx, cancel := context.WithCancel(context.Background())
	full := make(chan struct{})
	var once sync.Once
	for range 2000 {
		go func() {
			if err := n.core.ForStranger(ctx, func() error { <-ctx.Done(); return nil }); errors.Is(err, kms.Exhausted) {
				once.Do(func() { close(full) })
			}
		}()
	}
	<-full
	return cancel
}

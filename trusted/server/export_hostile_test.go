package server

import (
	"context"
	"net/http"
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

// RefusalTurns are turns of the clock that refusals are told by. It returns how
// many of them told of one.
func (n *Node) RefusalTurns(turns int) (told int) {
	for range turns {
		if c := n.members.refusals.turn(); c != nil {
			told++
			n.members.tellRefusal(context.Background(), c)
		}
	}
	return told
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

// Refuse has the node have refused another one so often.
func (n *Node) Refuse(node kms.NodeID, times int) {
	for range times {
		n.members.refusals.note(node[:], string(kms.RefusedOther))
	}
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

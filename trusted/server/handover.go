package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/core"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// calls serves members.
func (m *members) calls() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(member.MethodSecrets, member.Handler(m.giveSecrets))
	mux.Handle(member.MethodEpochs, member.Handler(m.giveEpochs))
	mux.Handle(member.MethodOffer, member.Handler(m.takeOffer))
	mux.Handle(member.MethodRemove, member.Handler(m.takeRemoval))
	mux.Handle(member.MethodDrain, member.Handler(m.takeDrain))
	return mux
}

// taker is the member that asks for secrets of the domain: one by the newest
// state, whose evidence was verified for this start, and to whom the policy in
// force lets this node replicate. The error is Denied or Unavailable.
func (m *members) taker(ctx context.Context) (*member.Conn, *state.View, error) {
	peer, ok := member.PeerOf(ctx)
	if !ok {
		return peer, nil, kms.Errorf(kms.Denied, "not on a channel between nodes")
	}
	if !m.node.assembled.Load() {
		return peer, nil, kms.Errorf(kms.Unavailable, "this node has not found the others of its domain yet")
	}
	view, err := m.node.replica.View(ctx)
	if err != nil {
		return peer, nil, err
	}
	return peer, view, m.mayHand(view, peer)
}

// mayHand says whether this node may hand a secret of the domain to a peer.
func (m *members) mayHand(view *state.View, peer *member.Conn) error {
	if err := m.mayHave(view, peer); err != nil {
		return err
	}
	return m.node.fit(view, m.node.core.Now(view))
}

// mayHave says whether a peer may have a secret of the domain from this node.
func (m *members) mayHave(view *state.View, peer *member.Conn) error {
	if _, ok := view.Member(peer.Peer()); !ok {
		return kms.Errorf(kms.Denied, "not a member of the domain")
	}
	own, _, _ := m.node.standing.view()
	return view.Policy().MayReplicate(own, peer.Claims(), m.now())
}

func (m *members) handover(to kms.NodeID, kind member.HandoverKind, number uint64) member.Handover {
	return member.Handover{Domain: m.node.who.domain, To: to, Kind: kind, Number: number}
}

// giveSecrets hands over master secrets, each sealed to the key of the asker's
// present start.
func (m *members) giveSecrets(ctx context.Context, ask *wire.Secrets) (*wire.SealedSecrets, error) {
	peer, view, err := m.taker(ctx)
	if err != nil {
		if peer != nil {
			m.node.cfg.Logger.Warn("master secrets are refused to a node", "node", peer.Peer().String(), "cause", err)
		}
		return nil, err
	}
	out := &wire.SealedSecrets{}
	for _, g := range ask.GetGenerations() {
		if !view.InUse(g) {
			continue
		}
		s, err := m.node.generations.set.Secret(g)
		if err != nil {
			continue // another member has it
		}
		sealed, err := m.handover(peer.Peer(), member.MasterSecret, uint64(g)).Seal(peer.Boot(), s)
		if err != nil {
			return nil, err
		}
		out.Secrets = append(out.Secrets, &wire.Sealed{Number: uint64(g), Sealed: sealed})
	}
	m.node.cfg.Logger.Info("master secrets handed over", "node", peer.Peer().String(), "generations", len(out.Secrets))
	return out, nil
}

// fetch has every generation in use that this node lacks handed over by a member,
// proves each against the chain that the state has, and keeps it on the disk
// before it is used. The error is Unavailable where nobody gives it.
func (g *generations) fetch(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	view := g.node.machine.View()
	g.settle(view)
	missing := g.missing(view)
	if len(missing) == 0 {
		return g.use(view)
	}
	var refusals []error
	for _, peer := range g.node.members.others(view) {
		if err := g.take(ctx, view, peer, missing); err != nil {
			refusals = append(refusals, err)
		}
		if missing = g.missing(view); len(missing) == 0 {
			return g.use(view)
		}
	}
	return kms.Errorf(kms.Unavailable, "no member hands over generations %v of the master secret: %w", missing, errors.Join(refusals...))
}

// missing are the generations in use that this node does not hold.
func (g *generations) missing(view *state.View) (all []uint32) {
	for _, known := range view.Generations() {
		if _, err := g.set.Secret(known.Number); known.Retired == 0 && err != nil {
			all = append(all, known.Number)
		}
	}
	return all
}

// take takes from one member what it has of the missing generations.
func (g *generations) take(ctx context.Context, view *state.View, from kms.NodeID, missing []uint32) error {
	m := g.node.members
	var out wire.SealedSecrets
	if err := m.call(ctx, from, member.MethodSecrets, &wire.Secrets{Generations: missing}, &out); err != nil {
		return err
	}
	for _, s := range out.GetSecrets() {
		number := uint32(s.GetNumber())
		if !slices.Contains(missing, number) || uint64(number) != s.GetNumber() {
			return m.accuse(from, kms.Errorf(kms.Denied, "a generation that was not asked for"))
		}
		b, err := m.handover(g.node.who.node, member.MasterSecret, s.GetNumber()).Open(m.boot, s.GetSealed())
		if err != nil {
			return m.accuse(from, err)
		}
		if err := g.prove(view, number, b); err != nil {
			return m.accuse(from, err)
		}
	}
	return nil
}

// accuse notes that a member handed over what is no master secret of the domain.
func (m *members) accuse(from kms.NodeID, err error) error {
	m.refused(from, refusedFor(kms.RefusedSecret, err))
	return kms.Errorf(kms.KindOf(err), "node %s: %w", short(from), err)
}

// prove holds a secret if it is what the domain's chain of checksums says.
func (g *generations) prove(view *state.View, number uint32, b secret.Bytes) error {
	if err := g.set.Hold(number, b); err != nil {
		return err
	}
	all := view.Generations()
	var previous []byte
	if number > 0 {
		previous = all[number-1].Checksum
	}
	if err := g.verify(all[number], previous); err != nil {
		g.set.Drop(number)
		g.node.root.Forget(number)
		return kms.Errorf(kms.Denied, "generation %d is not the domain's: %w", number, err)
	}
	g.unwritten = true
	return nil
}

// takeOffer keeps a secret that another node is about to have the domain name. A
// master secret is on this node's disk when it answers.
func (m *members) takeOffer(ctx context.Context, ask *wire.Offer) (*wire.Held, error) {
	peer, ok := member.PeerOf(ctx)
	if !ok {
		return nil, kms.Errorf(kms.Denied, "not on a channel between nodes")
	}
	if !m.node.assembled.Load() {
		return nil, kms.Errorf(kms.Unavailable, "this node has not found the others of its domain yet")
	}
	view, err := m.node.replica.View(ctx)
	if err != nil {
		return nil, err
	}
	own, _, _ := m.node.standing.view()
	if err := view.Policy().MayReplicate(peer.Claims(), own, m.now()); err != nil {
		return nil, err
	}
	if ask.GetGeneration() == 0 {
		return m.takeEpoch(view, ask)
	}
	h := m.handover(m.node.who.node, member.MasterSecret, uint64(ask.GetGeneration()))
	b, err := h.Open(m.boot, ask.GetSealed())
	if err == nil {
		err = m.node.generations.keep(ask.GetGeneration(), b, ask.GetChecksum())
	}
	if errors.Is(err, kms.Denied) {
		err = m.accuse(peer.Peer(), err)
	}
	return &wire.Held{}, err
}

// offer hands a generation that is to come to every other member that can be
// reached, and returns who holds it durably. A member that refuses is named in
// the error, which is for the log: what the domain needs is checked by the state.
func (m *members) offer(ctx context.Context, view *state.View, next uint32, link core.Link, s secret.Bytes) (holders [][]byte, err error) {
	holders = [][]byte{m.node.who.node[:]}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, id := range m.others(view) {
		asking.Go(func() {
			refused := m.offerTo(ctx, id, next, link, s)
			mu.Lock()
			defer mu.Unlock()
			if refused == nil {
				holders = append(holders, id[:])
				return
			}
			err = errors.Join(err, kms.Errorf(kms.KindOf(refused), "node %s: %w", short(id), refused))
		})
	}
	asking.Wait()
	return holders, err
}

func (m *members) offerTo(ctx context.Context, to kms.NodeID, next uint32, link core.Link, s secret.Bytes) error {
	return m.hand(ctx, to, m.handover(to, member.MasterSecret, uint64(next)), s, &wire.Offer{Generation: next, Checksum: link.Checksum})
}

// hand hands a secret to a member that the policy in force lets this node
// replicate to, sealed for its present start. Who is a member, and which policy is
// in force, is confirmed first: a host that cuts this node off from the others has
// it give nothing to one whom they have expelled.
func (m *members) hand(ctx context.Context, to kms.NodeID, h member.Handover, s secret.Bytes, offer *wire.Offer) error {
	ctx, cancel := context.WithTimeout(ctx, offerTime)
	defer cancel()
	channel, err := m.channels.Dial(ctx, to, member.Call) // for its newest evidence
	if err != nil {
		return err
	}
	defer channel.Close()
	peer := channel.(*member.Conn)
	view, err := m.node.replica.View(ctx)
	if err != nil {
		return err
	}
	if err := m.mayHave(view, peer); err != nil { // that this node serves was asked before
		return err
	}
	if offer.Sealed, err = h.Seal(peer.Boot(), s); err != nil {
		return err
	}
	return m.call(ctx, to, member.MethodOffer, offer, &wire.Held{})
}

// offerTime bounds how long a rotation waits for one node.
const offerTime = 5 * time.Second

// call calls a method of a member.
func (m *members) call(ctx context.Context, to kms.NodeID, method string, ask, answer proto.Message) error {
	return member.Post(ctx, m.channels.Client(), "http://"+to.String()+method, ask, answer)
}

// others are the members beside this node.
func (m *members) others(view *state.View) (all []kms.NodeID) {
	view.Nodes(func(n *state.Node) bool {
		if n.ID != m.node.who.node && n.Member() {
			all = append(all, n.ID)
		}
		return true
	})
	return all
}

func short(id kms.NodeID) string { return id.String()[:16] }

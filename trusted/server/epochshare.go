package server

import (
	"context"
	"errors"
	"sync"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/core"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// epochMembers shares the secrets of epochs with the other nodes. They are in
// nobody's log and on nobody's disk: what all members forget is gone.
type epochMembers struct{ *members }

var _ core.EpochMembers = epochMembers{}

// Makes implements core.EpochMembers: the leader makes them, so that no two nodes
// make one for the same epoch at the same time more often than leaders change.
func (m epochMembers) Makes() bool { return m.node.replica.Leads() }

// Share implements core.EpochMembers. Who cannot be reached fetches it later.
func (m epochMembers) Share(ctx context.Context, view *state.View, epoch uint64) {
	s, ok := m.node.runtimes.Proposed(epoch)
	if !ok {
		return
	}
	var asking sync.WaitGroup
	for _, id := range m.others(view) {
		asking.Go(func() {
			err := m.hand(ctx, id, m.handover(id, member.EpochSecret, epoch), s, &wire.Offer{Epoch: epoch})
			if err != nil {
				m.node.cfg.Logger.Debug("a node did not take the secret of an epoch", "node", id.String(), "cause", err)
			}
		})
	}
	asking.Wait()
}

// Fetch implements core.EpochMembers.
func (m epochMembers) Fetch(ctx context.Context, view *state.View, e state.Ephemeral) error {
	var refusals []error
	for _, id := range m.others(view) {
		err := m.fetchEpoch(ctx, id, e)
		if err == nil {
			return nil
		}
		refusals = append(refusals, err)
	}
	return errors.Join(refusals...)
}

func (m epochMembers) fetchEpoch(ctx context.Context, from kms.NodeID, e state.Ephemeral) error {
	ctx, cancel := context.WithTimeout(ctx, offerTime)
	defer cancel()
	var out wire.SealedSecrets
	if err := m.call(ctx, from, member.MethodEpochs, &wire.Epochs{Epochs: []uint64{e.Epoch}}, &out); err != nil {
		return err
	}
	for _, s := range out.GetSecrets() {
		if s.GetNumber() != e.Epoch {
			continue
		}
		b, err := m.handover(m.node.who.node, member.EpochSecret, e.Epoch).Open(m.boot, s.GetSealed())
		if err != nil {
			return err
		}
		return m.node.runtimes.Receive(e.Epoch, b, e.Checksum)
	}
	return kms.Errorf(kms.NotFound, "the node does not have the secret of epoch %d", e.Epoch)
}

// giveEpochs hands over the secrets of epochs that this node has.
func (m *members) giveEpochs(ctx context.Context, ask *wire.Epochs) (*wire.SealedSecrets, error) {
	peer, view, err := m.taker(ctx)
	if err != nil {
		return nil, err
	}
	out := &wire.SealedSecrets{}
	for _, epoch := range ask.GetEpochs() {
		e, there := view.Ephemeral(epoch)
		if !there {
			continue
		}
		s, err := m.node.runtimes.Secret(epoch, e.Checksum)
		if err != nil {
			continue // another member may have it
		}
		sealed, err := m.handover(peer.Peer(), member.EpochSecret, epoch).Seal(peer.Boot(), s)
		if err != nil {
			return nil, err
		}
		out.Secrets = append(out.Secrets, &wire.Sealed{Number: epoch, Sealed: sealed})
	}
	return out, nil
}

// takeEpoch keeps the secret that another node is about to publish for an epoch.
func (m *members) takeEpoch(view *state.View, ask *wire.Offer) (*wire.Held, error) {
	now := view.Calendar().At(m.node.core.Now(view))
	if e := ask.GetEpoch(); e != now && e != now+1 {
		return nil, kms.Errorf(kms.Stale, "neither of this epoch nor of the next")
	}
	b, err := m.handover(m.node.who.node, member.EpochSecret, ask.GetEpoch()).Open(m.boot, ask.GetSealed())
	if err != nil {
		return nil, err
	}
	return &wire.Held{}, m.node.runtimes.Adopt(ask.GetEpoch(), b)
}

package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// strangers serves nodes that want to join. What they cost is bounded by the
// channels, by the line for evidence, and by that of strangers' slow work.
func (m *members) strangers() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(member.MethodIntroduce, member.Handler(m.introduce))
	mux.Handle(member.MethodJoin, member.Handler(m.join))
	return mux
}

// introduce says who this node is and what it obeys.
func (m *members) introduce(ctx context.Context, ask *wire.Introduce) (*wire.Introduction, error) {
	n := m.node
	if len(ask.GetNonce()) != NonceSize {
		return nil, kms.Errorf(kms.Invalid, "a nonce has %d bytes", NonceSize).WithField("nonce")
	}
	if !n.assembled.Load() {
		return nil, kms.Errorf(kms.Unavailable, "this node has not found the others of its domain yet")
	}
	view, err := n.replica.View(ctx)
	if err != nil {
		return nil, err
	}
	challenge, _, err := n.sessions.New(n.core.Now(view))
	if err != nil {
		return nil, err
	}
	ev, err := n.evidenceFor(ctx, n.standing.strangers, member.ReportData(n.who.public, m.boot.Public(), n.who.domain, ask.GetNonce()))
	if err != nil {
		return nil, err
	}
	return &wire.Introduction{Boot: m.boot.Public(), Rules: rulesOf(view).signed, Challenge: challenge,
		Evidence: &wire.Evidence{Tee: string(ev.TEE), Quote: ev.Quote, Collateral: ev.Collateral}}, nil
}

// join records a node that wants to join, if the policy in force lets this node
// hand it the master secret. The errors are Stale (the challenge), Denied (the
// evidence, the policy, the approval), Exists and those of Propose. A refusal is
// an event of the domain's, if not the only one; see refusals.
func (m *members) join(ctx context.Context, ask *wire.Join) (*wire.Joined, error) {
	n := m.node
	if !n.assembled.Load() {
		return nil, kms.Errorf(kms.Unavailable, "this node has not found the others of its domain yet")
	}
	view, err := n.replica.View(ctx)
	if err != nil {
		return nil, err
	}
	if err := n.fit(view, n.core.Now(view)); err != nil {
		return nil, err
	}
	from, ok := member.PeerOf(ctx)
	if !ok {
		return nil, kms.Errorf(kms.Denied, "not on a channel between nodes")
	}
	out, err := m.takeIn(ctx, view, from, ask)
	if err != nil {
		m.refused(from.Peer(), err)
	}
	return out, err
}

func (m *members) takeIn(ctx context.Context, view *state.View, from *member.Conn, ask *wire.Join) (*wire.Joined, error) {
	n, who := m.node, from.Peer()
	claims, err := m.examine(ctx, view, from.Key(), ask)
	if err != nil {
		return nil, err
	}
	if _, there := view.Member(who); there { // approved while it waited, or it begins again where it stopped
		return joined(view, who, view.Index())
	}
	replaces, proven, err := m.replacement(ctx, who, ask)
	if err == nil && len(ask.GetReplaces()) == 0 {
		replaces, proven, err = m.predecessor(ctx, view, claims, ask)
	}
	if err != nil {
		return nil, err
	}
	if nothingNew(view, who, ask, claims, replaces, proven) {
		return joined(view, who, view.Index())
	}
	kept, err := claims.Encode()
	if err != nil {
		return nil, err
	}
	rec := &command.Node{Id: who[:], Boot: ask.GetBoot(), Socket: ask.GetSocket(), Api: ask.GetApi(), Name: ask.GetName(), Claims: kept, Feature: ask.GetFeature()}
	res, err := n.core.Order(ctx, func(view *state.View) (*command.Command, error) {
		p := &command.PutNode{By: n.who.node[:], Node: rec, PolicySerial: view.Policy().Serial, Approval: ask.GetApproval(), Proven: proven}
		if replaces != (kms.NodeID{}) {
			p.Replaces = replaces[:]
		}
		return &command.Command{Op: &command.Command_PutNode{PutNode: p}}, nil
	})
	if err != nil && !errors.Is(err, kms.Exists) {
		return nil, notRecorded(view, who, ask, err)
	}
	m.nudge()
	refusal := err
	if view, err = n.replica.View(ctx); err != nil {
		return nil, err
	}
	if _, there := view.Member(who); refusal != nil && !there { // else it was approved just now
		return nil, notRecorded(view, who, ask, refusal)
	}
	return joined(view, who, res.Index)
}

// nothingNew reports whether a node asks again that waits for an operator, as it
// was put on record a while ago: it does every two seconds, and a host as often as
// it likes, which is no reason for an entry in the log of all.
func nothingNew(view *state.View, who kms.NodeID, ask *wire.Join, now attest.Claims, replaces kms.NodeID, proven bool) bool {
	rec, there := view.Node(who)
	if !there || rec.Member() || len(ask.GetApproval()) > 0 || rec.Replaces != replaces || rec.Proven != proven {
		return false
	}
	unproven := false
	if replaces != (kms.NodeID{}) {
		if _, stands := view.Member(replaces); !stands {
			return false
		}
		unproven = !proven
	}
	said := string(rec.Boot) == string(ask.GetBoot()) && rec.Socket == ask.GetSocket() && rec.API == ask.GetApi() && rec.Name == ask.GetName() && rec.Feature == ask.GetFeature()
	shown := rec.Claims.SameProgram(now) && rec.Claims.EvaluationNumber == now.EvaluationNumber && rec.Claims.Status == now.Status && rec.Claims.ValidUntil.Equal(now.ValidUntil)
	return said && shown && view.Time().Before(time.Unix(0, rec.Proved).Add(state.WaitingTime/4)) &&
		(unproven || view.Policy().Admission == govern.AdmitApproved)
}

func joined(view *state.View, who kms.NodeID, index uint64) (*wire.Joined, error) {
	rec, ok := view.Node(who)
	if !ok {
		return nil, kms.Errorf(kms.Unavailable, "the node was removed meanwhile")
	}
	return &wire.Joined{Waiting: !rec.Member(), Index: index, Identity: state.Program(rec.Claims), Machine: rec.Claims.Platform.Machine().String()}, nil
}

// examine verifies a stranger's evidence: for its own key and start, this domain
// and a challenge of the domain's, of a program that this node may hand the
// master secret to.
func (m *members) examine(ctx context.Context, view *state.View, key []byte, ask *wire.Join) (claims attest.Claims, err error) {
	n := m.node
	if _, err := n.sessions.Check(ask.GetChallenge(), n.core.Now(view)); err != nil {
		return attest.Claims{}, refusedFor(kms.RefusedChallenge, err)
	}
	policy, now := view.Policy(), m.now()
	want := member.ReportData(key, ask.GetBoot(), n.who.domain, ask.GetChallenge())
	err = n.core.ForStranger(ctx, func() error { // one challenge is good for many, for a minute
		if claims, err = verifiers.Verify(evidenceOf(ask.GetEvidence()), policy.NodePolicy().BoundTo(want), now); err != nil {
			return kms.Errorf(kms.Denied, "%w", err).WithHint(attest.ReasonOf(err).Hint())
		}
		return nil
	})
	if errors.Is(err, kms.Exhausted) { // it says nothing about this one
		err = kms.Errorf(kms.Unavailable, "too many ask to join at once").WithHint("ask again")
	}
	if err != nil {
		return attest.Claims{}, err
	}
	own, _, _ := n.standing.view()
	return claims, refusedFor(kms.RefusedReplication, policy.MayReplicate(own, claims, now))
}

// replacement is the node that a stranger says it takes the place of, and whether
// it proves that it was that one.
func (m *members) replacement(ctx context.Context, who kms.NodeID, ask *wire.Join) (replaces kms.NodeID, proven bool, err error) {
	if len(ask.GetReplaces()) == 0 {
		return replaces, false, nil
	}
	if replaces, err = nodeID(ask.GetReplaces()); err != nil {
		return replaces, false, err
	}
	if m.alive(ctx, replaces) {
		return replaces, false, refusedFor(kms.RefusedAlive, kms.Errorf(kms.Denied, "the node that it is to replace is alive").
			WithHint("stop that node first, or join without replacing it"))
	}
	if len(ask.GetReplacedProof()) == 0 {
		return replaces, false, nil // an operator has to say so
	}
	public, err := x509.ParsePKIXPublicKey(ask.GetReplacedKey())
	key, ok := public.(*ecdsa.PublicKey)
	digest := sha256.Sum256(member.ReplacementMessage(m.node.who.domain, who, ask.GetChallenge()))
	if err != nil || !ok || fingerprint(ask.GetReplacedKey()) != replaces || !ecdsa.VerifyASN1(key, digest[:], ask.GetReplacedProof()) {
		return replaces, false, refusedFor(kms.RefusedUnproven, kms.Errorf(kms.Denied, "it does not prove that it was the node that it is to replace"))
	}
	return replaces, true, nil
}

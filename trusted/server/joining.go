package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/http"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// joiningFile keeps the identity of a node that joins, until it holds the
// domain's master secrets: then it is the file "identity".
const joiningFile = "joining"

const (
	// askAgain is how often a node that waits for an operator, or for a domain that
	// does not answer, asks again.
	askAgain = 2 * time.Second
	// sponsorTime bounds one attempt to be taken in.
	sponsorTime = 30 * time.Second
)

// A Joining says how a node joins a domain.
type Joining struct {
	Sponsors []string // HOST:PORT at which members listen for nodes; the first that answers is asked
	Approval []byte   // an operator's envelope, where the policy wants one; it may be given later
	// Progress, where given, is told in a few words how far it has come.
	Progress func(what string)
}

// Join has this node taken into the domain that the charter is of, and starts it:
// it shows evidence to a member, is recorded through the log, takes over state
// and master secrets, and serves. On a disk where that was begun it goes on, and
// on one of a node that has joined it is Open. Where the platform has no sealing
// key it begins anew each time, in place of what this node was: see ephemeral.go. It
// returns when the node serves.
//
// The member is verified like the node itself: rules that lead from the charter
// to its policy, and evidence that this policy admits. The errors are Denied
// (with the reason, from either side), Invalid, Stale, Unavailable and Damaged.
func Join(ctx context.Context, cfg Config, j Joining) (*Node, error) {
	if cfg.Peers == nil || len(j.Sponsors) == 0 {
		return nil, kms.Errorf(kms.Invalid, "joining takes a listener for other nodes, and a member to ask")
	}
	n, s, err := prepareNode(ctx, cfg)
	switch {
	case err != nil:
		return nil, err
	case s.ephemeral:
		err = n.beginAnew(s)
	case s.has(identityFile):
		return n.open(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	if j.Progress == nil {
		j.Progress = func(string) {}
	}
	return (&applicant{node: n, sealer: s, Joining: j}).run(ctx)
}

// rejoin is Open in restart mode "rejoin": the node joins as a new one in place of
// what it proves that it was. Log, votes and master secrets of the former start are
// set aside unread, once the others have taken it in: where there are no others
// left, a signed recovery may still make use of them.
func (n *Node) rejoin(ctx context.Context, s *sealer, known *rules) (*Node, error) {
	a := &applicant{node: n, sealer: s, rules: known, Joining: Joining{Progress: func(string) {}}}
	for id, socket := range known.sockets {
		if id != n.who.node && socket != "" {
			a.Sponsors = append(a.Sponsors, socket)
		}
	}
	if n.cfg.Peers == nil || len(a.Sponsors) == 0 {
		return nil, errRejoinsNobody
	}
	a.former = []*identity{n.who}
	if again, err := s.readIdentityFrom(joiningFile); err == nil { // of an attempt that was cut short
		a.former = []*identity{again, n.who}
	}
	return a.run(ctx)
}

// mayGoOn refuses what a node found in its own folder where the domain wants nodes
// to join anew: which restart mode it is to start in lies in a file of its own,
// and that may be older than the rest.
func (n *Node) mayGoOn(view *state.View) error {
	r := rulesOf(view)
	switch {
	case r == nil, n.rejoined, r.standing.RestartMode != govern.Rejoin:
		return nil
	case n.members == nil:
		return errRejoinsNobody
	}
	return n.members.outdated(r)
}

// errRejoinsNobody is the end of a domain of one in restart mode "rejoin": what its
// disk holds is not believed, by anybody, without another signed recovery.
var errRejoinsNobody = kms.Errorf(kms.Unavailable, "in restart mode \"rejoin\" a node that is started joins the others anew, and this one knows no other: it served alone when it was stopped").
	WithHint("survey it, and have owner and signers sign a recovery for its head; then have others join before it is stopped again: docs/recovery.md")

// setAside clears the folder of what belongs to a former start, but for who the
// node was and whom it knows.
func (s *sealer) setAside(d Disk) error {
	names, err := d.ListDir(stateDir)
	if err != nil {
		return kms.Errorf(kms.Unavailable, "listing the node's folder: %w", err)
	}
	for _, name := range names {
		if name == identityFile || name == joiningFile || name == peersFile {
			continue
		}
		if err := s.forget(name); err != nil {
			return err
		}
	}
	return nil
}

// outdated says that the domain wants nodes that were started again to join anew,
// which this one did not know; its next start knows.
func (m *members) outdated(r *rules) error {
	if err := m.sealer.writeRules(r); err != nil {
		return err
	}
	return kms.Errorf(kms.Unavailable, "the domain's restart mode became %q while this node was away", r.standing.RestartMode).
		WithHint("start it again: it joins anew in its own place")
}

func (a *applicant) run(ctx context.Context) (*Node, error) {
	a.node.rejoined = true
	if err := a.join(ctx); err != nil {
		return nil, errors.Join(err, a.node.Close())
	}
	return a.node.begin(ctx)
}

// An applicant is a node that joins.
type applicant struct {
	Joining
	node   *Node
	sealer *sealer
	rules  *rules      // that the sponsor showed
	former []*identity // what it takes the place of: the first that the domain knows
	// resumed: it goes on under the key of an attempt that was cut short.
	resumed bool
}

func (a *applicant) join(ctx context.Context) error {
	if err := a.identify(); err != nil {
		return err
	}
	if err := a.node.openMembers(a.sealer, nil); err != nil {
		return err
	}
	if err := a.beTakenIn(ctx); err != nil {
		return err
	}
	a.Progress("taken in; taking over the domain's state")
	if err := a.follow(ctx); err != nil {
		return err
	}
	a.Progress("taking over the master secrets")
	return a.takeSecrets(ctx)
}

// identify takes up the key of an attempt that was begun, or makes one. It is kept
// once the domain is known.
func (a *applicant) identify() (err error) {
	if len(a.former) > 0 {
		a.node.who, err = newIdentity()
		return err
	}
	if _, err := a.node.cfg.Disk.ReadFile(stateDir, joiningFile, 1); !errors.Is(err, fs.ErrNotExist) {
		a.resumed = true
		a.node.who, err = a.sealer.readIdentityFrom(joiningFile)
		return err
	}
	if err := storage.Vacant(a.node.cfg.Disk, stateDir); err != nil {
		return err
	}
	a.node.who, err = newIdentity()
	return err
}

// beTakenIn asks until a member has recorded this node. What is refused for good
// is an error; who waits for an approval, and who finds nobody, asks again.
func (a *applicant) beTakenIn(ctx context.Context) error {
	for said := ""; ; {
		err := a.askAll(ctx)
		if err == nil || !a.passes(err) {
			return err
		}
		if said != err.Error() { // again and again
			a.node.cfg.Logger.Info("not taken in yet", "cause", err)
			a.Progress(askedAgain(err))
		}
		said = err.Error()
		if !pause(ctx, askAgain) {
			return kms.Errorf(kms.Unavailable, "gave up joining: %w", errors.Join(err, ctx.Err()))
		}
	}
}

// askedAgain is for who waits: why it is not taken in yet, and what may be done.
func askedAgain(err error) string {
	what := "not taken in yet, and asks again: " + err.Error()
	if hint := kms.HintOf(err); hint != "" {
		what += " (" + hint + ")"
	}
	return what
}

// errWaiting says that the domain knows of this node, and an operator has to approve it.
var errWaiting = errors.New("waiting for an operator's approval")

func (a *applicant) askAll(ctx context.Context) (err error) {
	for _, socket := range a.Sponsors {
		attempt, cancel := context.WithTimeout(ctx, sponsorTime)
		err = a.ask(attempt, socket)
		cancel()
		if err == nil || !a.passes(err) {
			return err
		}
	}
	return err
}

// passes says whether a refusal may pass by itself: a member that has just lost its
// leader knows for some seconds nothing that is current. An approval that is stale
// stays it.
func (a *applicant) passes(err error) bool {
	return errors.Is(err, kms.Unavailable) || errors.Is(err, errWaiting) || errors.Is(err, kms.Stale) && len(a.Approval) == 0
}

// ask asks one member.
func (a *applicant) ask(ctx context.Context, socket string) error {
	n := a.node
	client, sponsor, err := n.members.channels.JoinClient(ctx, socket)
	if err != nil {
		return err
	}
	defer sponsor.Close()
	defer client.CloseIdleConnections()
	in, shown, err := n.meet(ctx, client, sponsor, socket)
	if err != nil {
		return err
	}
	if err := a.comesBackTo(shown); err != nil {
		return err
	}
	if err := a.settleOn(socket, shown); err != nil {
		return err
	}
	if a.resumed && shown.standing.RestartMode == govern.Rejoin {
		return a.anew()
	}
	ask, err := a.application(ctx, in)
	if err != nil {
		return err
	}
	var out wire.Joined
	if err := a.post(ctx, client, sponsor, ask, &out); err != nil {
		return err
	}
	if out.GetWaiting() {
		return kms.Errorf(kms.Unavailable, "%w: for machine %s, program %s", errWaiting, out.GetMachine(), out.GetIdentity())
	}
	return nil
}

// anew gives this node another key, where a domain takes no start under the key of
// another one; what was begun under that is set aside.
func (a *applicant) anew() (err error) {
	n := a.node
	a.former, a.resumed = []*identity{n.who}, false
	domain := n.who.domain
	if n.who, err = newIdentity(); err != nil {
		return err
	}
	n.who.domain = domain
	if err := errors.Join(a.sealer.setAside(n.cfg.Disk), a.sealer.writeIdentityTo(joiningFile, n.who)); err != nil {
		return err
	}
	if err := n.openMembers(a.sealer, nil); err != nil {
		return err
	}
	return kms.Errorf(kms.Unavailable, "this node was started again, and joins under a new key")
}

// post sends the application: as what takes the place of the first former start
// that the domain still knows.
func (a *applicant) post(ctx context.Context, client *http.Client, sponsor *member.Conn, ask *wire.Join, out *wire.Joined) error {
	for _, old := range a.former {
		proof, err := signReplacement(old, a.node.who.domain, a.node.who.node, ask.GetChallenge())
		if err != nil {
			return err
		}
		ask.Replaces, ask.ReplacedKey, ask.ReplacedProof = old.node[:], old.public, proof
		err = member.Post(ctx, client, at(sponsor, member.MethodJoin), ask, out)
		if !errors.Is(err, kms.NotFound) && !errors.Is(err, kms.Exists) { // else it is not a member, or not any more
			return err
		}
	}
	ask.Replaces, ask.ReplacedKey, ask.ReplacedProof = nil, nil, nil
	return member.Post(ctx, client, at(sponsor, member.MethodJoin), ask, out)
}

// at is the URL of a method of the node at the other end of a channel.
func at(c *member.Conn, method string) string { return "http://" + c.Peer().String() + method }

// meet has a node introduce itself, and verifies it: the rules that it shows lead
// from this node's charter to its policy, and its evidence is for its key, this
// start of it and our nonce, of a program that this policy admits. What it shows
// may be old, never false: rules are signed. Whether it may replicate to this one
// is for it to judge.
func (n *Node) meet(ctx context.Context, client *http.Client, with *member.Conn, socket string) (*wire.Introduction, *rules, error) {
	nonce := nonce()
	var in wire.Introduction
	if err := member.Post(ctx, client, at(with, member.MethodIntroduce), &wire.Introduce{Nonce: nonce}, &in); err != nil {
		return nil, nil, err
	}
	shown, err := verifyRules(n.charter, in.GetRules())
	if err != nil {
		return nil, nil, kms.Errorf(kms.KindOf(err), "the node at %s shows rules that are not of this charter's domain: %w", socket, err).
			WithHint("ask a member of the domain that the charter is of")
	}
	now := n.cfg.Clock.Now()
	want := member.ReportData(with.Key(), in.GetBoot(), shown.domain, nonce)
	if _, err := verifiers.Verify(evidenceOf(in.GetEvidence()), shown.policy.NodePolicy().BoundTo(want), now); err != nil {
		return nil, nil, kms.Errorf(kms.Denied, "the node at %s: %w", socket, err).WithHint(attest.ReasonOf(err).Hint())
	}
	return &in, shown, nil
}

// settleOn keeps the rules that a sponsor showed, which are of the domain that
// this node began to join, and not older than what another one showed.
func (a *applicant) settleOn(socket string, shown *rules) error {
	n := a.node
	if known := a.rules; known != nil && known.domain == shown.domain && known.newer(shown) && known.policy.Serial != shown.policy.Serial {
		return kms.Errorf(kms.Denied, "the node at %s obeys an older policy than one that was asked before", socket)
	}
	if id := n.who.domain; id != (kms.DomainID{}) && id != shown.domain {
		return kms.Errorf(kms.Denied, "the node at %s is of another domain than this one began to join", socket).
			WithHint("ask a node of that domain, or begin in an empty folder")
	}
	a.rules = shown
	if n.who.domain == shown.domain {
		return nil
	}
	n.who.domain = shown.domain
	return a.sealer.writeIdentityTo(joiningFile, n.who)
}

func evidenceOf(e *wire.Evidence) attest.Evidence {
	return attest.Evidence{TEE: attest.TEE(e.GetTee()), Quote: e.GetQuote(), Collateral: e.GetCollateral()}
}

// application is what this node says of itself.
func (a *applicant) application(ctx context.Context, in *wire.Introduction) (*wire.Join, error) {
	n := a.node
	boot := n.members.boot.Public()
	ev, err := n.evidenceFor(ctx, n.standing.strangers, member.ReportData(n.who.public, boot, n.who.domain, in.GetChallenge()))
	if err != nil {
		return nil, err
	}
	ask := &wire.Join{Challenge: in.GetChallenge(), Boot: boot, Socket: n.cfg.Peers.Socket, Api: n.cfg.Peers.API, Name: n.cfg.Peers.Name,
		Feature: state.FeatureLevel, Approval: a.Approval,
		Evidence: &wire.Evidence{Tee: string(ev.TEE), Quote: ev.Quote, Collateral: ev.Collateral}}
	return ask, nil
}

// follow starts this node's copy of the log, and waits until it holds what the
// domain had acknowledged.
func (a *applicant) follow(ctx context.Context) error {
	n := a.node
	if len(a.former) > 0 {
		if err := a.sealer.setAside(n.cfg.Disk); err != nil {
			return err
		}
	}
	if err := a.sealer.writeRules(a.rules); err != nil {
		return err
	}
	if err := n.openMembers(a.sealer, a.rules); err != nil { // of this domain
		return err
	}
	if err := n.openReplica(ctx, a.sealer, true); err != nil {
		return err
	}
	for {
		if _, err := n.replica.View(ctx); err == nil {
			return n.checkFounding(n.machine.View().Founding())
		} else if ctx.Err() != nil || n.replica.Failure() != nil {
			return err
		}
		if !pause(ctx, askAgain/4) {
			return kms.Errorf(kms.Unavailable, "gave up joining: %w", ctx.Err())
		}
	}
}

// takeSecrets has the master secrets handed over, proves each against the chain
// that the state has, and keeps them. Only then is this a node of the domain.
func (a *applicant) takeSecrets(ctx context.Context) error {
	n := a.node
	n.adoptRoot(a.sealer, nil)
	if err := n.generations.fetch(ctx); err != nil {
		n.members.tellRefusal(ctx, n.members.refusals.last())
		return err
	}
	if err := a.sealer.writeIdentity(n.who); err != nil {
		return err
	}
	return a.sealer.forget(joiningFile)
}

// signReplacement proves that this node is what it replaces.
func signReplacement(old *identity, domain kms.DomainID, node kms.NodeID, challenge []byte) (proof []byte, err error) {
	err = old.peer.Use(func(b []byte) error {
		key, err := x509.ParsePKCS8PrivateKey(b)
		if err != nil {
			return err
		}
		digest := sha256.Sum256(member.ReplacementMessage(domain, node, challenge))
		proof, err = ecdsa.SignASN1(rand.Reader, key.(*ecdsa.PrivateKey), digest[:])
		return err
	})
	return proof, err
}

// pause waits, and reports false where ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	over, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-over.Done()
	return ctx.Err() == nil
}

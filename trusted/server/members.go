package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
)

// Peers is how a node reaches the others of its domain, and they it.
type Peers struct {
	Listener net.Listener // for other nodes; the node serves and closes it
	Socket   string       // HOST:PORT at which they reach it
	API      string       // URL of the node's API, for people
	Name     string       // for people
	Dial     func(ctx context.Context, socket string) (net.Conn, error)
}

// members is a node's part in a domain of many: its channels to the others, what
// it judges them by, and what it does so that the domain is as the state says.
type members struct {
	node     *Node
	sealer   *sealer
	boot     *member.Boot
	channels *member.Channels
	kept     atomic.Pointer[rules] // from the disk or from others, before the log speaks
	wake     chan struct{}
	written  atomic.Pointer[rules] // on the disk
	compared uint64                // the last checkpoint that was put through the log; run's alone
	busy     sync.Mutex            // held by who changes the configuration
	refusals refusals
}

// openMembers readies the channels to other nodes. Where Config.Peers is nil it
// is a domain of one that takes nobody in.
func (n *Node) openMembers(s *sealer, known *rules) (err error) {
	if n.cfg.Peers == nil {
		return nil
	}
	if old := n.members; old != nil { // of a node that did not know its domain yet
		defer func() { err = errors.Join(err, old.channels.Close()) }()
	}
	if n.boot == nil {
		if n.boot, err = member.NewBoot(); err != nil {
			return err
		}
	}
	m := &members{node: n, sealer: s, boot: n.boot, wake: make(chan struct{}, 1)}
	if known != nil {
		m.kept.Store(known)
	}
	err = n.who.peer.Use(func(b []byte) error {
		key, err := x509.ParsePKCS8PrivateKey(b)
		if err != nil {
			return kms.Errorf(kms.Damaged, "the peer key does not parse").WithFile(identityFile)
		}
		m.channels, err = member.New(member.Config{Node: n.who.node, Domain: n.who.domain, Key: key.(*ecdsa.PrivateKey), Boot: n.boot,
			Dial: n.cfg.Peers.Dial, Socket: n.cfg.Peers.Socket, Members: m, Prove: m.prove, Judge: m.judge, Admits: m.admits, Starts: m.starts, EvidenceAge: m.evidenceAge, Impostor: m.impostor, Now: m.now, Logger: n.cfg.Logger})
		return err
	})
	if err == nil {
		n.members = m
	}
	return err
}

// serve serves other nodes until ctx ends.
func (m *members) serve(ctx context.Context) {
	var serving sync.WaitGroup
	defer serving.Wait()
	for protocol, handler := range map[string]http.Handler{member.Call: m.calls(), member.Join: m.strangers()} {
		srv := m.channels.Server(handler)
		serving.Go(func() { _ = srv.Serve(m.channels.Listener(protocol)) }) // ends with the server
		defer srv.Close()
	}
	if err := m.channels.Serve(ctx, m.node.cfg.Peers.Listener); err != nil && ctx.Err() == nil {
		m.node.cfg.Logger.Error("other nodes are not served any more", "cause", err)
	}
}

// alive reports whether another node answers now: what was heard of it before says
// nothing of one that has just been killed.
func (m *members) alive(ctx context.Context, id kms.NodeID) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveTime)
	defer cancel()
	c, err := m.channels.Dial(ctx, id, member.Call)
	if err != nil {
		return false
	}
	_ = c.Close() // it answered
	return true
}

// aliveTime is how long a node may take to answer before it counts as dead.
const aliveTime = 2 * time.Second

// rules are the newest that this node knows: those of the state, unless the state
// is behind what was shown by others or kept from an earlier start.
func (m *members) rules() *rules {
	kept, own := m.kept.Load(), rulesOf(m.node.machine.View())
	if own == nil || kept != nil && kept.newer(own) {
		return kept
	}
	return own
}

// Socket implements member.Members.
func (m *members) Socket(id kms.NodeID) (string, bool) {
	r := m.rules()
	if r == nil {
		return "", false
	}
	socket, ok := r.sockets[id]
	return socket, ok
}

// isMember reports whether a node is a member by the newest that this node knows.
func (m *members) isMember(id kms.NodeID) (ok bool) {
	if m.kept.Load() == nil { // asked once per read round: no detour
		_, ok = m.node.machine.View().Member(id)
	} else {
		_, ok = m.Socket(id)
	}
	return ok
}

// learn takes up newer rules that another node has shown.
func (m *members) learn(r *rules) {
	for {
		old := m.kept.Load()
		if !r.newer(old) || m.kept.CompareAndSwap(old, r) {
			return
		}
	}
}

// catchUp asks the other nodes by which rules they judge, and takes up newer ones.
// A node that was away while the policy came to list a newer program refuses the
// nodes that run it, and so would never hear why.
func (m *members) catchUp(ctx context.Context) {
	known := m.rules()
	if known == nil {
		return
	}
	for id, socket := range known.sockets {
		if id == m.node.who.node || socket == "" {
			continue
		}
		shown, err := m.visit(ctx, socket)
		if err != nil || shown.domain != known.domain {
			m.node.cfg.Logger.Debug("another node shows no rules", "node", id.String(), "cause", err)
			continue
		}
		if shown.newer(known) {
			m.learn(shown)
		}
	}
}

func (m *members) visit(ctx context.Context, socket string) (*rules, error) {
	ctx, cancel := context.WithTimeout(ctx, offerTime)
	defer cancel()
	client, conn, err := m.channels.JoinClient(ctx, socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer client.CloseIdleConnections()
	_, shown, err := m.node.meet(ctx, client, conn, socket)
	return shown, err
}

// prove has the platform sign for another node.
func (m *members) prove(ctx context.Context, reportData [64]byte) (attest.Evidence, error) {
	return m.node.evidenceFor(ctx, m.node.standing.peers, reportData)
}

// judge verifies another node's evidence under the policy in force.
func (m *members) judge(_ context.Context, _ kms.NodeID, ev attest.Evidence, reportData [64]byte) (attest.Claims, error) {
	r := m.rules()
	if r == nil {
		return attest.Claims{}, kms.Errorf(kms.Unavailable, "this node knows no policy yet")
	}
	return verifiers.Verify(ev, r.policy.NodePolicy().BoundTo(reportData), m.now())
}

// admits judges again what was proved before.
func (m *members) admits(_ kms.NodeID, c attest.Claims) error {
	r := m.rules()
	if r == nil {
		return kms.Errorf(kms.Unavailable, "this node knows no policy yet")
	}
	return r.policy.NodePolicy().Admit(c, m.now())
}

// starts refuses, in restart mode "rejoin", a member that was started again: it
// may come with an old log, and so with an old vote.
func (m *members) starts(id kms.NodeID, boot []byte) error {
	view := m.node.machine.View()
	rec, ok := view.Member(id)
	if !ok || view.Rule().Standing.RestartMode != govern.Rejoin || len(rec.Boot) == 0 || string(rec.Boot) == string(boot) {
		return nil
	}
	return kms.Errorf(kms.Denied, "the node was started again, and in this domain such a node joins anew").
		WithHint("start it with its folder: it joins in place of what it was")
}

// impostor notes that somebody showed a certificate of which he does not have the
// key: who it is, nobody knows.
func (m *members) impostor(err error) {
	m.refused(kms.NodeID{}, refusedFor(kms.RefusedCertificate, err))
}

// evidenceAge is how long evidence stands, by the policy in force.
func (m *members) evidenceAge() time.Duration {
	if r := m.rules(); r != nil {
		return time.Duration(r.policy.EvidenceAge)
	}
	return 0
}

// now is what evidence is judged by: domain time, and where the host's clock is
// ahead of it, that: a node that was asleep has old domain time and sees
// collateral that is newer. A host that sets its clock ahead keeps its own node
// from the others, and gains nothing.
func (m *members) now() time.Time {
	now, last := m.node.cfg.Clock.Now(), m.node.machine.View().Time()
	if now.Before(last) {
		return last
	}
	return now
}

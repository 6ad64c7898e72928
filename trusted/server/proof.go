package server

import (
	"context"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// NonceSize is the length in bytes of the nonce that evidence is made for.
const NonceSize = 32

// lineLength is how many wait for evidence; more are refused. A platform makes
// one quote after the other, in some 20 ms.
const lineLength = 64

// A line is who waits for the platform. There is one for strangers and one for
// tenants, so that no crowd keeps the others out.
type line struct {
	room chan struct{} // held by who waits or is served
	turn chan struct{} // held by who is served
}

func newLine() *line {
	return &line{room: make(chan struct{}, lineLength), turn: make(chan struct{}, 1)}
}

// enter waits until it is the caller's turn, who then calls leave. The errors
// are Exhausted and Unavailable (ctx ended first).
func (l *line) enter(ctx context.Context) (leave func(), err error) {
	select {
	case l.room <- struct{}{}:
	default:
		return nil, kms.Errorf(kms.Exhausted, "too many ask for evidence at once")
	}
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn; <-l.room }, nil
	case <-ctx.Done():
		<-l.room
		return nil, kms.Errorf(kms.Unavailable, "gave up waiting for evidence: %w", ctx.Err())
	}
}

// Proof shows what the node is: evidence, bound to the caller's nonce, the key
// that ends this node's TLS, the domain and the policy it obeys. A node that may
// not serve shows it too: who asks sees why. The errors are Invalid, Exhausted
// and Unavailable.
func (n *Node) Proof(ctx context.Context, nonce []byte) (*kms.Proof, error) {
	if len(nonce) != NonceSize {
		return nil, kms.Errorf(kms.Invalid, "a nonce has %d bytes", NonceSize).WithField("nonce")
	}
	view, err := n.replica.Local()
	if err != nil {
		return nil, err
	}
	rule, f, ca := view.Rule(), view.Founding(), n.issuer.ca()
	ev, err := n.evidenceFor(ctx, n.standing.strangers, attest.ReportData(attest.ForService, attest.Binding{
		Keys: n.issuer.publicKeys(ca), Domain: n.who.domain,
		PolicySerial: rule.Policy.Serial, PolicyDigest: rule.Policy.Digest(), Nonce: nonce}))
	if err != nil {
		return nil, err
	}
	return &kms.Proof{
		Evidence: kms.Evidence{TEE: string(ev.TEE), Quote: ev.Quote, Collateral: ev.Collateral},
		Domain:   n.who.domain, Node: n.who.node, Charter: f.Charter, Bootstrap: f.Bootstrap,
		Amendments: rule.Amendments, Policy: rule.Envelope, Authority: ca.Raw,
	}, nil
}

// quote has the platform sign report data for a tenant.
func (n *Node) quote(ctx context.Context, reportData [64]byte) (attest.Evidence, error) {
	return n.evidenceFor(ctx, n.standing.tenants, reportData)
}

func (n *Node) evidenceFor(ctx context.Context, l *line, reportData [64]byte) (attest.Evidence, error) {
	leave, err := l.enter(ctx)
	if err != nil {
		return attest.Evidence{}, err
	}
	defer leave()
	return n.cfg.evidence(ctx, reportData)
}

// Challenge is a nonce of the domain's for somebody else's evidence, good until
// expires. The error is Unavailable.
func (n *Node) Challenge(context.Context) (challenge []byte, expires time.Time, domain kms.DomainID, err error) {
	view, err := n.replica.Local()
	if err != nil {
		return nil, time.Time{}, domain, err
	}
	challenge, expires, err = n.sessions.New(n.core.Now(view))
	return challenge, expires, n.who.domain, err
}

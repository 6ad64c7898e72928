package server

import (
	"context"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// NonceSize is the length in bytes of the nonce that evidence is made for.
const NonceSize = 32

// quoters is how many requests for evidence are served at once: a platform
// makes one quote after the other.
const quoters = 2

// Proof shows what the node is: evidence, bound to the caller's nonce, the key
// that ends this node's TLS, the domain and the policy it obeys. The errors are
// Invalid and Unavailable.
func (n *Node) Proof(ctx context.Context, nonce []byte) (*kms.Proof, error) {
	if len(nonce) != NonceSize {
		return nil, kms.Errorf(kms.Invalid, "a nonce has %d bytes", NonceSize).WithField("nonce")
	}
	view, err := n.replica.View()
	if err != nil {
		return nil, err
	}
	rule, f := view.Rule(), view.Founding()
	ev, err := n.quote(ctx, attest.ReportData(attest.ForService, attest.Binding{
		Keys: n.issuer.publicKeys(), Domain: n.who.domain,
		PolicySerial: rule.Policy.Serial, PolicyDigest: rule.Policy.Digest(), Nonce: nonce}))
	if err != nil {
		return nil, err
	}
	return &kms.Proof{
		Evidence: kms.Evidence{TEE: string(ev.TEE), Quote: ev.Quote, Collateral: ev.Collateral},
		Domain:   n.who.domain, Node: n.who.node, Charter: f.Charter, Bootstrap: f.Bootstrap,
		Amendments: rule.Amendments, Policy: rule.Envelope, Authority: n.issuer.ca.Raw,
	}, nil
}

// quote has the platform sign report data for somebody else, when its turn has come.
func (n *Node) quote(ctx context.Context, reportData [64]byte) (attest.Evidence, error) {
	select {
	case n.quoting <- struct{}{}:
		defer func() { <-n.quoting }()
	case <-ctx.Done():
		return attest.Evidence{}, kms.Errorf(kms.Unavailable, "too many ask for evidence at once")
	}
	return n.cfg.evidence(ctx, reportData)
}

// Challenge is a nonce of the domain's for somebody else's evidence, good until
// expires. The error is Unavailable.
func (n *Node) Challenge(context.Context) (challenge []byte, expires time.Time, domain kms.DomainID, err error) {
	view, err := n.replica.View()
	if err != nil {
		return nil, time.Time{}, domain, err
	}
	challenge, expires, err = n.sessions.New(n.core.Now(view))
	return challenge, expires, n.who.domain, err
}

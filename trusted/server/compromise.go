package server

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// DeclareCompromise says that others know a generation of the master secret, as an
// order of the signers' threshold says. What the domain can replace by itself it
// then does in the background: the newest generation, its certificate authority,
// keys. The errors are those of RotateMasterSecret, and NotFound.
func (n *Node) DeclareCompromise(ctx context.Context, order []byte) (uint32, error) {
	generation, err := n.core.DeclareCompromise(ctx, order)
	if err == nil {
		n.cfg.Logger.Warn("a master secret is declared compromised", "generation", generation)
	}
	n.generations.nudge()
	return generation, err
}

// ListExposed lists what others may know and apps have to see to. The errors are
// those of core.Exposed.
func (n *Node) ListExposed(ctx context.Context, order []byte, after string) (kms.ExposedPage, error) {
	return n.core.Exposed(ctx, order, after)
}

// ReplaceAuthority replaces the domain's certificate authority, as an order of an
// operator or the owner says, and returns the new certificate, PEM. Every node
// shows certificates of the new one from then on, and none of the old. The errors
// are those of RotateMasterSecret.
func (n *Node) ReplaceAuthority(ctx context.Context, order []byte) ([]byte, error) {
	if len(order) == 0 {
		return nil, kms.Errorf(kms.Invalid, "there is no order").WithField("order")
	}
	if err := n.core.ReplaceAuthority(ctx, order, n.freshAuthority); err != nil {
		return nil, err
	}
	n.cfg.Logger.Info("certificate authority replaced")
	return n.issuer.pem(), nil
}

// freshAuthority makes an authority that may vouch for the names that the old one
// may.
func (n *Node) freshAuthority(old *state.Authority) (state.Authority, error) {
	ca, err := x509.ParseCertificate(old.Certificate)
	if err != nil {
		return state.Authority{}, kms.Errorf(kms.Damaged, "the domain's certificate authority does not parse")
	}
	return newAuthority(n.root, strings.TrimPrefix(ca.Subject.CommonName, authorityName), namesOf(ca), n.cfg.Clock.Now())
}

// namesOf are the names that an authority may vouch for.
func namesOf(ca *x509.Certificate) []string {
	names := append([]string(nil), ca.PermittedDNSDomains...)
	for _, r := range ca.PermittedIPRanges {
		names = append(names, net.IP(r.IP).String())
	}
	return names
}

// remedy replaces what hangs on compromised generations. It is the leader's, and
// reads off the state what is left: so it goes on where it stopped, on any node.
func (g *generations) remedy(ctx context.Context) {
	view, err := g.node.replica.Local()
	if err != nil || !g.node.replica.Leads() {
		return
	}
	g.dealing.Store(int32(len(view.Compromises())))
	if view.AuthorityDue() {
		if err := g.node.core.ReplaceAuthority(ctx, nil, g.node.freshAuthority); err != nil {
			g.node.cfg.Logger.Error("the certificate authority is due to be replaced and is not", "cause", err)
		} else {
			g.node.cfg.Logger.Info("certificate authority replaced")
		}
	}
	for _, c := range view.Compromises() {
		if c.Finished != 0 || c.Generation >= view.Generation() || ctx.Err() != nil {
			continue // a newer one is made first
		}
		if err := g.replaceKeys(ctx); err == nil {
			err = g.node.core.FinishCompromise(ctx, c.Generation)
			g.concluded(c.Generation, err)
		}
	}
}

// unseen reports whether a compromise was declared that remedy has not seen. None
// is ever taken back.
func (g *generations) unseen() bool {
	view, err := g.node.replica.Local()
	return err == nil && len(view.Compromises()) > int(g.dealing.Load())
}

func (g *generations) concluded(generation uint32, err error) {
	log := g.node.cfg.Logger
	if err != nil {
		if !errors.Is(err, kms.Exists) {
			log.Error("a compromised master secret is not dealt with yet", "generation", generation, "cause", err)
		}
		return
	}
	log.Info("all is replaced that hung on a compromised master secret", "generation", generation)
	if err := g.finishLocked(); err != nil {
		log.Error("a retired master secret is still on the disk", "cause", err)
	}
}

// replaceKeys walks through the keys until a walk finds none to replace.
func (g *generations) replaceKeys(ctx context.Context) error {
	total := 0
	for ctx.Err() == nil {
		w := g.node.core.NewReplacement()
		err := g.replaceOnce(ctx, w)
		total += w.Made()
		if err != nil {
			g.node.cfg.Logger.Error("compromised keys get no new versions", "cause", err)
			return err
		}
		if w.Made() == 0 {
			break
		}
	}
	if total > 0 {
		g.node.cfg.Logger.Info("compromised keys have new versions", "keys", total)
	}
	return ctx.Err()
}

func (g *generations) replaceOnce(ctx context.Context, w interface {
	Step(context.Context) (bool, error)
}) (err error) {
	walking, done := context.WithCancel(ctx)
	defer done()
	g.node.cfg.Clock.Every(walking, rewrapPause, func() {
		var over bool
		if over, err = w.Step(walking); over || err != nil {
			done()
		}
	})
	return err
}

// compromises is what anybody may know of them.
func (n *Node) compromises(view *state.View) (all []kms.Compromise) {
	n.generations.statusMu.Lock()
	left := n.generations.exposed
	n.generations.statusMu.Unlock()
	for _, c := range view.Compromises() {
		x := kms.Compromise{Generation: c.Generation, Declared: time.Unix(0, c.Declared).UTC(), Refused: time.Unix(0, c.Refused).UTC()}
		if c.Finished != 0 {
			x.Finished = time.Unix(0, c.Finished).UTC()
		} else {
			x.Left = left
		}
		all = append(all, x)
	}
	return all
}

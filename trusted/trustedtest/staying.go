package trustedtest

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// Forgetful is a domain in the making whose machines have no sealing key: none of
// its n nodes is started. Its charter says that nodes join anew.
func Forgetful(t testing.TB, n int, rulers *governtest.Rulers) *Domain {
	t.Helper()
	rulers.Charter.RestartMode = govern.Rejoin
	d := &Domain{Charter: rulers.Charter.Canonical(), Rulers: rulers, Log: &Log{}, t: t, Network: newNetwork()}
	for range n {
		d.newNode().Kind = attest.TDX
	}
	t.Cleanup(func() { // before the folders go, which were made first
		for _, n := range d.Nodes {
			n.Stop()
		}
		d.Log.check(t)
	})
	return d
}

// NewForgetful is such a domain, founded and complete: all its n nodes vote.
func NewForgetful(t testing.TB, n int, rulers *governtest.Rulers) *Domain {
	t.Helper()
	d := Forgetful(t, n, rulers)
	if err := d.Nodes[0].FoundStaying(nil); err != nil {
		t.Fatal(err)
	}
	for _, n := range d.Nodes[1:] {
		if err := n.JoinBy(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	d.AwaitVoters(n)
	return d
}

// A Signing is how people answer what a founder shows; see server.Ceremony.
type Signing func(ctx context.Context, f *server.Founder, refused error) (*server.SignedFounding, error)

// FoundStaying has the node found its domain in the process that serves; sign is nil
// where people sign at once what is right.
func (n *Node) FoundStaying(sign Signing) error {
	if sign == nil {
		sign = func(_ context.Context, f *server.Founder, refused error) (*server.SignedFounding, error) {
			return n.domain.Sign(n, f), refused
		}
	}
	return n.start(disk.Create, func(cfg server.Config) (*server.Node, error) {
		var founder *server.Founder
		return server.FoundStaying(context.Background(), cfg, server.Ceremony[server.Founder, server.SignedFounding]{
			Show: func(f *server.Founder) error { founder = f; return nil },
			Await: func(ctx context.Context, refused error) (*server.SignedFounding, error) {
				return sign(ctx, founder, refused)
			},
		})
	})
}

// Sign is what owner and signers sign for a founder: a policy that admits its program.
func (d *Domain) Sign(n *Node, f *server.Founder) *server.SignedFounding {
	d.t.Helper()
	bootstrap, policy := d.Rulers.Found(f.Node, d.PolicyFor(n, f))
	return &server.SignedFounding{Bootstrap: bootstrap, Policy: policy}
}

// PolicyFor is policy 1 for a founder.
func (d *Domain) PolicyFor(n *Node, f *server.Founder) *govern.Policy {
	p := d.Rulers.Policy(make([]byte, 32), n.Clock.Now())
	p.Nodes[0].Identity = govern.IdentityOf(f.Claims)
	return p
}

// Handing is how people answer what a node shows that is to restore a domain.
type Handing func(ctx context.Context, c *server.Claimant, refused error) (*server.SignedRestoration, error)

// RestoreStaying has the node restore a domain in the process that serves. saved
// returns the backup, as the host has it then.
func (n *Node) RestoreStaying(saved func() []byte, hand Handing) error {
	return n.start(disk.Create, func(cfg server.Config) (*server.Node, error) {
		var shown *server.Claimant
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(saved())), nil }
		return server.RestoreStaying(context.Background(), cfg, open, server.Ceremony[server.Claimant, server.SignedRestoration]{
			Show: func(c *server.Claimant) error { shown = c; return nil },
			Await: func(ctx context.Context, refused error) (*server.SignedRestoration, error) {
				return hand(ctx, shown, refused)
			},
		})
	})
}

package server_test

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A site is a machine on which a domain is founded by hand.
type site struct {
	t      *testing.T
	rulers *governtest.Rulers
	cfg    server.Config
	dir    string
	disk   *disk.Disk
}

func newSite(t *testing.T, rulers *governtest.Rulers) *site {
	t.Helper()
	machine, err := simtee.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, rulers: rulers, dir: t.TempDir()}
	if s.disk, err = disk.Create(s.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.disk.Close() })
	clock := &trustedtest.Clock{}
	guest := machine.Guest(attest.SGX, clock.Now)
	s.cfg = server.Config{Platform: guest, Collateral: guest.Collateral, Development: true, Disk: s.disk, Clock: clock,
		Charter: rulers.Charter.Canonical(), Logger: slog.New(slog.DiscardHandler),
		Mount: func(*server.Node) http.Handler { return http.NotFoundHandler() }}
	return s
}

func (s *site) prepare() *server.Founder {
	s.t.Helper()
	f, err := server.Prepare(ctx, s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

// policy is policy 1 for a founder, as edit changes it.
func (s *site) policy(f *server.Founder, edit func(*govern.Policy)) *govern.Policy {
	p := s.rulers.Policy(f.Claims.SGX.MRENCLAVE, s.cfg.Clock.Now())
	if edit != nil {
		edit(p)
	}
	return p
}

// sign signs a bootstrap for a node and a policy.
func (s *site) sign(node kms.NodeID, p *govern.Policy, keys ...*govern.PrivateKey) []byte {
	b := &govern.Bootstrap{Version: govern.BootstrapVersion, CharterDigest: s.rulers.Charter.Digest(), Founder: node, PolicyDigest: p.Digest()}
	return s.rulers.Sign(govern.BootstrapType, b.Canonical(), keys...)
}

// refused tries to found, which must fail with these words and leave no domain.
func (s *site) refused(name string, bootstrap, policy []byte, kind kms.Kind, says string) {
	s.t.Helper()
	err := server.Found(ctx, s.cfg, bootstrap, policy)
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), says) || kms.HintOf(err) == "" {
		s.t.Errorf("%s: %v, hint %q; want %v: %q", name, err, kms.HintOf(err), kind, says)
	}
}

// TestFoundingRefused: each document that is not right is refused for its own
// reason, and the right ones found the domain after all of that.
func TestFoundingRefused(t *testing.T) {
	r := governtest.New(t)
	s := newSite(t, r)
	f := s.prepare()
	one, two, owner := r.Signers[0], r.Signers[1], r.Owner
	p := s.policy(f, nil)
	policy := r.Sign(govern.PolicyType, p.Canonical(), one, two)
	good := s.sign(f.Node, p, owner, one, two)
	other := s.policy(f, func(p *govern.Policy) {
		p.Nodes = []govern.NodeEntry{{Name: "node", Identity: govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: make([]byte, 32)}}}}
	})
	hardware := s.policy(f, func(p *govern.Policy) { p.Attestation = govern.Requirements{} })
	signed := func(p *govern.Policy) []byte { return r.Sign(govern.PolicyType, p.Canonical(), one, two) }
	stranger := governtest.New(t)
	foreign := stranger.Policy(f.Claims.SGX.MRENCLAVE, s.cfg.Clock.Now())
	for _, c := range []struct {
		name              string
		bootstrap, policy []byte
		kind              kms.Kind
		says              string
	}{
		{"one signature short", s.sign(f.Node, p, owner, one), policy, kms.Denied, "signed by 1 of the signers, and it takes 2"},
		{"one who signed twice", s.sign(f.Node, p, owner, one, one), policy, kms.Denied, "signed by 1 of the signers, and it takes 2"},
		{"without the owner", s.sign(f.Node, p, one, two), policy, kms.Denied, "owner"},
		{"the owner alone", s.sign(f.Node, p, owner), policy, kms.Denied, "signed by 0 of the signers"},
		{"another key", s.sign(kms.NodeID{1}, p, owner, one, two), policy, kms.Denied, "names another node as the founder"},
		{"another policy", good, signed(other), kms.Conflict, "another policy"},
		{"policy 1 one signature short", good, r.Sign(govern.PolicyType, p.Canonical(), one), kms.Denied, "it takes 2"},
		{"policy 1 does not list the founder", s.sign(f.Node, other, owner, one, two), signed(other), kms.Denied, "policy 1 does not admit this node"},
		{"policy 1 wants hardware", s.sign(f.Node, hardware, owner, one, two), signed(hardware), kms.Denied, "policy 1 does not admit this node"},
		{"of another charter", stranger.Sign(govern.BootstrapType, (&govern.Bootstrap{Version: 1, CharterDigest: stranger.Charter.Digest(),
			Founder: f.Node, PolicyDigest: foreign.Digest()}).Canonical(), stranger.Owner, stranger.Signers[0], stranger.Signers[1]), policy, kms.Denied, "another charter"},
		{"a policy as the bootstrap", policy, policy, kms.Invalid, ""},
	} {
		if c.name == "a policy as the bootstrap" || c.name == "of another charter" {
			if err := server.Found(ctx, s.cfg, c.bootstrap, c.policy); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		s.refused(c.name, c.bootstrap, c.policy, c.kind, c.says)
	}
	if again := s.prepare(); again.Node != f.Node {
		t.Fatal("another key after refusals")
	}
	if err := server.Found(ctx, s.cfg, good, policy); err != nil {
		t.Fatal(err)
	}
	s.foundAgain(f, good, policy)
}

// foundAgain tries a second founding on the same state.
func (s *site) foundAgain(f *server.Founder, bootstrap, policy []byte) {
	s.t.Helper()
	s.refused("the same bootstrap again", bootstrap, policy, kms.Exists, "holds a node already")
	p := s.policy(f, func(p *govern.Policy) { p.RequireV2 = true })
	r := s.rulers
	s.refused("a second bootstrap", s.sign(f.Node, p, r.Owner, r.Signers[0], r.Signers[1]),
		r.Sign(govern.PolicyType, p.Canonical(), r.Signers[0], r.Signers[1]), kms.Exists, "holds a node already")
	if _, err := server.Prepare(ctx, s.cfg); !errors.Is(err, kms.Exists) {
		s.t.Errorf("prepared where a node is: %v", err)
	}
	n, err := server.Open(ctx, s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	defer n.Close()
	if id := n.Status().DomainID; id != domainOf(s.t, r, bootstrap) {
		s.t.Errorf("domain %s", id)
	}
}

func domainOf(t *testing.T, r *governtest.Rulers, bootstrap []byte) kms.DomainID {
	t.Helper()
	_, standing, err := govern.VerifyBootstrap(r.Charter, bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	return standing.Domain
}

// TestLostState: a node whose state is gone does not start, and its bootstrap
// founds nothing in its place: the key that it names is gone too.
func TestLostState(t *testing.T) {
	r := governtest.New(t)
	s := newSite(t, r)
	f := s.prepare()
	bootstrap, policy := r.Found(f.Node, s.policy(f, nil))
	if err := server.Found(ctx, s.cfg, bootstrap, policy); err != nil {
		t.Fatal(err)
	}
	if err := s.disk.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.disk, err = disk.Create(s.dir); err != nil {
		t.Fatal(err)
	}
	s.cfg.Disk = s.disk
	if _, err := server.Open(ctx, s.cfg); !errors.Is(err, kms.Damaged) || fileOf(err) == "" || kms.HintOf(err) == "" {
		t.Errorf("opened without its state: %v", err)
	}
	s.refused("the old bootstrap", bootstrap, policy, kms.Denied, "names another node as the founder")
}

// TestAmended: an amendment is taken by the core's rules, shown in the proof,
// and holds after a restart.
func TestAmended(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n, r := d.Nodes[0], d.Rulers
	fresh, err := govern.NewPrivateKey(govern.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	draft := func(edit func(*govern.Amendment), keys ...*govern.PrivateKey) []byte {
		a := r.Founding.Standing.DraftAmendment(r.Founding.Policy)
		edit(a)
		return r.Sign(govern.AmendmentType, a.Canonical(), keys...)
	}
	all := []*govern.PrivateKey{r.Owner, r.Signers[0], r.Signers[1]}
	if _, err := n.Core().Amend(ctx, draft(func(a *govern.Amendment) { a.RestartMode = govern.Rejoin }, all...)); !errors.Is(err, kms.Misused) || kms.HintOf(err) == "" {
		t.Errorf("a domain of one in mode rejoin: %v", err)
	}
	exchange := func(a *govern.Amendment) { a.Signers[2] = fresh.Public() }
	if _, err := n.Core().Amend(ctx, draft(exchange, all...)); !errors.Is(err, kms.Denied) {
		t.Errorf("a new key that did not sign: %v", err)
	}
	done, err := n.Core().Amend(ctx, draft(exchange, append(all, fresh)...))
	if err != nil || done.Serial != 1 || done.Dropped != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	n.Restart()
	proof, err := n.Server().Proof(ctx, make([]byte, server.NonceSize))
	if err != nil || len(proof.Amendments) != 1 {
		t.Fatalf("%d amendments in the proof, %v", len(proof.Amendments), err)
	}
	if _, err := n.Core().SubmitPolicy(ctx, r.Next(nil)); err != nil { // by the two signers who stay
		t.Fatal(err)
	}
	h, err := n.Core().Policies(ctx)
	if err != nil || len(h.Policies) != 2 || h.Policies[0].Since.IsZero() || h.Next != nil {
		t.Errorf("history %+v, %v", h, err)
	}
	if _, err := n.Core().Policy(ctx, 3); !errors.Is(err, kms.NotFound) {
		t.Errorf("a policy that never was: %v", err)
	}
}

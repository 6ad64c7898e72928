package server_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// wantNothingTaken asks that a machine that was lied to is no node: it keeps
// neither who it is in the domain nor a master secret.
func wantNothingTaken(t *testing.T, n *trustedtest.Node) {
	t.Helper()
	if names := readFolder(t, n.Dir).names(); slices.Contains(names, "identity") || slices.Contains(names, "root") {
		t.Errorf("it keeps %q", names)
	}
	if n.Server() != nil {
		t.Error("it runs")
	}
}

// lied is what a domain's second machine says when a member lies to it.
func lied(t *testing.T, n *trustedtest.Node, lies *atomic.Pointer[server.Lies], l *server.Lies) error {
	t.Helper()
	lies.Store(l)
	err := n.Join(nil)
	if err == nil {
		_ = n.Stop()
		t.Fatal("it joined")
	}
	wantNothingTaken(t, n)
	return err
}

// TestLyingIntroduction: a member that is not what it says, or shows rules that are
// none, is refused by the node that asks it, which says why and tells it nothing
// of itself.
func TestLyingIntroduction(t *testing.T) {
	t.Parallel()
	d, other := trustedtest.NewDomain(t, 2), trustedtest.NewDomain(t, 2)
	liar := d.Nodes[0].Server()
	var lies atomic.Pointer[server.Lies]
	lies.Store(&server.Lies{})
	liar.Lie(&lies)
	recorded, err := liar.Introduction(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Nodes[0].Core().SubmitPolicy(ctx, d.Rulers.Next(nil)); err != nil { // what was recorded shows an older one
		t.Fatal(err)
	}
	domain := liar.Status().DomainID
	shows := func(cfg simtee.Config, reportData func(nonce []byte, in *wire.Introduction) [64]byte) func([]byte, *wire.Introduction) {
		platform, err := cfg.Open(d.Nodes[0].Machine().Fuses)
		if err != nil {
			t.Fatal(err)
		}
		return func(nonce []byte, in *wire.Introduction) {
			ev, err := platform.Evidence(attest.SGX, reportData(nonce, in), time.Now())
			if err != nil {
				t.Error(err)
			}
			in.Evidence = shownAs(ev)
		}
	}
	right := func(nonce []byte, in *wire.Introduction) [64]byte {
		return member.ReportData(liar.PeerKey(), in.Boot, domain, nonce)
	}
	introduces := func(n *trustedtest.Node) func([]byte, *wire.Introduction) {
		return func(nonce []byte, in *wire.Introduction) {
			theirs, err := n.Server().Introduction(nonce)
			if err != nil {
				t.Error(err)
				return
			}
			proto.Reset(in)
			proto.Merge(in, theirs)
		}
	}
	n := d.Machine()
	tests := []struct {
		name string
		lie  func(nonce []byte, in *wire.Introduction)
		want kms.Kind
		says string
	}{
		{"as another member, which it asks", introduces(d.Nodes[1]), kms.Denied, "report data"},
		{"as a member of another domain", introduces(other.Nodes[0]), kms.Denied, "not of this charter's domain"},
		{"with evidence for another domain", shows(simtee.Config{}, func(nonce []byte, in *wire.Introduction) [64]byte {
			return member.ReportData(liar.PeerKey(), in.Boot, kms.DomainID{1}, nonce)
		}), kms.Denied, "report data"},
		{"with evidence for itself", shows(simtee.Config{}, func(nonce []byte, in *wire.Introduction) [64]byte {
			return attest.ReportData(attest.ForSelf, attest.Binding{Keys: [][]byte{liar.PeerKey(), in.Boot}, Domain: domain, Nonce: nonce})
		}), kms.Denied, "report data"},
		{"with what it answered before", func(_ []byte, in *wire.Introduction) { proto.Reset(in); proto.Merge(in, recorded) }, kms.Denied, "report data"},
		{"with evidence that it showed before", func(_ []byte, in *wire.Introduction) { in.Evidence = recorded.Evidence }, kms.Denied, "report data"},
		{"with another start's key", func(_ []byte, in *wire.Introduction) { in.Boot = slices.Clone(in.Boot); in.Boot[9] ^= 1 }, kms.Denied, "report data"},
		{"another program", shows(simtee.Config{Measurement: [32]byte{1}}, right), kms.Denied, "not a program"},
		{"in debug mode", shows(simtee.Config{Misfortune: simtee.Misfortune{Debug: true}}, right), kms.Denied, "debug"},
		{"on a machine whose key is revoked", shows(simtee.Config{Misfortune: simtee.Misfortune{Revoked: true}}, right), kms.Denied, "revoked"},
		{"with an altered quote", func(_ []byte, in *wire.Introduction) { in.Evidence.Quote[200] ^= 1 }, kms.Denied, "signature"},
		{"without evidence", func(_ []byte, in *wire.Introduction) { in.Evidence = nil }, kms.Denied, "not supported"},
		{"without rules", func(_ []byte, in *wire.Introduction) { in.Rules = nil }, kms.Invalid, "not of this charter's domain"},
		{"with a policy of the owner's alone", func(_ []byte, in *wire.Introduction) {
			r := *d.Rulers // so that it is not the last
			var doc govern.Policy
			r.Next(func(p *govern.Policy) { doc = *p })
			in.Rules.Policy = r.Sign(govern.PolicyType, doc.Canonical(), r.Owner)
		}, kms.Denied, "not of this charter's domain"},
		{"with another domain's bootstrap", func(_ []byte, in *wire.Introduction) {
			theirs, _ := other.Nodes[0].Server().Introduction(make([]byte, 32))
			in.Rules.Bootstrap = theirs.Rules.Bootstrap
		}, kms.Denied, "not of this charter's domain"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &server.Lies{Introduction: tt.lie, Joined: func(*wire.Joined) error { t.Error("it was told who asks"); return nil }}
			err := lied(t, n, &lies, l)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || kms.HintOf(err) == "" {
				t.Errorf("got %v (hint %q), want %v with %q in it", err, kms.HintOf(err), tt.want, tt.says)
			}
		})
	}
	t.Run("with an older policy than before", func(t *testing.T) {
		var asked atomic.Int32
		err := lied(t, n, &lies, &server.Lies{
			Introduction: func(_ []byte, in *wire.Introduction) {
				if asked.Add(1) > 1 {
					in.Rules = recorded.Rules
				}
			},
			Joined: func(*wire.Joined) error { return kms.Errorf(kms.Unavailable, "ask again") }})
		if !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "older policy") {
			t.Errorf("got %v", err)
		}
	})
	lies.Store(&server.Lies{})
	if err := n.Join(nil); err != nil {
		t.Fatal(err)
	}
}

// TestLyingHandover: a node that joins holds as master secrets what the domain's
// chain of checksums says, or nothing. It says what it was given, and the domain
// is told who gave it.
func TestLyingHandover(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	o := orderer{t, d.Nodes[0], d}
	o.rotate()
	first, second := d.Nodes[0].Server(), d.Nodes[1].Server()
	passesTo(t, second, 1)
	var lies, truth atomic.Pointer[server.Lies]
	lies.Store(&server.Lies{})
	truth.Store(&server.Lies{})
	first.Lie(&lies)
	second.Lie(&lies)
	s0, s1 := first.MasterSecret(0), first.MasterSecret(1)
	flipped := slices.Clone(s1)
	flipped[7] ^= 1
	stale, err := member.NewBoot()
	if err != nil {
		t.Fatal(err)
	}
	domain := first.Status().DomainID
	// seal seals what purports to be a master secret, as edit has it.
	seal := func(to *member.Conn, as uint64, b []byte, edit func(*member.Handover)) *wire.Sealed {
		h := member.Handover{Domain: domain, To: to.Peer(), Kind: member.MasterSecret, Number: as}
		if edit != nil {
			edit(&h)
		}
		sealed, err := h.Seal(to.Boot(), secret.Copy(b))
		if err != nil {
			t.Error(err)
		}
		return &wire.Sealed{Number: as, Sealed: sealed}
	}
	both := func(g0, g1 *wire.Sealed) []*wire.Sealed { return []*wire.Sealed{g0, g1} }
	true0 := func(to *member.Conn) *wire.Sealed { return seal(to, 0, s0, nil) }
	true1 := func(to *member.Conn) *wire.Sealed { return seal(to, 1, s1, nil) }
	n := d.Machine()
	tests := []struct {
		name string
		lie  func(to *member.Conn) []*wire.Sealed
		says string
		told bool // of the liar
	}{
		{"corrupted", func(to *member.Conn) []*wire.Sealed { return both(true0(to), seal(to, 1, flipped, nil)) }, "generation 1 is not the domain's", true},
		{"cut short", func(to *member.Conn) []*wire.Sealed { return both(true0(to), seal(to, 1, s1[:31], nil)) }, "", true},
		{"all zero", func(to *member.Conn) []*wire.Sealed {
			return both(seal(to, 0, make([]byte, 32), nil), true1(to))
		}, "generation 0 is not the domain's", true},
		{"an old generation as the newest", func(to *member.Conn) []*wire.Sealed { return both(true0(to), seal(to, 1, s0, nil)) }, "generation 1 is not the domain's", true},
		{"the newest as an old one", func(to *member.Conn) []*wire.Sealed { return both(seal(to, 0, s1, nil), true1(to)) }, "generation 0 is not the domain's", true},
		{"one sealed as the other", func(to *member.Conn) []*wire.Sealed {
			return both(&wire.Sealed{Number: 0, Sealed: true1(to).Sealed}, &wire.Sealed{Number: 1, Sealed: true0(to).Sealed})
		}, "does not open", true},
		{"sealed for another node", func(to *member.Conn) []*wire.Sealed {
			return both(seal(to, 0, s0, func(h *member.Handover) { h.To[0]++ }), true1(to))
		}, "does not open", true},
		{"sealed as the secret of an epoch", func(to *member.Conn) []*wire.Sealed {
			return both(seal(to, 0, s0, func(h *member.Handover) { h.Kind = member.EpochSecret }), true1(to))
		}, "does not open", true},
		{"sealed for another start", func(to *member.Conn) []*wire.Sealed {
			sealed, _ := member.Handover{Domain: domain, To: to.Peer(), Kind: member.MasterSecret}.Seal(stale.Public(), secret.Copy(s0))
			return both(&wire.Sealed{Sealed: sealed}, true1(to))
		}, "does not open", true},
		{"not sealed", func(to *member.Conn) []*wire.Sealed { return both(&wire.Sealed{Sealed: s0}, true1(to)) }, "does not open", true},
		{"one that there is not", func(to *member.Conn) []*wire.Sealed {
			return []*wire.Sealed{seal(to, 2, s1, nil)}
		}, "was not asked for", true},
		{"one whose number overflows", func(to *member.Conn) []*wire.Sealed {
			return []*wire.Sealed{seal(to, 1<<32, s0, nil)}
		}, "was not asked for", true},
		{"a part", func(to *member.Conn) []*wire.Sealed { return []*wire.Sealed{true0(to)} }, "generations [1]", false},
		{"nothing", func(*member.Conn) []*wire.Sealed { return nil }, "generations [0 1]", false},
	}
	var before kms.Position
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := lied(t, n, &lies, &server.Lies{Secrets: func(to *member.Conn, out *wire.SealedSecrets) error {
				asked := out.Secrets
				out.Secrets = slices.DeleteFunc(tt.lie(to), func(l *wire.Sealed) bool { // the second is asked for the rest
					return l.Number < 2 && !slices.ContainsFunc(asked, func(a *wire.Sealed) bool { return a.Number == l.Number })
				})
				return nil
			}})
			if !errors.Is(err, kms.Unavailable) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want what says %q", err, tt.says)
			}
			e := lastRefusal(t, d.Nodes[0])
			if told := e.Position != before; told != tt.told {
				t.Errorf("told: %+v", e)
			}
			if tt.told && (e.Reason != string(kms.RefusedSecret) || e.Node != first.Status().Node && e.Node != second.Status().Node || e.Number != 1) {
				t.Errorf("told: %+v", e) // of one, and that there was another
			}
			before = e.Position
		})
	}
	t.Run("an error that goes on for ever", func(t *testing.T) {
		err := lied(t, n, &lies, &server.Lies{Secrets: func(*member.Conn, *wire.SealedSecrets) error {
			return kms.Errorf(kms.Denied, "%s", strings.Repeat("no\x1b[2J\n", 1<<18))
		}})
		if !errors.Is(err, kms.Unavailable) || len(err.Error()) > 8<<10 || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%d bytes: %.200q", len(err.Error()), err)
		}
	})
	// One that lies does not keep a node away that another one tells the truth.
	second.Lie(&truth)
	lies.Store(&server.Lies{Secrets: func(to *member.Conn, out *wire.SealedSecrets) error {
		out.Secrets = []*wire.Sealed{seal(to, 1, s0, nil)}
		return nil
	}})
	if err := n.Join(nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(n.Server().MasterSecret(1), s1) || !slices.Equal(n.Server().MasterSecret(0), s0) {
		t.Error("it holds other secrets than the domain's")
	}
}

// TestLyingOffer: a running node that is offered a generation to come takes it only
// if it is sealed for it and follows those there are.
func TestLyingOffer(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	o := orderer{t, d.Nodes[0], d}
	o.rotate()
	liar, n := d.Nodes[0].Server(), d.Nodes[1].Server()
	passesTo(t, n, 1)
	s0, s1 := liar.MasterSecret(0), liar.MasterSecret(1)
	next := slices.Clone(s1)
	next[3] ^= 1
	domain, to := liar.Status().DomainID, n.Status().Node
	offer := func(number uint32, b, checksum []byte, edit func(*member.Handover)) *wire.Offer {
		h := member.Handover{Domain: domain, To: to, Kind: member.MasterSecret, Number: uint64(number)}
		if edit != nil {
			edit(&h)
		}
		sealed, err := h.Seal(n.Boot(), secret.Copy(b))
		if err != nil {
			t.Fatal(err)
		}
		return &wire.Offer{Generation: number, Checksum: checksum, Sealed: sealed}
	}
	chained := liar.Follows(2, next, 1)
	for _, tt := range []struct {
		name  string
		offer *wire.Offer
		want  kms.Kind
		told  bool
	}{
		{"an old generation as the next", offer(2, s0, chained, nil), kms.Denied, true},
		{"the one in use as the next", offer(2, s1, chained, nil), kms.Denied, true},
		{"that follows another one", offer(2, next, liar.Follows(2, next, 0), nil), kms.Denied, true},
		{"without a checksum", offer(2, next, nil, nil), kms.Denied, true},
		{"cut short", offer(2, next[:31], chained, nil), kms.Denied, true},
		{"sealed for another node", offer(2, next, chained, func(h *member.Handover) { h.To[0]++ }), kms.Denied, true},
		{"sealed as another one", offer(2, next, chained, func(h *member.Handover) { h.Number = 1 }), kms.Denied, true},
		{"the one in use again", offer(1, s1, chained, nil), kms.Conflict, false},
		{"one too far", offer(3, next, chained, nil), kms.Conflict, false},
	} {
		before := lastRefusal(t, d.Nodes[1]).Position
		err := liar.Post(to, member.MethodOffer, tt.offer, &wire.Held{})
		var e kms.Event
		if tt.told {
			e = toldOf(t, d.Nodes[1], d.Nodes[1], before)
		} else if e = lastRefusal(t, d.Nodes[1]); e.Position != before {
			t.Errorf("%s: told %+v", tt.name, e)
		}
		if !errors.Is(err, tt.want) || tt.told && (e.Node != liar.Status().Node || e.Reason != string(kms.RefusedSecret)) {
			t.Errorf("%s: %v, told %+v", tt.name, err, e)
		}
		if held := n.Candidates(); held != 0 {
			t.Errorf("%s: it keeps %d", tt.name, held)
		}
	}
	if err := liar.Post(to, member.MethodOffer, offer(2, next, chained, nil), &wire.Held{}); err != nil || n.Candidates() != 1 {
		t.Errorf("one that is in order: %v", err)
	}
}

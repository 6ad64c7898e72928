package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// TestMinorityRolledBack: a node whose folder the host has put back to an older copy
// serves nothing of it: it knows all that was acknowledged meanwhile before it
// serves, and where it cannot reach the others it does not serve.
func TestMinorityRolledBack(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	app, back := d.Nodes[0].Enrol(), d.Nodes[2]
	disabled, deleted, kept := aesKey(t, app), aesKey(t, app), aesKey(t, app)
	if err := back.Stop(); err != nil {
		t.Fatal(err)
	}
	old := readFolder(t, back.Dir)
	back.MustStart()
	o := orderer{t, d.Nodes[1], d}
	o.rotate()
	if err := app.On(back).MustCaller().SetKeyEnabled(ctx, disabled, false); err != nil {
		t.Fatal(err)
	}
	if err := app.On(d.Nodes[1]).MustCaller().DeleteKey(ctx, deleted); err != nil {
		t.Fatal(err)
	}
	newer := aesKey(t, app.On(back))
	if err := back.Stop(); err != nil {
		t.Fatal(err)
	}
	old.write(t, back.Dir)

	d.Network.Isolate(back)
	if err := back.StartWithin(3 * time.Second); err == nil {
		t.Fatal("a node that was rolled back and reaches nobody serves")
	}
	d.Network.Heal()
	back.MustStart()
	for key, want := range map[kms.KeyID]error{disabled: kms.Disabled, deleted: kms.NotFound} {
		_, err := app.On(back).MustCaller().Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: key}, Plaintext: []byte("x"), Layout: kms.LayoutNative})
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	used(t, app, newer, back, d.Nodes[0])
	used(t, app, kept, d.Nodes[1], back)
	if s := back.Server().Status(); s.Generation != 1 || !s.Ready || s.Protected {
		t.Errorf("generation %d, ready %t, protected %t", s.Generation, s.Ready, s.Protected)
	}
}

// A stranger is a machine that speaks to members without being a node: what it says
// is up to the test.
type stranger struct {
	t        *testing.T
	d        *trustedtest.Domain
	platform *simtee.Platform
	domain   kms.DomainID
	key      *ecdsa.PrivateKey
	public   []byte
	node     kms.NodeID
	boot     *member.Boot
	channels *member.Channels
	members  roster
}

// roster is whom a stranger takes for members.
type roster map[kms.NodeID]string

func (r roster) Socket(id kms.NodeID) (string, bool) { s, ok := r[id]; return s, ok }

// newStranger is one with the domain's own program on a machine that is in order.
func newStranger(t *testing.T, d *trustedtest.Domain) *stranger {
	t.Helper()
	return newStrangerOn(t, d, d.Nodes[0].Machine().Fuses)
}

func newStrangerOn(t *testing.T, d *trustedtest.Domain, fuses string) *stranger {
	t.Helper()
	platform, err := simtee.Config{}.Open(fuses)
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{t: t, d: d, platform: platform, domain: d.Rulers.Founding.Domain, members: roster{}}
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if s.public, err = x509.MarshalPKIXPublicKey(&s.key.PublicKey); err != nil {
		t.Fatal(err)
	}
	s.node = sha256.Sum256(s.public)
	if s.boot, err = member.NewBoot(); err != nil {
		t.Fatal(err)
	}
	for _, n := range d.Nodes[0].Server().Status().Nodes {
		s.members[n.ID] = n.Socket
	}
	s.channels, err = member.New(member.Config{Node: s.node, Domain: s.domain, Key: s.key, Boot: s.boot, Members: s.members,
		Dial: func(ctx context.Context, socket string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", socket)
		},
		Prove: func(_ context.Context, reportData [64]byte) (attest.Evidence, error) {
			return s.evidence(reportData), nil
		},
		Judge: func(context.Context, kms.NodeID, attest.Evidence, [64]byte) (attest.Claims, error) {
			return attest.Claims{ValidUntil: time.Now().Add(time.Hour)}, nil
		},
		Admits: func(kms.NodeID, attest.Claims) error { return nil }, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.channels.Close() })
	return s
}

func (s *stranger) evidence(reportData [64]byte) attest.Evidence {
	ev, err := s.platform.Evidence(attest.SGX, reportData, time.Now())
	if err != nil {
		s.t.Error(err)
	}
	return ev
}

// join asks a member to be taken in, with what edit makes of an application that is
// in order.
func (s *stranger) join(to *trustedtest.Node, edit func(*wire.Join)) (*wire.Join, error) {
	s.t.Helper()
	return s.ask(to, member.MethodJoin, func(challenge []byte) *wire.Join {
		ask := &wire.Join{Challenge: challenge, Boot: s.boot.Public(), Socket: "127.0.0.1:1", Feature: 1}
		ask.Evidence = shownAs(s.evidence(member.ReportData(s.public, s.boot.Public(), s.domain, challenge)))
		if edit != nil {
			edit(ask)
		}
		return ask
	})
}

func shownAs(ev attest.Evidence) *wire.Evidence {
	return &wire.Evidence{Tee: string(ev.TEE), Quote: ev.Quote, Collateral: ev.Collateral}
}

// ask calls a method of a member with what it makes of the member's challenge.
func (s *stranger) ask(to *trustedtest.Node, method string, build func(challenge []byte) *wire.Join) (*wire.Join, error) {
	s.t.Helper()
	client, conn, err := s.channels.JoinClient(ctx, s.members[to.Server().Status().Node])
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	defer client.CloseIdleConnections()
	var in wire.Introduction
	if err := member.Post(ctx, client, "http://member"+member.MethodIntroduce, &wire.Introduce{Nonce: make([]byte, 32)}, &in); err != nil {
		s.t.Fatal(err)
	}
	ask := build(in.GetChallenge())
	return ask, member.Post(ctx, client, "http://member"+method, ask, &wire.Joined{})
}

// TestHostileJoiner: whoever asks to be taken in and is not what it says gets no
// secret and is told why; the domain stays as it was.
func TestHostileJoiner(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	sponsor, alive, dead := d.Nodes[0], d.Nodes[1].Server().Status().Node, d.Nodes[2].Server().Status().Node
	if err := d.Nodes[2].Stop(); err != nil {
		t.Fatal(err)
	}
	honest := newStranger(t, d)
	recorded, err := honest.ask(sponsor, "/nothing", func(challenge []byte) *wire.Join {
		return &wire.Join{Challenge: challenge, Boot: honest.boot.Public(), Socket: "127.0.0.1:1", Feature: 1,
			Evidence: shownAs(honest.evidence(member.ReportData(honest.public, honest.boot.Public(), honest.domain, challenge)))}
	})
	if err == nil {
		t.Fatal("a method that there is not")
	}
	handed := strings.Count(d.Log.String(), "master secrets handed over")

	s := newStranger(t, d)
	wrong := func(cfg simtee.Config) func(*wire.Join) {
		platform, err := cfg.Open(sponsor.Machine().Fuses)
		if err != nil {
			t.Fatal(err)
		}
		return func(j *wire.Join) {
			ev, err := platform.Evidence(attest.SGX, member.ReportData(s.public, s.boot.Public(), s.domain, j.Challenge), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			j.Evidence = shownAs(ev)
		}
	}
	tests := []struct {
		name   string
		edit   func(*wire.Join)
		want   kms.Kind
		says   string
		reason string // of the event
	}{
		{"another program", wrong(simtee.Config{Measurement: [32]byte{1}}), kms.Denied, "not a program", "identity_not_admitted"},
		{"in debug mode", wrong(simtee.Config{Misfortune: simtee.Misfortune{Debug: true}}), kms.Denied, "debug", "debug"},
		{"a machine whose key is revoked", wrong(simtee.Config{Misfortune: simtee.Misfortune{Revoked: true}}), kms.Denied, "revoked", "revoked"},
		{"another's application, replayed", func(j *wire.Join) {
			j.Challenge, j.Boot, j.Evidence = recorded.Challenge, recorded.Boot, recorded.Evidence
		}, kms.Denied, "report data", "wrong_report_data"},
		{"another's evidence", func(j *wire.Join) { j.Evidence = recorded.Evidence }, kms.Denied, "report data", "wrong_report_data"},
		{"another start's key", func(j *wire.Join) { j.Boot = recorded.Boot }, kms.Denied, "report data", "wrong_report_data"},
		{"evidence for another domain", func(j *wire.Join) {
			j.Evidence = shownAs(s.evidence(member.ReportData(s.public, s.boot.Public(), kms.DomainID{1}, j.Challenge)))
		}, kms.Denied, "report data", "wrong_report_data"},
		{"evidence for itself", func(j *wire.Join) {
			j.Evidence = shownAs(s.evidence(attest.ReportData(attest.ForSelf, attest.Binding{Keys: [][]byte{s.public, s.boot.Public()}, Domain: s.domain, Nonce: j.Challenge})))
		}, kms.Denied, "report data", "wrong_report_data"},
		{"a challenge of its own", func(j *wire.Join) {
			j.Challenge = slices.Clone(j.Challenge)
			j.Challenge[0] ^= 1
			j.Evidence = shownAs(s.evidence(member.ReportData(s.public, s.boot.Public(), s.domain, j.Challenge)))
		}, kms.Unauthenticated, "challenge", "challenge"},
		{"an altered quote", func(j *wire.Join) { j.Evidence.Quote[200] ^= 1 }, kms.Denied, "", "bad_signature"},
		{"no evidence", func(j *wire.Join) { j.Evidence = nil }, kms.Denied, "", "unsupported"},
		{"in the place of a node that lives", func(j *wire.Join) { j.Replaces = alive[:] }, kms.Denied, "alive", "replaces_living"},
		{"in the place of the sponsor", func(j *wire.Join) { id := sponsor.Server().Status().Node; j.Replaces = id[:] }, kms.Denied, "alive", "replaces_living"},
		{"in the place of a node, with its own proof", func(j *wire.Join) {
			digest := sha256.Sum256(member.ReplacementMessage(s.domain, s.node, j.Challenge))
			j.Replaces, j.ReplacedKey = dead[:], s.public
			j.ReplacedProof, _ = ecdsa.SignASN1(rand.Reader, s.key, digest[:])
		}, kms.Denied, "prove", "replaces"},
	}
	var before kms.Position
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "in the place of a node, with its own proof" { // its channel may be there a little longer
				eventually(t, func() (bool, error) {
					for _, n := range sponsor.Server().Status().Nodes {
						if n.ID == dead && n.Connected {
							return false, errors.New("still connected")
						}
					}
					return true, nil
				})
			}
			_, err := s.join(sponsor, tt.edit)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v with %q in it", err, tt.want, tt.says)
			}
			e := toldOf(t, sponsor, sponsor, before)
			if before = e.Position; e.Node != s.node || e.Reason != tt.reason {
				t.Errorf("told of node %s: %q, want %s: %q", e.Node, e.Reason, s.node, tt.reason)
			}
			if n := len(sponsor.Server().Status().Nodes); n != 3 {
				t.Fatalf("there are %d nodes", n)
			}
		})
	}
	for _, method := range []string{member.MethodSecrets, member.MethodEpochs, member.MethodOffer, member.MethodRemove, member.MethodDrain} {
		if _, err := s.ask(sponsor, method, func([]byte) *wire.Join { return &wire.Join{} }); err == nil {
			t.Errorf("a stranger can call %s", method)
		}
	}
	for _, protocol := range []string{member.Call, "holdfast-raft/1", "holdfast-node/1"} {
		if c, err := s.channels.Dial(ctx, alive, protocol); err == nil {
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err = c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a stranger has a channel of %s", protocol)
			}
			_ = c.Close()
		}
	}
	if n := strings.Count(d.Log.String(), "master secrets handed over"); n != handed {
		t.Errorf("master secrets were handed over %d times", n-handed)
	}
	d.Nodes[2].MustStart()
	if e := lastRefusal(t, d.Nodes[2]); e.Reason != "replaces" {
		t.Errorf("another node tells of %+v", e)
	}
}

// shows is what becomes of a connection that shows a member a certificate.
func (s *stranger) shows(to kms.NodeID, certificate []byte, protocol string) (theirs []byte, err error) {
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{protocol},
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: s.key}}}}
	c, err := dialer.DialContext(ctx, "tcp", s.members[to])
	if err != nil {
		return nil, err
	}
	defer c.Close()
	theirs = c.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = c.Read(make([]byte, 1)) // a server that refuses says so only now
	return theirs, err
}

// TestAnothersCertificate: a certificate of a member's is of no use without its key.
func TestAnothersCertificate(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	s := newStranger(t, d)
	a, b := d.Nodes[0].Server().Status().Node, d.Nodes[1].Server().Status().Node
	theirs, _ := s.shows(b, []byte("none"), member.Join)
	if theirs == nil {
		t.Fatal("a member shows no certificate")
	}
	var before kms.Position
	for _, protocol := range []string{member.Join, member.Call, "holdfast-raft/1"} {
		if _, err := s.shows(a, theirs, protocol); err == nil || !strings.Contains(err.Error(), "remote error: tls") {
			t.Errorf("%s with another's certificate: %v", protocol, err)
		}
		e := toldOf(t, d.Nodes[0], d.Nodes[1], before)
		if before = e.Position; e.Reason != "certificate" || e.Node != (kms.NodeID{}) {
			t.Errorf("told %+v", e)
		}
	}
}

// passesTo waits until a node uses a generation.
func passesTo(t *testing.T, n *server.Node, generation uint32) {
	t.Helper()
	eventually(t, func() (bool, error) {
		if s := n.Status(); s.Generation != generation {
			return false, errors.New("it does not use the generation yet")
		}
		return true, nil
	})
}

// TestHostileSponsor: what a member hands over as a master secret is held only if it
// is what the domain's chain of checksums says, under the number that it was sealed
// for.
func TestHostileSponsor(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	o := orderer{t, d.Nodes[0], d}
	o.rotate()
	n := d.Nodes[1].Server()
	passesTo(t, n, 1)
	s0, s1 := n.MasterSecret(0), n.MasterSecret(1)
	corrupt := slices.Clone(s1)
	corrupt[7] ^= 1
	tests := []struct {
		name string
		as   uint32
		b    []byte
	}{
		{"corrupted", 1, corrupt}, {"cut short", 1, s1[:31]}, {"too long", 1, append(slices.Clone(s1), 0)}, {"empty", 1, nil},
		{"an old generation as the new one", 1, s0}, {"a new one as the old", 0, s1}, {"zeros", 0, make([]byte, 32)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := n.Taker()
			missing, err := k.Take(tt.as, tt.b)
			if !errors.Is(err, kms.Denied) || !slices.Equal(missing, []uint32{0, 1}) {
				t.Errorf("got %v, and %d are missing", err, missing)
			}
		})
	}
	k := n.Taker()
	if missing, err := k.Take(1, s1); err != nil || !slices.Equal(missing, []uint32{0}) {
		t.Errorf("one of two: got %v, and %d are missing", err, missing)
	}
	if missing, err := k.Take(0, s0); err != nil || len(missing) != 0 {
		t.Errorf("both: got %v, and %d are missing", err, missing)
	}
	if err := n.Handed(s0, 0, 0); err != nil {
		t.Errorf("sealed as what it is: %v", err)
	}
	if err := n.Handed(s0, 0, 1); !errors.Is(err, kms.Denied) {
		t.Errorf("generation 0 sealed as such, and shown as generation 1: %v", err)
	}
	for _, tt := range []struct {
		name       string
		generation uint32
		b          []byte
		want       kms.Kind
	}{
		{"an old generation as the next", 2, s1, kms.Denied}, {"the one in use again", 1, s1, kms.Conflict}, {"one too far", 3, s1, kms.Conflict},
	} {
		if err := n.Offered(tt.generation, tt.b, make([]byte, 32)); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

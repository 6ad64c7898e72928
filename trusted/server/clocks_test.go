package server_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

const days = 24 * time.Hour

// credential gives an app another credential that is good for a time.
func credential(t *testing.T, app *trustedtest.App, expires time.Time) kms.NewCredential {
	t.Helper()
	c, err := app.MustCaller().CreateCredential(ctx, kms.CreateCredentialRequest{Permissions: kms.PermUse | kms.PermRead, Expires: expires})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tries asks a node with a credential.
func tries(n *trustedtest.Node, c kms.NewCredential, at time.Time) error {
	_, err := dated(n, c.ID, c.APIKey, at)
	return err
}

// dated is a request that is dated at a time, whatever the node's host says.
func dated(n *trustedtest.Node, id kms.CredentialID, apiKey string, at time.Time) (*server.Caller, error) {
	text := "a request " + rand.Text()
	h := hmac.New(sha256.New, []byte(apiKey))
	h.Write([]byte(text))
	return n.Core().Authenticate(ctx, kms.Credential{Scheme: kms.SchemeEHSMv1, ID: id, Known: true, Signed: []byte(text), MAC: h.Sum(nil), Time: at})
}

// passes waits until domain time has gone on by so much at a node.
func passes(t *testing.T, n *trustedtest.Node, by time.Duration) {
	t.Helper()
	for since, end := n.Server().Status().DomainTime, time.Now().Add(30*time.Second); n.Server().Status().DomainTime.Sub(since) < by; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("domain time has gone on by %v in half a minute", n.Server().Status().DomainTime.Sub(since))
		}
	}
}

// lifetimes are things of a domain that end by time: within a day, and the policy
// within a day too.
type lifetimes struct {
	t         *testing.T
	d         *trustedtest.Domain
	app       *trustedtest.App
	kept      kms.KeyID
	key       kms.KeyID // its deletion is due in a day
	cred      kms.NewCredential
	session   string // for an hour
	workload  [32]byte
	ticket    string // to enrol, for an hour
	epoch     uint64
	ephemeral []byte
	api       map[*trustedtest.Node]*trustedtest.Endpoint
}

// newLifetimes makes one of each, in a domain whose nodes' evidence stands for a month.
func newLifetimes(t *testing.T, d *trustedtest.Domain) *lifetimes {
	t.Helper()
	l := &lifetimes{t: t, d: d, app: d.Nodes[0].Enrol(), api: map[*trustedtest.Node]*trustedtest.Endpoint{}}
	program := simtee.Config{Measurement: sha256.Sum256([]byte("program"))}
	if _, err := d.Nodes[0].Core().SubmitPolicy(ctx, d.Rulers.Next(func(p *govern.Policy) {
		p.EvidenceAge, p.ValidUntil = attest.Age(30*days), time.Now().Add(days).UTC().Truncate(time.Second)
		p.Enrolment.Mode = govern.EnrolTicket
		p.Nodes = slices.Clone(p.Nodes)
		p.Nodes[0].MayQuery = []govern.RuntimeEntry{{Runtime: "ledger", Identities: []govern.Identity{{SGX: &attest.SGXIdentity{MRENCLAVE: program.Measurement[:]}}}}}
	})); err != nil {
		t.Fatal(err)
	}
	l.kept, l.key = aesKey(t, l.app), aesKey(t, l.app)
	if _, err := l.app.MustCaller().ScheduleDeletion(ctx, kms.ScheduleDeletionRequest{Key: l.key, Days: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.app.MustCaller().CreateSecret(ctx, kms.CreateSecretRequest{Name: "s", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.app.MustCaller().DeleteSecret(ctx, kms.DeleteSecretRequest{Name: "s", Days: 1}); err != nil {
		t.Fatal(err)
	}
	l.cred = credential(t, l.app, time.Now().Add(days))
	l.openSession(program)
	ticket := &govern.Ticket{Version: govern.TicketVersion, Domain: d.Rulers.Founding.Domain, Permissions: kms.PermAll, Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	rand.Read(ticket.ID[:])
	l.ticket = govern.EncodeCode(d.Rulers.Sign(govern.TicketType, ticket.Canonical(), d.Rulers.Operator))
	l.epoch = scenario{orderer{t, d.Nodes[0], d}, t}.epoch(d.Nodes...)
	l.ephemeral = d.Nodes[0].Server().EpochSecret(l.epoch)
	for _, n := range d.Nodes {
		l.api[n] = n.Serve(listen.Config{}, nil)
	}
	return l
}

// openSession makes an attested program known.
func (l *lifetimes) openSession(program simtee.Config) {
	l.t.Helper()
	platform, err := program.Create(l.t.TempDir() + "/fuses")
	if err != nil {
		l.t.Fatal(err)
	}
	n, key := l.d.Nodes[0], []byte("the program's key")
	l.workload = sha256.Sum256(key)
	challenge, _, domain, err := n.Server().Challenge(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	ev, err := platform.Evidence(attest.SGX, attest.ReportData(attest.ForWorkload, attest.Binding{Keys: [][]byte{key}, Domain: domain, Nonce: challenge}), time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	s, err := n.Core().OpenSession(ctx, kms.OpenSessionRequest{Challenge: challenge, ClientKey: key,
		Evidence: kms.Evidence{TEE: string(ev.TEE), Quote: ev.Quote, Collateral: ev.Collateral}})
	if err != nil {
		l.t.Fatal(err)
	}
	l.session = s.Ticket
}

// certified is what a client finds whose clock reads at.
func (l *lifetimes) certified(n *trustedtest.Node, at time.Time) error {
	c := l.api[n].TLS()
	c.Time = func() time.Time { return at }
	conn, err := tls.Dial("tcp", l.api[n].Addr, c)
	if err == nil {
		_ = conn.Close()
	}
	return err
}

// outcomes are what a node says of each, asked at a time.
func (l *lifetimes) outcomes(n *trustedtest.Node, at time.Time) map[string]error {
	ask := func(do func(c *server.Caller) error) error {
		c, err := dated(n, kms.CredentialID(l.app.ID), l.app.APIKey, at)
		if err == nil {
			err = do(c)
		}
		return err
	}
	_, session := n.Core().Authenticate(ctx, kms.Credential{Scheme: kms.SchemeSession, Session: l.session, Client: l.workload})
	_, epoch := n.Core().RuntimePublicKey(ctx, kms.RuntimeKeyRequest{RuntimeKey: kms.RuntimeKey{Runtime: "ledger", Ephemeral: true, Period: l.epoch}})
	var policy error
	if strings.Contains(fmt.Sprint(n.Server().Status().Warnings), "the policy in force has expired") {
		policy = kms.Errorf(kms.Expired, "so says status")
	}
	return map[string]error{
		"a credential": tries(n, l.cred, at), "a session": session, "an epoch": epoch, "the policy": policy,
		"a key to be deleted": ask(func(c *server.Caller) error {
			_, err := c.DescribeKey(ctx, l.key)
			return err
		}),
		"a secret to be deleted": ask(func(c *server.Caller) error {
			_, err := c.DescribeSecret(ctx, "s")
			return err
		}),
		"a use": ask(func(c *server.Caller) error {
			_, err := c.Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: l.kept}, Plaintext: []byte("x"), Layout: kms.LayoutNative})
			return err
		}),
	}
}

// TestLeaderAhead: a leader whose host sets its clock ahead by a month destroys
// nothing whose deletion is scheduled, and ends nothing that is good for a time.
func TestLeaderAhead(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	l, leader := newLifetimes(t, d), d.Leader()
	others := slices.DeleteFunc(slices.Clone(d.Nodes), func(n *trustedtest.Node) bool { return n == leader })
	leader.Clock.Move(30 * days)
	passes(t, others[0], 2500*time.Millisecond)
	all := func(n *trustedtest.Node) {
		t.Helper()
		s := n.Server().Status()
		if off := time.Until(s.DomainTime).Abs(); off > time.Hour || s.Epoch != l.epoch || s.Time != "quorum" {
			t.Errorf("domain time is off by %v, epoch %d before and %d now, time: %s", off, l.epoch, s.Epoch, s.Time)
		}
		for what, err := range l.outcomes(n, time.Now()) {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if !bytes.Equal(n.Server().EpochSecret(l.epoch), l.ephemeral) {
			t.Error("the secret of the epoch is another one, or gone")
		}
		if err := l.certified(n, time.Now()); err != nil {
			t.Errorf("its certificate: %v", err)
		}
		if nodes, err := n.Server().Nodes(ctx); err != nil || len(nodes.Nodes) != 3 || len(nodes.Departed) != 0 {
			t.Errorf("%d nodes, %d departed, %v", len(nodes.Nodes), len(nodes.Departed), err)
		}
	}
	for _, n := range others { // the leader takes its own evidence for old, and serves nobody
		all(n)
	}
	_ = l.certified(leader, time.Now()) // so that it has made one as of next month
	leader.Clock.Move(-30 * days)
	leader.Server().Examine(ctx) // it has evidence of next month's
	for _, n := range d.Nodes {
		eventually(t, func() (bool, error) { return true, tries(n, l.cred, time.Now()) })
		all(n)
	}
	if _, err := others[0].Core().EnrolByTicket(ctx, l.ticket); err != nil {
		t.Errorf("a ticket that is good for an hour: %v", err)
	}
	if _, err := l.app.On(others[0]).MustCaller().CancelDeletion(ctx, l.key); err != nil {
		t.Fatalf("a key that was to be destroyed tomorrow: %v", err)
	}
	used(t, l.app, l.key, others[0], leader)
	if _, err := l.app.MustCaller().RestoreSecret(ctx, "s"); err != nil {
		t.Fatal(err)
	}
	wantSecret(t, l.app.On(leader), 1, "v")
}

// TestLeaderStands: a leader whose host stops its clock keeps nothing alive: time goes
// on by the others' clocks, also at the leader.
func TestLeaderStands(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	l, leader, at := newLifetimes(t, d), d.Leader(), time.Now()
	leader.Clock.Stop()
	defer leader.Clock.Go()
	for what, err := range l.outcomes(leader, at) {
		if err != nil {
			t.Errorf("%s, while it is good: %v", what, err)
		}
	}
	if err := l.certified(leader, time.Now()); err != nil {
		t.Errorf("its certificate: %v", err)
	}
	for _, n := range d.Nodes {
		if n != leader {
			n.Clock.Move(25 * time.Hour)
		}
	}
	passes(t, leader, 24*time.Hour+30*time.Minute)
	want := map[string]error{"a credential": kms.Unauthenticated, "a session": kms.Stale, "an epoch": kms.Expired, "the policy": kms.Expired,
		"a key to be deleted": kms.NotFound, "a secret to be deleted": kms.NotFound}
	for i, n := range d.Nodes {
		for what, err := range l.outcomes(n, time.Now().Add(25*time.Hour)) {
			if !errors.Is(err, want[what]) {
				t.Errorf("node %d, %s that is over: %v", i, what, err)
			}
		}
		if _, err := n.Core().EnrolByTicket(ctx, l.ticket); !errors.Is(err, kms.Expired) && !errors.Is(err, kms.Denied) {
			t.Errorf("node %d, a ticket that is over: %v", i, err)
		}
	}
	if err := tries(leader, l.cred, at); err == nil {
		t.Error("the leader takes a credential, dated as of when its clock was stopped")
	}
	var expired x509.CertificateInvalidError
	if err := l.certified(leader, time.Now().Add(25*time.Hour)); !errors.As(err, &expired) || expired.Reason != x509.Expired {
		t.Errorf("a certificate of yesterday's: %v", err)
	}
	if _, err := d.Nodes[1].Core().SubmitPolicy(ctx, d.Rulers.Next(func(p *govern.Policy) {
		p.EvidenceAge, p.ValidUntil = attest.Age(time.Hour), time.Now().Add(100*days).UTC().Truncate(time.Second)
	})); err != nil {
		t.Fatal(err)
	}
	if err := l.outcomes(leader, time.Now().Add(25*time.Hour))["a use"]; err == nil { // a month was enough for it
		t.Error("the leader serves on evidence that it made a day ago")
	}
}

package core_test

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A domain whose policy can be changed.
type domain struct {
	*trustedtest.Domain
	t    *testing.T
	node *trustedtest.Node
}

func newDomain(t *testing.T) *domain {
	t.Helper()
	d := trustedtest.NewDomain(t, 1)
	return &domain{Domain: d, t: t, node: d.Nodes[0]}
}

func (d *domain) enrolment(e govern.Enrolment) {
	d.t.Helper()
	if _, err := d.node.Core().SubmitPolicy(d.t.Context(), d.Rulers.Next(func(p *govern.Policy) { p.Enrolment = e })); err != nil {
		d.t.Fatal(err)
	}
}

// ticket is one of this domain's, good for an hour, as edit changes it.
func (d *domain) ticket(edit func(*govern.Ticket)) string {
	return d.signed(d.Rulers.Operator, edit)
}

func (d *domain) signed(by *govern.PrivateKey, edit func(*govern.Ticket)) string {
	t := &govern.Ticket{Version: govern.TicketVersion, Domain: d.Rulers.Founding.Domain, Permissions: kms.PermAll,
		Expires: d.node.Clock.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	rand.Read(t.ID[:])
	if edit != nil {
		edit(t)
	}
	return govern.EncodeCode(d.Rulers.Sign(govern.TicketType, t.Canonical(), by))
}

func (d *domain) enrol(code string) (kms.Enrolment, error) {
	return d.node.Core().EnrolByTicket(d.t.Context(), code)
}

func TestEnrolByTicket(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	d.enrolment(govern.Enrolment{Mode: govern.EnrolTicket})
	_, err := d.node.Core().Enrol(t.Context())
	want(t, "without a ticket", err, kms.Denied)

	stranger := governtest.New(t)
	good := d.ticket(nil)
	for _, c := range []struct {
		name, code string
		want       error
	}{
		{"nothing", "", kms.Denied},
		{"nonsense", "nonsense", kms.Denied},
		{"not base64url", good[:len(good)-1] + "=", kms.Denied},
		{"more than there can be", strings.Repeat("A", 10<<20), kms.Denied},
		{"cut short", good[:len(good)/2], kms.Denied},
		{"something behind it", good + "AAAA", kms.Denied},
		{"a stranger's", d.signed(stranger.Operator, nil), kms.Denied},
		{"a signer's", d.signed(d.Rulers.Signers[0], nil), kms.Denied},
		{"the owner's", d.signed(d.Rulers.Owner, nil), kms.Denied},
		{"another document of the operator's", govern.EncodeCode(d.Rulers.Sign(govern.PolicyType, []byte("{}"), d.Rulers.Operator)), kms.Denied},
		{"another domain's", d.ticket(func(t *govern.Ticket) { t.Domain[0] ^= 1 }), kms.Foreign},
		{"over", d.ticket(func(t *govern.Ticket) { t.Expires = t.Expires.Add(-time.Hour) }), kms.Expired},
	} {
		_, err := d.enrol(c.code)
		want(t, c.name, err, c.want)
	}
	if _, err := d.enrol(good); err != nil {
		t.Fatal(err)
	}
	_, err = d.enrol(good)
	want(t, "a second time", err, kms.Exists)

	t.Run("permissions", func(t *testing.T) {
		e, err := d.enrol(d.ticket(func(t *govern.Ticket) { t.Permissions = kms.PermUse | kms.PermRead }))
		if err != nil {
			t.Fatal(err)
		}
		x := &tenant{App: d.node.App(e.App, e.APIKey), t: t, node: d.node}
		if p := x.list()[e.Credential]; p != kms.PermUse|kms.PermRead {
			t.Errorf("may %s", p)
		}
		_, err = x.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
		want(t, "what the ticket does not give", err, kms.Denied)
	})
}

// A used ticket stays used: whatever happens to the node, and to its clock.
func TestTicketReplays(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	d.node.Stop()
	d.node.Edit = everySnapshot
	d.node.MustStart()
	d.enrolment(govern.Enrolment{Mode: govern.EnrolTicket})
	code := d.ticket(nil)
	if _, err := d.enrol(code); err != nil {
		t.Fatal(err)
	}
	again := func(what string, kind error) {
		t.Helper()
		_, err := d.enrol(code)
		want(t, what, err, kind)
	}
	d.node.Restart()
	again("after a restart", kms.Exists)
	for range 3 * snapshotEvery { // so that the log before the snapshot is gone
		if _, err := d.enrol(d.ticket(nil)); err != nil {
			t.Fatal(err)
		}
	}
	d.node.Restart()
	again("after a snapshot and a restart", kms.Exists)
	d.enrolment(govern.Enrolment{Mode: govern.EnrolTicket})
	again("under another policy", kms.Exists)
	d.node.Clock.Move(time.Hour)
	again("when it is over", kms.Expired)
	if _, err := d.enrol(d.ticket(nil)); err != nil { // which forgets what is over
		t.Fatal(err)
	}
	again("when it is forgotten", kms.Expired)
	d.node.Clock.Move(-time.Hour)
	again("with the clock set back", kms.Expired)
	d.node.Restart()
	again("with the clock set back, after a restart", kms.Expired)
}

func TestTicketAtOnce(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	d.enrolment(govern.Enrolment{Mode: govern.EnrolTicket})
	code, core := d.ticket(nil), d.node.Core()
	var wg sync.WaitGroup
	results := make(chan error, 20)
	for range cap(results) {
		wg.Go(func() {
			_, err := core.EnrolByTicket(context.Background(), code)
			results <- err
		})
	}
	wg.Wait()
	close(results)
	apps := 0
	for err := range results {
		if err == nil {
			apps++
		} else if !errors.Is(err, kms.Exists) {
			t.Error(err)
		}
	}
	if apps != 1 {
		t.Errorf("one ticket made %d apps", apps)
	}
}

// Each mode refuses the other two ways, and closed all three, in the same words.
func TestEnrolmentModes(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	core := d.node.Core()
	identities := d.Rulers.Founding.Policy.Nodes[0].Identity
	ways := map[govern.EnrolmentMode]func() error{
		govern.EnrolOpen:   func() error { _, err := core.Enrol(t.Context()); return err },
		govern.EnrolTicket: func() error { _, err := d.enrol(d.ticket(nil)); return err },
		govern.EnrolAttested: func() error {
			_, err := core.EnrolAttested(t.Context(), kms.AttestedEnrolment{ClientKey: []byte("k"), Challenge: []byte("c")})
			return err
		},
	}
	for _, mode := range []govern.EnrolmentMode{govern.EnrolClosed, govern.EnrolOpen, govern.EnrolTicket, govern.EnrolAttested} {
		e := govern.Enrolment{Mode: mode}
		if mode == govern.EnrolAttested {
			e.Identities = []govern.Identity{identities}
		}
		d.enrolment(e)
		said := map[string]bool{}
		for way, enrol := range ways {
			err := enrol()
			if way == mode && way != govern.EnrolAttested {
				want(t, "in mode "+mode.String(), err, nil)
				continue
			}
			want(t, way.String()+" in mode "+mode.String(), err, kms.Denied)
			said[err.Error()] = true
		}
		if len(said) > 1 {
			t.Errorf("in mode %s refusals differ: %v", mode, said)
		}
	}
}

// A program is a workload on a machine of its own, with the key of its client
// certificate.
type program struct {
	d        *domain
	platform *simtee.Platform
	key      []byte
}

func (d *domain) program(cfg simtee.Config) *program {
	d.t.Helper()
	p, err := cfg.Create(filepath.Join(d.t.TempDir(), "fuses"))
	if err != nil {
		d.t.Fatal(err)
	}
	return &program{d, p, []byte(rand.Text())}
}

func (p *program) identity() govern.Identity {
	m := p.platform.Measurement()
	return govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: m[:]}}
}

// request is one for a fresh challenge, whose evidence edit may bind otherwise.
func (p *program) request(purpose attest.Purpose, edit func(*attest.Binding)) kms.AttestedEnrolment {
	p.d.t.Helper()
	challenge, _, domain, err := p.d.node.Server().Challenge(p.d.t.Context())
	if err != nil {
		p.d.t.Fatal(err)
	}
	b := attest.Binding{Keys: [][]byte{p.key}, Domain: domain, Nonce: challenge}
	if edit != nil {
		edit(&b)
	}
	now := p.d.node.Clock.Now
	ev, err := p.platform.Guest(attest.SGX, now).Evidence(p.d.t.Context(), attest.ReportData(purpose, b))
	if err != nil {
		p.d.t.Fatal(err)
	}
	return kms.AttestedEnrolment{ClientKey: p.key, Challenge: challenge,
		Evidence: kms.Evidence{TEE: string(ev.TEE), Quote: ev.Quote, Collateral: ev.Collateral}}
}

func TestEnrolAttested(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	p := d.program(simtee.Config{})
	other := d.program(simtee.Config{Measurement: [32]byte{7}})
	d.enrolment(govern.Enrolment{Mode: govern.EnrolAttested, Identities: []govern.Identity{p.identity()}})
	enrol := func(r kms.AttestedEnrolment) error {
		_, err := d.node.Core().EnrolAttested(t.Context(), r)
		return err
	}
	edit := func(f func(*kms.AttestedEnrolment)) kms.AttestedEnrolment {
		r := p.request(attest.ForEnrolment, nil)
		f(&r)
		return r
	}
	for name, r := range map[string]kms.AttestedEnrolment{
		"nothing":                       {},
		"another program":               other.request(attest.ForEnrolment, nil),
		"evidence for another purpose":  p.request(attest.ForWorkload, nil),
		"evidence for another key":      p.request(attest.ForEnrolment, func(b *attest.Binding) { b.Keys = [][]byte{[]byte("another")} }),
		"evidence for another domain":   p.request(attest.ForEnrolment, func(b *attest.Binding) { b.Domain[0] ^= 1 }),
		"evidence for another nonce":    p.request(attest.ForEnrolment, func(b *attest.Binding) { b.Nonce = make([]byte, 32) }),
		"another client's connection":   edit(func(r *kms.AttestedEnrolment) { r.ClientKey = []byte("another") }),
		"a connection without a key":    edit(func(r *kms.AttestedEnrolment) { r.ClientKey = nil }),
		"a challenge that is not ours":  edit(func(r *kms.AttestedEnrolment) { r.Challenge = make([]byte, len(r.Challenge)) }),
		"a challenge of another length": edit(func(r *kms.AttestedEnrolment) { r.Challenge = r.Challenge[1:] }),
		"a quote that was altered":      edit(func(r *kms.AttestedEnrolment) { r.Evidence.Quote[200] ^= 1 }),
		"a quote cut short":             edit(func(r *kms.AttestedEnrolment) { r.Evidence.Quote = r.Evidence.Quote[:300] }),
		"another TEE's name":            edit(func(r *kms.AttestedEnrolment) { r.Evidence.TEE = "snp" }),
	} {
		want(t, name, enrol(r), kms.Denied)
	}
	good, late := p.request(attest.ForEnrolment, nil), p.request(attest.ForEnrolment, nil)
	want(t, "the program", enrol(good), nil)
	want(t, "the same evidence", enrol(good), kms.Exists)
	d.node.Restart()
	want(t, "the same evidence after a restart", enrol(good), kms.Exists)
	d.node.Clock.Move(2 * time.Minute)
	want(t, "a challenge of two minutes ago", enrol(late), kms.Expired)
	want(t, "the program once more", enrol(p.request(attest.ForEnrolment, nil)), nil)
}

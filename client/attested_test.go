package client_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/client/clienttest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

func TestAttestedDial(t *testing.T) {
	n := newDomain(t, nil).serve(t)
	c := n.client(t, n.trust())
	for range 3 {
		_, err := c.Version(t.Context())
		ok(t, err)
	}
	if p, calls := n.proofs.Load(), n.calls.Load(); p != 1 || calls != 3 {
		t.Errorf("%d proofs and %d calls, want 1 and 3", p, calls)
	}
	v, err := c.Attest(t.Context())
	ok(t, err)
	if v.Domain != n.rulers.Founding.Domain || v.Name != "test" || v.Node != (kms.NodeID{1}) || v.Policy.Serial != 1 || !v.Claims.Simulated ||
		!v.Authority.Equal(n.ca.cert) || !v.Until.After(v.At) {
		t.Errorf("%+v", v)
	}
	// What it writes for others is enough for a client that only knows CAs.
	plain := newClient(t, client.Config{URL: n.http.URL, CA: v.CA()})
	_, err = plain.Version(t.Context())
	ok(t, err)
}

// TestUnattested: nothing but the question for a proof reaches who has not
// given one.
func TestUnattested(t *testing.T) {
	type change struct {
		trust  func(*client.Trust)
		policy func(*govern.Policy)
		lie    lie
		want   error
		words  string
	}
	other := newDomain(t, nil)
	tests := map[string]change{
		"for another purpose: challenge": {lie: lie{purpose: attest.ForChallenge}, want: attest.WrongReportData},
		"for another purpose: self":      {lie: lie{purpose: attest.ForSelf}, want: attest.WrongReportData},
		"for another purpose: bootstrap": {lie: lie{purpose: attest.ForBootstrap}, want: attest.WrongReportData},
		"for another purpose: node":      {lie: lie{purpose: attest.ForNode}, want: attest.WrongReportData},
		"another nonce":                  {lie: lie{bind: func(b *attest.Binding) { b.Nonce = make([]byte, 32) }}, want: attest.WrongReportData},
		"another TLS key":                {lie: lie{bind: func(b *attest.Binding) { b.Keys[0] = other.ca.cert.RawSubjectPublicKeyInfo }}, want: attest.WrongReportData},
		"another CA key":                 {lie: lie{bind: func(b *attest.Binding) { b.Keys[1] = b.Keys[0] }}, want: attest.WrongReportData},
		"another domain in the evidence": {lie: lie{bind: func(b *attest.Binding) { b.Domain[0] ^= 1 }}, want: attest.WrongReportData},
		"another policy serial":          {lie: lie{bind: func(b *attest.Binding) { b.PolicySerial++ }}, want: attest.WrongReportData},
		"another policy digest":          {lie: lie{bind: func(b *attest.Binding) { b.PolicyDigest[0] ^= 1 }}, want: attest.WrongReportData},
		"another CA": {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Authority = other.ca.cert.Raw }},
			want: kms.Denied, words: "not from the authority"},
		"no CA": {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Authority = nil }}, want: kms.Denied, words: "authority"},
		"another charter": {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Charter = string(other.rulers.Charter.Canonical()) }},
			want: kms.Denied, words: "another one"},
		"another bootstrap": {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Bootstrap = string(other.bootstrap) }},
			want: kms.Denied, words: "bootstrap"},
		"another domain's policy": {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Policy = string(other.policies[0]) }},
			want: kms.Denied, words: "policy"},
		"another domain id": {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.DomainId = kms.DomainID{1}.String() }},
			want: kms.Denied, words: "its documents found"},
		"no domain id": {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.DomainId = "" }}, want: kms.Denied, words: "names no domain"},
		"no evidence":  {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Evidence = nil }}, want: kms.Denied, words: "evidence"},
		"no documents": {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Reset() }}, want: kms.Denied},
		"an amendment that is none": {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Amendments = []string{m.GetPolicy()} }},
			want: kms.Denied, words: "amendment"},
		"very many amendments": {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Amendments = make([]string, 10_000) }},
			want: kms.Denied, words: "amendments"},
		"an altered quote": {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Evidence.Quote[50] ^= 1 }}, want: attest.BadSignature},
		"a cut quote": {lie: lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Evidence.Quote = m.Evidence.Quote[:100] }},
			want: attest.Malformed},
		"another program": {policy: func(p *govern.Policy) {
			p.Nodes[0].Identity.SGX = &attest.SGXIdentity{MRENCLAVE: make(attest.Hex, 32)}
		}, want: attest.IdentityNotAdmitted},
		"simulated, and the policy wants hardware": {policy: func(p *govern.Policy) { p.Attestation = govern.Requirements{} },
			want: attest.NotHardware},
		"simulated, and the client wants hardware": {trust: func(t *client.Trust) { t.AllowSimulated = false }, want: attest.NotHardware,
			words: "policy takes simulated nodes"},
		"a policy past its time": {policy: func(p *govern.Policy) { p.ValidUntil = time.Now().Add(-time.Minute).UTC().Truncate(time.Second) },
			want: kms.Expired},
		"a policy before its time": {policy: func(p *govern.Policy) { p.Activates = time.Now().Add(time.Hour).UTC().Truncate(time.Second) },
			want: kms.Denied, words: "comes into force"},
		"below the lowest serial": {trust: func(t *client.Trust) { t.MinSerial = 2 }, want: kms.Stale},
		"not the domain that is meant": {trust: func(t *client.Trust) { t.Domain = kms.DomainID{1} }, want: kms.Denied,
			words: "another domain"},
		"not what the client wants": {trust: func(t *client.Trust) { t.Require = &attest.Policy{} }, want: attest.TEENotAdmitted},
		"no answer":                 {lie: lie{err: connect.NewError(connect.CodeUnavailable, errors.New("later"))}, want: kms.Unavailable},
		"no such service":           {lie: lie{raw: http.NotFound}, want: kms.Denied},
		"garbage": {lie: lie{raw: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/proto")
			io.WriteString(w, "garbage\x1b[31m")
		}}, want: kms.Denied},
		"a page": {lie: lie{raw: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }}, want: kms.Denied},
		"cut short": {lie: lie{raw: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/proto")
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "short")
		}}, want: kms.Unavailable},
		"without end": {lie: lie{raw: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/proto")
			for b := make([]byte, 64<<10); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}}, want: kms.Denied},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := newDomain(t, tt.policy).serve(t)
			n.tell(tt.lie)
			trust := n.trust()
			if tt.trust != nil {
				tt.trust(trust)
			}
			_, err := n.client(t, trust).Version(t.Context())
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("%v, want %q with %q", err, tt.want, tt.words)
			}
			var e *client.Error
			if !errors.As(err, &e) || strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("%q (%T), want a *client.Error that cannot steer a terminal", err, err)
			}
			if n.calls.Load() != 0 {
				t.Error("the request was sent all the same")
			}
		})
	}
}

// TestUnattestedAuthority: an authority that another one signed has the key that the evidence names; what else
// stands in it is not from who holds that key.
func TestUnattestedAuthority(t *testing.T) {
	n := newDomain(t, nil).serve(t)
	forger := newAuthority(t, nil)
	tmpl := *n.ca.cert
	tmpl.NotAfter = tmpl.NotAfter.AddDate(10, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, forger.cert, &n.ca.key.PublicKey, forger.key)
	ok(t, err)
	n.tell(lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Authority = der }})
	_, err = n.client(t, n.trust()).Version(t.Context())
	if !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "was altered") {
		t.Errorf("%v, want %v", err, kms.Denied)
	}
}

// TestManInTheMiddle relays everything, evidence included, and ends TLS itself.
func TestManInTheMiddle(t *testing.T) {
	n := newDomain(t, nil).serve(t)
	own := newAuthority(t, nil)
	tests := map[string]struct {
		key   *authority
		alter func([]byte) []byte
		want  error
	}{
		"a certificate of his own":                                  {key: newAuthority(t, own), want: kms.Denied},
		"a certificate of his own under an authority that he names": {key: newAuthority(t, own), want: attest.WrongReportData},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.want == error(attest.WrongReportData) {
				n.tell(lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Authority = own.cert.Raw }}) // as if he had put it there
			}
			m := middle(t, n, tt.key)
			_, err := dial(t, m.url, n.trust()).Version(t.Context())
			if !errors.Is(err, tt.want) || !errors.Is(err, kms.Denied) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if n.calls.Load() != 0 || m.relayed.Load() == 0 {
				t.Errorf("%d requests came through, and %d conversations; want none and some", n.calls.Load(), m.relayed.Load())
			}
			n.tell(lie{})
			_, err = dial(t, n.http.URL, n.trust()).Version(t.Context())
			ok(t, err)
			n.calls.Store(0)
		})
	}
}

// A meddler listens in front of a node.
type meddler struct {
	url     string
	relayed atomic.Int32
}

// middle ends TLS with key, and passes on what it reads over TLS of its own.
func middle(t testing.TB, n *node, key *authority) *meddler {
	return relay(t, func(in net.Conn) (net.Conn, net.Conn, error) {
		conn := tls.Server(in, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{key.cert.Raw}, PrivateKey: key.key}}})
		out, err := tls.Dial("tcp", n.http.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		return conn, out, err
	})
}

func relay(t testing.TB, ends func(net.Conn) (in, out net.Conn, err error)) *meddler {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meddler{url: "https://" + l.Addr().String()}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer raw.Close()
				in, out, err := ends(raw)
				if err != nil {
					return
				}
				defer out.Close()
				m.relayed.Add(1)
				all.Go(func() { io.Copy(in, out); raw.Close() })
				io.Copy(out, in)
			})
		}
	})
	return m
}

// TestReplay: an answer that was good once is worth nothing for another nonce.
func TestReplay(t *testing.T) {
	n := newDomain(t, nil).serve(t)
	_, err := n.client(t, n.trust()).Version(t.Context())
	ok(t, err)
	old, err := n.proof(make([]byte, 32), lie{})
	ok(t, err)
	n.tell(lie{answer: func(m *holdfastv1.GetEvidenceResponse) { m.Evidence = old.Evidence }})
	_, err = n.client(t, n.trust()).Version(t.Context())
	if !errors.Is(err, attest.WrongReportData) {
		t.Errorf("%v, want %v", err, attest.WrongReportData)
	}
}

// TestAttestedRequestIsBound: a request is tied to the connection that proved
// itself, and not to one that somebody else has.
func TestAttestedRequestIsBound(t *testing.T) {
	n := newDomain(t, nil).serve(t)
	c := newClient(t, client.Config{URL: n.http.URL, Trust: n.trust(), AppID: kms.AppID(kms.NewUUID([16]byte{1})), APIKey: client.NewAPIKey("key"), Retries: -1})
	c.CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM}) // the answer is none, which is not what this is about
	if h, _ := n.signature.Load().(string); !strings.Contains(h, "binding=tls-exporter") {
		t.Errorf("the signature is %q", h)
	}
}

// A shelf is a Memory that outlives clients.
type shelf struct {
	mu    sync.Mutex
	marks []client.Mark
	err   error
}

func (s *shelf) Recall(charter govern.Digest) ([]client.Mark, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]client.Mark(nil), s.marks...), s.err
}

func (s *shelf) Remember(m client.Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks = append(s.marks, m)
	return s.err
}

func TestSupersededPolicy(t *testing.T) {
	d := newDomain(t, nil)
	d.next(nil)
	n, trust := d.serve(t), d.trust()
	trust.Memory = &shelf{}
	_, err := n.client(t, trust).Version(t.Context())
	ok(t, err)

	d.policies = d.policies[:1]
	_, err = n.client(t, trust).Version(t.Context())
	if !errors.Is(err, kms.Stale) {
		t.Errorf("an older policy: %v, want %v", err, kms.Stale)
	}
}

// TestTwoPoliciesUnderOneSerial: the signers' threshold signs twice.
func TestTwoPoliciesUnderOneSerial(t *testing.T) {
	d := newDomain(t, nil)
	first, err := d.rulers.Founding.Standing.OpenPolicy(d.policies[0])
	ok(t, err)
	sign := func(edit func(*govern.Policy)) []byte {
		p := *first
		p.Domain, p.Previous, p.Serial = d.rulers.Founding.Domain, first.Digest(), 2
		edit(&p)
		return d.rulers.Sign(govern.PolicyType, p.Canonical(), d.rulers.Signers[:2]...)
	}
	n, trust := d.serve(t), d.trust()
	trust.Memory = &shelf{}
	d.policies = [][]byte{sign(func(*govern.Policy) {})}
	_, err = n.client(t, trust).Version(t.Context())
	ok(t, err)
	d.policies = [][]byte{sign(func(p *govern.Policy) { p.RequireV2 = true })}
	_, err = n.client(t, trust).Version(t.Context())
	if !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "another policy 2") {
		t.Errorf("%v, want %v", err, kms.Denied)
	}
}

// TestSecondDomainOnOneCharter is not taken for the first one.
func TestSecondDomainOnOneCharter(t *testing.T) {
	d := newDomain(t, nil)
	n, trust := d.serve(t), d.trust()
	trust.Memory = &shelf{}
	_, err := n.client(t, trust).Version(t.Context())
	ok(t, err)
	second := foundDomain(t, d.rulers, d.platform, nil).serve(t)
	_, err = second.client(t, trust).Version(t.Context())
	if !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "another domain") {
		t.Errorf("%v, want %v", err, kms.Denied)
	}
	// Whoever means the second one says so.
	trust.Domain = second.rulers.Founding.Domain
	_, err = second.client(t, trust).Version(t.Context())
	ok(t, err)
}

// TestAmended: who rules after two amendments signs the policy, and nobody can
// leave one out.
func TestAmended(t *testing.T) {
	d := newDomain(t, nil)
	current, err := d.standing.OpenPolicy(d.policies[0])
	ok(t, err)
	rulers, byOld := d.rulers.Signers[:2], d.rulers.Signers[:2]
	for range 2 {
		fresh, err := govern.NewPrivateKey(govern.Ed25519)
		ok(t, err)
		a := d.standing.DraftAmendment(current)
		a.Signers, a.Threshold = []govern.PublicKey{fresh.Public()}, 1
		envelope := d.rulers.Sign(govern.AmendmentType, a.Canonical(), append([]*govern.PrivateKey{fresh}, rulers...)...)
		d.standing, err = d.standing.Amend(envelope)
		ok(t, err)
		d.amendments, rulers = append(d.amendments, string(envelope)), []*govern.PrivateKey{fresh}
	}
	next := *current
	next.Domain, next.Previous, next.Serial = d.standing.Domain, current.Digest(), 2
	d.policies = [][]byte{d.rulers.Sign(govern.PolicyType, next.Canonical(), rulers...)}
	n := d.serve(t)
	_, err = n.client(t, n.trust()).Version(t.Context())
	ok(t, err)

	first, second := d.amendments[0], d.amendments[1]
	old := string(d.rulers.Sign(govern.PolicyType, next.Canonical(), byOld...))
	for name, edit := range map[string]func(*holdfastv1.GetEvidenceResponse){
		"without the last":      func(m *holdfastv1.GetEvidenceResponse) { m.Amendments = []string{first} },
		"without the first":     func(m *holdfastv1.GetEvidenceResponse) { m.Amendments = []string{second} },
		"in the other order":    func(m *holdfastv1.GetEvidenceResponse) { m.Amendments = []string{second, first} },
		"one of them twice":     func(m *holdfastv1.GetEvidenceResponse) { m.Amendments = []string{first, first, second} },
		"a policy by the first": func(m *holdfastv1.GetEvidenceResponse) { m.Policy = old },
	} {
		t.Run(name, func(t *testing.T) {
			n.tell(lie{answer: edit})
			if _, err := n.client(t, n.trust()).Version(t.Context()); !errors.Is(err, kms.Denied) {
				t.Errorf("%v, want %v", err, kms.Denied)
			}
		})
	}
}

// TestAmendmentsAreRemembered: signers who were dismissed rule nobody who has
// seen that, whatever they sign and whatever is left out.
func TestAmendmentsAreRemembered(t *testing.T) {
	d := newDomain(t, nil)
	dismissed := d.rulers.Signers[:2]
	current, err := d.standing.OpenPolicy(d.policies[0])
	ok(t, err)
	before := d.standing
	fresh, err := govern.NewPrivateKey(govern.Ed25519)
	ok(t, err)
	a := d.standing.DraftAmendment(current)
	a.Signers, a.Threshold = []govern.PublicKey{fresh.Public()}, 1
	envelope := d.rulers.Sign(govern.AmendmentType, a.Canonical(), append([]*govern.PrivateKey{fresh}, dismissed...)...)
	d.standing, err = d.standing.Amend(envelope)
	ok(t, err)
	d.amendments = []string{string(envelope)}
	n, trust := d.serve(t), d.trust()
	memory := &shelf{}
	trust.Memory = memory
	_, err = n.client(t, trust).Version(t.Context())
	ok(t, err)

	next := *current
	next.Domain, next.Previous, next.Serial = before.Domain, current.Digest(), 2
	d.amendments, d.standing = nil, before
	d.policies = [][]byte{d.rulers.Sign(govern.PolicyType, next.Canonical(), dismissed...)}
	rogue := d.serve(t)
	fooled := d.trust() // who never saw the amendment cannot know
	_, err = rogue.client(t, fooled).Version(t.Context())
	ok(t, err)
	_, err = rogue.client(t, trust).Version(t.Context())
	if !errors.Is(err, kms.Stale) || !strings.Contains(err.Error(), "1 were seen before") {
		t.Errorf("the dismissed signers' policy: %v", err)
	}
}

func TestMemoryThatFailsRefuses(t *testing.T) {
	n := newDomain(t, nil).serve(t)
	trust := n.trust()
	trust.Memory = &shelf{err: kms.Errorf(kms.Unavailable, "no disk").WithHint("mount it")}
	_, err := n.client(t, trust).Version(t.Context())
	var e *client.Error
	if !errors.As(err, &e) || e.Kind != kms.Denied || e.Hint != "mount it" {
		t.Errorf("%v, want %v", err, kms.Denied)
	}
}

func TestTrustConfig(t *testing.T) {
	d := newDomain(t, nil)
	ca := clienttest.NewServer(t).CA()
	tests := map[string]client.Config{
		"no charter":  {Trust: &client.Trust{}},
		"not one":     {Trust: &client.Trust{Charter: []byte("{}")}},
		"with a CA":   {Trust: d.trust(), CA: ca},
		"with a pool": {Trust: d.trust(), HTTPClient: http.DefaultClient},
		"insecure":    {Trust: d.trust(), InsecureTrustAnyServer: true},
	}
	for name, cfg := range tests {
		t.Run(name, func(t *testing.T) {
			cfg.URL = "https://127.0.0.1:1"
			if _, err := client.New(cfg); !errors.Is(err, kms.Invalid) || kms.HintOf(err) == "" {
				t.Errorf("%v, want %v with a hint", err, kms.Invalid)
			}
		})
	}
	c := newClient(t, client.Config{URL: "https://127.0.0.1:1", CA: ca})
	if _, err := c.Attest(t.Context()); !errors.Is(err, kms.Invalid) {
		t.Errorf("Attest without a charter: %v", err)
	}
	if _, err := (client.Config{Trust: d.trust()}).TLSConfig(); !errors.Is(err, kms.Invalid) {
		t.Errorf("TLSConfig: %v", err)
	}
}

// TestMisfortune: what befalls the machine is said by its name.
func TestMisfortune(t *testing.T) {
	tests := map[string]struct {
		misfortune simtee.Misfortune
		want       attest.Reason
	}{
		"revoked": {simtee.Misfortune{Revoked: true}, attest.Revoked},
		"stale":   {simtee.Misfortune{Stale: true}, attest.CollateralExpired},
		"debug":   {simtee.Misfortune{Debug: true}, attest.DebugEnabled},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			platform, err := simtee.Config{Misfortune: tt.misfortune}.Create(t.TempDir())
			ok(t, err)
			n := foundDomain(t, governtest.New(t), platform, nil).serve(t)
			_, err = n.client(t, n.trust()).Version(t.Context())
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func TestInquire(t *testing.T) {
	n := newDomain(t, nil).serve(t)
	n.tell(lie{purpose: attest.ForSelf}) // it judges nothing
	shown, err := client.Inquire(t.Context(), client.Config{URL: n.http.URL})
	ok(t, err)
	if len(shown.Nonce) != 32 || !shown.Leaf.Equal(n.leaf.cert) || len(shown.Proof.Evidence.Quote) == 0 || shown.Proof.Domain != n.rulers.Founding.Domain {
		t.Errorf("%+v", shown)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Inquire(ctx, client.Config{URL: n.http.URL}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := client.Inquire(t.Context(), client.Config{URL: "http://x"}); !errors.Is(err, kms.Invalid) {
		t.Errorf("no https: %v", err)
	}
}

package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// A domain has people who rule it, an authority and a machine.
type domain struct {
	t         testing.TB
	rulers    *governtest.Rulers
	platform  *simtee.Platform
	ca        *authority
	bootstrap []byte
	policies  [][]byte // envelopes; the last one is in force

	amendments []string
	standing   govern.Standing
}

// An authority is a CA, or the key under a certificate of one.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newDomain(t testing.TB, edit func(*govern.Policy)) *domain {
	t.Helper()
	platform, err := simtee.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return foundDomain(t, governtest.New(t), platform, edit)
}

func foundDomain(t testing.TB, rulers *governtest.Rulers, platform *simtee.Platform, edit func(*govern.Policy)) *domain {
	t.Helper()
	measurement := platform.Measurement()
	p := rulers.Policy(measurement[:], time.Now())
	if edit != nil {
		edit(p)
	}
	var founder kms.NodeID
	rand.Read(founder[:])
	d := &domain{t: t, rulers: rulers, platform: platform, ca: newAuthority(t, nil)}
	bootstrap, policy := rulers.Found(founder, p)
	d.bootstrap, d.policies, d.standing = bootstrap, [][]byte{policy}, rulers.Founding.Standing
	return d
}

// next puts the next policy in force.
func (d *domain) next(edit func(*govern.Policy)) {
	d.policies = append(d.policies, d.rulers.Next(edit))
}

func newAuthority(t testing.TB, issuer *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	made := &authority{key: key}
	if issuer == nil {
		tmpl.Subject = pkix.Name{CommonName: "test"}
		tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
		issuer = &authority{key, tmpl}
	} else {
		tmpl.KeyUsage, tmpl.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		tmpl.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer.cert, &key.PublicKey, issuer.key)
	if err == nil {
		made.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// A node serves proofs, and GetVersion.
type node struct {
	*domain
	http *httptest.Server
	leaf *authority

	mu     sync.Mutex
	lie    lie
	hold   chan struct{} // calls wait for it; nil: none waits
	proofs atomic.Int32  // asked for
	calls  atomic.Int32  // of everything else

	signature atomic.Value // header of the last call
}

// A lie is where a node's proof is not what it should be. Its zero value is the
// truth.
type lie struct {
	purpose attest.Purpose
	bind    func(*attest.Binding)
	answer  func(*holdfastv1.GetEvidenceResponse)
	err     error
	raw     http.HandlerFunc // in place of the whole answer
}

func (d *domain) serve(t testing.TB) *node {
	n := &node{domain: d, leaf: newAuthority(t, d.ca)}
	mux := http.NewServeMux()
	mux.Handle(holdfastv1connect.NewAttestationServiceHandler(n))
	mux.HandleFunc("/ehsm", func(w http.ResponseWriter, r *http.Request) {
		n.calls.Add(1)
		n.signature.Store(r.Header.Get(signature.HeaderName))
		n.mu.Lock()
		hold := n.hold
		n.mu.Unlock()
		if hold != nil {
			<-hold
		}
		fmt.Fprint(w, `{"code":200,"message":"success!","result":{"version":"1","git_sha":""}}`)
	})
	n.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if raw := n.lying().raw; raw != nil && r.URL.Path == holdfastv1connect.AttestationServiceGetEvidenceProcedure {
			n.proofs.Add(1)
			raw(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	n.http.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{n.leaf.cert.Raw}, PrivateKey: n.leaf.key}}}
	n.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	n.http.StartTLS()
	t.Cleanup(n.http.Close)
	return n
}

func (n *node) tell(l lie) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lie = l
}

// holdCalls lets calls wait until the function that it returns is called.
func (n *node) holdCalls() (release func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	hold := make(chan struct{})
	n.hold = hold
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.hold = nil
		close(hold)
	}
}

func (n *node) lying() lie {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lie
}

// GetEvidence implements the service.
func (n *node) GetEvidence(_ context.Context, r *connect.Request[holdfastv1.GetEvidenceRequest]) (*connect.Response[holdfastv1.GetEvidenceResponse], error) {
	n.proofs.Add(1)
	l := n.lying()
	if l.err != nil {
		return nil, l.err
	}
	m, err := n.proof(r.Msg.GetNonce(), l)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(m), nil
}

// GetChallenge implements the service.
func (n *node) GetChallenge(context.Context, *connect.Request[holdfastv1.GetChallengeRequest]) (*connect.Response[holdfastv1.GetChallengeResponse], error) {
	return nil, connect.NewError(connect.CodeUnimplemented, nil)
}

func (n *node) proof(nonce []byte, l lie) (*holdfastv1.GetEvidenceResponse, error) {
	envelope := n.policies[len(n.policies)-1]
	policy, err := n.standing.OpenPolicy(envelope)
	if err != nil {
		return nil, err
	}
	b := attest.Binding{Keys: [][]byte{n.leaf.cert.RawSubjectPublicKeyInfo, n.ca.cert.RawSubjectPublicKeyInfo},
		Domain: n.rulers.Founding.Domain, PolicySerial: policy.Serial, PolicyDigest: policy.Digest(), Nonce: nonce}
	if l.bind != nil {
		l.bind(&b)
	}
	purpose := attest.ForService
	if l.purpose != "" {
		purpose = l.purpose
	}
	ev, err := n.platform.Evidence(attest.SGX, attest.ReportData(purpose, b), time.Now())
	if err != nil {
		return nil, err
	}
	m := &holdfastv1.GetEvidenceResponse{
		Evidence: &holdfastv1.Evidence{Tee: string(ev.TEE), Quote: ev.Quote, Collateral: ev.Collateral},
		DomainId: n.rulers.Founding.Domain.String(), NodeId: kms.NodeID{1}.String(),
		Charter: string(n.rulers.Charter.Canonical()), Bootstrap: string(n.bootstrap), Policy: string(envelope), Authority: n.ca.cert.Raw,
		Amendments: n.amendments,
	}
	if l.answer != nil {
		l.answer(m)
	}
	return m, nil
}

// trust is what a client of the domain says.
func (d *domain) trust() *client.Trust {
	return &client.Trust{Charter: d.rulers.Charter.Canonical(), AllowSimulated: true}
}

// client is one that calls n, trusting t.
func (n *node) client(t testing.TB, trust *client.Trust) *client.Client {
	return dial(t, n.http.URL, trust)
}

func dial(t testing.TB, url string, trust *client.Trust) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: url, Trust: trust, Retries: -1, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

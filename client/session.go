package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// A Workload is a program in a TEE, as which a Client calls: it proves what it
// is with evidence for a key of the client's own, and is then known by a session,
// which the client opens by itself, and again when it ends. With an AppID and
// APIKey beside it the client uses the app's keys whose conditions name the
// program; without, keys of any app that do, and nothing else.
type Workload struct {
	// Evidence has the TEE that the program runs in sign 64 bytes. Collateral may
	// be left out where the node can get it. Required.
	Evidence func(ctx context.Context, reportData [64]byte) (attest.Evidence, error)
	// Certificate is what connections are made with; its key must never leave the
	// TEE. Nil: a certificate of a new P-256 key, for this Client alone.
	Certificate *tls.Certificate
}

// The procedures of sessions. A challenge that is lost costs nothing.
var (
	actChallenge   = action{name: "GetChallenge", unsigned: true, repeatable: true}
	actOpenSession = action{name: "OpenSession", unsigned: true, repeatable: true}
)

// sessionMargin is how long before its end a session is replaced.
const sessionMargin = 30 * time.Second

// sessionEnded begins what a node says of a session that is over.
const sessionEnded = "The session has ended"

// An attendance is a Client's session.
type attendance struct {
	workload Workload
	spki     []byte // of the client certificate's key

	mu      sync.Mutex // of opening
	current atomic.Pointer[kms.Session]
}

// newAttendance completes a Workload. The error is Invalid.
func newAttendance(c *Config) (*attendance, error) {
	if c.Workload == nil {
		return nil, nil
	}
	if c.Workload.Evidence == nil {
		return nil, configError("Workload", "without Evidence", "give the function that asks the TEE")
	}
	if c.HTTPClient != nil || c.SignatureV1 {
		return nil, configError("Workload", "given together with HTTPClient or SignatureV1", "leave those out: a session is tied to the client's own connections")
	}
	w := *c.Workload
	if w.Certificate == nil {
		cert, err := newClientCertificate()
		if err != nil {
			return nil, err
		}
		w.Certificate = cert
	}
	if len(w.Certificate.Certificate) == 0 {
		return nil, configError("Workload", "a Certificate without a certificate", "leave it out for a new one")
	}
	leaf, err := x509.ParseCertificate(w.Certificate.Certificate[0])
	if err != nil {
		return nil, configError("Workload", "its Certificate: %w", "leave it out for a new one", err)
	}
	return &attendance{workload: w, spki: leaf.RawSubjectPublicKeyInfo}, nil
}

// newClientCertificate makes a key and signs it with itself: nodes look at the
// key alone.
func newClientCertificate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "making a client key: %w", err)
	}
	// Its dates say nothing: what ends is the session.
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "making a client certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// certify has connections made with the client certificate.
func (s *attendance) certify(conf *tls.Config) {
	if s != nil {
		conf.Certificates = []tls.Certificate{*s.workload.Certificate}
	}
}

// attend sees to it that there is a session for a.
func (c *Client) attend(ctx context.Context, a action) error {
	if c.session == nil || a.unsigned || c.session.lasts(c.now()) {
		return nil
	}
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	if c.session.lasts(c.now()) {
		return nil
	}
	opened, err := c.openSession(ctx)
	if err != nil {
		return err
	}
	c.session.current.Store(opened)
	return nil
}

func (s *attendance) lasts(now time.Time) bool {
	current := s.current.Load()
	return current != nil && now.Before(current.Expires.Add(-sessionMargin))
}

// openSession proves what the program is.
func (c *Client) openSession(ctx context.Context) (*kms.Session, error) {
	challenge, ev, err := c.prove(ctx, actOpenSession, attest.ForWorkload)
	if err != nil {
		return nil, err
	}
	opened, err := callNative(ctx, c, actOpenSession,
		holdfastv1connect.NewSessionServiceClient(nativeHTTP{c, true}, c.native(), nativeOptions()...).OpenSession,
		&holdfastv1.OpenSessionRequest{Challenge: challenge, Evidence: ev})
	if err != nil {
		return nil, err
	}
	if err := opened.GetExpires().CheckValid(); err != nil || opened.GetTicket() == "" {
		return nil, garbled(actOpenSession, 0, errors.New("a session without ticket or end"))
	}
	return &kms.Session{Ticket: opened.GetTicket(), Expires: opened.GetExpires().AsTime()}, nil
}

// prove answers a challenge of the domain's with evidence of the program.
func (c *Client) prove(ctx context.Context, a action, purpose attest.Purpose) (challenge []byte, ev *holdfastv1.Evidence, err error) {
	asked, err := callNative(ctx, c, actChallenge,
		holdfastv1connect.NewAttestationServiceClient(nativeHTTP{c, true}, c.native(), nativeOptions()...).GetChallenge, &holdfastv1.GetChallengeRequest{})
	if err != nil {
		return nil, nil, err
	}
	var domain [32]byte
	if !unhex(domain[:], asked.GetDomainId()) {
		return nil, nil, garbled(actChallenge, 0, errors.New("a domain id of another form"))
	}
	shown, err := c.session.workload.Evidence(ctx, attest.ReportData(purpose,
		attest.Binding{Keys: [][]byte{c.session.spki}, Domain: domain, Nonce: asked.GetChallenge()}))
	if err != nil {
		return nil, nil, &Error{Action: a.name, Message: "the TEE gave no evidence", Kind: kms.Unavailable, Hint: kms.HintOf(err), Err: err}
	}
	return asked.GetChallenge(), &holdfastv1.Evidence{Tee: string(shown.TEE), Quote: shown.Quote, Collateral: shown.Collateral}, nil
}

// show puts the session's ticket into a request's header.
func (s *attendance) show(h http.Header) {
	if s == nil {
		return
	}
	if current := s.current.Load(); current != nil {
		h.Set(api.SessionHeader, current.Ticket)
	}
}

// ended reports whether a node refused the session as over, and forgets it.
// Nothing was done then, so any call may be sent again with another session.
func (s *attendance) ended(err error) bool {
	var e *Error
	if s == nil || !errors.As(err, &e) || e.Kind != kms.Stale {
		return false
	}
	if !strings.HasPrefix(e.Message, sessionEnded) && e.Code != int(connect.CodeUnauthenticated) {
		return false
	}
	s.current.Store(nil)
	return true
}

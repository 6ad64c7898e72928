package core_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A workload is a program on a simulated machine of its own, with the key of
// its client certificate. (Any bytes are a key at this door.)
type workload struct {
	t     testing.TB
	node  *trustedtest.Node
	fuses string
	cfg   simtee.Config
	key   []byte
}

func newWorkload(t testing.TB, node *trustedtest.Node, name string) *workload {
	t.Helper()
	w := &workload{t: t, node: node, fuses: t.TempDir() + "/fuses", key: []byte("key of " + name),
		cfg: simtee.Config{Measurement: sha256.Sum256([]byte(name))}}
	if _, err := w.cfg.Create(w.fuses); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *workload) evidence(reportData [64]byte) kms.Evidence {
	w.t.Helper()
	p, err := w.cfg.Open(w.fuses)
	if err != nil {
		w.t.Fatal(err)
	}
	ev, err := p.Evidence(attest.SGX, reportData, w.node.Clock.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return kms.Evidence{TEE: string(ev.TEE), Quote: ev.Quote, Collateral: ev.Collateral}
}

// identity is what conditions name the program by.
func (w *workload) identity() govern.Identity {
	m := w.cfg.Measurement
	return govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: m[:]}}
}

func (w *workload) request(purpose attest.Purpose) kms.OpenSessionRequest {
	w.t.Helper()
	challenge, _, domain, err := w.node.Server().Challenge(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	data := attest.ReportData(purpose, attest.Binding{Keys: [][]byte{w.key}, Domain: domain, Nonce: challenge})
	return kms.OpenSessionRequest{Challenge: challenge, ClientKey: w.key, Evidence: w.evidence(data)}
}

// open opens a session.
func (w *workload) open() string {
	w.t.Helper()
	s, err := w.node.Core().OpenSession(context.Background(), w.request(attest.ForWorkload))
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Ticket
}

// alone is a request of the workload without an app.
func (w *workload) alone(ticket string) (*server.Caller, error) {
	return w.node.Core().Authenticate(context.Background(),
		kms.Credential{Scheme: kms.SchemeSession, Session: ticket, Client: sha256.Sum256(w.key)})
}

func (w *workload) mustAlone(ticket string) *server.Caller {
	w.t.Helper()
	c, err := w.alone(ticket)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// with is a request that an app has signed and the workload sends.
func (w *workload) with(app *trustedtest.App, ticket string) (*server.Caller, error) {
	cred := app.Credential(time.Now().String() + ticket)
	cred.Session, cred.Client = ticket, sha256.Sum256(w.key)
	return w.node.Core().Authenticate(context.Background(), cred)
}

func (w *workload) mustWith(app *trustedtest.App, ticket string) *server.Caller {
	w.t.Helper()
	c, err := w.with(app, ticket)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// condition lets programs do operations.
func condition(operations kms.Usages, programs ...govern.Identity) []byte {
	return (&govern.Condition{Rules: []govern.ConditionRule{{Operations: operations, Programs: programs}}}).Canonical()
}

func wantKind(t *testing.T, what string, err error, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v, want %v", what, err, kind)
	}
}

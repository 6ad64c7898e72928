package session_test

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/attest/snp"
	"github.com/holdfast-kms/holdfast/attest/tdx"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/session"
)

var (
	start  = time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	domain = kms.DomainID(sha256.Sum256([]byte("domain")))
)

// simRoot certifies every machine here, so that folders with fuses are cheap.
var simRoot = sync.OnceValue(simtee.NewRoot)

// A site is one node's Judge, and what it counts.
type site struct {
	*session.Judge
	verified *atomic.Int64
	policy   *govern.Policy
}

// masterSecret is that of the one domain.
var masterSecret = func() *root.Root {
	return root.New(root.NewSet(secret.New(slices.Repeat([]byte{7}, root.SecretSize))), domain, root.HoldfastLabels)
}

func newSite(t testing.TB, edit ...func(*session.Config)) *site {
	t.Helper()
	s := &site{verified: new(atomic.Int64), policy: simulatedPolicy(1)}
	counting := func(v attest.Verifier) attest.Verifier {
		return func(ev attest.Evidence, at time.Time) (attest.Claims, error) {
			s.verified.Add(1)
			return v(ev, at)
		}
	}
	cfg := session.Config{Root: masterSecret(), Domain: domain,
		Verifiers: attest.Verifiers{SGX: counting(sgx.Verify), TDX: counting(tdx.Verify), SNP: counting(snp.Verify)}}
	for _, e := range edit {
		e(&cfg)
	}
	var err error
	if s.Judge, err = session.New(cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

// simulatedPolicy takes up-to-date simulated machines of every kind.
func simulatedPolicy(serial uint64) *govern.Policy {
	terms := attest.Terms{Simulated: true}
	return &govern.Policy{Serial: serial, Attestation: govern.Requirements{SGX: terms, TDX: terms, SNP: terms}}
}

// A workload is a program on a machine of its own, with the key of its client
// certificate. (Any bytes are a key here.)
type workload struct {
	t     testing.TB
	fuses string
	cfg   simtee.Config
	tee   attest.TEE
	key   []byte
}

func newWorkload(t testing.TB, tee attest.TEE, name string) *workload {
	t.Helper()
	w := &workload{t: t, fuses: t.TempDir() + "/fuses", tee: tee, key: []byte("key of " + name),
		cfg: simtee.Config{Root: simRoot(), Measurement: sha256.Sum256([]byte(name))}}
	if _, err := w.cfg.Create(w.fuses); err != nil {
		t.Fatal(err)
	}
	return w
}

// suffers is the same machine with a misfortune.
func (w workload) suffers(m simtee.Misfortune) *workload {
	w.cfg.Misfortune = m
	return &w
}

func (w *workload) evidence(reportData [64]byte, at time.Time) attest.Evidence {
	w.t.Helper()
	p, err := w.cfg.Open(w.fuses)
	if err != nil {
		w.t.Fatal(err)
	}
	ev, err := p.Evidence(w.tee, reportData, at)
	if err != nil {
		w.t.Fatal(err)
	}
	return ev
}

// collateral is what the vendor publishes about the machine.
func (w *workload) collateral(at time.Time) []byte { return w.evidence([64]byte{}, at).Collateral }

// opening answers a challenge of s.
func (w *workload) opening(s *site, at time.Time) session.Opening {
	w.t.Helper()
	challenge, _, err := s.New(at)
	if err != nil {
		w.t.Fatal(err)
	}
	return session.Opening{Challenge: challenge, ClientKey: w.key, Evidence: w.evidence(w.binding(attest.ForWorkload, challenge), at)}
}

func (w *workload) binding(purpose attest.Purpose, challenge []byte) [64]byte {
	return attest.ReportData(purpose, attest.Binding{Keys: [][]byte{w.key}, Domain: domain, Nonce: challenge})
}

func (w *workload) client() session.Client { return sha256.Sum256(w.key) }

// open opens a session and fails the test where that fails.
func (w *workload) open(s *site, at time.Time) string {
	w.t.Helper()
	ticket, _, err := s.Open(context.Background(), w.opening(s, at), s.policy, at)
	if err != nil {
		w.t.Fatal(err)
	}
	return ticket
}

// shows shows a ticket as a request of w's does.
func (w *workload) shows(s *site, ticket string, at time.Time) error {
	_, err := s.Admit(ticket, w.client(), s.policy, at)
	return err
}

package session_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/session"
)

var tees = []attest.TEE{attest.SGX, attest.TDX, attest.SNP}

func TestSession(t *testing.T) {
	for _, tee := range tees {
		t.Run(string(tee), func(t *testing.T) {
			s, w := newSite(t), newWorkload(t, tee, "program")
			ticket, expires, err := s.Open(context.Background(), w.opening(s, start), s.policy, start)
			if err != nil {
				t.Fatal(err)
			}
			if want := start.Add(time.Hour); !expires.Equal(want) {
				t.Errorf("expires %s, want %s", expires, want)
			}
			if len(ticket) > session.MaxTicket {
				t.Errorf("the ticket has %d characters", len(ticket))
			}
			t.Logf("the ticket has %d characters", len(ticket))
			v, err := s.Admit(ticket, w.client(), s.policy, start)
			if err != nil {
				t.Fatal(err)
			}
			if v.Claims.TEE != tee || v.Claims.ReportData != nil || v.PolicySerial() != 1 {
				t.Errorf("TEE %q, report data %q, policy %d", v.Claims.TEE, v.Claims.ReportData, v.PolicySerial())
			}
			other := newSite(t) // another node of the domain, which knows nothing yet
			v2, err := other.Admit(ticket, w.client(), s.policy, start)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := measured(v2.Claims), measured(v.Claims); got != want {
				t.Errorf("another node reads %q, want %q", got, want)
			}
			if n := other.verified.Load(); n != 0 {
				t.Errorf("another node verified %d times", n)
			}
		})
	}
}

func measured(c attest.Claims) string {
	switch c.TEE {
	case attest.SGX:
		return c.SGX.MRENCLAVE.String()
	case attest.TDX:
		return c.TDX.MRTD.String() + c.TDX.RTMR1.String() + c.TDX.RTMR2.String()
	}
	return c.SNP.Measurement.String()
}

// TestRemembered: no verification on the request path of a remembered workload,
// whatever policies come and go.
func TestRemembered(t *testing.T) {
	s, w := newSite(t), newWorkload(t, attest.SGX, "program")
	ticket := w.open(s, start)
	before := s.verified.Load()
	for i := range 50 {
		s.policy = simulatedPolicy(uint64(1 + i/10))
		if err := w.shows(s, ticket, start.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.verified.Load(); n != before {
		t.Errorf("%d verifications for 50 requests", n-before)
	}
}

func TestTicketsRefused(t *testing.T) {
	s, w := newSite(t), newWorkload(t, attest.SGX, "program")
	thief := newWorkload(t, attest.SGX, "thief")
	ticket := w.open(s, start)
	foreign := newSite(t, func(c *session.Config) {
		c.Root = root.New(root.NewSet(secret.Random(root.SecretSize)), kms.DomainID{2}, root.HoldfastLabels)
		c.Domain = kms.DomainID{2}
	})
	sameSecret := newSite(t, func(c *session.Config) {
		c.Domain = kms.DomainID{3}
		c.Root = root.New(root.NewSet(secret.New(repeat(7, root.SecretSize))), c.Domain, root.HoldfastLabels)
	})
	tests := []struct {
		name   string
		site   *site
		ticket string
		client session.Client
		at     time.Time
		want   kms.Kind
	}{
		{"another client's key", s, ticket, thief.client(), start, kms.Unauthenticated},
		{"no client certificate", s, ticket, session.Client{}, start, kms.Unauthenticated},
		{"another domain", foreign, ticket, w.client(), start, kms.Unauthenticated},
		{"another domain under the same secret", sameSecret, ticket, w.client(), start, kms.Unauthenticated},
		{"expired", s, ticket, w.client(), start.Add(time.Hour), kms.Stale},
		{"expired on another node", newSite(t), ticket, w.client(), start.Add(time.Hour), kms.Stale},
		{"empty", s, "", w.client(), start, kms.Unauthenticated},
		{"without prefix", s, ticket[5:], w.client(), start, kms.Unauthenticated},
		{"another prefix", s, "hfs2." + ticket[5:], w.client(), start, kms.Unauthenticated},
		{"with a line end", s, ticket + "\n", w.client(), start, kms.Unauthenticated},
		{"with padding", s, ticket + "=", w.client(), start, kms.Unauthenticated},
		{"twice", s, ticket + ticket, w.client(), start, kms.Unauthenticated},
		{"long", s, "hfs1." + strings.Repeat("A", session.MaxTicket), w.client(), start, kms.Unauthenticated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.site.Admit(tt.ticket, tt.client, tt.site.policy, tt.at)
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
	if err := w.shows(s, ticket, start.Add(time.Hour-time.Second)); err != nil {
		t.Errorf("the ticket itself: %v", err)
	}
	t.Run("cut", func(t *testing.T) {
		for n := range ticket {
			if err := w.shows(s, ticket[:n], start); !errors.Is(err, kms.Unauthenticated) {
				t.Fatalf("cut to %d characters: %v", n, err)
			}
		}
	})
	t.Run("altered", func(t *testing.T) {
		raw, err := base64.RawURLEncoding.DecodeString(ticket[5:])
		if err != nil {
			t.Fatal(err)
		}
		fresh := newSite(t)
		for i := range raw {
			raw[i] ^= 1
			if err := w.shows(fresh, "hfs1."+base64.RawURLEncoding.EncodeToString(raw), start); !errors.Is(err, kms.Unauthenticated) {
				t.Fatalf("byte %d altered: %v", i, err)
			}
			raw[i] ^= 1
		}
	})
}

func repeat(b byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}

func TestOpeningsRefused(t *testing.T) {
	w, other := newWorkload(t, attest.SGX, "program"), newWorkload(t, attest.SGX, "other")
	tests := []struct {
		name string
		edit func(*site, *session.Opening)
		want kms.Kind
	}{
		{"as it is", func(*site, *session.Opening) {}, 0},
		{"no client certificate", func(_ *site, o *session.Opening) { o.ClientKey = nil }, kms.Unauthenticated},
		{"relayed by another client", func(_ *site, o *session.Opening) { o.ClientKey = other.key }, kms.Denied},
		{"made for a service", purpose(w, attest.ForService), kms.Denied},
		{"made for enrolment", purpose(w, attest.ForEnrolment), kms.Denied},
		{"made for a node", purpose(w, attest.ForNode), kms.Denied},
		{"made for another challenge", func(s *site, o *session.Opening) { o.Challenge, _, _ = s.New(start) }, kms.Denied},
		{"no challenge of ours", func(_ *site, o *session.Opening) { o.Challenge[20] ^= 1 }, kms.Unauthenticated},
		{"no challenge", func(_ *site, o *session.Opening) { o.Challenge = nil }, kms.Unauthenticated},
		{"no evidence", func(_ *site, o *session.Opening) { o.Evidence = attest.Evidence{} }, kms.Denied},
		{"no collateral", func(_ *site, o *session.Opening) { o.Evidence.Collateral = nil }, kms.Denied},
		{"collateral that is none", func(_ *site, o *session.Opening) { o.Evidence.Collateral = []byte("{") }, kms.Denied},
		{"quote cut", func(_ *site, o *session.Opening) { o.Evidence.Quote = o.Evidence.Quote[:500] }, kms.Denied},
		{"quote altered", func(_ *site, o *session.Opening) { o.Evidence.Quote[200] ^= 1 }, kms.Denied},
		{"quote endless", func(_ *site, o *session.Opening) { o.Evidence.Quote = make([]byte, 1<<20) }, kms.Denied},
		{"another TEE", func(_ *site, o *session.Opening) { o.Evidence.TEE = attest.TDX }, kms.Denied},
		{"unknown TEE", func(_ *site, o *session.Opening) { o.Evidence.TEE = "cca" }, kms.Denied},
		{"simulated where that is not named", func(s *site, _ *session.Opening) { s.policy.Attestation.SGX.Simulated = false }, kms.Denied},
		{"a platform that is denied", func(s *site, _ *session.Opening) {
			s.policy.Attestation.SGX.DenyPlatforms = []attest.Hex{simtee.FMSPC[:]}
		}, kms.Denied},
		{"evaluation too low", func(s *site, _ *session.Opening) {
			s.policy.Attestation.SGX.MinEvaluationNumber = simtee.EvaluationNumber + 1
		}, kms.Denied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			o := w.opening(s, start)
			tt.edit(s, &o)
			ticket, _, err := s.Open(context.Background(), o, s.policy, start)
			if tt.want == 0 && err != nil || tt.want != 0 && (!errors.Is(err, tt.want) || ticket != "") {
				t.Errorf("%q, %v; want %v", ticket, err, tt.want)
			}
		})
	}
	for name, m := range map[string]simtee.Misfortune{
		"revoked": {Revoked: true}, "stale": {Stale: true}, "debug": {Debug: true}, "out of date": {Recovery: simtee.Announced},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			_, _, err := s.Open(context.Background(), w.suffers(m).opening(s, start), s.policy, start)
			if !errors.Is(err, kms.Denied) {
				t.Errorf("%v, want Denied", err)
			}
		})
	}
}

// purpose has the evidence made for another purpose, else the same.
func purpose(w *workload, p attest.Purpose) func(*site, *session.Opening) {
	return func(_ *site, o *session.Opening) { o.Evidence = w.evidence(w.binding(p, o.Challenge), start) }
}

// TestProve gives the other purposes the same judgement.
func TestProve(t *testing.T) {
	s, w := newSite(t), newWorkload(t, attest.SGX, "program")
	o := w.opening(s, start)
	if _, _, err := s.Prove(context.Background(), attest.ForEnrolment, o, s.policy, start); !errors.Is(err, kms.Denied) {
		t.Errorf("evidence of a workload enrols: %v", err)
	}
	purpose(w, attest.ForEnrolment)(s, &o)
	id, claims, err := s.Prove(context.Background(), attest.ForEnrolment, o, s.policy, start)
	if err != nil || claims.SGX == nil || id == [16]byte{} {
		t.Errorf("%x, %v, %v", id, claims.SGX, err)
	}
}

func TestPolicyChanges(t *testing.T) {
	s, w := newSite(t), newWorkload(t, attest.SGX, "program")
	ticket := w.open(s, start)
	strict := simulatedPolicy(2)
	strict.Attestation.SGX.DenyPlatforms = []attest.Hex{simtee.FMSPC[:]}
	s.policy = strict
	for range 2 {
		if err := w.shows(s, ticket, start); !errors.Is(err, kms.Denied) {
			t.Errorf("after the policy bars the platform: %v, want Denied", err)
		}
	}
	s.policy = simulatedPolicy(3)
	if err := w.shows(s, ticket, start); err != nil {
		t.Errorf("after the policy takes it again: %v", err)
	}
	aged := simulatedPolicy(4)
	aged.EvidenceAge = attest.Age(10 * time.Minute)
	s.policy = aged
	if err := w.shows(s, ticket, start.Add(9*time.Minute)); err != nil {
		t.Errorf("before its evidence is too old: %v", err)
	}
	if err := w.shows(s, ticket, start.Add(10*time.Minute)); !errors.Is(err, kms.Stale) {
		t.Errorf("after its evidence is too old: %v, want Stale", err)
	}
}

// TestClaimsEnd: what claims rest on ends, though nothing moves.
func TestClaimsEnd(t *testing.T) {
	s := newSite(t, func(c *session.Config) { c.Life = 1000 * time.Hour })
	w := newWorkload(t, attest.SGX, "program")
	ticket := w.open(s, start)
	end := start.Truncate(24 * time.Hour).Add(30 * 24 * time.Hour) // the collateral's next update
	if err := w.shows(s, ticket, end); err != nil {
		t.Errorf("at the end: %v", err)
	}
	if err := w.shows(s, ticket, end.Add(time.Nanosecond)); !errors.Is(err, kms.Stale) {
		t.Errorf("after the end: %v, want Stale", err)
	}
	s.policy = simulatedPolicy(2)
	s.policy.Attestation.SGX.MaxCollateralAge = attest.Age(48 * time.Hour)
	if err := w.shows(s, ticket, start.Add(24*time.Hour)); err != nil {
		t.Errorf("collateral of a day: %v", err)
	}
	if err := w.shows(s, ticket, start.Add(49*time.Hour)); !errors.Is(err, kms.Stale) {
		t.Errorf("collateral of two days: %v, want Stale", err)
	}
}

func TestChallenge(t *testing.T) {
	s := newSite(t)
	foreign := session.NewChallenger(root.New(root.NewSet(secret.New(repeat(7, root.SecretSize))), kms.DomainID{9}, root.HoldfastLabels))
	c, expires, err := s.New(start)
	if err != nil || len(c) != session.ChallengeSize || !expires.Equal(start.Add(time.Minute)) {
		t.Fatalf("%x, %s, %v", c, expires, err)
	}
	if _, err := foreign.Check(c, start); !errors.Is(err, kms.Unauthenticated) {
		t.Errorf("another domain: %v", err)
	}
	id, err := newSite(t).Check(c, start.Add(30*time.Second))
	if err != nil || id == [16]byte{} {
		t.Errorf("another node: %x, %v", id, err)
	}
	for at, want := range map[time.Duration]error{
		-11 * time.Second: kms.Stale, -9 * time.Second: nil, time.Minute: nil, time.Minute + time.Millisecond: kms.Stale, 24 * time.Hour: kms.Stale,
	} {
		if _, err := s.Check(c, start.Add(at)); !errors.Is(err, want) {
			t.Errorf("after %s: %v, want %v", at, err, want)
		}
	}
	for i := range c {
		c[i] ^= 0x80
		if _, err := s.Check(c, start); !errors.Is(err, kms.Unauthenticated) {
			t.Errorf("byte %d altered: %v", i, err)
		}
		c[i] ^= 0x80
		if _, err := s.Check(c[:i], start); !errors.Is(err, kms.Unauthenticated) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := s.Check(append(c, 0), start); !errors.Is(err, kms.Unauthenticated) {
		t.Errorf("a byte more: %v", err)
	}
}

// TestConcurrentRequests is for the race detector: requests, openings, policies
// and news at once.
func TestConcurrentRequests(t *testing.T) {
	s, w := newSite(t), newWorkload(t, attest.SGX, "program")
	ticket, client := w.open(s, start), w.client()
	news := [][]byte{w.collateral(start), w.collateral(start.Add(24 * time.Hour))}
	policies := []*govern.Policy{simulatedPolicy(1), simulatedPolicy(2)}
	var work sync.WaitGroup
	for i := range 4 {
		work.Go(func() {
			for n := range 50 {
				p := policies[(n+i)%2]
				if n%10 == 0 {
					_ = s.Learn(attest.SGX, news[(n/10)%2], p, start.Add(24*time.Hour))
				}
				if _, err := s.Admit(ticket, client, p, start.Add(time.Minute)); err != nil && !errors.Is(err, kms.Denied) {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
}

// TestRequestsAllocateNothing: what a session adds to a request is comparisons.
func TestRequestsAllocateNothing(t *testing.T) {
	s, w := newSite(t), newWorkload(t, attest.SGX, "program")
	ticket, client := w.open(s, start), w.client()
	if n := testing.AllocsPerRun(100, func() { _, _ = s.Admit(ticket, client, s.policy, start) }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

// TestFits: a key's condition is asked once for each state of the key, and again
// under another policy; a refusal is not remembered.
func TestFits(t *testing.T) {
	s, w := newSite(t), newWorkload(t, attest.SGX, "program")
	ticket := w.open(s, start)
	asked := 0
	ask := func(revision uint64, answer error) error {
		t.Helper()
		v, err := s.Admit(ticket, w.client(), s.policy, start)
		if err != nil {
			t.Fatal(err)
		}
		return v.Fits(kms.KeyID{1}, revision, kms.UseSign, func() error { asked++; return answer })
	}
	for i, step := range []struct {
		revision uint64
		answer   error
		want     int // how often it was asked by then
		policy   uint64
	}{{1, kms.Denied, 1, 1}, {1, nil, 2, 1}, {1, kms.Denied, 2, 1}, {2, nil, 3, 1}, {2, nil, 4, 2}} {
		if step.policy != s.policy.Serial {
			s.policy = simulatedPolicy(step.policy)
		}
		err := ask(step.revision, step.answer)
		if asked != step.want || (err != nil) != (i == 0) {
			t.Errorf("step %d: asked %d times, %v", i, asked, err)
		}
	}
}

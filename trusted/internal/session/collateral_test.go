package session_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/session"
)

// TestCollateralCutsOff: what the vendor publishes about a platform ends its
// sessions at the next request, on the node that opened them and on others.
func TestCollateralCutsOff(t *testing.T) {
	day := start.Add(24 * time.Hour)
	for _, tt := range []struct {
		name string
		tee  attest.TEE
		m    simtee.Misfortune
		want kms.Kind
	}{
		{"SGX still fine", attest.SGX, simtee.Misfortune{}, 0},
		{"SGX out of date", attest.SGX, simtee.Misfortune{Recovery: simtee.Announced}, kms.Denied},
		{"SGX revoked", attest.SGX, simtee.Misfortune{Revoked: true}, kms.Denied},
		{"TDX out of date", attest.TDX, simtee.Misfortune{Recovery: simtee.Announced}, kms.Denied},
		{"TDX revoked", attest.TDX, simtee.Misfortune{Revoked: true}, kms.Denied},
		{"SNP revoked", attest.SNP, simtee.Misfortune{Revoked: true}, kms.Denied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			long := func(c *session.Config) { c.Life = 100 * time.Hour }
			s, other, w := newSite(t, long), newSite(t, long), newWorkload(t, tt.tee, "program")
			ticket := w.open(s, start)
			news := w.suffers(tt.m).collateral(day)
			for _, node := range []*site{s, other} {
				if err := w.shows(node, ticket, day); err != nil {
					t.Fatal(err)
				}
				if err := node.Learn(tt.tee, news, node.policy, day); err != nil {
					t.Fatal(err)
				}
			}
			before := s.verified.Load()
			for range 3 {
				if err := w.shows(s, ticket, day); tt.want == 0 && err != nil || tt.want != 0 && !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
			}
			if n := s.verified.Load() - before; n < 1 || n > 2 { // SNP: once to learn the root, once with its list
				t.Errorf("%d verifications for one change", n)
			}
			// The other node has the ticket and no quote.
			if err := w.shows(other, ticket, day); !errors.Is(err, kms.Stale) {
				t.Errorf("another node: %v, want Stale", err)
			}
		})
	}
}

// TestCollateralNeverGoesBack: old collateral is of no use once newer was seen,
// wherever it comes from.
func TestCollateralNeverGoesBack(t *testing.T) {
	day := start.Add(24 * time.Hour)
	for _, tee := range tees {
		t.Run(string(tee), func(t *testing.T) {
			s, w := newSite(t), newWorkload(t, tee, "program")
			old := w.collateral(start)
			bad := simtee.Misfortune{Recovery: simtee.Announced}
			if tee == attest.SNP {
				bad = simtee.Misfortune{Revoked: true}
			}
			if err := s.Learn(tee, w.suffers(bad).collateral(day), s.policy, day); err != nil {
				t.Fatal(err)
			}
			o := w.opening(s, day)
			o.Evidence.Collateral = old // still in force, and judging better of the platform
			if _, _, err := s.Open(context.Background(), o, s.policy, day); !errors.Is(err, kms.Denied) {
				t.Errorf("a session on old collateral: %v, want Denied", err)
			}
			if err := s.Learn(tee, old, s.policy, day); !errors.Is(err, kms.Stale) {
				t.Errorf("learning old collateral: %v, want Stale", err)
			}
			if _, _, err := newSite(t).Open(context.Background(), w.opening(s, day), s.policy, day); err != nil {
				t.Errorf("the control: %v", err) // a node that knows of nothing newer takes it
			}
		})
	}
}

// TestPartsCountAlone: a newer part counts though the rest of what it comes with
// is older.
func TestPartsCountAlone(t *testing.T) {
	s, w := newSite(t), newWorkload(t, attest.SGX, "program")
	day := start.Add(24 * time.Hour)
	if err := s.Learn(attest.SGX, w.collateral(day), s.policy, day); err != nil {
		t.Fatal(err)
	}
	// The recovery's statements are a day older than what is known, but of a
	// higher evaluation; its lists are older and stay out.
	if err := s.Learn(attest.SGX, w.suffers(simtee.Misfortune{Recovery: simtee.Announced}).collateral(start), s.policy, day); !errors.Is(err, kms.Stale) {
		t.Fatalf("%v, want Stale for the lists", err)
	}
	o := w.opening(s, day)
	if _, _, err := s.Open(context.Background(), o, s.policy, day); !errors.Is(err, kms.Denied) {
		t.Errorf("%v, want Denied: the higher evaluation counts", err)
	}
}

// TestStrangersCollateral: what no root that counts has signed changes nothing.
func TestStrangersCollateral(t *testing.T) {
	s, w := newSite(t), newWorkload(t, attest.SGX, "program")
	ticket := w.open(s, start)
	bad := w.suffers(simtee.Misfortune{Recovery: simtee.Announced})
	hardware := simulatedPolicy(1)
	hardware.Attestation.SGX.Simulated = false
	for name, learn := range map[string]error{
		"under a root that the policy does not take": s.Learn(attest.SGX, bad.collateral(start), hardware, start),
		"under a root of its own":                    s.Learn(attest.SGX, w.suffers(simtee.Misfortune{Foreign: true, Recovery: simtee.Announced}).collateral(start), s.policy, start),
		"past its time":                              s.Learn(attest.SGX, w.suffers(simtee.Misfortune{Stale: true}).collateral(start), s.policy, start),
		"that is none":                               s.Learn(attest.SGX, []byte("{}"), s.policy, start),
		"of another TEE":                             s.Learn(attest.SNP, bad.collateral(start), s.policy, start),
	} {
		// Another simulated root is one that the policy takes: it hangs elsewhere.
		if learn != nil && !errors.Is(learn, kms.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, learn)
		}
		if err := w.shows(s, ticket, start); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	altered := bytes.ReplaceAll(w.collateral(start), []byte(`tcbEvaluationDataNumber\":20`), []byte(`tcbEvaluationDataNumber\":99`))
	if bytes.Equal(altered, w.collateral(start)) {
		t.Fatal("nothing was altered")
	}
	if err := s.Learn(attest.SGX, altered, s.policy, start); err != nil {
		t.Errorf("the lists, which hold: %v", err)
	}
	if err := w.shows(s, ticket, start); err != nil {
		t.Errorf("altered statements: %v", err)
	}
}

// TestFetchedCollateral: the host's answers are used where a workload brings
// none, and refreshed for the platforms that have sessions.
func TestFetchedCollateral(t *testing.T) {
	w := newWorkload(t, attest.SGX, "program")
	now, source := start, w
	var failing error
	s := newSite(t, func(c *session.Config) {
		c.Life = 100 * time.Hour
		c.Collateral = func(context.Context, attest.Evidence) ([]byte, error) {
			return source.collateral(now), failing
		}
	})
	o := w.opening(s, now)
	o.Evidence.Collateral = nil
	ticket, _, err := s.Open(context.Background(), o, s.policy, now)
	if err != nil {
		t.Fatal(err)
	}
	failing = kms.Errorf(kms.Unavailable, "no route to the vendor")
	if err := s.Refresh(context.Background(), s.policy, now); !errors.Is(err, kms.Unavailable) {
		t.Errorf("a failed refresh: %v", err)
	}
	if err := w.shows(s, ticket, now); err != nil {
		t.Errorf("after a failed refresh: %v", err)
	}
	failing, source, now = nil, w.suffers(simtee.Misfortune{Recovery: simtee.Announced}), start.Add(24*time.Hour)
	if err := s.Refresh(context.Background(), s.policy, now); err != nil {
		t.Errorf("refresh: %v", err)
	}
	if err := w.shows(s, ticket, now); !errors.Is(err, kms.Denied) {
		t.Errorf("after the refresh: %v, want Denied", err)
	}
}

// TestTableIsBounded: sessions that are pushed out of the table come back by
// their tickets.
func TestTableIsBounded(t *testing.T) {
	s := newSite(t, func(c *session.Config) { c.Limit = 2 })
	w := newWorkload(t, attest.SGX, "program")
	var tickets []string
	for range 4 {
		tickets = append(tickets, w.open(s, start))
	}
	before := s.verified.Load()
	for _, ticket := range tickets {
		if err := w.shows(s, ticket, start); err != nil {
			t.Error(err)
		}
	}
	if s.verified.Load() != before {
		t.Error("a ticket was verified again")
	}
}

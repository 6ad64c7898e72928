package session_test

import (
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/session"
)

// BenchmarkRemembered is what a session adds to a request: no verification, and
// nothing parsed.
func BenchmarkRemembered(b *testing.B) {
	for _, tee := range tees {
		b.Run(string(tee), func(b *testing.B) {
			s, w := newSite(b), newWorkload(b, tee, "program")
			ticket, client := w.open(s, start), w.client()
			before := s.verified.Load()
			never := func() error { return kms.Denied }
			v, err := s.Admit(ticket, client, s.policy, start)
			if err != nil {
				b.Fatal(err)
			}
			_ = v.Fits(kms.KeyID{}, 1, kms.UseEncrypt, func() error { return nil })
			b.ReportAllocs()
			for b.Loop() {
				v, err := s.Admit(ticket, client, s.policy, start)
				if err == nil {
					err = v.Fits(kms.KeyID{}, 1, kms.UseEncrypt, never)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			if s.verified.Load() != before {
				b.Error("evidence was verified")
			}
		})
	}
}

// BenchmarkRead is the first request of a workload on a node that did not open
// its session.
func BenchmarkRead(b *testing.B) {
	s, w := newSite(b), newWorkload(b, attest.SGX, "program")
	other := newSite(b, func(c *session.Config) { c.Limit = 1 })
	tickets, client := []string{w.open(s, start), w.open(s, start)}, w.client()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := other.Admit(tickets[i%2], client, other.policy, start); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRejudge is a request after the policy changed.
func BenchmarkRejudge(b *testing.B) {
	s, w := newSite(b), newWorkload(b, attest.SGX, "program")
	ticket, client := w.open(s, start), w.client()
	policies := []uint64{1, 2}
	a, c := simulatedPolicy(policies[0]), simulatedPolicy(policies[1])
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := a
		if i%2 == 1 {
			p = c
		}
		if _, err := s.Admit(ticket, client, p, start); err != nil {
			b.Fatal(err)
		}
	}
}

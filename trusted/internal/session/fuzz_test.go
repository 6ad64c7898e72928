package session_test

import (
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/session"
)

// ownSite is a site whose domain no other process has.
func ownSite(f *testing.F) *site {
	return newSite(f, func(c *session.Config) {
		c.Root = root.New(root.NewSet(secret.Random(root.SecretSize)), domain, root.HoldfastLabels)
	})
}

// FuzzTicket: what is not the ticket is refused, in one way.
func FuzzTicket(f *testing.F) {
	s, w := ownSite(f), newWorkload(f, attest.SGX, "program")
	good := w.open(s, start)
	for _, seed := range []string{good, good[:len(good)/2], "", "hfs1.", "hfs1.AAAA", "hfs1." + good, good + "A"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ticket string) {
		_, err := s.Admit(ticket, w.client(), s.policy, start)
		if ticket == good && err != nil || ticket != good && !errors.Is(err, kms.Unauthenticated) {
			t.Errorf("%q: %v", ticket, err)
		}
	})
}

// FuzzChallenge: what is not a challenge of the domain is refused.
func FuzzChallenge(f *testing.F) {
	s := ownSite(f)
	good, _, err := s.New(start)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:40])
	f.Add(append([]byte{2}, good[1:]...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, challenge []byte) {
		_, err := s.Check(challenge, start)
		if string(challenge) == string(good) && err != nil || string(challenge) != string(good) && !errors.Is(err, kms.Unauthenticated) {
			t.Errorf("%x: %v", challenge, err)
		}
	})
}

// FuzzCollateral: whatever collateral says, it ends no session that its vendor
// did not end.
func FuzzCollateral(f *testing.F) {
	s := newSite(f)
	intel, amd := newWorkload(f, attest.SGX, "program"), newWorkload(f, attest.SNP, "program")
	tickets := map[*workload]string{intel: intel.open(s, start), amd: amd.open(s, start)}
	for w := range tickets {
		f.Add(w.tee == attest.SNP, w.collateral(start))
	}
	f.Add(false, []byte("{}"))
	f.Add(true, []byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, isAMD bool, collateral []byte) {
		tee := attest.SGX
		if isAMD {
			tee = attest.SNP
		}
		_ = s.Learn(tee, collateral, s.policy, start)
		for w, ticket := range tickets {
			if err := w.shows(s, ticket, start); err != nil {
				t.Errorf("%s: %v", w.tee, err)
			}
		}
	})
}

package session

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	"github.com/holdfast-kms/holdfast/attest/snp"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// A finding is what evidence proved, and by what.
type finding struct {
	claims     attest.Claims
	basis      []mark
	collateral []byte
}

// kept is the claims without report data, which has served its purpose.
func (f finding) kept() attest.Claims {
	f.claims.ReportData = nil
	return f.claims
}

// judge verifies evidence with the newest collateral there is, learning from
// what it brings, and asks the policy.
func (j *Judge) judge(ctx context.Context, ev attest.Evidence, p *govern.Policy, reportData [64]byte, now time.Time) (finding, error) {
	if ev.TEE == "" {
		ev.TEE = attest.Recognize(ev.Quote)
	}
	if len(ev.Quote) == 0 || len(ev.Quote) > intel.MaxQuote {
		return finding{}, refused(attest.Refuse(attest.Malformed, "quote", "%d bytes", len(ev.Quote)))
	}
	if err := j.complete(ctx, &ev); err != nil {
		return finding{}, err
	}
	_, _ = j.learn(ev.TEE, ev.Collateral, p, now) // what is older, or does not hold, is not used
	f, err := j.verify(ev, p, now)
	if err == nil {
		err = anyone(p, f.claims).BoundTo(reportData).Admit(f.claims, now)
	}
	if err != nil {
		return finding{}, refused(err)
	}
	f.claims = f.kept()
	return f, nil
}

// complete fetches collateral for evidence that brings none.
func (j *Judge) complete(ctx context.Context, ev *attest.Evidence) error {
	if len(ev.Collateral) > 0 {
		return nil
	}
	if j.cfg.Collateral == nil {
		return kms.Errorf(kms.Denied, "the evidence has no collateral").WithHint("send the vendor's collateral with it")
	}
	collateral, err := j.cfg.Collateral(ctx, *ev)
	if err != nil {
		return kms.Errorf(kms.Unavailable, "getting the vendor's collateral: %w", err).WithHint(kms.HintOf(err))
	}
	ev.Collateral = collateral
	return nil
}

// Learn takes collateral that is newer than what is known. Every session that
// was judged by an older part is judged again at its next request. The errors
// are Stale, where a part is older than what is known, and Invalid, where no
// part of it holds under a root that the policy takes.
func (j *Judge) Learn(tee attest.TEE, collateral []byte, p *govern.Policy, now time.Time) error {
	parts, older := j.learn(tee, collateral, p, now)
	switch {
	case parts == 0:
		return kms.Errorf(kms.Invalid, "nothing in the collateral holds")
	case older:
		return kms.Errorf(kms.Stale, "the collateral is older than what is known")
	}
	return nil
}

func (j *Judge) learn(tee attest.TEE, collateral []byte, p *govern.Policy, now time.Time) (n int, older bool) {
	var parts []*part
	if tee == attest.SNP {
		parts = snpParts(parseSNP(collateral), j.shelf, trusted(p.Attestation.SNP, isAMD), now)
	} else if c, err := intel.ParseCollateral(collateral); err == nil {
		terms := p.Attestation.SGX
		if tee == attest.TDX {
			terms = p.Attestation.TDX
		}
		parts = intelParts(c, j.shelf, trusted(terms, isIntel), now)
	}
	_, older = j.shelf.put(parts...)
	return len(parts), older
}

func isIntel(top [sha256.Size]byte) bool { return top == intel.RootFingerprint() }

// trusted says which roots parts are kept under: a vendor's, or where the terms
// take simulated platforms, any. Otherwise a stranger with a root of his own
// could fill the shelf.
func trusted(t attest.Terms, vendors func([sha256.Size]byte) bool) func([sha256.Size]byte) bool {
	return func(top [sha256.Size]byte) bool { return t.Simulated || vendors(top) }
}

// verify verifies evidence with the newest of everything that is known about
// its platform, and says which issues of it that was.
func (j *Judge) verify(ev attest.Evidence, p *govern.Policy, now time.Time) (finding, error) {
	if ev.TEE == attest.SNP {
		return j.verifySNP(ev, p, now)
	}
	needs, ok := intelNeeds(ev.TEE, ev.Quote)
	if !ok { // the verifier says why
		return j.with(ev, nil, now)
	}
	var given intel.Collateral
	if len(ev.Collateral) > 0 {
		c, err := intel.ParseCollateral(ev.Collateral)
		if err != nil {
			return finding{}, err
		}
		given = *c
	}
	newest, basis := intelNewest(given, needs, j.shelf)
	var err error
	if ev.Collateral, err = newest.Encode(); err != nil {
		return finding{}, err
	}
	return j.with(ev, basis, now)
}

func (j *Judge) with(ev attest.Evidence, basis []mark, now time.Time) (finding, error) {
	claims, err := j.cfg.Verifiers.Prove(ev, now)
	return finding{claims, basis, ev.Collateral}, err
}

// verifySNP verifies a report as it came. Only then it is known which root's
// list counts; if a newer one is known, it verifies again with that.
func (j *Judge) verifySNP(ev attest.Evidence, p *govern.Policy, now time.Time) (finding, error) {
	f, err := j.with(ev, nil, now)
	if err != nil {
		return f, err
	}
	if len(f.claims.Root) != sha256.Size {
		return finding{}, attest.Refuse(attest.Malformed, "claims", "without a root")
	}
	top, b := [sha256.Size]byte(f.claims.Root), parseSNP(ev.Collateral)
	id := snpListID(top)
	f.basis = []mark{{Part: id[:]}}
	if brought := b.listPart(top); brought != nil { // it holds: the verifier looked at it
		f.basis[0] = brought.mark
		if trusted(p.Attestation.SNP, isAMD)(top) {
			j.shelf.put(brought)
		}
	}
	known := j.shelf.get(id)
	if known == nil || known.mark.compare(f.basis[0]) <= 0 {
		return f, nil
	}
	ev.Collateral = snp.Bundle(b.certificates, []byte(known.text[1]))
	return j.with(ev, []mark{known.mark}, now)
}

// Refresh fetches what vendors published about the platforms of the sessions
// that this node opened. A platform for which that fails keeps what it has. It
// returns the last failure.
func (j *Judge) Refresh(ctx context.Context, p *govern.Policy, now time.Time) (failed error) {
	if j.cfg.Collateral == nil {
		return nil
	}
	done := map[string]bool{}
	for _, s := range j.sessions.Values() {
		ev, platform := s.platform()
		if platform == "" || done[platform] {
			continue
		}
		done[platform] = true
		collateral, err := j.cfg.Collateral(ctx, ev)
		if err == nil {
			err = j.Learn(ev.TEE, collateral, p, now)
		}
		if err != nil {
			failed = kms.Errorf(kms.KindOf(err), "collateral of %s platform %s: %w", ev.TEE, platform, err)
		}
	}
	return failed
}

// platform is what a session's evidence is fetched collateral for; "" where
// this node does not have the evidence.
func (s *Session) platform() (attest.Evidence, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.evidence.Quote) == 0 {
		return attest.Evidence{}, ""
	}
	id := s.claims.Platform.FMSPC.String()
	if s.claims.TEE == attest.SNP {
		id = s.claims.SNP.Product
	}
	return s.evidence, string(s.claims.TEE) + " " + id
}

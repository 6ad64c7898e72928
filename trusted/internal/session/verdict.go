package session

import (
	"math"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// A Verdict is a session as it was judged under one policy and one generation
// of collateral. It does not change.
type Verdict struct {
	Claims attest.Claims

	policy     *govern.Policy
	generation uint64
	until      int64 // ns since 1970
	err        error

	mu   sync.Mutex
	fits map[use]bool
}

// A use is one operation with a key in one state of it.
type use struct {
	key      kms.KeyID
	revision uint64
	usage    kms.Usage
}

// maxFits bounds what a verdict remembers.
const maxFits = 256

// Fits remembers that the claims fit a key's condition: judge is asked at the
// first use, and again whenever key, policy or collateral have moved.
func (v *Verdict) Fits(key kms.KeyID, revision uint64, usage kms.Usage, judge func() error) error {
	u := use{key, revision, usage}
	v.mu.Lock()
	known := v.fits[u]
	v.mu.Unlock()
	if known {
		return nil
	}
	if err := judge(); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fits == nil || len(v.fits) >= maxFits {
		v.fits = map[use]bool{}
	}
	v.fits[u] = true
	return nil
}

// PolicySerial is that of the policy that the verdict holds under.
func (v *Verdict) PolicySerial() uint64 { return v.policy.Serial }

// anyone admits the program that c proves, whatever it is, on the terms of p.
func anyone(p *govern.Policy, c attest.Claims) attest.Policy {
	var out attest.Policy
	switch {
	case c.TEE == attest.SGX && c.SGX != nil:
		out.SGX = attest.SGXPolicy{Terms: p.Attestation.SGX, Identities: []attest.SGXIdentity{{MRENCLAVE: c.SGX.MRENCLAVE}}}
	case c.TEE == attest.TDX && c.TDX != nil:
		out.TDX = attest.TDXPolicy{Terms: p.Attestation.TDX, Identities: []attest.TDXIdentity{
			{MRTD: c.TDX.MRTD, RTMR1: c.TDX.RTMR1, RTMR2: c.TDX.RTMR2}}}
	case c.TEE == attest.SNP && c.SNP != nil:
		out.SNP = attest.SNPPolicy{Terms: p.Attestation.SNP, Identities: []attest.SNPIdentity{
			{Measurement: c.SNP.Measurement, MaxVMPL: 3, MigrationAgent: true, VLEK: true}}}
	}
	return out
}

// takes asks whether p takes what claims prove of a platform.
func takes(p *govern.Policy, claims attest.Claims, now time.Time) error {
	if err := anyone(p, claims).Admit(claims, now); err != nil {
		return refused(err)
	}
	return nil
}

// refused is what a workload hears: its own evidence is no secret to it.
func refused(err error) error {
	return kms.Errorf(kms.Denied, "the evidence is not taken: %w", err).WithHint(attest.ReasonOf(err).Hint())
}

// endOf is the time in ns since 1970 from which claims are not taken any more,
// though nothing moves.
func endOf(p *govern.Policy, c attest.Claims) int64 {
	terms := map[attest.TEE]attest.Terms{attest.SGX: p.Attestation.SGX, attest.TDX: p.Attestation.TDX, attest.SNP: p.Attestation.SNP}[c.TEE]
	end := c.ValidUntil.UnixNano()
	if age := time.Duration(terms.MaxCollateralAge); age > 0 {
		end = min(end, c.Issued.Add(age).UnixNano())
	}
	return min(end, math.MaxInt64-1) + 1 // both are inclusive
}

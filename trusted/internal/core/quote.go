package core

import (
	"context"
	"errors"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// maxQuotePolicies is how many an app may keep: there is no way to delete one.
const maxQuotePolicies = 1000

// Evidence is how the core gets at the platform, and at what vendors publish.
type Evidence struct {
	// Make has the node's TEE sign report data.
	Make func(ctx context.Context, reportData [64]byte) (attest.Evidence, error)
	// Collateral returns what was published about the machine that made ev; nil:
	// there is nowhere to get it.
	Collateral func(ctx context.Context, ev attest.Evidence) ([]byte, error)
	Verifiers  attest.Verifiers
}

// GenerateQuote has the node's TEE answer a challenge of the caller's. The
// errors are Denied, Invalid, TooLarge and Unavailable.
func (c *Caller) GenerateQuote(ctx context.Context, r kms.QuoteRequest) (kms.Quote, error) {
	if err := c.mayDo(kms.AsymmetricWork); err != nil {
		return kms.Quote{}, err
	}
	if err := checkSize("challenge", len(r.Challenge), kms.MaxChallenge); err != nil {
		return kms.Quote{}, err
	}
	policy, domain := c.view.Policy(), c.view.Founding().Domain
	q := kms.Quote{Domain: domain, PolicySerial: policy.Serial, PolicyDigest: policy.Digest()}
	ev, err := c.core.cfg.Evidence.Make(ctx, attest.ReportData(attest.ForChallenge, attest.Binding{
		Domain: domain, PolicySerial: q.PolicySerial, PolicyDigest: q.PolicyDigest, Nonce: r.Challenge}))
	q.TEE, q.Quote, q.Collateral = string(ev.TEE), ev.Quote, ev.Collateral
	return q, err
}

// VerifyQuote says whether a quote holds, and with a policy whether it is of the
// program that the policy names. The errors are Denied, Invalid, TooLarge, those
// of QuotePolicy, and Unavailable where collateral is needed and cannot be had.
func (c *Caller) VerifyQuote(ctx context.Context, r kms.VerifyQuoteRequest) (v kms.QuoteVerdict, err error) {
	if err := c.mayDo(kms.AsymmetricWork); err != nil {
		return v, err
	}
	if err := checkSize("quote", len(r.Quote), kms.MaxQuote); err != nil {
		return v, err
	}
	if len(r.Collateral) > kms.MaxCollateral {
		return v, kms.Errorf(kms.TooLarge, "at most %d bytes", kms.MaxCollateral).WithField("collateral")
	}
	var wanted *kms.QuotePolicy
	if r.Policy != nil {
		p, err := c.quotePolicy(*r.Policy)
		if err != nil {
			return v, err
		}
		wanted = &p
	}
	ev := attest.Evidence{TEE: attest.Recognize(r.Quote), Quote: r.Quote, Collateral: r.Collateral}
	if err := c.core.cfg.Evidence.complete(ctx, &ev); err != nil {
		return v, err
	}
	err = c.core.slow.use(ctx, func() error { // a millisecond of arithmetic that strangers' evidence asks for
		v = c.judgeQuote(ev, wanted)
		return nil
	})
	return v, err
}

// complete adds what the vendor published to evidence that has no collateral.
// It may wait for the vendor, so nobody holds anything meanwhile that others
// wait for.
func (e *Evidence) complete(ctx context.Context, ev *attest.Evidence) (err error) {
	if ev.TEE == "" || len(ev.Collateral) > 0 || e.Collateral == nil {
		return nil
	}
	ev.Collateral, err = e.Collateral(ctx, *ev)
	switch {
	case errors.Is(err, kms.Invalid): // no quote that one could ask about: the verifier says what is wrong with it
		return nil
	case err != nil:
		return kms.Errorf(kms.Unavailable, "getting the vendor's collateral: %w", err).WithHint(kms.HintOf(err))
	}
	return nil
}

func (c *Caller) judgeQuote(ev attest.Evidence, wanted *kms.QuotePolicy) (v kms.QuoteVerdict) {
	now := c.core.now(c.view)
	claims, err := c.core.cfg.Evidence.Verifiers.Prove(ev, now)
	if err == nil {
		err = quoteTerms(claims, wanted, c.view.Policy().Attestation).Admit(claims, now)
	}
	v = quoteVerdict(claims)
	if v.Valid = err == nil; err != nil {
		v.Reason, v.Detail = string(attest.ReasonOf(err)), err.Error()
	}
	return v
}

// quoteStatuses are those of a platform whose firmware is the vendor's current
// one: what is left to do is the program's or the machine owner's.
var quoteStatuses = []attest.TCBStatus{attest.UpToDate, attest.SWHardeningNeeded, attest.ConfigurationNeeded, attest.ConfigurationAndSWHardeningNeeded}

// quoteTerms is what a quote must fulfil to be called good: of the program that
// is wanted, or of whichever it is. A simulated platform is one that the domain
// itself would take.
func quoteTerms(c attest.Claims, wanted *kms.QuotePolicy, domain govern.Requirements) (p attest.Policy) {
	switch {
	case c.SGX != nil:
		id := attest.SGXIdentity{MRENCLAVE: c.SGX.MRENCLAVE}
		if wanted != nil {
			id = attest.SGXIdentity{MRENCLAVE: wanted.MRENCLAVE[:], MRSIGNER: wanted.MRSIGNER[:]}
		}
		p.SGX.Identities = []attest.SGXIdentity{id}
	case wanted != nil: // a policy names an enclave, which this is not
	case c.TDX != nil:
		p.TDX.Identities = []attest.TDXIdentity{{MRTD: c.TDX.MRTD, RTMR1: c.TDX.RTMR1, RTMR2: c.TDX.RTMR2}}
	case c.SNP != nil:
		p.SNP.Identities = []attest.SNPIdentity{{Measurement: c.SNP.Measurement, VLEK: true}}
	}
	p.SGX.Statuses, p.TDX.Statuses = quoteStatuses, quoteStatuses
	p.SGX.Simulated, p.TDX.Simulated, p.SNP.Simulated = domain.SGX.Simulated, domain.TDX.Simulated, domain.SNP.Simulated
	p.SNP.RevocationUnchecked = true // AMD lists no chip's key
	return p
}

func quoteVerdict(c attest.Claims) kms.QuoteVerdict {
	v := kms.QuoteVerdict{TEE: string(c.TEE), ReportData: c.ReportData, Status: string(c.Status), Advisories: c.Advisories,
		Simulated: c.Simulated, ValidFrom: c.ValidFrom, ValidUntil: c.ValidUntil}
	switch {
	case c.SGX != nil:
		v.MRENCLAVE, v.MRSIGNER = c.SGX.MRENCLAVE, c.SGX.MRSIGNER
	case c.TDX != nil:
		v.MRTD, v.RTMR = c.TDX.MRTD, [4][]byte{c.TDX.RTMR0, c.TDX.RTMR1, c.TDX.RTMR2, c.TDX.RTMR3}
	case c.SNP != nil:
		v.Measurement = c.SNP.Measurement
	}
	return v
}

// SignReply returns the MAC of what VerifyQuote is answered with, under the key
// that the caller signs eHSM's requests with; nil for a caller without one. It
// refuses every text that could be anything else.
func (c *Caller) SignReply(_ context.Context, text []byte) ([]byte, error) {
	if !kms.IsQuoteReply(text) {
		return nil, kms.Errorf(kms.Internal, "not the text of a reply")
	}
	if c.who.Credential == nil {
		return nil, nil
	}
	return c.core.cfg.Authn.MAC(c.who.Credential, text)
}

// PutQuotePolicy keeps which enclave a quote is to be of. The errors are Denied,
// Replayed, Exhausted and Unavailable.
func (c *Caller) PutQuotePolicy(ctx context.Context, r kms.PutQuotePolicyRequest) (kms.QuotePolicy, error) {
	id := kms.QuotePolicyID(kms.NewUUID(random16()))
	_, err := c.change(ctx, func(cmd *command.Command) error {
		app := c.app()
		cmd.Op = &command.Command_PutQuotePolicy{PutQuotePolicy: &command.PutQuotePolicy{MaxPolicies: maxQuotePolicies,
			Policy: &command.QuotePolicy{Id: id[:], App: app[:], MrEnclave: r.MRENCLAVE[:], MrSigner: r.MRSIGNER[:], Created: cmd.GetTime()}}}
		return nil
	})
	if err != nil {
		return kms.QuotePolicy{}, err
	}
	view, err := c.core.cfg.Replica.View(ctx)
	if err != nil {
		return kms.QuotePolicy{}, err
	}
	_, p, _ := view.QuotePolicy(id)
	return p, nil
}

// QuotePolicy returns one of the caller's app. The errors are Denied, NotFound
// and Foreign.
func (c *Caller) QuotePolicy(_ context.Context, id kms.QuotePolicyID) (kms.QuotePolicy, error) {
	if err := c.mayRead(); err != nil {
		return kms.QuotePolicy{}, err
	}
	return c.quotePolicy(id)
}

func (c *Caller) quotePolicy(id kms.QuotePolicyID) (kms.QuotePolicy, error) {
	app, p, found := c.view.QuotePolicy(id)
	switch {
	case !found:
		return kms.QuotePolicy{}, kms.Errorf(kms.NotFound, "no such quote policy")
	case app != c.app():
		return kms.QuotePolicy{}, kms.Errorf(kms.Foreign, "the quote policy belongs to another app")
	}
	return p, nil
}

package server

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/snp"
	"github.com/holdfast-kms/holdfast/attest/tdx"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// verifiers are all there are.
var verifiers = attest.Verifiers{SGX: sgx.Verify, TDX: tdx.Verify, SNP: snp.Verify}

const (
	// selfCheckInterval is how often a node has itself attested again: often
	// enough that a revocation ends its service the same day.
	selfCheckInterval = time.Hour
	// tickInterval is how often a node looks after what is not urgent.
	tickInterval = time.Minute
)

// evidence has the TEE sign report data, and adds the vendor's collateral: what
// a platform hands out itself is often not all, and not the newest.
func (c *Config) evidence(ctx context.Context, reportData [64]byte) (attest.Evidence, error) {
	ev, err := c.Platform.Evidence(ctx, reportData)
	if err != nil {
		return attest.Evidence{}, kms.Errorf(kms.Unavailable, "getting evidence from the platform: %w", err).WithHint(kms.HintOf(err))
	}
	if c.Collateral == nil && len(ev.Collateral) > 0 {
		return ev, nil
	}
	if c.Collateral == nil {
		return attest.Evidence{}, kms.Errorf(kms.Unavailable, "the evidence has no collateral, and there is nowhere to get it").
			WithHint("say where the vendor's collateral is to be had")
	}
	newest, err := c.Collateral(ctx, ev)
	if err == nil {
		ev.Collateral = newest
	} else if len(ev.Collateral) == 0 {
		return attest.Evidence{}, kms.Errorf(kms.Unavailable, "getting the vendor's collateral: %w", err).WithHint(kms.HintOf(err))
	}
	return ev, nil
}

// proveSelf gets evidence for a purpose and verifies it as anybody would. What
// it says of the program is not judged yet.
func (c *Config) proveSelf(ctx context.Context, purpose attest.Purpose, b attest.Binding) (attest.Evidence, attest.Claims, error) {
	reportData := attest.ReportData(purpose, b)
	ev, err := c.evidence(ctx, reportData)
	if err != nil {
		return attest.Evidence{}, attest.Claims{}, err
	}
	claims, err := verifiers.Prove(ev, c.Clock.Now())
	if err == nil {
		err = c.ownHardware(claims, reportData)
	}
	if err != nil {
		return attest.Evidence{}, attest.Claims{}, selfRefused(err)
	}
	return ev, claims, nil
}

// ownHardware refuses what no policy can allow this program.
func (c *Config) ownHardware(claims attest.Claims, reportData [64]byte) error {
	switch {
	case string(claims.ReportData) != string(reportData[:]):
		return attest.Refuse(attest.WrongReportData, "quote", "the platform signed something else than it was asked to")
	case claims.Simulated && !c.Development:
		return attest.Refuse(attest.NotHardware, "root certificate", "%s", claims.Root)
	case claims.Debug && !c.Development:
		return attest.Refuse(attest.DebugEnabled, "attributes", "")
	}
	return nil
}

// selfRefused is what a node says when it does not pass its own examination.
func selfRefused(err error) error {
	hint := attest.ReasonOf(err).Hint()
	if errors.Is(err, attest.NotHardware) { // no policy is asked here
		hint = "use real hardware; to try Holdfast out, use `holdfast dev`"
	}
	return kms.Errorf(kms.Denied, "this node's own evidence: %w", err).WithHint(hint)
}

func nonce() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

// examineSelf is the first thing a node does: before it opens anything it
// verifies its own evidence for a nonce of its own.
func (c *Config) examineSelf(ctx context.Context, charter *govern.Charter) (attest.Claims, error) {
	_, claims, err := c.proveSelf(ctx, attest.ForSelf, attest.Binding{Domain: charter.Digest(), Nonce: nonce()})
	return claims, err
}

// A standing is what a node knows of its own right to serve.
type standing struct {
	cfg     *Config
	charter *govern.Charter
	judged  atomic.Pointer[judgement]
	// strangers, tenants and other nodes wait in lines of their own for the platform.
	strangers, tenants, peers *line

	examining sync.Mutex // held by the request that has the node examined

	mu     sync.Mutex
	claims attest.Claims // of the last examination that did not fail for lack of means
	at     time.Time     // of that examination
	tried  time.Time     // when the last one was
	fault  error         // why the last one did not succeed, if it did not
}

// A judgement is the outcome for one policy until some time.
type judgement struct {
	policy *govern.Policy
	until  time.Time
	err    error
}

func newStanding(cfg *Config, charter *govern.Charter, claims attest.Claims) *standing {
	now := cfg.Clock.Now()
	return &standing{cfg: cfg, charter: charter, claims: claims, at: now, tried: now, strangers: newLine(), tenants: newLine(), peers: newLine()}
}

const (
	// rejudgeAfter bounds how long a judgement is taken from memory: evidence and
	// collateral age meanwhile.
	rejudgeAfter = time.Minute
	// examinationTime bounds an examination that a request waits for.
	examinationTime = 10 * time.Second
)

// check is nil while the policy in force lets this program serve on this
// machine. "No entry, no right."
func (s *standing) check(policy *govern.Policy, now time.Time) error {
	stale, err := s.decide(policy, now)
	if stale {
		return s.examine(policy, now)
	}
	return err
}

// examine has a node whose last examination was long ago examined before it is
// refused: a machine that slept wakes up with old evidence. Who asks meanwhile waits.
func (s *standing) examine(policy *govern.Policy, now time.Time) error {
	s.examining.Lock()
	defer s.examining.Unlock()
	if stale, err := s.decide(policy, now); !stale {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), examinationTime)
	defer cancel()
	s.renew(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remember(policy, now, s.judge(policy, now))
}

// decide is the remembered outcome, or judges and remembers in one step, so that
// what an examination finds meanwhile is not written over. A bad outcome long after the last examination is
// stale: it is not remembered.
func (s *standing) decide(policy *govern.Policy, now time.Time) (stale bool, err error) {
	if j := s.judged.Load(); j != nil && j.policy == policy && now.Before(j.until) {
		return false, j.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.judge(policy, now)
	if err != nil && now.Sub(s.tried) >= rejudgeAfter {
		return true, err
	}
	return false, s.remember(policy, now, err)
}

// remember keeps an outcome, for s.mu's holder, and returns it.
func (s *standing) remember(policy *govern.Policy, now time.Time, err error) error {
	s.judged.Store(&judgement{policy: policy, until: now.Add(rejudgeAfter), err: err})
	return err
}

// judgeUnder is what check would be under another policy.
func (s *standing) judgeUnder(policy *govern.Policy, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.judge(policy, now)
}

func (s *standing) judge(policy *govern.Policy, now time.Time) error {
	if errors.Is(s.fault, kms.Denied) {
		return s.fault
	}
	if err := policy.NodePolicy().Admit(s.claims, now); err != nil {
		return kms.Errorf(kms.Unavailable, "the policy in force does not admit this node: %w", err).
			WithHint(attest.ReasonOf(err).Hint())
	}
	if limit := time.Duration(policy.EvidenceAge); limit > 0 && now.Sub(s.at) > limit {
		return kms.Errorf(kms.Unavailable, "this node's evidence is older than the policy wants").
			WithHint("see to the platform and to where collateral comes from")
	}
	return nil
}

// renew examines the node again. What the platform or the vendor does not give
// for a while changes nothing: the old evidence serves until it has aged. What
// they refuse counts at once, and that the platform's key was revoked counts for
// as long as this process lives: a host that then shows older lists is not heard.
func (s *standing) renew(ctx context.Context) {
	claims, err := s.cfg.examineSelf(ctx, s.charter)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.judged.Store(nil)
	s.tried = s.cfg.Clock.Now()
	if err == nil {
		err = s.follows(claims)
	}
	if !errors.Is(s.fault, attest.Revoked) {
		s.fault = err
	}
	if s.fault != nil {
		s.cfg.Logger.Warn("own attestation", "cause", s.fault, "last", s.at)
		return
	}
	s.claims, s.at = claims, s.tried
}

// follows refuses claims that cannot come after those that there are: of another
// program, which is then not this one, or by an older word of the vendor's.
func (s *standing) follows(claims attest.Claims) error {
	switch {
	case !claims.SameProgram(s.claims):
		return selfRefused(attest.Refuse(attest.IdentityNotAdmitted, "measurement", "the platform signs for another program than at the start"))
	case claims.EvaluationNumber < s.claims.EvaluationNumber:
		return kms.Errorf(kms.Unavailable, "the collateral is of evaluation %d, and %d was seen before", claims.EvaluationNumber, s.claims.EvaluationNumber).
			WithHint("see to where collateral comes from: it hands out what is older than what it had")
	}
	return nil
}

// view is what status tells.
func (s *standing) view() (claims attest.Claims, at time.Time, fault error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claims, s.at, s.fault
}

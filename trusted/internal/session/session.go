// Package session makes attested workloads principals. A workload proves once
// what it is, by evidence that binds the key of its client certificate and
// answers a challenge of the domain, and is then known by a short ticket.
//
// What is guaranteed:
//   - A ticket is good on connections with that client key only, and every node
//     of the domain reads it. Nobody else can make or read one.
//   - No request of a remembered workload verifies a signature or parses
//     evidence. What decides is compared: the policy, the generation of the
//     collateral that this node knows, the time.
//   - If one of them moved, the session is judged again, at that request: under
//     another policy its claims, under newer collateral its quote. The node that
//     opened it keeps the quote; another one that knows newer collateral answers
//     Stale, and the workload proves itself anew.
//   - Collateral never goes back. What a workload brings and what the host
//     fetches are both claims; each part is taken only if its vendor signed it
//     and it is newer than what is known, and evidence is verified with the
//     newest of each. What a node knows it knows until it is restarted: the
//     floors that last are those of the policy.
//
// Which program may use which key is not decided here: keys have conditions.
package session

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
)

// A Client is the SHA-256 of the key of a client certificate
// (SubjectPublicKeyInfo, DER); zeros: the connection has none.
type Client = [sha256.Size]byte

// Config says how a Judge works.
type Config struct {
	Root      *root.Root
	Domain    kms.DomainID
	Verifiers attest.Verifiers
	// Collateral returns what the vendor published about the machine that made
	// ev. It is the host's, and believed no more than a workload is. Nil: workloads
	// bring collateral, or are refused.
	Collateral func(ctx context.Context, ev attest.Evidence) ([]byte, error)
	// Life is how long a ticket is good for; zero means DefaultLife. A policy's
	// age of evidence, where it has one, is a limit too.
	Life time.Duration
	// Limit is how many sessions are remembered; zero means DefaultLimit.
	Limit int
}

// Defaults of Config. A remembered session costs some 12 kB.
const (
	DefaultLife  = time.Hour
	DefaultLimit = 1 << 12
)

// A Judge opens sessions and knows them again. It is safe for concurrent use.
type Judge struct {
	*Challenger
	cfg      Config
	shelf    *shelf
	sessions *lru.Cache[string, *Session] // by ticket
}

// New makes a Judge.
func New(cfg Config) (*Judge, error) {
	if cfg.Life == 0 {
		cfg.Life = DefaultLife
	}
	if cfg.Limit == 0 {
		cfg.Limit = DefaultLimit
	}
	shelf, err := newShelf()
	if err != nil {
		return nil, err
	}
	sessions, err := lru.New[string, *Session](cfg.Limit)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "table of sessions: %w", err)
	}
	return &Judge{Challenger: NewChallenger(cfg.Root), cfg: cfg, shelf: shelf, sessions: sessions}, nil
}

// An Opening is what a workload shows to open a session.
type Opening struct {
	Challenge []byte
	Evidence  attest.Evidence
	ClientKey []byte // of the connection's client certificate, SubjectPublicKeyInfo in DER
}

// Open verifies evidence and returns a ticket. Any program is taken that meets
// what the policy asks of all evidence. The errors are Unauthenticated, Stale
// (the challenge), Denied and Unavailable (no collateral).
func (j *Judge) Open(ctx context.Context, o Opening, p *govern.Policy, now time.Time) (string, time.Time, error) {
	_, f, err := j.prove(ctx, attest.ForWorkload, o, p, now)
	if err != nil {
		return "", time.Time{}, err
	}
	client := sha256.Sum256(o.ClientKey)
	c := &contents{Client: client[:], Opened: now.UnixMilli(), Expires: now.Add(j.cfg.Life).UnixMilli(), Claims: f.claims, Basis: f.basis}
	ticket, err := sealTicket(j.cfg.Root, c)
	if err != nil {
		return "", time.Time{}, err
	}
	s := newSession(c)
	s.evidence = attest.Evidence{TEE: f.claims.TEE, Quote: slices.Clone(o.Evidence.Quote)}
	if f.claims.TEE == attest.SNP { // the certificate of the chip's key is in nothing that is published
		s.evidence.Collateral = slices.Clone(f.collateral)
	}
	j.sessions.Add(ticket, s)
	return ticket, time.Unix(0, s.end(p)), nil
}

// Prove verifies evidence that answers a challenge for some purpose, and that
// the policy takes evidence of such a platform. Which program it is remains to
// be judged: the claims say it, without report data. It returns the id of the
// challenge, for uses that are to happen once. The errors are those of Open.
func (j *Judge) Prove(ctx context.Context, purpose attest.Purpose, o Opening, p *govern.Policy, now time.Time) (id [16]byte, claims attest.Claims, err error) {
	id, f, err := j.prove(ctx, purpose, o, p, now)
	return id, f.claims, err
}

func (j *Judge) prove(ctx context.Context, purpose attest.Purpose, o Opening, p *govern.Policy, now time.Time) (id [16]byte, f finding, err error) {
	if len(o.ClientKey) == 0 { // evidence that is bound to no key is anybody's
		return id, f, kms.Errorf(kms.Unauthenticated, "the connection has no client certificate").
			WithHint("connect with a certificate whose key the evidence is bound to")
	}
	if id, err = j.Check(o.Challenge, now); err != nil {
		return id, f, err
	}
	want := attest.ReportData(purpose, attest.Binding{Keys: [][]byte{o.ClientKey}, Domain: j.cfg.Domain, Nonce: o.Challenge})
	f, err = j.judge(ctx, o.Evidence, p, want, now)
	return id, f, err
}

// Admit finds the session of a ticket that was shown on a connection with this
// client key, and judges it under p. The errors are Unauthenticated (no session
// at all, whatever is wrong with it), Stale (open another one) and Denied (what
// was proven is not taken any more).
func (j *Judge) Admit(ticket string, client Client, p *govern.Policy, now time.Time) (*Verdict, error) {
	s, known := j.sessions.Get(ticket)
	if !known {
		c, err := openTicket(j.cfg.Root, ticket)
		if err != nil {
			return nil, err
		}
		s = newSession(c)
	}
	if s.client != client || client == (Client{}) {
		return nil, errTicket
	}
	if !known {
		j.sessions.Add(ticket, s) // only now: a thief moves nobody out of the table
	}
	v := s.verdict.Load()
	if v == nil || v.policy != p || v.generation != j.shelf.generation.Load() {
		v = j.rejudge(s, p, now)
	}
	if v.err == nil && now.UnixNano() >= v.until {
		return nil, errAged
	}
	return v, v.err
}

var (
	errAged = kms.Errorf(kms.Stale, "the session has ended").WithHint("open another one")
	// errOutdated is for a ticket whose evidence this node does not have.
	errOutdated = kms.Errorf(kms.Stale, "newer collateral was published than this session was judged by").WithHint("open another one")
)

// rejudge judges a session that something moved for since it was judged.
func (j *Judge) rejudge(s *Session, p *govern.Policy, now time.Time) *Verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Read before the shelf is: a part that comes meanwhile is looked at next time.
	generation := j.shelf.generation.Load()
	v := &Verdict{policy: p, generation: generation}
	if j.shelf.outdates(s.basis) {
		v.err = j.reprove(s, p, now)
	}
	v.Claims, v.until = s.claims, s.end(p)
	if v.err == nil && now.UnixNano() < v.until {
		v.err = takes(p, s.claims, now)
	}
	s.verdict.Store(v)
	return v
}

// reprove verifies a session's quote with collateral that is newer.
func (j *Judge) reprove(s *Session, p *govern.Policy, now time.Time) error {
	if len(s.evidence.Quote) == 0 {
		return errOutdated
	}
	f, err := j.verify(s.evidence, p, now)
	if err != nil {
		return refused(err)
	}
	s.claims, s.basis = f.kept(), f.basis
	return nil
}

// A Session is what is remembered of a workload.
type Session struct {
	client          Client
	opened, expires time.Time
	verdict         atomic.Pointer[Verdict]

	mu       sync.Mutex
	evidence attest.Evidence // empty where another node opened the session
	claims   attest.Claims
	basis    []mark
}

func newSession(c *contents) *Session {
	return &Session{client: Client(c.Client), opened: time.UnixMilli(c.Opened), expires: time.UnixMilli(c.Expires), claims: c.Claims, basis: c.Basis}
}

// end is the time in ns since 1970 from which the session is over, though
// nothing moves.
func (s *Session) end(p *govern.Policy) int64 {
	end := min(s.expires.UnixNano(), endOf(p, s.claims))
	if age := time.Duration(p.EvidenceAge); age > 0 {
		end = min(end, s.opened.Add(age).UnixNano())
	}
	return end
}

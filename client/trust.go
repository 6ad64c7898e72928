package client

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/snp"
	"github.com/holdfast-kms/holdfast/attest/tdx"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// verifiers are all there are; the vendors' roots are compiled into them.
var verifiers = attest.Verifiers{SGX: sgx.Verify, TDX: tdx.Verify, SNP: snp.Verify}

// A Trust says what a node has to prove before a request is sent to it. With one
// in Config every new connection is attested: the node shows evidence that the
// key which ends this TLS connection was made inside a program that the domain's
// policy names, and the documents that say what the policy is. All of it follows
// from the charter; nothing else about the node is believed.
type Trust struct {
	// Charter is the document that the domain was founded on, JSON. It must come
	// from who founded the domain, and not from a node. Empty: nothing is trusted.
	Charter []byte

	// Domain is the one domain to trust. Zero: the domain that Memory knows under
	// this charter, or the first one met where it knows none.
	Domain kms.DomainID

	// MinSerial is the lowest serial of a policy to accept: a floor for the first
	// contact, when Memory knows nothing yet. Zero: any.
	MinSerial uint64

	// AllowSimulated accepts nodes, and domains whose policy takes nodes, on a
	// simulated platform, which protects nothing.
	AllowSimulated bool

	// Require, if not nil, must admit the node's evidence too, beside the
	// domain's policy.
	Require *attest.Policy

	// MaxAge is how long a proof counts. Zero: as long as the domain's policy
	// lets evidence stand. It never lengthens that, nor outlives the policy or
	// the collateral of the evidence.
	MaxAge time.Duration

	// Memory keeps what was seen of each domain, so that nobody can show an older
	// policy later. Nil: the Client remembers while it lives.
	Memory Memory
}

// A Memory remembers the latest policy that was seen of each domain. It is safe
// for use by several goroutines. An error of either method refuses the node.
type Memory interface {
	// Recall returns the marks under a charter, in any order.
	Recall(charter govern.Digest) ([]Mark, error)
	// Remember keeps m for good. Of marks of one domain only those with the highest
	// serial and with the most amendments need be kept.
	Remember(m Mark) error
}

// A Mark is the latest policy seen of a domain, and the amendments of its charter
// by which it was judged: who signed before the last of them rules no more.
type Mark struct {
	Charter       govern.Digest
	Domain        kms.DomainID
	Serial        uint64
	Policy        govern.Digest
	Amendments    int           // how many there were
	LastAmendment govern.Digest // zero where there were none
}

// Verified is what a node has proved.
type Verified struct {
	Name   string       // of the domain, by its charter
	Domain kms.DomainID // charter and bootstrap
	Node   kms.NodeID   // as the node says
	Claims attest.Claims
	Policy *govern.Policy // in force

	// Authority is the domain's certificate authority.
	Authority *x509.Certificate
	// Key is the SHA-256 of the SubjectPublicKeyInfo of the key that ends TLS.
	Key [sha256.Size]byte

	At    time.Time // when it was proved, by this machine's clock
	Until time.Time // from then on it does not count

	mark Mark
}

// CA is the domain's certificate authority in PEM: what a client that cannot
// attest may be given to trust.
func (v *Verified) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.Authority.Raw})
}

// An Inquiry is what the caller of Verify knows of the conversation in which a
// proof was given.
type Inquiry struct {
	Nonce []byte            // that the proof answers; 32 fresh random bytes
	Leaf  *x509.Certificate // that the node presented on that very connection, with a handshake that was completed
	Marks []Mark            // what is known of domains under the charter
	At    time.Time         // now
}

// Verify checks a proof, in this order: the charter is ours; the bootstrap
// founds a domain on it, and the one that is meant; the amendments follow; the
// policy is signed by who rules then, is in force, and is not older than what
// was seen; the certificate on the connection is from the authority that is
// shown; the evidence is genuine, of a program that the policy names, and bound
// to both keys, the domain, the policy and the nonce. The error is Denied with a
// hint, Expired for a policy past its time, or Stale for one that was superseded;
// errors.Is finds the attest.Reason where evidence was refused.
//
// It is pure. What it finds is to be remembered by the caller.
func (t *Trust) Verify(p *kms.Proof, in Inquiry) (*Verified, error) {
	if t == nil || p == nil || in.Leaf == nil || len(in.Nonce) != nonceSize {
		return nil, kms.Errorf(kms.Invalid, "nothing to verify")
	}
	standing, name, err := t.standing(p, in.Marks)
	if err != nil {
		return nil, err
	}
	policy, err := t.policy(standing, p, in)
	if err != nil {
		return nil, err
	}
	ca, err := authorityOf(p.Authority, in.Leaf, in.At)
	if err != nil {
		return nil, err
	}
	claims, err := t.judge(p, policy, standing.Domain, ca, in)
	if err != nil {
		return nil, err
	}
	return &Verified{
		Name: name, Domain: standing.Domain, Node: p.Node, Claims: claims, Policy: policy, Authority: ca,
		Key: sha256.Sum256(in.Leaf.RawSubjectPublicKeyInfo), At: in.At, Until: t.until(policy, claims, in.At),
		mark: Mark{Charter: standing.Charter, Domain: standing.Domain, Serial: policy.Serial, Policy: policy.Digest(),
			Amendments: standing.Amendments, LastAmendment: standing.LastAmendment},
	}, nil
}

// until is when what was proved at the time at ceases to count.
func (t *Trust) until(p *govern.Policy, c attest.Claims, at time.Time) time.Time {
	age := defaultMaxAge
	if limit := time.Duration(p.EvidenceAge); limit > 0 {
		age = limit
	}
	if t.MaxAge > 0 {
		age = min(age, t.MaxAge)
	}
	until := at.Add(age)
	for _, end := range []time.Time{p.ValidUntil, c.ValidUntil} {
		if !end.IsZero() && end.Before(until) {
			until = end
		}
	}
	return until
}

const (
	// defaultMaxAge is for a policy that says nothing.
	defaultMaxAge = time.Hour
	// clockSlack is how far a policy may have come into force before its time, by
	// this machine's clock.
	clockSlack = 5 * time.Minute
)

// Package governtest makes owners, signers and the documents they sign, for
// tests of any package.
package governtest

import (
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// Rulers are the people of a domain, with their keys.
type Rulers struct {
	Charter  *govern.Charter
	Owner    *govern.PrivateKey
	Signers  []*govern.PrivateKey // two of the three are the threshold
	Operator *govern.PrivateKey
	Holders  []*govern.PrivateKey // of recovery keys; two of the three are the threshold. None: see Recoverable
	// Founding is what Found made.
	Founding *govern.Founding

	t      testing.TB
	policy *govern.Policy // the last one signed
}

// New makes an owner, three signers of whom two decide, and a charter.
func New(t testing.TB) *Rulers {
	t.Helper()
	r := &Rulers{t: t, Owner: newKey(t), Operator: newKey(t)}
	r.Charter = &govern.Charter{Version: govern.CharterVersion, Name: "test", Owner: r.Owner.Public(),
		Threshold: 2, RestartMode: govern.Sealed,
		Intervals: govern.DefaultIntervals()}
	for range 3 {
		k := newKey(t)
		r.Signers = append(r.Signers, k)
		r.Charter.Signers = append(r.Charter.Signers, k.Public())
	}
	return r
}

// Recoverable makes the same with three holders of recovery keys.
func Recoverable(t testing.TB) *Rulers {
	t.Helper()
	r := New(t)
	for range 3 {
		k, err := govern.NewPrivateKey(govern.ECDSAP256)
		if err != nil {
			t.Fatal(err)
		}
		r.Holders = append(r.Holders, k)
		r.Charter.RecoveryKeys = append(r.Charter.RecoveryKeys, k.Public())
	}
	r.Charter.RecoveryThreshold = 2
	return r
}

func newKey(t testing.TB) *govern.PrivateKey {
	t.Helper()
	k, err := govern.NewPrivateKey(govern.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Policy is one that admits everything a simulated machine of this measurement
// shows, lets anyone enrol, and is good for a year from `from`.
func (r *Rulers) Policy(mrenclave []byte, from time.Time) *govern.Policy {
	simulated := attest.Terms{Simulated: true}
	return &govern.Policy{
		Version: govern.PolicyVersion, CharterDigest: r.Charter.Digest(), Serial: 1, ValidUntil: from.AddDate(1, 0, 0).UTC().Truncate(time.Second),
		Attestation: govern.Requirements{SGX: simulated, TDX: simulated, SNP: simulated},
		Nodes:       []govern.NodeEntry{{Name: "node", Identity: govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: mrenclave}}}},
		Enrolment:   govern.Enrolment{Mode: govern.EnrolOpen},
		Operators:   []govern.PublicKey{r.Operator.Public()}, Admission: govern.AdmitAttested,
		EphemeralAge: attest.Age(time.Hour), EvidenceAge: attest.Age(24 * time.Hour),
	}
}

// Found signs policy 1 and the bootstrap that names it and the founder.
func (r *Rulers) Found(founder kms.NodeID, p *govern.Policy) (bootstrap, policy []byte) {
	r.t.Helper()
	policy = r.Sign(govern.PolicyType, p.Canonical(), r.Signers[:2]...)
	b := &govern.Bootstrap{Version: govern.BootstrapVersion, CharterDigest: r.Charter.Digest(), Founder: founder, PolicyDigest: p.Digest()}
	bootstrap = r.Sign(govern.BootstrapType, b.Canonical(), append([]*govern.PrivateKey{r.Owner}, r.Signers[:2]...)...)
	var err error
	if r.Founding, err = govern.Found(r.Charter, bootstrap, policy); err != nil {
		r.t.Fatal(err)
	}
	r.policy = r.Founding.Policy
	return bootstrap, policy
}

// Next signs the successor of the last policy, as edit changes it, by the
// threshold and the owner.
func (r *Rulers) Next(edit func(*govern.Policy)) []byte {
	r.t.Helper()
	p := *r.policy
	p.Domain, p.Previous, p.Serial = r.Founding.Domain, r.policy.Digest(), p.Serial+1
	if edit != nil {
		edit(&p)
	}
	r.policy = &p
	return r.Sign(govern.PolicyType, p.Canonical(), append([]*govern.PrivateKey{r.Owner}, r.Signers[:2]...)...)
}

// Sign puts a document into an envelope with a signature of each key.
func (r *Rulers) Sign(t govern.PayloadType, payload []byte, keys ...*govern.PrivateKey) []byte {
	r.t.Helper()
	envelope := govern.NewEnvelope(t, payload)
	for _, k := range keys {
		var err error
		if envelope, err = govern.Sign(envelope, k); err != nil {
			r.t.Fatal(err)
		}
	}
	return envelope
}

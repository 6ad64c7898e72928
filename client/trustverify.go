package client

import (
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// standing finds out who rules the domain, and that it is the one that is meant.
func (t *Trust) standing(p *kms.Proof, marks []Mark) (govern.Standing, string, error) {
	var none govern.Standing
	charter, err := govern.ParseCharter(t.Charter)
	if err != nil {
		return none, "", err
	}
	shown, err := govern.ParseCharter(p.Charter)
	if err != nil {
		return none, "", deny(err, "", "the charter that the node shows")
	}
	if shown.Digest() != charter.Digest() {
		return none, "", denyf("is this the node, and the charter, that you mean?", "the node's charter is another one: %q, digest %s", shown.Name, shown.Digest())
	}
	_, standing, err := govern.VerifyBootstrap(charter, p.Bootstrap)
	if err != nil {
		return none, "", deny(err, "", "the bootstrap that the node shows")
	}
	if len(p.Amendments) > maxAmendments {
		return none, "", denyf("", "the node shows %d amendments", len(p.Amendments))
	}
	for _, envelope := range p.Amendments {
		if standing, err = standing.Amend(envelope); err != nil {
			return none, "", deny(err, "", "an amendment that the node shows")
		}
		if err := sameAmendment(standing, marks); err != nil {
			return none, "", err
		}
	}
	for _, m := range marks {
		if m.Domain == standing.Domain && standing.Amendments < m.Amendments {
			return none, "", superseded("the node shows %d amendments of the charter, and %d were seen before", standing.Amendments, m.Amendments)
		}
	}
	return standing, charter.Name, t.checkDomain(standing, p.Domain, marks)
}

// sameAmendment refuses an amendment in the place of another that was seen.
func sameAmendment(s govern.Standing, marks []Mark) error {
	for _, m := range marks {
		if m.Domain == s.Domain && m.Amendments == s.Amendments && m.LastAmendment != s.LastAmendment {
			return denyf("somebody signed two: ask the signers", "another amendment %d of the charter than was seen before", s.Amendments)
		}
	}
	return nil
}

// checkDomain refuses every domain but the one that is meant: several can be
// founded on one charter.
func (t *Trust) checkDomain(s govern.Standing, said kms.DomainID, marks []Mark) error {
	known := func(m Mark) bool { return m.Charter == s.Charter }
	mine := func(m Mark) bool { return known(m) && m.Domain == s.Domain }
	switch {
	case said != s.Domain:
		return denyf("", "the node says that it is of domain %s, and its documents found %s", said, s.Domain)
	case t.Domain != kms.DomainID{} && t.Domain != s.Domain:
		return denyf("is this the node that you mean?", "the node is of another domain, %s", s.Domain)
	case t.Domain == kms.DomainID{} && slices.ContainsFunc(marks, known) && !slices.ContainsFunc(marks, mine):
		return denyf("if its signers founded a second domain on this charter, name the domain that you mean",
			"the node is of another domain than was seen under this charter before, %s", s.Domain)
	}
	return nil
}

// policy opens the policy that the node says is in force.
func (t *Trust) policy(s govern.Standing, p *kms.Proof, in Inquiry) (*govern.Policy, error) {
	policy, err := s.OpenPolicy(p.Policy)
	if err != nil {
		return nil, deny(err, "", "the policy that the node shows")
	}
	if policy.Serial < t.MinSerial {
		return nil, superseded("the node shows policy %d, and you asked for %d or later", policy.Serial, t.MinSerial)
	}
	for _, m := range in.Marks {
		if m.Domain != s.Domain {
			continue
		}
		if policy.Serial < m.Serial {
			return nil, superseded("the node shows policy %d, and policy %d was seen before", policy.Serial, m.Serial)
		}
		if policy.Serial == m.Serial && policy.Digest() != m.Policy {
			return nil, denyf("the signers signed two policies under one serial: ask them which one they mean",
				"the node shows another policy %d than was seen before", policy.Serial)
		}
	}
	return policy, t.checkPolicy(policy, in.At)
}

func (t *Trust) checkPolicy(p *govern.Policy, at time.Time) error {
	if err := p.ValidAt(at); err != nil {
		return err
	}
	if p.Activates.After(at.Add(clockSlack)) {
		return denyf("compare this machine's clock with the domain's", "policy %d comes into force at %s only", p.Serial, p.Activates.UTC().Format(time.RFC3339))
	}
	// Whoever plays a simulated node is given the master secret, so that what the
	// node at the other end of this connection runs on does not matter.
	if !t.AllowSimulated && takesSimulated(p.NodePolicy()) {
		return deny(attest.Refuse(attest.NotHardware, "policy", ""), hintSimulated, "the domain's policy takes simulated nodes")
	}
	return nil
}

func takesSimulated(p attest.Policy) bool {
	return p.SGX.Simulated && len(p.SGX.Identities) > 0 || p.TDX.Simulated && len(p.TDX.Identities) > 0 || p.SNP.Simulated && len(p.SNP.Identities) > 0
}

// authorityOf checks that the connection's certificate is from the authority.
// Its names do not matter: the key is what the evidence vouches for.
func authorityOf(der []byte, leaf *x509.Certificate, at time.Time) (*x509.Certificate, error) {
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, deny(err, "", "the certificate authority that the node shows")
	}
	if !ca.IsCA || ca.CheckSignatureFrom(ca) != nil {
		return nil, denyf("", "the certificate authority that the node shows is none, or was altered")
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return nil, deny(err, hintMiddle, "the connection's certificate is not from the authority that the node shows")
	}
	return ca, nil
}

// judge verifies the evidence, bound to everything that was found out so far.
func (t *Trust) judge(p *kms.Proof, policy *govern.Policy, domain kms.DomainID, ca *x509.Certificate, in Inquiry) (attest.Claims, error) {
	want := attest.ReportData(attest.ForService, attest.Binding{
		Keys:   [][]byte{in.Leaf.RawSubjectPublicKeyInfo, ca.RawSubjectPublicKeyInfo},
		Domain: domain, PolicySerial: policy.Serial, PolicyDigest: policy.Digest(), Nonce: in.Nonce,
	})
	ev := attest.Evidence{TEE: attest.TEE(p.Evidence.TEE), Quote: p.Evidence.Quote, Collateral: p.Evidence.Collateral}
	claims, err := verifiers.Verify(ev, policy.NodePolicy().BoundTo(want), in.At)
	if err == nil && claims.Simulated && !t.AllowSimulated {
		err = attest.Refuse(attest.NotHardware, "policy", "")
	}
	if err == nil && t.Require != nil {
		err = t.Require.Admit(claims, in.At)
	}
	if err == nil {
		return claims, nil
	}
	hint := attest.ReasonOf(err).Hint()
	switch {
	case errors.Is(err, attest.WrongReportData):
		hint = hintMiddle
	case errors.Is(err, attest.NotHardware):
		hint = hintSimulated
	}
	return attest.Claims{}, deny(err, hint, "the node's evidence")
}

const (
	hintMiddle    = "it is evidence of another connection: somebody may sit between you and the node"
	hintSimulated = "a simulated platform protects nothing: for a domain to try things out with, say that you want it (AllowSimulated, --allow-simulated)"
)

// maxAmendments is more than a domain sees in its life.
const maxAmendments = 256

func denyf(hint, format string, args ...any) error {
	return kms.Errorf(kms.Denied, format, args...).WithHint(hint)
}

// deny refuses for a cause. What is stale or expired stays so: it may be the
// node that is behind. An empty hint leaves the cause's.
func deny(err error, hint, what string) error {
	kind := kms.Denied
	if k := kms.KindOf(err); k == kms.Stale || k == kms.Expired {
		kind = k
	}
	return kms.Errorf(kind, "%s: %w", what, err).WithHint(hint)
}

func superseded(format string, args ...any) error {
	return kms.Errorf(kms.Stale, format, args...).WithHint("the node has not caught up, or somebody shows you an old one: ask another node, or the signers")
}

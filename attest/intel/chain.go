package intel

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"slices"

	"github.com/holdfast-kms/holdfast/attest"
)

// Names of Intel's certificates. Intel's root signs nobody else under them, so
// the name is what tells the roles apart.
const (
	nameRoot        = "Intel SGX Root CA"
	namePlatformCA  = "Intel SGX PCK Platform CA"
	nameProcessorCA = "Intel SGX PCK Processor CA"
	namePCK         = "Intel SGX PCK Certificate"
	nameTCBSigner   = "Intel SGX TCB Signing"
)

// maxChain is the longest chain there is: PCK, its CA, the root.
const maxChain = 3

type certificate struct {
	*x509.Certificate
	PublicKey   *ecdsa.PublicKey
	fingerprint [sha256.Size]byte
}

// parseChain reads certificates in PEM, leaf first. Nothing may stand between
// or after them but one end of line or one zero byte: printed again they are
// the same text, so that there is one way to write a chain.
func parseChain(part string, text []byte) ([]*certificate, error) {
	text = bytes.TrimSuffix(text, []byte{0})
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	if !bytes.HasSuffix(text, []byte("\n")) {
		text = append(bytes.Clone(text), '\n')
	}
	var chain []*certificate
	for len(text) > 0 {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE" || !bytes.Equal(pem.EncodeToMemory(block), text[:len(text)-len(rest)]) {
			return nil, attest.Refuse(attest.Malformed, part, "not certificates in PEM")
		}
		if len(chain) == maxChain {
			return nil, attest.Refuse(attest.Malformed, part, "more than %d certificates", maxChain)
		}
		c, err := parseCertificate(part, block.Bytes)
		if err != nil {
			return nil, err
		}
		chain, text = append(chain, c), rest
	}
	return chain, nil
}

func parseCertificate(part string, der []byte) (*certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, attest.Refuse(attest.Malformed, part, "%w", err)
	}
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, attest.Refuse(attest.BadCertificate, part, "%q has no P-256 key", c.Subject.CommonName)
	}
	return &certificate{Certificate: c, PublicKey: key, fingerprint: sha256.Sum256(der)}, nil
}

// A role is a place in a chain.
type role struct {
	names []string
	ca    bool
}

var (
	rootRole   = role{names: []string{nameRoot}, ca: true}
	pckCARole  = role{names: []string{namePlatformCA, nameProcessorCA}, ca: true}
	pckRole    = role{names: []string{namePCK}}
	signerRole = role{names: []string{nameTCBSigner}}

	pckRoles    = []role{pckRole, pckCARole, rootRole}
	pckCARoles  = []role{pckCARole, rootRole}
	signerRoles = []role{signerRole, rootRole}
)

// fill refuses a certificate that does not have the role.
func (r role) fill(c *certificate) error {
	part := partOf(c)
	usage := x509.KeyUsageDigitalSignature
	if r.ca {
		usage = x509.KeyUsageCertSign
	}
	switch {
	case !slices.Contains(r.names, c.Subject.CommonName):
		return attest.Refuse(attest.WrongSigner, part, "in the place of %q", r.names[0])
	case c.Version != 3 || c.SignatureAlgorithm != x509.ECDSAWithSHA256:
		return attest.Refuse(attest.BadCertificate, part, "version %d, signed with %s", c.Version, c.SignatureAlgorithm)
	case !c.BasicConstraintsValid || c.IsCA != r.ca || c.KeyUsage&usage == 0:
		return attest.Refuse(attest.BadCertificate, part, "its usages are not those of its role")
	case len(c.UnhandledCriticalExtensions) > 0:
		return attest.Refuse(attest.BadCertificate, part, "unknown critical extension %s", c.UnhandledCriticalExtensions[0])
	}
	return nil
}

func partOf(c *certificate) string { return "certificate " + c.Subject.CommonName }

// link is a signature of one certificate over another.
type link struct{ child, parent [sha256.Size]byte }

// checkChain verifies that chain has exactly these roles, that each
// certificate is signed by the next and the last by itself, that all are valid
// at v.at, and that it ends in the root that every other chain of this
// verification ends in: otherwise a simulated signer could speak for a genuine
// platform.
func (v *verification) checkChain(chain []*certificate, roles []role) error {
	for i, c := range chain[:min(len(chain), len(roles))] {
		if err := roles[i].fill(c); err != nil {
			return err
		}
	}
	if len(chain) != len(roles) {
		return attest.Refuse(attest.BrokenChain, "certificate chain", "%d certificates, not %d", len(chain), len(roles))
	}
	root := chain[len(chain)-1]
	if v.root != nil && v.root.fingerprint != root.fingerprint {
		return attest.Refuse(attest.BrokenChain, partOf(root), "not the root that the PCK chain ends in")
	}
	for i, c := range chain {
		if err := v.checkLink(c, chain[min(i+1, len(chain)-1)]); err != nil {
			return err
		}
		if err := v.checkValidity(c); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) checkLink(child, parent *certificate) error {
	l := link{child.fingerprint, parent.fingerprint}
	if v.links[l] {
		return nil
	}
	if !bytes.Equal(child.RawIssuer, parent.RawSubject) {
		return attest.Refuse(attest.BrokenChain, partOf(child), "its issuer is %q, not %q", child.Issuer.CommonName, parent.Subject.CommonName)
	}
	if err := child.CheckSignatureFrom(parent.Certificate); err != nil {
		return attest.Refuse(attest.BrokenChain, partOf(child), "%w", err)
	}
	if v.links == nil {
		v.links = map[link]bool{}
	}
	v.links[l] = true
	return nil
}

func (v *verification) checkValidity(c *certificate) error {
	switch {
	case v.at.Before(c.NotBefore):
		return attest.Refuse(attest.CertificateNotYet, partOf(c), "valid from %s", stamp(c.NotBefore))
	case v.at.After(c.NotAfter):
		return attest.Refuse(attest.CertificateExpired, partOf(c), "valid until %s", stamp(c.NotAfter))
	}
	v.window.narrow(c.NotBefore, c.NotAfter)
	return nil
}

package intel

import (
	"bytes"
	"crypto/x509"

	"github.com/holdfast-kms/holdfast/attest"
)

// revocation verifies the revocation lists in c, as far as they are there, and
// refuses if one names a certificate of the PCK chain. Certificates of other
// chains are looked up when those are checked, with v.rootCRL.
func (v *verification) revocation(c *Collateral) error {
	if len(c.RootCRL) > 0 {
		list, err := v.list("root CA's revocation list", c.RootCRL, v.root)
		if err != nil {
			return err
		}
		v.rootCRL = list
		if err := v.checkRevoked(v.pckCA); err != nil {
			return err
		}
	}
	if len(c.PCKCRL) > 0 {
		if err := v.pckRevocation(c); err != nil {
			return err
		}
	} else if c.PCKCRLChain != "" {
		return attest.Refuse(attest.MissingCollateral, "PCK CA's revocation list", "its issuer chain is there and it is not")
	}
	v.revocationChecked = len(c.RootCRL) > 0 && len(c.PCKCRL) > 0
	return nil
}

func (v *verification) pckRevocation(c *Collateral) error {
	const part = "PCK CA's revocation list"
	issuer, err := v.pckCRLIssuer(c)
	if err != nil {
		return err
	}
	list, err := v.list(part, c.PCKCRL, issuer)
	if err != nil {
		return err
	}
	if lists(list, v.pck) {
		return attest.Refuse(attest.Revoked, partOf(v.pck), "serial number %x", v.pck.SerialNumber)
	}
	return nil
}

// pckCRLIssuer is the PCK CA as the collateral has it. It may be another
// certificate than the quote's, renewed since, but must be the same CA.
func (v *verification) pckCRLIssuer(c *Collateral) (*certificate, error) {
	if c.PCKCRLChain == "" {
		return v.pckCA, nil
	}
	const part = "issuer chain of the PCK CA's revocation list"
	chain, err := parseChain(part, []byte(c.PCKCRLChain))
	if err != nil {
		return nil, err
	}
	if err := v.checkChain(chain, pckCARoles); err != nil {
		return nil, err
	}
	issuer := chain[0]
	if !bytes.Equal(issuer.RawSubject, v.pckCA.RawSubject) || !issuer.PublicKey.Equal(v.pckCA.PublicKey) {
		return nil, attest.Refuse(attest.CollateralMismatch, part, "of %q, and the PCK is from %q", issuer.Subject.CommonName, v.pckCA.Subject.CommonName)
	}
	return issuer, v.checkRevoked(issuer)
}

// checkRevoked looks up a certificate that the root signed.
func (v *verification) checkRevoked(c *certificate) error {
	if v.rootCRL != nil && lists(v.rootCRL, c) {
		return attest.Refuse(attest.Revoked, partOf(c), "serial number %x", c.SerialNumber)
	}
	return nil
}

func lists(list *x509.RevocationList, c *certificate) bool {
	for _, entry := range list.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(c.SerialNumber) == 0 {
			return true
		}
	}
	return false
}

// list verifies one revocation list.
func (v *verification) list(part string, der []byte, issuer *certificate) (*x509.RevocationList, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, attest.Refuse(attest.Malformed, part, "%w", err)
	}
	if len(list.Raw) != len(der) {
		return nil, attest.Refuse(attest.Malformed, part, "%d bytes too long", len(der)-len(list.Raw))
	}
	if !bytes.Equal(list.RawIssuer, issuer.RawSubject) {
		return nil, attest.Refuse(attest.CollateralMismatch, part, "its issuer is %q, not %q", list.Issuer.CommonName, issuer.Subject.CommonName)
	}
	if err := list.CheckSignatureFrom(issuer.Certificate); err != nil {
		return nil, attest.Refuse(attest.BrokenChain, part, "%w", err)
	}
	// A critical extension says that the list is partial, or something that we
	// do not know.
	for _, x := range list.Extensions {
		if x.Critical {
			return nil, attest.Refuse(attest.Unsupported, part, "critical extension %s", x.Id)
		}
	}
	return list, v.inForce(part, list.ThisUpdate, list.NextUpdate)
}

package snp

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"

	"github.com/holdfast-kms/holdfast/attest"
)

// maxCollateral is ten times what AMD's certificates and list take.
const maxCollateral = 1 << 16

// maxKey is the length of AMD's RSA keys in bits. One that fills the collateral
// would take a second to verify with, and anyone can send one.
const maxKey = 4096

const (
	certificateBlock = "CERTIFICATE"
	listBlock        = "X509 CRL"
)

// Bundle is the collateral of a report from DER: the certificates, the one of
// the report's key first, and the root's revocation list, or nil.
func Bundle(certificates [][]byte, list []byte) []byte {
	var b []byte
	for _, der := range certificates {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der})...)
	}
	if list != nil {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: listBlock, Bytes: list})...)
	}
	return b
}

// collateral is what was given along with a report. All but key may be nil.
type collateral struct {
	key, signing, root *x509.Certificate
	list               *x509.RevocationList
}

func parseCollateral(b []byte) (*collateral, *attest.Error) {
	certificates, list, err := parsePEM(b)
	if err != nil {
		return nil, err
	}
	c := &collateral{list: list}
	places := []**x509.Certificate{&c.key, &c.signing, &c.root}
	switch {
	case len(certificates) == 0:
		return nil, attest.Refuse(attest.MissingCollateral, partCollateral, "no certificate of the report's key")
	case len(certificates) > len(places):
		return nil, attest.Refuse(attest.Malformed, partCollateral, "%d certificates, want at most %d", len(certificates), len(places))
	}
	for i, cert := range certificates {
		*places[i] = cert
	}
	return c, nil
}

// parsePEM reads certificates and then at most one list, and nothing between
// or after them but white space.
func parsePEM(rest []byte) (certificates []*x509.Certificate, list *x509.RevocationList, refusal *attest.Error) {
	if len(rest) > maxCollateral {
		return nil, nil, attest.Refuse(attest.Malformed, partCollateral, "%d bytes, want at most %d", len(rest), maxCollateral)
	}
	for rest = bytes.TrimSpace(rest); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		block, after := decodeBlock(rest)
		switch {
		case block == nil || list != nil:
			return nil, nil, attest.Refuse(attest.Malformed, partCollateral, "not PEM, or something after the revocation list")
		case block.Type == certificateBlock:
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, attest.Refuse(attest.BadCertificate, partCollateral, "certificate %d: %w", len(certificates)+1, err)
			}
			if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxKey {
				return nil, nil, attest.Refuse(attest.BadCertificate, partCollateral, "certificate %d: an RSA key of %d bits", len(certificates)+1, key.N.BitLen())
			}
			certificates = append(certificates, cert)
		case block.Type == listBlock:
			var err error
			if list, err = x509.ParseRevocationList(block.Bytes); err != nil {
				return nil, nil, attest.Refuse(attest.Malformed, partList, "%w", err)
			}
		default:
			return nil, nil, attest.Refuse(attest.Malformed, partCollateral, "a block %q", block.Type)
		}
		rest = after
	}
	return certificates, list, nil
}

// decodeBlock decodes the block that b begins with. pem.Decode looks for the
// first good one, and skips what is before it.
func decodeBlock(b []byte) (block *pem.Block, rest []byte) {
	block, rest = pem.Decode(b)
	begin := []byte("-----BEGIN ")
	if block == nil || len(block.Headers) > 0 || !bytes.HasPrefix(b, begin) {
		return nil, nil
	}
	if bytes.Count(b[:len(b)-len(rest)], begin) != 1 {
		return nil, nil
	}
	return block, rest
}

package session

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"time"

	"github.com/holdfast-kms/holdfast/attest/snp"
)

// AMD publishes nothing about single platforms but a root's revocation list:
// the one part there is of an SNP machine.

// snpBundle is collateral of SNP taken apart: certificates in DER, and the
// list, or nil.
type snpBundle struct {
	certificates [][]byte
	list         []byte
}

// parseSNP takes collateral apart. What is not PEM is left out: the verifier,
// which is stricter, sees the whole.
func parseSNP(collateral []byte) (b snpBundle) {
	for block, rest := pem.Decode(collateral); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "CERTIFICATE" && len(b.certificates) < maxChain:
			b.certificates = append(b.certificates, block.Bytes)
		case block.Type == "X509 CRL":
			b.list = block.Bytes
		}
	}
	return b
}

func snpListID(top [sha256.Size]byte) partID { return newPartID(kindRootList, top[:]) }

// listPart is the list as a part, if it names a root that trusted takes.
func (b snpBundle) listPart(top [sha256.Size]byte) *part {
	list, err := x509.ParseRevocationList(b.list)
	if err != nil {
		return nil
	}
	return newPart(snpListID(top), top, listNumber(list.Number), list.ThisUpdate, list.NextUpdate, "", string(b.list))
}

// snpParts is the list in some collateral, if the root that signed it is there
// too and is one that trusted takes.
func snpParts(b snpBundle, shelf *shelf, trusted func([sha256.Size]byte) bool, at time.Time) []*part {
	if b.list == nil || len(b.certificates) < maxChain {
		return nil
	}
	root, err := x509.ParseCertificate(b.certificates[maxChain-1])
	if err != nil {
		return nil
	}
	v := partVerifier{shelf: shelf, trusted: trusted, at: at}
	if p := b.listPart(sha256.Sum256(root.Raw)); p != nil {
		v.add(p, func() bool {
			list, err := x509.ParseRevocationList(b.list)
			return err == nil && holds([]*x509.Certificate{root}, at) && list.CheckSignatureFrom(root) == nil
		})
	}
	return v.parts
}

// isAMD reports whether a root is AMD's.
func isAMD(top [sha256.Size]byte) bool {
	for _, product := range []string{"Milan", "Genoa", "Turin"} {
		if sum, ok := snp.RootFingerprint(product); ok && sum == top {
			return true
		}
	}
	return false
}

package session

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math"
	"math/big"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/tdx"
)

// Kinds of parts.
const (
	kindTCBInfo    = "tcb info"
	kindQEIdentity = "qe identity"
	kindRootList   = "root crl"
	kindCAList     = "ca crl"
)

// intelNeeds names what Intel's evidence is judged by: TCB info, QE identity,
// the root's list, the CA's list. It is read from the quote, which nobody has
// verified yet: a lie selects collateral that the quote does not verify with.
func intelNeeds(tee attest.TEE, quote []byte) (needs [4]partID, ok bool) {
	text, ok := certificatesOf(tee, quote)
	if !ok {
		return needs, false
	}
	chain := parseChain(text)
	if len(chain) != 3 {
		return needs, false
	}
	pck, ok := platformOf(chain[0])
	if !ok {
		return needs, false
	}
	top := sha256.Sum256(chain[2].Raw)
	return [4]partID{
		tcbInfoID(top, statementIDs[tee].info, pck.FMSPC[:], pck.PCEID[:]), qeIdentityID(top, statementIDs[tee].qe),
		newPartID(kindRootList, top[:]), newPartID(kindCAList, top[:], chain[0].RawIssuer),
	}, true
}

// statementIDs are what Intel's statements about a kind of TEE call themselves.
var statementIDs = map[attest.TEE]struct{ info, qe string }{attest.SGX: {"SGX", "QE"}, attest.TDX: {"TDX", "TD_QE"}}

func tcbInfoID(top [sha256.Size]byte, id string, fmspc, pce []byte) partID {
	return newPartID(kindTCBInfo, top[:], []byte(id), fmspc, pce)
}

func qeIdentityID(top [sha256.Size]byte, id string) partID {
	return newPartID(kindQEIdentity, top[:], []byte(id))
}

// certificatesOf is the chain of the platform's key in a quote.
func certificatesOf(tee attest.TEE, quote []byte) ([]byte, bool) {
	switch tee {
	case attest.SGX:
		q, err := sgx.Parse(quote)
		if err != nil {
			return nil, false
		}
		return q.Signature.CertBytes, true
	case attest.TDX:
		q, err := tdx.Parse(quote)
		if err != nil {
			return nil, false
		}
		return q.Signature.CertBytes, true
	}
	return nil, false
}

// sgxExtension is the extension in which a PCK certificate describes its
// platform (Intel SGX PCK Certificate and CRL Profile, 1.3.5).
var sgxExtension = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

func platformOf(c *x509.Certificate) (*intel.PCK, bool) {
	for _, x := range c.Extensions {
		if x.Id.Equal(sgxExtension) {
			pck, err := intel.ParseSGXExtension(x.Value)
			return pck, err == nil
		}
	}
	return nil, false
}

// intelParts is what of some collateral was signed under a root that trusted
// takes, and is in force. What does not hold is left out: who brought it is
// refused when evidence is verified with it.
func intelParts(c *intel.Collateral, shelf *shelf, trusted func([sha256.Size]byte) bool, at time.Time) []*part {
	v := partVerifier{shelf: shelf, trusted: trusted, at: at}
	v.tcbInfo(c)
	v.qeIdentity(c)
	v.lists(c)
	return v.parts
}

// A partVerifier collects the parts that hold.
type partVerifier struct {
	shelf   *shelf
	trusted func([sha256.Size]byte) bool
	at      time.Time
	parts   []*part
}

func (v *partVerifier) tcbInfo(c *intel.Collateral) {
	chain := parseChain([]byte(c.TCBInfoChain))
	info, err := intel.ParseTCBInfo([]byte(c.TCBInfo))
	if err != nil || len(chain) != 2 {
		return
	}
	top := sha256.Sum256(chain[1].Raw)
	p := newPart(tcbInfoID(top, info.ID, info.FMSPC, info.PCEID), top, uint64(info.EvaluationNumber), info.IssueDate, info.NextUpdate,
		c.TCBInfoChain, c.TCBInfo, c.TCBInfoSignature)
	v.statement(p, chain)
}

func (v *partVerifier) qeIdentity(c *intel.Collateral) {
	chain := parseChain([]byte(c.QEIdentityChain))
	id, err := intel.ParseQEIdentity([]byte(c.QEIdentity))
	if err != nil || len(chain) != 2 {
		return
	}
	top := sha256.Sum256(chain[1].Raw)
	p := newPart(qeIdentityID(top, id.ID), top, uint64(id.EvaluationNumber), id.IssueDate, id.NextUpdate,
		c.QEIdentityChain, c.QEIdentity, c.QEIdentitySignature)
	v.statement(p, chain)
}

// nameSigner is whom Intel lets sign statements.
const nameSigner = "Intel SGX TCB Signing"

func (v *partVerifier) statement(p *part, chain []*x509.Certificate) {
	v.add(p, func() bool {
		raw, err := hex.DecodeString(p.text[2])
		return err == nil && chain[0].Subject.CommonName == nameSigner && holds(chain, v.at) && verifyRaw(chain[0], p.text[1], raw)
	})
}

// lists takes the two revocation lists. That of the root needs no chain of its
// own: every chain ends in the root.
func (v *partVerifier) lists(c *intel.Collateral) {
	ca := parseChain([]byte(c.PCKCRLChain))
	root := parseChain([]byte(c.TCBInfoChain))
	if len(root) == 2 {
		v.list(kindRootList, "", c.RootCRL, root[1:])
	}
	if len(ca) == 2 {
		v.list(kindCAList, c.PCKCRLChain, c.PCKCRL, ca)
	}
}

func (v *partVerifier) list(kind, chainText string, der []byte, chain []*x509.Certificate) {
	list, err := x509.ParseRevocationList(der)
	if err != nil || !chain[0].IsCA {
		return
	}
	top := sha256.Sum256(chain[len(chain)-1].Raw)
	id := newPartID(kind, top[:])
	if kind == kindCAList {
		id = newPartID(kind, top[:], list.RawIssuer)
	}
	p := newPart(id, top, listNumber(list.Number), list.ThisUpdate, list.NextUpdate, chainText, string(der))
	v.add(p, func() bool {
		return bytes.Equal(list.RawIssuer, chain[0].RawSubject) && holds(chain, v.at) && list.CheckSignatureFrom(chain[0]) == nil
	})
}

// listNumber is a revocation list's number (RFC 5280, section 5.2.3). One that
// does not fit counts as the highest: then the date decides.
func listNumber(n *big.Int) uint64 {
	switch {
	case n == nil:
		return 0
	case !n.IsUint64():
		return math.MaxUint64
	}
	return n.Uint64()
}

// add takes a part that is in force, under a root that counts, and signed.
func (v *partVerifier) add(p *part, signed func() bool) {
	issued := time.Unix(p.mark.Issued, 0)
	if !v.trusted(p.root) || v.at.Before(issued) || v.at.After(p.until) {
		return
	}
	if v.shelf.has(p) || signed() {
		v.parts = append(v.parts, p)
	}
}

// holds reports whether each certificate of a chain is signed by the next one,
// the last by itself, and all are valid.
func holds(chain []*x509.Certificate, at time.Time) bool {
	for i, c := range chain {
		parent := chain[min(i+1, len(chain)-1)]
		if at.Before(c.NotBefore) || at.After(c.NotAfter) || c.CheckSignatureFrom(parent) != nil {
			return false
		}
	}
	return true
}

// maxChain is the longest chain of certificates that is read.
const maxChain = 3

// parseChain reads certificates in PEM; nil for what is not that.
func parseChain(text []byte) (chain []*x509.Certificate) {
	text = bytes.TrimRight(text, "\x00")
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || len(chain) == maxChain {
			return nil
		}
		chain = append(chain, c)
	}
	return chain
}

// verifyRaw verifies an ECDSA signature r‖s with P-256 and SHA-256.
func verifyRaw(signer *x509.Certificate, text string, raw []byte) bool {
	key, ok := signer.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() || len(raw) != 64 {
		return false
	}
	digest := sha256.Sum256([]byte(text))
	return ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:]))
}

// intelNewest is collateral in which each part is the newest one known, with
// the marks of those that came from the shelf; one that did not counts as older
// than any.
func intelNewest(c intel.Collateral, needs [4]partID, shelf *shelf) (*intel.Collateral, []mark) {
	basis := make([]mark, len(needs))
	for i, use := range [...]func(*part){
		func(p *part) { c.TCBInfoChain, c.TCBInfo, c.TCBInfoSignature = p.text[0], p.text[1], p.text[2] },
		func(p *part) {
			c.QEIdentityChain, c.QEIdentity, c.QEIdentitySignature = p.text[0], p.text[1], p.text[2]
		},
		func(p *part) { c.RootCRL = attest.Hex(p.text[1]) },
		func(p *part) { c.PCKCRLChain, c.PCKCRL = p.text[0], attest.Hex(p.text[1]) },
	} {
		basis[i].Part = needs[i][:]
		if p := shelf.get(needs[i]); p != nil {
			use(p)
			basis[i] = p.mark
		}
	}
	return &c, basis
}

package collateral

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/tdx"
	"github.com/holdfast-kms/holdfast/kms"
)

// Headers in which PCS and PCCS send issuer chains.
var (
	tcbInfoChainIn    = []string{"TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"}
	qeIdentityChainIn = []string{"SGX-Enclave-Identity-Issuer-Chain"}
	pckListChainIn    = []string{"SGX-PCK-CRL-Issuer-Chain"}
)

// maxStatement is ten times what TCB info takes.
const maxStatement = 256 << 10

// oidSGX is the extension of a PCK certificate that describes the platform.
var oidSGX = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

// certPCKChain is the kind of certification data that has the PCK's chain.
const certPCKChain = 5

// An intelSubject is the chain of the PCK in a quote.
type intelSubject struct {
	tee   attest.TEE
	chain []byte // PEM
}

func newIntelSubject(tee attest.TEE, quote []byte) (subject, error) {
	var signature intel.Signature
	if tee == attest.SGX {
		q, err := sgx.Parse(quote)
		if err != nil {
			return nil, kms.Errorf(kms.Invalid, "%w", err)
		}
		signature = q.Signature
	} else {
		q, err := tdx.Parse(quote)
		if err != nil {
			return nil, kms.Errorf(kms.Invalid, "%w", err)
		}
		signature = q.Signature
	}
	if signature.CertType != certPCKChain {
		return nil, kms.Errorf(kms.Invalid, "the quote has certification data of type %d, and not its platform's certificate", signature.CertType).
			WithHint("have the quoting library put the PCK certificate chain into quotes (type 5)")
	}
	return &intelSubject{tee: tee, chain: signature.CertBytes}, nil
}

func (s *intelSubject) key() platformKey { return platformKey{s.tee, sha256.Sum256(s.chain)} }

func (s *intelSubject) platform(_ context.Context, c *Client) (*platform, error) {
	chain, err := certificatesIn(s.chain, 3)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "reading the PCK chain: %w", err)
	}
	fmspc, err := fmspcOf(chain[0])
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "reading the PCK certificate: %w", err)
	}
	ca, ok := pckCAs[chain[0].Issuer.CommonName]
	if !ok {
		return nil, kms.Errorf(kms.Invalid, "the PCK certificate is from %q, which is none of Intel's CAs", chain[0].Issuer.CommonName)
	}
	v := intelVendor{cfg: &c.cfg, tee: s.tee, root: chain[2]}
	p := &platform{assemble: assembleIntel}
	for _, i := range []item{v.tcbInfo(fmspc), v.qeIdentity(), v.pckList(ca, chain[0].Issuer.CommonName), v.rootList()} {
		p.entries = append(p.entries, c.entry(i))
	}
	return p, nil
}

// pckCAs is what the service calls the CAs of PCKs.
var pckCAs = map[string]string{"Intel SGX PCK Platform CA": "platform", "Intel SGX PCK Processor CA": "processor"}

// fmspcOf reads which kind of platform a PCK certificate is for.
func fmspcOf(pck *x509.Certificate) ([6]byte, error) {
	for _, x := range pck.Extensions {
		if x.Id.Equal(oidSGX) {
			said, err := intel.ParseSGXExtension(x.Value)
			if err != nil {
				return [6]byte{}, err
			}
			return said.FMSPC, nil
		}
	}
	return [6]byte{}, errors.New("it does not describe the platform")
}

// assembleIntel makes the document of what intelSubject.platform lists.
func assembleIntel(a []*answer) ([]byte, error) {
	info, identity, pck, root := a[0], a[1], a[2], a[3]
	c := intel.Collateral{
		TCBInfo: info.text, TCBInfoSignature: info.signature, TCBInfoChain: printed(info.certificates),
		QEIdentity: identity.text, QEIdentitySignature: identity.signature, QEIdentityChain: printed(identity.certificates),
		PCKCRL: pck.list, PCKCRLChain: printed(pck.certificates), RootCRL: root.list,
	}
	return c.Encode()
}

// An intelVendor says what there is to fetch about a kind of TEE, under the
// root that the platform's own chain ends in.
type intelVendor struct {
	cfg  *Config
	tee  attest.TEE
	root *x509.Certificate
}

// named completes the name of an item by what it must be under and asked by.
func (v intelVendor) named(parts ...string) string {
	sum := sha256.Sum256(v.root.Raw)
	return strings.Join(append(append([]string{"intel"}, parts...), hex.EncodeToString(sum[:8])), "-")
}

// statementURL is the address of something that depends on Config.Update.
func (v intelVendor) statementURL(path, query string) string {
	if v.cfg.Update != "" {
		query = strings.TrimPrefix(query+"&update="+string(v.cfg.Update), "&")
	}
	if query != "" {
		query = "?" + query
	}
	return v.cfg.IntelURL + "/" + string(v.tee) + "/certification/v4/" + path + query
}

// update is the part of a name that says which verdict was asked for. What is
// given unasked is the standard one.
func (v intelVendor) update() string { return string(orElse(v.cfg.Update, Standard)) }

func (v intelVendor) tcbInfo(fmspc [6]byte) item {
	digits := hex.EncodeToString(fmspc[:])
	return item{
		name:    v.named(string(v.tee), "tcb", digits, v.update()),
		title:   strings.ToUpper(string(v.tee)) + " TCB info of platforms " + strings.ToUpper(digits),
		url:     v.statementURL("tcb", "fmspc="+strings.ToUpper(digits)),
		limit:   maxStatement,
		chainIn: tcbInfoChainIn,
		read:    func(s said) (*answer, error) { return v.readTCBInfo(fmspc, s) },
	}
}

func (v intelVendor) qeIdentity() item {
	return item{
		name:    v.named(string(v.tee), "qe", v.update()),
		title:   "identity of the " + strings.ToUpper(string(v.tee)) + " quoting enclave",
		url:     v.statementURL("qe/identity", ""),
		limit:   maxStatement,
		chainIn: qeIdentityChainIn,
		read:    v.readQEIdentity,
	}
}

func (v intelVendor) pckList(ca, issuer string) item {
	return item{
		name:    v.named("pck", "crl", ca),
		title:   "revocation list of the PCK " + ca + " CA",
		url:     v.cfg.IntelURL + "/sgx/certification/v4/pckcrl?ca=" + ca + "&encoding=der",
		limit:   intel.MaxCollateral / 4, // a document has it in hexadecimal, beside the rest
		chainIn: pckListChainIn,
		read:    func(s said) (*answer, error) { return v.readPCKList(issuer, s) },
	}
}

func (v intelVendor) rootList() item {
	return item{
		name:  v.named("root", "crl"),
		title: "revocation list of Intel's root CA",
		url:   v.cfg.IntelRootListURL,
		limit: maxStatement,
		read:  v.readRootList,
	}
}

// parts sorts an answer by its content, as the tools that verify files do.
func parts(body []byte) (*intel.Collateral, error) {
	document, err := intel.Gather(body)
	if err != nil {
		return nil, err
	}
	return intel.ParseCollateral(document)
}

func (v intelVendor) readTCBInfo(fmspc [6]byte, s said) (*answer, error) {
	c, err := parts(s.body)
	if err != nil {
		return nil, err
	}
	info, err := intel.ParseTCBInfo([]byte(c.TCBInfo))
	if err != nil {
		return nil, err
	}
	if want := strings.ToUpper(string(v.tee)); info.ID != want || !info.FMSPC.Equal(fmspc[:]) {
		return nil, fmt.Errorf("TCB info of %q platforms %s, not of %s platforms %X", info.ID, info.FMSPC, want, fmspc)
	}
	a := &answer{said: s, text: c.TCBInfo, signature: c.TCBInfoSignature, evaluation: info.EvaluationNumber}
	return a, v.finish(a, info.IssueDate, info.NextUpdate)
}

func (v intelVendor) readQEIdentity(s said) (*answer, error) {
	c, err := parts(s.body)
	if err != nil {
		return nil, err
	}
	identity, err := intel.ParseQEIdentity([]byte(c.QEIdentity))
	if err != nil {
		return nil, err
	}
	if want := map[attest.TEE]string{attest.SGX: "QE", attest.TDX: "TD_QE"}[v.tee]; identity.ID != want {
		return nil, fmt.Errorf("identity of %q, not %q", identity.ID, want)
	}
	a := &answer{said: s, text: c.QEIdentity, signature: c.QEIdentitySignature, evaluation: identity.EvaluationNumber}
	return a, v.finish(a, identity.IssueDate, identity.NextUpdate)
}

// finish checks who signed a statement, and notes when it is in force.
func (v intelVendor) finish(a *answer, issued, nextUpdate time.Time) error {
	if issued.IsZero() || nextUpdate.IsZero() {
		return errors.New("a statement without dates")
	}
	a.narrow(issued, nextUpdate)
	if err := v.setChain(a); err != nil {
		return err
	}
	a.endWithIssuers()
	key, ok := a.certificates[0].PublicKey.(*ecdsa.PublicKey)
	raw, err := hex.DecodeString(a.signature)
	if !ok || err != nil || len(raw) != 64 {
		return errors.New("not signed with ECDSA P-256")
	}
	digest := sha256.Sum256([]byte(a.text))
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])) {
		return errors.New("not signed by its issuer")
	}
	return nil
}

// setChain reads an issuer chain, which must end in the platform's root.
func (v intelVendor) setChain(a *answer) error {
	chain, err := certificatesIn([]byte(a.chain), 2)
	if err != nil {
		return fmt.Errorf("issuer chain: %w", err)
	}
	if !bytes.Equal(chain[1].Raw, v.root.Raw) {
		return fmt.Errorf("the issuer chain ends in another root than the platform's: %q", chain[1].Subject)
	}
	if err := signedBy(chain); err != nil {
		return fmt.Errorf("issuer chain: %w", err)
	}
	a.certificates = chain
	return nil
}

func (v intelVendor) readPCKList(issuer string, s said) (*answer, error) {
	c, err := parts(s.body)
	if err != nil {
		return nil, err
	}
	a := &answer{said: s}
	if err := v.setChain(a); err != nil {
		return nil, err
	}
	if name := a.certificates[0].Subject.CommonName; name != issuer {
		return nil, fmt.Errorf("revocation list of %q, not of %q", name, issuer)
	}
	if err := a.setList(c.PCKCRL, a.certificates[0]); err != nil {
		return nil, err
	}
	a.endWithIssuers()
	return a, nil
}

func (v intelVendor) readRootList(s said) (*answer, error) {
	c, err := parts(s.body)
	if err != nil {
		return nil, err
	}
	a := &answer{said: s}
	return a, a.setList(c.RootCRL, v.root)
}

package collateral

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/snp"
	"github.com/holdfast-kms/holdfast/kms"
)

// Bounds for what the KDS answers: ten times what it has, a hundred for lists.
const (
	maxCertificates = 64 << 10
	maxAMDList      = 48 << 10 // a verifier takes 64 KiB in PEM, with the certificates
)

// An amdSubject is the chip and firmware in a report, and the certificates that
// came with it.
type amdSubject struct {
	product string // the line of products; "": the report is too old to say
	signer  abi.ReportSigner
	chipID  []byte
	tcb     kds.TCBVersion
	given   []*x509.Certificate // that of the report's key first
	list    []byte              // DER; nil: none was given
	sum     [32]byte
}

func newAMDSubject(ev attest.Evidence) (subject, error) {
	report, err := abi.ReportToProto(ev.Quote)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "reading the SNP report: %w", err)
	}
	info, err := abi.ParseSignerInfo(report.GetSignerInfo())
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "reading the SNP report: %w", err)
	}
	s := &amdSubject{signer: info.SigningKey, chipID: report.GetChipId(), tcb: kds.TCBVersion(report.GetReportedTcb())}
	if s.signer != abi.VcekReportSigner && s.signer != abi.VlekReportSigner {
		return nil, kms.Errorf(kms.Invalid, "the SNP report is signed by %v", s.signer)
	}
	if fms := report.GetCpuid1EaxFms(); fms != 0 {
		s.product = kds.ProductLineFromFms(fms)
	}
	if err := s.take(ev.Collateral); err != nil {
		return nil, kms.Errorf(kms.Invalid, "reading the certificates beside the report: %w", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %d %x %x %d\n", s.product, s.signer, s.chipID, uint64(s.tcb), len(ev.Collateral))
	h.Write(ev.Collateral)
	h.Sum(s.sum[:0])
	return s, nil
}

func (s *amdSubject) key() platformKey { return platformKey{attest.SNP, s.sum} }

// take reads what came with the report: nothing, or collateral as package snp
// describes it.
func (s *amdSubject) take(text []byte) error {
	if len(text) > maxCertificates {
		return fmt.Errorf("more than %d bytes", maxCertificates)
	}
	for text = bytes.TrimSpace(text); len(text) > 0; text = bytes.TrimSpace(text) {
		block, rest := pem.Decode(text)
		switch {
		case block == nil:
			return errors.New("not PEM")
		case block.Type == listBlock:
			s.list = block.Bytes
		case block.Type == certificateBlock && len(s.given) < 3:
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return err
			}
			s.given = append(s.given, c)
		default:
			return fmt.Errorf("one block %q too many", block.Type)
		}
		text = rest
	}
	return nil
}

const listBlock = "X509 CRL"

// leaf is the certificate of the report's key that was given, if it is for this
// chip and this firmware. A host may have kept one of firmware before.
func (s *amdSubject) leaf() *x509.Certificate {
	if len(s.given) == 0 {
		return nil
	}
	said, err := kds.CertificateExtensions(s.given[0], s.signer)
	if err != nil || said.TCBVersion != s.tcb || s.signer == abi.VcekReportSigner && !bytes.Equal(said.HWID, s.chipID) {
		return nil
	}
	return s.given[0]
}

// products are the lines that the chip may be of: the report's, the
// certificate's, or, for a report of version 2 without one, both that have such
// reports.
func (s *amdSubject) products() []string {
	if s.product != "" {
		return []string{s.product}
	}
	if leaf := s.leaf(); leaf != nil {
		said, err := kds.CertificateExtensions(leaf, s.signer)
		if err == nil {
			if product, err := kds.ParseProductName(said.ProductName, s.signer); err == nil {
				return []string{kds.ProductLine(product)}
			}
		}
	}
	return []string{"Milan", "Genoa"}
}

// possible refuses what the KDS cannot help with.
func (s *amdSubject) possible() error {
	switch {
	case s.leaf() != nil:
		return nil
	case s.signer == abi.VlekReportSigner:
		return kms.Errorf(kms.Invalid, "the report is signed by a VLEK, and its certificate is not there or is for other firmware").
			WithHint("AMD gives it to the cloud alone; have the host hand it out with the report")
	case bytes.Equal(s.chipID, make([]byte, len(s.chipID))):
		return kms.Errorf(kms.Invalid, "the report does not say which chip it is from").
			WithHint("the host masks the chip's id; have it hand out the VCEK certificate with the report")
	case s.product == "Turin" || s.product == "Unknown":
		return kms.Errorf(kms.Invalid, "certificates of chips of product %q are not fetched", s.product).
			WithHint("Milan and Genoa are supported")
	}
	return nil
}

func (s *amdSubject) platform(ctx context.Context, c *Client) (*platform, error) {
	if err := s.possible(); err != nil {
		return nil, err
	}
	var failed error
	for _, product := range s.products() {
		p, err := s.platformOf(ctx, c, product)
		if err == nil {
			return p, nil
		}
		failed = err
		if !errors.Is(err, kms.NotFound) {
			break
		}
	}
	return nil, failed
}

// platformOf gets the chain first, because the rest must be signed under it.
func (s *amdSubject) platformOf(ctx context.Context, c *Client, product string) (*platform, error) {
	v := amdVendor{cfg: &c.cfg, product: product, signer: s.signer}
	p := &platform{}
	var chain []*x509.Certificate
	if s.leaf() != nil && len(s.given) == 3 {
		chain = s.given[1:]
	} else {
		e := c.entry(v.chain())
		said, err := e.need(ctx)
		if err != nil {
			return nil, err
		}
		p.entries = append(p.entries, e)
		chain = said.certificates
	}
	p.entries = append(p.entries, c.entry(v.list(chain[1])))
	if s.leaf() == nil {
		e := c.entry(v.vcek(chain[0], s.chipID, s.tcb))
		if _, err := e.need(ctx); err != nil { // says whether the chip is of this product
			return nil, err
		}
		p.entries = append(p.entries, e)
	}
	p.assemble = func(a []*answer) ([]byte, error) { return s.assemble(chain, a), nil }
	return p, nil
}

// assemble makes the document of the chain that the rest was checked against,
// and what follows it in platformOf: the list, and the VCEK unless it was given.
func (s *amdSubject) assemble(chain []*x509.Certificate, a []*answer) []byte {
	if len(a) > 0 && a[0].list == nil {
		a = a[1:] // the chain, as it was fetched last
	}
	leaf := s.leaf()
	if leaf == nil {
		leaf = a[1].certificates[0]
	}
	return snp.Bundle([][]byte{leaf.Raw, chain[0].Raw, chain[1].Raw}, a[0].list)
}

// An amdVendor says what there is to fetch about a line of products.
type amdVendor struct {
	cfg     *Config
	product string
	signer  abi.ReportSigner
}

func (v amdVendor) named(parts ...string) string {
	return strings.ToLower(strings.Join(append([]string{"amd", v.signer.String(), v.product}, parts...), "-"))
}

// at moves an address of the KDS to where it is to be asked for.
func (v amdVendor) at(address string) string {
	return v.cfg.AMDURL + strings.TrimPrefix(address, AMDURL)
}

func (v amdVendor) chain() item {
	return item{
		name:    v.named("chain"),
		title:   fmt.Sprintf("certificates of AMD's keys for %s %ss", v.product, v.signer),
		url:     v.at(kds.ProductCertChainURL(v.signer, v.product)),
		limit:   maxCertificates,
		lasting: true,
		read:    v.readChain,
	}
}

func (v amdVendor) list(root *x509.Certificate) item {
	return item{
		name:  v.named("crl", fingerprint(root)),
		title: fmt.Sprintf("revocation list of AMD's root for %s %ss", v.product, v.signer),
		url:   v.at(kds.CrlLinkByKey(v.product, v.signer)),
		limit: maxAMDList,
		read: func(s said) (*answer, error) {
			a := &answer{said: s}
			return a, a.setList(s.body, root)
		},
	}
}

func (v amdVendor) vcek(signing *x509.Certificate, chipID []byte, tcb kds.TCBVersion) item {
	sum := sha256.Sum256(chipID)
	return item{
		name:    v.named(hex.EncodeToString(sum[:8]), fmt.Sprintf("%016x", uint64(tcb)), fingerprint(signing)),
		title:   fmt.Sprintf("certificate of the %s chip %x… with firmware %016x", v.product, chipID[:4], uint64(tcb)),
		url:     v.at(kds.VCEKCertURL(v.product, chipID, tcb)),
		limit:   maxCertificates,
		lasting: true,
		read:    func(s said) (*answer, error) { return readVCEK(s, signing, chipID, tcb) },
	}
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:8])
}

// readChain takes a chain under AMD's root. What is signed under it is kept for
// years, so that another one would do harm for as long.
func (v amdVendor) readChain(s said) (*answer, error) {
	chain, err := certificatesIn(s.body, 2)
	if err != nil {
		return nil, err
	}
	if err := signedBy(chain); err != nil {
		return nil, err
	}
	if want, ok := snp.RootFingerprint(v.product); (!ok || sha256.Sum256(chain[1].Raw) != want) && !v.cfg.DevelopmentRoots {
		return nil, fmt.Errorf("%q is not AMD's root for %s", chain[1].Subject.CommonName, v.product)
	}
	a := &answer{said: s, certificates: chain}
	for _, c := range chain {
		a.narrow(c.NotBefore, c.NotAfter)
	}
	return a, nil
}

func readVCEK(s said, signing *x509.Certificate, chipID []byte, tcb kds.TCBVersion) (*answer, error) {
	c, err := x509.ParseCertificate(s.body)
	if err != nil {
		return nil, err
	}
	about, err := kds.VcekCertificateExtensions(c)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(about.HWID, chipID) || about.TCBVersion != tcb {
		return nil, errors.New("certificate of another chip or of other firmware")
	}
	if err := c.CheckSignatureFrom(signing); err != nil {
		return nil, err
	}
	a := &answer{said: s, certificates: []*x509.Certificate{c}}
	a.narrow(c.NotBefore, c.NotAfter)
	return a, nil
}

// Package snp verifies attestation reports of AMD SEV-SNP, versions 2 to 5,
// signed by the key of a chip (VCEK) or by the key that a cloud holds for all
// its chips (VLEK).
//
// Collateral is PEM and nothing else: the certificate of the key that signed
// the report; then, if wanted, the one of AMD that signed it (ASK or ASVK);
// then, after that one, the root (ARK); and last, if there is one, the root's
// revocation list as a block "X509 CRL". What is left out is taken from the
// certificates that are compiled in. Bundle makes this from DER.
//
// Signatures, names and extensions are checked by go-sev-guest, which is given
// the roots explicitly and fetches nothing. Versions of it before v0.15.0
// accept a chain that anyone made; a test offers one. Of its two halves,
// `verify` says who signed and `validate` whether certificate and report speak
// of the same chip and firmware; both are asked.
//
// AMD revokes the keys that sign chips' certificates, and never those of single
// chips: new firmware has a new key, and a policy has a floor on firmware. So
// RevocationChecked says that the root's list was there and in force and does
// not have the signing key.
//
// The library knows the firmware versions of Milan and Genoa; certificates of
// Turin chips carry one more, and are refused as Unsupported.
//
// Sources: AMD 56860 (SEV-SNP firmware ABI), 57230 (certificates and KDS).
package snp

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	"github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/validate"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/holdfast-kms/holdfast/attest"
)

// Verify is the attest.Verifier of SEV-SNP.
func Verify(ev attest.Evidence, at time.Time) (attest.Claims, error) {
	claims, err := check(ev, at)
	if err != nil { // an *attest.Error that is nil must not become an error that is not
		return attest.Claims{}, err
	}
	return claims, nil
}

func check(ev attest.Evidence, at time.Time) (attest.Claims, *attest.Error) {
	report, err := parseReport(ev.Quote)
	if err != nil {
		return attest.Claims{}, err
	}
	given, err := parseCollateral(ev.Collateral)
	if err != nil {
		return attest.Claims{}, err
	}
	v := verification{report: report, at: at, raw: ev.Quote}
	for _, step := range []func(*collateral) *attest.Error{v.readKey, v.completeChain, v.checkDates, v.checkList, v.checkSignatures, v.checkConsistency} {
		if err := step(given); err != nil {
			return attest.Claims{}, err
		}
	}
	return v.claims(), nil
}

// parseReport accepts exactly the bytes that print as themselves.
func parseReport(raw []byte) (*sevsnp.Report, *attest.Error) {
	if len(raw) != abi.ReportSize {
		return nil, attest.Refuse(attest.Malformed, partReport, "%d bytes, want %d", len(raw), abi.ReportSize)
	}
	version := binary.LittleEndian.Uint32(raw)
	if version < abi.MinSupportedReportVersion || version > abi.MaxSupportedReportVersion {
		return nil, attest.Refuse(attest.Unsupported, partReport, "version %d", version)
	}
	report, err := abi.ReportToProto(raw)
	if err != nil {
		return nil, attest.Refuse(attest.Malformed, partReport, "%w", err)
	}
	if again, err := abi.ReportToAbiBytes(report); err != nil || !bytes.Equal(again, raw) {
		return nil, attest.Refuse(attest.Malformed, partReport, "reserved bits are set")
	}
	return report, nil
}

// The parts of evidence that a refusal can name.
const (
	partReport     = "report"
	partCollateral = "collateral"
	partList       = "revocation list"
)

// A verification is one call of Verify under way.
type verification struct {
	report *sevsnp.Report
	raw    []byte
	at     time.Time

	signer  abi.ReportSigner
	product string          // the line of products: "Milan"
	about   *kds.Extensions // what the certificate of the key says of the chip
	chain   chain
	// listed says that the chain was looked up in list.
	list   *x509.RevocationList
	listed bool
}

// A chain is the certificates of the key that signed, of AMD's key that signed
// that, and of the root.
type chain struct{ key, signing, root *x509.Certificate }

// each goes through the chain from the key up.
func (c chain) each(do func(part string, cert *x509.Certificate) *attest.Error) *attest.Error {
	for _, link := range []struct {
		part string
		cert *x509.Certificate
	}{{"certificate of the report's key", c.key}, {"certificate of AMD's signing key", c.signing}, {"AMD root certificate", c.root}} {
		if err := do(link.part, link.cert); err != nil {
			return err
		}
	}
	return nil
}

// fmcOID is the version of the part of Turin's firmware that earlier products
// do not have.
var fmcOID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 9}

// readKey reads what the certificate of the key says of the chip. It proves
// nothing yet.
func (v *verification) readKey(given *collateral) *attest.Error {
	info, err := abi.ParseSignerInfo(v.report.GetSignerInfo())
	if err != nil {
		return attest.Refuse(attest.Malformed, partReport, "%w", err)
	}
	v.signer, v.chain.key = info.SigningKey, given.key
	if v.signer != abi.VcekReportSigner && v.signer != abi.VlekReportSigner {
		return attest.Refuse(attest.Unsupported, partReport, "signed by %v", v.signer)
	}
	part := v.signer.String() + " certificate"
	for _, extension := range v.chain.key.Extensions {
		if extension.Id.Equal(fmcOID) {
			return attest.Refuse(attest.Unsupported, part, "it is of a Turin chip or later")
		}
	}
	if v.about, err = kds.CertificateExtensions(v.chain.key, v.signer); err != nil {
		return attest.Refuse(attest.BadCertificate, part, "%w", err)
	}
	v.product, err = v.productLine()
	if err != nil {
		return attest.Refuse(attest.Unsupported, part, "%w", err)
	}
	return nil
}

// productLine is the one that the report names, or, if it is too old for that,
// the certificate.
func (v *verification) productLine() (string, error) {
	if fms := v.report.GetCpuid1EaxFms(); fms != 0 {
		return kds.ProductLineFromFms(fms), nil
	}
	product, err := kds.ParseProductName(v.about.ProductName, v.signer)
	if err != nil {
		return "", err
	}
	return kds.ProductLine(product), nil
}

// completeChain takes the signing key and the root from what was given, and
// otherwise from what is compiled in. A root that was given is no reason to
// trust: if it is none of AMD's, the claims will be Simulated.
func (v *verification) completeChain(given *collateral) *attest.Error {
	v.chain.signing, v.chain.root = given.signing, given.root
	amd, ok := roots()[v.product]
	if !ok && v.chain.root == nil {
		return attest.Refuse(attest.Unsupported, partReport, "no root for product %q", v.product)
	}
	if v.chain.root == nil {
		v.chain.root = amd.ark
	}
	if v.chain.signing == nil {
		v.chain.signing = amd.ask
		if v.signer == abi.VlekReportSigner {
			v.chain.signing = amd.asvk
		}
	}
	return nil
}

// checkDates names the certificate that is out of its time. The library would
// refuse it as well, and not say why.
func (v *verification) checkDates(*collateral) *attest.Error {
	return v.chain.each(func(part string, cert *x509.Certificate) *attest.Error {
		switch {
		case v.at.Before(cert.NotBefore):
			return attest.Refuse(attest.CertificateNotYet, part, "valid from %s", cert.NotBefore.UTC().Format(time.RFC3339))
		case v.at.After(cert.NotAfter):
			return attest.Refuse(attest.CertificateExpired, part, "valid until %s", cert.NotAfter.UTC().Format(time.RFC3339))
		}
		return nil
	})
}

// checkList looks the signing key up in the root's revocation list. The library
// would fetch the list when ours is out of date, and cannot do it for a VLEK.
func (v *verification) checkList(given *collateral) *attest.Error {
	v.list = given.list
	if v.list == nil {
		return nil
	}
	if err := v.list.CheckSignatureFrom(v.chain.root); err != nil {
		return attest.Refuse(attest.BrokenChain, partList, "not signed by the root: %w", err)
	}
	switch {
	case v.list.NextUpdate.IsZero():
		return attest.Refuse(attest.Malformed, partList, "it does not say when the next one is due")
	case v.at.Before(v.list.ThisUpdate):
		return attest.Refuse(attest.CollateralNotYet, partList, "issued %s", v.list.ThisUpdate.UTC().Format(time.RFC3339))
	case v.at.After(v.list.NextUpdate):
		return attest.Refuse(attest.CollateralExpired, partList, "the next one was due %s", v.list.NextUpdate.UTC().Format(time.RFC3339))
	}
	for _, entry := range v.list.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(v.chain.signing.SerialNumber) == 0 {
			return attest.Refuse(attest.Revoked, "certificate of AMD's signing key", "on %s", entry.RevocationTime.UTC().Format(time.RFC3339))
		}
	}
	v.listed = true
	return nil
}

// offline stands where the library would ask AMD. It is not told to, so this
// is a second lock on the same door.
type offline struct{}

func (offline) Get(string) ([]byte, error) {
	return nil, errors.New("verification opens no connection")
}

func (v *verification) attestation() *sevsnp.Attestation {
	certs := &sevsnp.CertificateChain{VcekCert: v.chain.key.Raw}
	if v.signer == abi.VlekReportSigner {
		certs = &sevsnp.CertificateChain{VlekCert: v.chain.key.Raw}
	}
	return &sevsnp.Attestation{Report: v.report, CertificateChain: certs}
}

// checkSignatures has the library verify the chain up to the root, and the report.
func (v *verification) checkSignatures(*collateral) *attest.Error {
	certs := &trust.ProductCerts{Ark: v.chain.root, Ask: v.chain.signing}
	if v.signer == abi.VlekReportSigner {
		certs = &trust.ProductCerts{Ark: v.chain.root, Asvk: v.chain.signing}
	}
	if err := signedBy(v.chain.root, v.chain.root, "AMD root certificate"); err != nil {
		return err // the library takes a root as it is
	}
	root := &trust.AMDRootCerts{ProductLine: v.product, ProductCerts: certs}
	err := verify.SnpAttestation(v.attestation(), &verify.Options{
		DisableCertFetching: true, Getter: offline{}, Now: v.at,
		TrustedRoots: map[string][]*trust.AMDRootCerts{v.product: {root}},
	})
	if err != nil {
		return v.diagnose(err)
	}
	return nil
}

// diagnose gives a reason to the library's refusal, which has none. It cannot
// turn it into anything but a refusal.
func (v *verification) diagnose(refusal error) *attest.Error {
	if err := signedBy(v.chain.signing, v.chain.root, "certificate of AMD's signing key"); err != nil {
		return err
	}
	if err := signedBy(v.chain.key, v.chain.signing, v.signer.String()+" certificate"); err != nil {
		return err
	}
	if err := verify.SnpReportSignature(v.raw, v.chain.key); err != nil {
		return attest.Refuse(attest.BadSignature, partReport, "%w", err)
	}
	return attest.Refuse(attest.BadCertificate, v.signer.String()+" certificate", "%w", refusal)
}

func signedBy(cert, issuer *x509.Certificate, part string) *attest.Error {
	err := cert.CheckSignatureFrom(issuer)
	if _, ok := errors.AsType[x509.ConstraintViolationError](err); ok {
		return attest.Refuse(attest.WrongSigner, part, "%w", err)
	}
	if err != nil {
		return attest.Refuse(attest.BrokenChain, part, "%w", err)
	}
	return nil
}

// checkConsistency has the library compare certificate and report: the chip,
// and the firmware versions among each other. What a policy decides is left
// open: every guest policy is allowed, and firmware that the host has not
// committed to, which the claims show.
func (v *verification) checkConsistency(*collateral) *attest.Error {
	err := validate.SnpAttestation(v.attestation(), &validate.Options{
		GuestPolicy:               abi.SnpPolicy{SMT: true, MigrateMA: true, Debug: true, CXLAllowed: true},
		PermitProvisionalFirmware: true,
	})
	if err != nil {
		return attest.Refuse(attest.CollateralMismatch, v.signer.String()+" certificate", "%w", err)
	}
	return nil
}

// fingerprint names a root.
func fingerprint(cert *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(cert.Raw) }

package simtee

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"slices"
	"sync"
	"time"
)

// What reports are laid out by: AMD's "SEV Secure Nested Paging Firmware ABI
// Specification" (56860), ATTESTATION_REPORT, version 2.
const (
	snpReportLen = 1184
	snpSignedLen = 672
	snpNumberLen = 72 // of r and s, little-endian

	snpVersion       = 2
	snpECDSAP384     = 1
	snpSMT           = 1 << 16 // in the guest policy: may share a core
	snpAlwaysOne     = 1 << 17
	snpDebug         = 1 << 19
	snpSMTEnabled    = 1 << 0 // in the platform's information
	snpProduct       = "Milan-B1"
	snpProductLine   = "Milan"
	snpABI           = 1<<8 | 31 // the least that the guest asked for
	snpFirmwareBuild = 8
	snpFirmwareABI   = 1<<8 | 55

	amdListURL = "https://development-only.invalid/vcek/v1/" + snpProductLine + "/crl"
)

// amdRoot is what AMD keeps in its vaults for one line of products.
type amdRoot struct {
	ark, ask authority
}

// The subjects are AMD's to the letter, because verifiers compare each part of
// them; what they are stands in an attribute that AMD does not use.
func amdName(commonName string) pkix.Name {
	description := pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 13}, Value: developmentOnly}
	return pkix.Name{CommonName: commonName, OrganizationalUnit: []string{"Engineering"}, Organization: []string{"Advanced Micro Devices"},
		Locality: []string{"Santa Clara"}, Province: []string{"CA"}, Country: []string{"US"}, ExtraNames: []pkix.AttributeTypeAndValue{description}}
}

func newAMDRoot(secret []byte, keys func() (ark, ask *rsa.PrivateKey), forge *Forge) (*amdRoot, error) {
	salt := func(role Role) io.Reader { return stream(secret, "salt of "+string(role)) }
	arkKey, askKey := keys()
	v := amdRoot{ark: authority{key: arkKey, salt: salt}, ask: authority{key: askKey, salt: salt}}
	ark := amdCA(RoleARK, "ARK-"+snpProductLine, arkKey)
	ark.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	ask := amdCA(RoleASK, "SEV-"+snpProductLine, askKey)
	ask.KeyUsage, ask.MaxPathLenZero = x509.KeyUsageCertSign, true

	var err error
	if v.ark.cert, err = v.ark.issue(RoleARK, ark, arkKey, forge); err != nil {
		return nil, err
	}
	v.ask.cert, err = v.ark.issue(RoleASK, ask, askKey, forge)
	return &v, err
}

func amdCA(role Role, commonName string, key crypto.Signer) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(role, key), Subject: amdName(commonName), NotBefore: notBefore, NotAfter: notAfter,
		SignatureAlgorithm: x509.SHA384WithRSAPSS, BasicConstraintsValid: true, IsCA: true,
		SubjectKeyId: keyID(key.Public()), CRLDistributionPoints: []string{amdListURL},
	}
}

// amdMachine is an AMD processor.
type amdMachine struct {
	vendor     *amdRoot
	misfortune Misfortune
	forge      *Forge
	program    Program
	chipID     [64]byte
	vcek       authority

	mu     sync.Mutex
	day    time.Time
	bundle []byte // the certificates and the list of the day that was asked for last
}

func (p *Platform) newAMDMachine() (*amdMachine, error) {
	vendor, err := p.vendor.amd()
	if err != nil {
		return nil, err
	}
	m := &amdMachine{vendor: vendor, misfortune: p.cfg.Misfortune, forge: p.cfg.Forge, program: p.cfg.Program}
	fill(m.chipID[:], p.burnt("chip id"))
	level := m.misfortune.Recovery.level()
	key := ecdsaKey(elliptic.P384(), p.burnt(fmt.Sprintf("VCEK %d", level.microcode))) // the key of the chip follows its firmware
	extensions, err := kdsExtensions(m.chipID, level)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: new(big.Int), Subject: amdName("SEV-VCEK"), NotBefore: notBefore, NotAfter: notAfter,
		SignatureAlgorithm: x509.SHA384WithRSAPSS, ExtraExtensions: extensions}
	cert, err := vendor.ask.issue(RoleVCEK, template, key, m.forge)
	m.vcek = authority{key: key, cert: cert}
	return m, err
}

// kdsExtensions is what a VCEK certificate says of its chip, in the order of
// AMD's ("VCEK Certificate and KDS Interface Specification", 57230).
func kdsExtensions(chipID [64]byte, level tcbLevel) ([]pkix.Extension, error) {
	bootloader, tee, snp, microcode := level.versions()
	var all []pkix.Extension
	add := func(value any, params string, oid ...int) error {
		der, err := asn1.MarshalWithParams(value, params)
		all = append(all, pkix.Extension{Id: append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}, oid...), Value: der})
		return err
	}
	err := add(0, "", 1)
	if err == nil {
		err = add(snpProduct, "ia5", 2)
	}
	for _, part := range []struct {
		oid     int
		version uint8
	}{{1, bootloader}, {2, tee}, {4, 0}, {5, 0}, {6, 0}, {7, 0}, {3, snp}, {8, microcode}} {
		if err == nil {
			err = add(int(part.version), "", 3, part.oid)
		}
	}
	// AMD puts the chip's id there without an ASN.1 type.
	return append(all, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 4}, Value: chipID[:]}), err
}

// collateral is the chain of the chip's key, PEM, leaf first, and the list of
// what the root revoked.
func (m *amdMachine) collateral(at time.Time) ([]byte, error) {
	issued, next := m.misfortune.issueDates(at)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bundle != nil && m.day.Equal(issued) {
		return m.bundle, nil
	}
	list := &x509.RevocationList{Number: big.NewInt(issued.Unix() / 86400), ThisUpdate: issued, NextUpdate: next,
		SignatureAlgorithm: x509.SHA384WithRSAPSS}
	if m.misfortune.Revoked {
		list.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: m.vendor.ask.cert.SerialNumber, RevocationTime: notBefore}}
	}
	der, err := m.vendor.ark.revoke(RoleARK, list, m.forge)
	if err != nil {
		return nil, err
	}
	chain := chainPEM(m.vcek.cert, m.vendor.ask.cert, m.vendor.ark.cert)
	m.day, m.bundle = issued, append(chain, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})...)
	return m.bundle, nil
}

// report mints an attestation report.
func (m *amdMachine) report(reportData [64]byte) ([]byte, error) {
	signed := m.forge.body(m.signed(reportData))
	digest := sha512.Sum384(signed)
	r, s, _, err := sign(m.vcek.key, digest[:], crypto.SHA384)
	if err != nil {
		return nil, fmt.Errorf("signing the report: %w", err)
	}
	b := append(signed, littleEndian(r)...)
	b = append(b, littleEndian(s)...)
	return append(b, make([]byte, max(0, snpReportLen-len(b)))...), nil
}

func littleEndian(n *big.Int) []byte {
	b := n.FillBytes(make([]byte, snpNumberLen))
	slices.Reverse(b)
	return b
}

// signed is a report up to its signature.
func (m *amdMachine) signed(reportData [64]byte) []byte {
	b, le := make([]byte, snpSignedLen), binary.LittleEndian
	level := m.misfortune.Recovery.level()
	policy := uint64(snpABI | snpSMT | snpAlwaysOne)
	if m.misfortune.Debug {
		policy |= snpDebug
	}
	bootloader, tee, snp, microcode := level.versions()
	tcb := [8]byte{bootloader, tee, 0, 0, 0, 0, snp, microcode}
	firmware := [3]byte{snpFirmwareBuild, snpFirmwareABI & 0xff, snpFirmwareABI >> 8}

	le.PutUint32(b[0x00:], snpVersion)
	le.PutUint32(b[0x04:], m.program.GuestSVN)
	le.PutUint64(b[0x08:], policy)
	copy(b[0x10:], m.program.FamilyID[:])
	copy(b[0x20:], m.program.ImageID[:])
	le.PutUint32(b[0x34:], snpECDSAP384)
	copy(b[0x38:], tcb[:]) // current
	le.PutUint64(b[0x40:], snpSMTEnabled)
	copy(b[0x50:], reportData[:])
	copy(b[0x90:], m.program.SNPMeasurement[:])
	copy(b[0xc0:], m.program.HostData[:])
	copy(b[0xe0:], m.program.IDKeyDigest[:])
	fill(b[0x140:0x160], stream(m.chipID[:32], "report id"))
	copy(b[0x160:], slices.Repeat([]byte{0xff}, 32)) // no migration agent
	copy(b[0x180:], tcb[:])                          // reported
	copy(b[0x1a0:], m.chipID[:])
	copy(b[0x1e0:], tcb[:]) // committed
	copy(b[0x1e8:], firmware[:])
	copy(b[0x1ec:], firmware[:])
	copy(b[0x1f0:], tcb[:]) // at launch
	return b
}

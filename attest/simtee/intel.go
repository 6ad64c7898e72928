package simtee

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
)

// intelRoot is what Intel keeps in its vaults.
type intelRoot struct {
	root, platformCA, tcbSigning authority
}

// The subjects carry Intel's common names, because verifiers compare those,
// and say in the organisation what they are.
func intelName(commonName string) pkix.Name {
	return pkix.Name{CommonName: commonName, Organization: []string{developmentOnly},
		Locality: []string{"Nowhere"}, Country: []string{"US"}}
}

const (
	developmentOnly = "DEVELOPMENT ONLY"

	// Nothing is fetched from these: the lists travel with the evidence.
	intelRootListURL = "https://development-only.invalid/IntelSGXRootCA.crl"
	pckListURL       = "https://development-only.invalid/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
)

func newIntelRoot(secret []byte, forge *Forge) (*intelRoot, error) {
	key := func(role Role) *ecdsa.PrivateKey { return ecdsaKey(elliptic.P256(), stream(secret, string(role))) }
	var v intelRoot
	v.root.key = key(RoleIntelRoot)
	v.platformCA.key = key(RolePlatformCA)
	v.tcbSigning.key = key(RoleTCBSigning)

	root := intelCertificate(RoleIntelRoot, "Intel SGX Root CA", v.root.key)
	root.IsCA, root.MaxPathLen, root.KeyUsage = true, 1, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	ca := intelCertificate(RolePlatformCA, "Intel SGX PCK Platform CA", v.platformCA.key)
	ca.IsCA, ca.MaxPathLenZero, ca.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	signing := intelCertificate(RoleTCBSigning, "Intel SGX TCB Signing", v.tcbSigning.key)

	var err error
	if v.root.cert, err = v.root.issue(RoleIntelRoot, root, v.root.key, forge); err != nil {
		return nil, err
	}
	if v.platformCA.cert, err = v.root.issue(RolePlatformCA, ca, v.platformCA.key, forge); err != nil {
		return nil, err
	}
	if v.tcbSigning.cert, err = v.root.issue(RoleTCBSigning, signing, v.tcbSigning.key, forge); err != nil {
		return nil, err
	}
	return &v, nil
}

// intelCertificate is what Intel's certificates have in common.
func intelCertificate(role Role, commonName string, key crypto.Signer) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(role, key), Subject: intelName(commonName),
		NotBefore: notBefore, NotAfter: notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment,
		BasicConstraintsValid: true, SubjectKeyId: keyID(key.Public()),
		CRLDistributionPoints: []string{intelRootListURL},
	}
}

// chip is what Intel burnt into one processor.
type chip struct {
	ppid, instance [16]byte
	fmspc          [6]byte
	level          tcbLevel
}

// newPCK issues the certificate of a processor's provisioning key. It has six
// extensions, no more and no less, because that is what verifiers count.
func (v *intelRoot) newPCK(key *ecdsa.PrivateKey, c chip, forge *Forge) (*authority, error) {
	extension, err := sgxExtension(c)
	if err != nil {
		return nil, err
	}
	template := intelCertificate(RolePCK, "Intel SGX PCK Certificate", key)
	template.CRLDistributionPoints = []string{pckListURL}
	template.ExtraExtensions = []pkix.Extension{{Id: sgxOID(), Value: extension}}
	cert, err := v.authority(forge.pckIssuer()).issue(RolePCK, template, key, forge)
	return &authority{key: key, cert: cert}, err
}

func (v *intelRoot) authority(role Role) *authority {
	switch role {
	case RoleIntelRoot:
		return &v.root
	case RoleTCBSigning:
		return &v.tcbSigning
	}
	return &v.platformCA
}

// sgxOID is the object identifier of the SGX extension, or of a part of it.
func sgxOID(part ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}, part...)
}

// An sgxField is one element of the SGX extension. Its value is of any type.
type sgxField struct {
	ID    asn1.ObjectIdentifier
	Value any
}

// sgxExtension prints what a PCK certificate says of its processor, in the
// order of Intel's ("SGX PCK Certificate and CRL Profile Specification", 1.3.5).
func sgxExtension(c chip) ([]byte, error) {
	var tcb []sgxField
	for i, svn := range c.level.components() {
		tcb = append(tcb, sgxField{sgxOID(2, i+1), int(svn)})
	}
	svn := c.level.components()
	tcb = append(tcb, sgxField{sgxOID(2, 17), pceSVN}, sgxField{sgxOID(2, 18), svn[:]})
	configuration := []sgxField{{sgxOID(7, 1), true}, {sgxOID(7, 2), true}, {sgxOID(7, 3), true}}
	return asn1.Marshal([]sgxField{
		{sgxOID(1), c.ppid[:]},
		{sgxOID(2), tcb},
		{sgxOID(3), []byte{0, 0}},
		{sgxOID(4), c.fmspc[:]},
		{sgxOID(5), asn1.Enumerated(1)}, // scalable
		{sgxOID(6), c.instance[:]},
		{sgxOID(7), configuration},
	})
}

// chainPEM joins certificates, the signer first.
func chainPEM(certs ...*x509.Certificate) []byte {
	var b []byte
	for _, c := range certs {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return b
}

// rawSignature is r followed by s, big-endian, as quotes and PCS answers carry it.
func rawSignature(key crypto.Signer, digest []byte, hash crypto.Hash) ([]byte, error) {
	r, s, size, err := sign(key, digest, hash)
	if err != nil {
		return nil, err
	}
	return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...), nil
}

// sign returns the numbers of an ECDSA signature and the length of the curve's
// coordinates.
func sign(key crypto.Signer, digest []byte, hash crypto.Hash) (r, s *big.Int, size int, err error) {
	der, err := key.Sign(nil, digest, hash) // deterministic, so that the same evidence is the same bytes
	if err != nil {
		return nil, nil, 0, err
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		return nil, nil, 0, err
	}
	return sig.R, sig.S, (key.Public().(*ecdsa.PublicKey).Curve.Params().BitSize + 7) / 8, nil
}

package inteltest

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
)

// Minted is what a recipe gives: the evidence, and its collateral in parts.
type Minted struct {
	Quote      []byte
	Collateral map[string]string // the JSON form

	kitchen
}

// Evidence is what a verifier takes.
func (m *Minted) Evidence(t testing.TB) attest.Evidence {
	t.Helper()
	collateral, err := json.Marshal(m.Collateral)
	must(t, err)
	return attest.Evidence{Quote: m.Quote, Collateral: collateral}
}

// kitchen holds what was made on the way.
type kitchen struct {
	t     testing.TB
	keys  map[string]*ecdsa.PrivateKey
	certs map[string]*x509.Certificate
}

// Mint makes what r describes, with fresh keys.
func (r *Recipe) Mint(t testing.TB) *Minted {
	t.Helper()
	k := kitchen{t: t, keys: map[string]*ecdsa.PrivateKey{}, certs: map[string]*x509.Certificate{}}
	for role, c := range r.Certificates {
		curve := elliptic.P256()
		if c.P384 {
			curve = elliptic.P384()
		}
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		must(t, err)
		k.keys[role] = key
	}
	for role, c := range r.Certificates {
		k.certs[role] = k.certificate(r, role, c)
	}
	return &Minted{Quote: k.quote(r), Collateral: k.collateral(r), kitchen: k}
}

// Evidence is Mint and Minted.Evidence.
func (r *Recipe) Evidence(t testing.TB) attest.Evidence {
	t.Helper()
	return r.Mint(t).Evidence(t)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (k *kitchen) certificate(r *Recipe, role string, c *Certificate) *x509.Certificate {
	k.t.Helper()
	key := k.keys[role]
	if c.KeyOf != "" {
		key = k.keys[c.KeyOf]
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(c.Serial), Subject: name(c.Name), NotBefore: c.From, NotAfter: c.Until,
		BasicConstraintsValid: true, IsCA: c.CA, KeyUsage: x509.KeyUsageDigitalSignature,
		SubjectKeyId: []byte(role),
	}
	if c.CA {
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	if c.Usage != 0 {
		template.KeyUsage = c.Usage
	}
	if c.SGX != nil {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidSGX, Value: c.SGX})
	}
	if c.Critical {
		template.ExtraExtensions = append(template.ExtraExtensions, unknownCritical)
	}
	issuer := &x509.Certificate{Subject: name(cmp.Or(c.IssuerName, r.Certificates[c.Issuer].Name)), SubjectKeyId: []byte(c.Issuer)}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), k.keys[c.Issuer])
	must(k.t, err)
	parsed, err := x509.ParseCertificate(der)
	must(k.t, err)
	return parsed
}

var unknownCritical = pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0}}

func name(common string) pkix.Name {
	return pkix.Name{CommonName: common, Organization: []string{"TEST ONLY"}, Country: []string{"US"}}
}

// PEM is a chain of certificates by role.
func (k *kitchen) PEM(roles ...string) string {
	var text bytes.Buffer
	for _, role := range roles {
		must(k.t, pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: k.certs[role].Raw}))
	}
	return text.String()
}

// Sign is a raw signature r‖s by the key of a role over the SHA-256 of message.
func (k *kitchen) Sign(role string, message []byte) []byte {
	return signRaw(k.t, k.keys[role], message)
}

func signRaw(t testing.TB, key *ecdsa.PrivateKey, message []byte) []byte {
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	must(t, err)
	return append(last32(r), last32(s)...)
}

// last32 is n, or what fits of it if the key is of a larger curve.
func last32(n *big.Int) []byte {
	const room = 66
	return n.FillBytes(make([]byte, room))[room-32:]
}

func (k *kitchen) collateral(r *Recipe) map[string]string {
	c := map[string]string{}
	c["tcb_info"], c["tcb_info_signature"], c["tcb_info_issuer_chain"] = k.statement(r.TCBInfo)
	c["qe_identity"], c["qe_identity_signature"], c["qe_identity_issuer_chain"] = k.statement(r.QEIdentity)
	if r.RootCRL != nil {
		c["root_ca_crl"] = hex.EncodeToString(k.list(r, r.RootCRL))
	}
	if r.PCKCRL != nil {
		c["pck_crl"] = hex.EncodeToString(k.list(r, r.PCKCRL))
		if r.PCKCRLChain != nil {
			c["pck_crl_issuer_chain"] = k.PEM(r.PCKCRLChain...)
		}
	}
	return c
}

func (k *kitchen) statement(s Statement) (text, signature, chain string) {
	body, err := json.Marshal(s.Body)
	must(k.t, err)
	return string(body), hex.EncodeToString(k.Sign(s.Key, body)), k.PEM(s.Chain...)
}

func (k *kitchen) list(r *Recipe, l *List) []byte {
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: l.From, NextUpdate: l.Until}
	for _, role := range l.Revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: big.NewInt(r.Certificates[role].Serial), RevocationTime: l.From.Add(-time.Hour)})
	}
	if l.Critical {
		template.ExtraExtensions = append(template.ExtraExtensions, unknownCritical)
	}
	issuer := *k.certs[l.Issuer]
	issuer.KeyUsage |= x509.KeyUsageCRLSign // or the library would not forge a list for us
	der, err := x509.CreateRevocationList(rand.Reader, template, &issuer, k.keys[l.Issuer])
	must(k.t, err)
	return der
}

func (k *kitchen) quote(r *Recipe) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(k.t, err)
	uncompressed, err := key.PublicKey.Bytes()
	must(k.t, err)
	public := uncompressed[1:]

	signed := r.signed()
	report := bytes.Clone(r.QEReport)
	bound := sha256.Sum256(append(bytes.Clone(public), r.AuthData...))
	copy(report[AtReportData:], bound[:])

	qe := append(report, k.Sign(PCK, report)...)
	qe = binary.LittleEndian.AppendUint16(qe, uint16(len(r.AuthData)))
	qe = append(qe, r.AuthData...)
	qe = binary.LittleEndian.AppendUint16(qe, r.CertType)
	chain := append([]byte(k.PEM(r.Chain...)), 0)
	qe = appendSized(qe, chain)

	tail := append(signRaw(k.t, key, signed), public...)
	if r.Version == 3 {
		return appendSized(signed, append(tail, qe...))
	}
	tail = binary.LittleEndian.AppendUint16(tail, 6)
	return appendSized(signed, appendSized(tail, qe))
}

func (r *Recipe) signed() []byte {
	var b []byte
	b = binary.LittleEndian.AppendUint16(b, uint16(r.Version))
	b = binary.LittleEndian.AppendUint16(b, 2) // ECDSA P-256
	teeType := map[attest.TEE]uint32{attest.TDX: 0x81}[r.TEE]
	b = binary.LittleEndian.AppendUint32(b, teeType)
	b = append(b, 0, 0, 0, 0)
	b = append(b, 0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07)
	b = append(b, make([]byte, 20)...)
	if r.Version == 5 {
		b = binary.LittleEndian.AppendUint16(b, r.BodyType)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Body)))
	}
	return append(b, r.Body...)
}

func appendSized(b, field []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(field)))
	return append(b, field...)
}

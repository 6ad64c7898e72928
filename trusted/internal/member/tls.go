package member

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"math/big"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// oidBoot marks the boot key in a node's certificate. It hangs under 2.25, where
// whoever draws a number need not ask anybody (ITU-T X.667); x509 reads numbers
// of 31 bits.
var oidBoot = asn1.ObjectIdentifier{2, 25, 1746047293}

// Dates of every certificate. They mean nothing, so that no clock has a say; the
// second is how RFC 5280 section 4.1.2.5 writes that there is no end.
var (
	noStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	noEnd   = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// A signer is a peer key of which nothing can be printed.
type signer struct {
	public *ecdsa.PublicKey
	sign   func(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (s signer) Public() crypto.PublicKey { return s.public }

func (s signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.sign(rand, digest, opts)
}

// certify makes the certificate of a start: signed by the peer key for itself,
// with the boot key in it.
func certify(key *ecdsa.PrivateKey, boot []byte) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Holdfast node"}, NotBefore: noStart, NotAfter: noEnd,
		SignatureAlgorithm: x509.ECDSAWithSHA256,
		ExtraExtensions:    []pkix.Extension{{Id: oidBoot, Value: boot}},
	}
	s := signer{&key.PublicKey, key.Sign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.public, s)
	if err != nil {
		return tls.Certificate{}, kms.Errorf(kms.Internal, "making the node's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: s}, nil
}

// tlsConfig is that of both sides. What it does not check, an identity does.
func tlsConfig(own tls.Certificate, now func() time.Time) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{own}, Time: now,
		MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS13,
		// All nodes are ours, and what is recorded today is not to be read by who
		// has a quantum computer one day.
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768},
		ClientAuth:       tls.RequireAnyClientCert,
		// No chain and no name is to be verified: a node is its key, and is asked for
		// through VerifyConnection.
		InsecureSkipVerify: true,
		// A resumed session would show no certificate and prove no key.
		SessionTicketsDisabled: true,
	}
}

// An identity is what TLS proves of the other side, once the handshake is done.
type identity struct {
	node kms.NodeID
	key  []byte // SubjectPublicKeyInfo of the peer key
	boot []byte
}

// identify reads the other side's certificate. That it has the key is proven by
// the rest of the handshake. The error is Denied.
func identify(cs tls.ConnectionState) (*identity, error) {
	if n := len(cs.PeerCertificates); n != 1 {
		return nil, kms.Errorf(kms.Denied, "a node shows one certificate, not %d", n)
	}
	cert := cs.PeerCertificates[0]
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() || cert.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return nil, kms.Errorf(kms.Denied, "a node's key is one of ECDSA P-256")
	}
	if cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) != nil {
		return nil, kms.Errorf(kms.Denied, "the node's certificate is not signed by its own key")
	}
	boot, err := bootOf(cert)
	if err != nil {
		return nil, err
	}
	return &identity{sha256.Sum256(cert.RawSubjectPublicKeyInfo), cert.RawSubjectPublicKeyInfo, boot}, nil
}

func bootOf(cert *x509.Certificate) ([]byte, error) {
	for _, e := range cert.Extensions { // x509 refuses one that is there twice
		if e.Id.Equal(oidBoot) && len(e.Value) == BootSize {
			return e.Value, nil
		}
	}
	return nil, kms.Errorf(kms.Denied, "the node's certificate has no boot key")
}

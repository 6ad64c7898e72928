package server

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Lifetimes. API certificates are short, so that an expelled node's is soon
// worth nothing; the authority lasts until the domain replaces it.
const (
	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 24 * time.Hour
	renewBefore     = 12 * time.Hour
	clockSlack      = time.Hour // how far a client's clock may be behind
)

// authorityName is what the authority calls itself, with the domain's name behind.
const authorityName = "Holdfast domain "

// loopbackNames are what API certificates are for when nothing is configured.
var loopbackNames = []string{"localhost", "127.0.0.1", "::1"}

// newAuthority makes the domain's certificate authority: ECDSA P-256, able to
// vouch for the given names and nothing else (critical name constraints, RFC
// 5280 section 4.2.1.10). Its key is wrapped, for the state.
func newAuthority(r *root.Root, domain string, names []string, now time.Time) (state.Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return state.Authority{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: authorityName + domain},
		NotBefore: now.Add(-clockSlack), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:                    x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.PermittedIPRanges = append(tmpl.PermittedIPRanges, hostRange(ip))
		} else {
			tmpl.PermittedDNSDomains = append(tmpl.PermittedDNSDomains, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return state.Authority{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return state.Authority{}, err
	}
	private := secret.New(pkcs8)
	defer private.Wipe()
	a := state.Authority{Certificate: der, Generation: r.Current()}
	a.WrappedKey, err = r.Wrap(authoritySlot(&a, a.Generation), private)
	return a, err
}

// authoritySlot is where the authority's key is wrapped under a generation.
func authoritySlot(a *state.Authority, generation uint32) root.Slot {
	return root.Slot{Purpose: root.WrapCA, Generation: generation, Version: 1, Facts: a.Certificate}
}

func hostRange(ip net.IP) *net.IPNet {
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(8*len(ip), 8*len(ip))}
}

// serial is 127 random bits (RFC 5280 wants it positive and unique).
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}

// An issuer gives the node its API certificates. The TLS key is made at start
// and never stored.
type issuer struct {
	root      *root.Root
	authority func() *state.Authority // as it is wrapped now
	key       *ecdsa.PrivateKey
	public    []byte // SubjectPublicKeyInfo of key
	clock     Clock

	mu      sync.Mutex
	parsed  *x509.Certificate // of the authority, see ca
	current *tls.Certificate
	renewAt time.Time
}

func newIssuer(r *root.Root, authority func() *state.Authority, clock Clock) (*issuer, error) {
	ca, err := x509.ParseCertificate(authority().Certificate)
	if err != nil {
		return nil, kms.Errorf(kms.Damaged, "the domain's certificate authority does not parse")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &issuer{root: r, authority: authority, parsed: ca, key: key, public: public, clock: clock}, nil
}

// certificate is the current API certificate; it renews it in time.
func (i *issuer) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now, ca := i.clock.Now(), i.caLocked()
	if i.current != nil && now.Before(i.renewAt) && now.After(i.current.Leaf.NotBefore) {
		return i.current, nil
	}
	c, err := i.issue(ca, now)
	if err != nil {
		return nil, err
	}
	i.current, i.renewAt = c, now.Add(certificateLife-renewBefore)
	return c, nil
}

// ca is the authority's certificate as the domain has it now.
func (i *issuer) ca() *x509.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.caLocked()
}

// caLocked follows the domain to another authority: what the old one signed is
// not shown from then on.
func (i *issuer) caLocked() *x509.Certificate {
	if a := i.authority(); !bytes.Equal(a.Certificate, i.parsed.Raw) {
		if fresh, err := x509.ParseCertificate(a.Certificate); err == nil {
			i.parsed, i.current = fresh, nil
		}
	}
	return i.parsed
}

func (i *issuer) issue(ca *x509.Certificate, now time.Time) (*tls.Certificate, error) {
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Holdfast node"},
		NotBefore: now.Add(-clockSlack), NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: ca.PermittedDNSDomains,
	}
	for _, n := range ca.PermittedIPRanges {
		tmpl.IPAddresses = append(tmpl.IPAddresses, n.IP)
	}
	a := i.authority()
	private, err := i.root.Unwrap(authoritySlot(a, a.Generation), a.WrappedKey)
	if err != nil {
		return nil, err
	}
	defer private.Wipe()
	var der []byte
	err = private.Use(func(b []byte) error {
		key, err := x509.ParsePKCS8PrivateKey(b)
		if err != nil {
			return kms.Errorf(kms.Damaged, "the domain's certificate authority has no usable key")
		}
		der, err = x509.CreateCertificate(rand.Reader, tmpl, ca, i.key.Public(), key.(crypto.Signer))
		return err
	})
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: i.key, Leaf: leaf}, nil
}

// publicKeys are what evidence for clients is bound to: the key that ends TLS,
// and the authority's.
func (i *issuer) publicKeys(ca *x509.Certificate) [][]byte {
	return [][]byte{i.public, ca.RawSubjectPublicKeyInfo}
}

// pem is the authority's certificate, for clients to trust.
func (i *issuer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.ca().Raw})
}

// tlsConfig is that of the API. Clients of eHSM still speak TLS 1.2.
func (i *issuer) tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: i.certificate, Time: i.clock.Now,
		// A workload's own certificate, signed by nobody: evidence vouches for its key.
		ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"h2", "http/1.1"}}
}

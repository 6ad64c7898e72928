package simtee

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha3"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
)

const (
	rootSecretLen = 32

	// rsaBits is half of what AMD's keys have: two of that size take 4 s to
	// find, two of this size 0.3 s.
	rsaBits = 2048
)

// Certificates are valid as long as Intel's root is, so that a platform works
// at any time a test cares to name.
var (
	notBefore = time.Date(2018, 5, 21, 10, 45, 10, 0, time.UTC)
	notAfter  = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)
)

// A Root plays Intel and AMD: it certifies simulated machines and publishes
// what is known about them. All its keys and CA certificates follow from one
// secret, so they are the same, bit by bit, in every process that has it.
type Root struct {
	// The fields are closures for the reason given at Platform.seal.

	secret func() [rootSecretLen]byte // what Create writes into fuses
	// rsa finds the keys of AMD's CAs, which takes a while, once.
	rsa   func() (ark, ask *rsa.PrivateKey)
	intel func() (*intelRoot, error)
	amd   func() (*amdRoot, error)
	// foreign is the root of another vendor of simulated machines.
	foreign func() *Root
}

// NewRoot makes a development root that nobody else has.
func NewRoot() *Root {
	var secret [rootSecretLen]byte
	rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	return newRoot(secret)
}

func newRoot(secret [rootSecretLen]byte) *Root {
	r := &Root{
		secret: func() [rootSecretLen]byte { return secret },
		rsa: sync.OnceValues(func() (ark, ask *rsa.PrivateKey) {
			return rsaKey(stream(secret[:], "ARK")), rsaKey(stream(secret[:], "ASK"))
		}),
	}
	r.foreign = sync.OnceValue(func() *Root {
		var other [rootSecretLen]byte
		fill(other[:], stream(secret[:], "foreign root"))
		return newRoot(other)
	})
	return r.forged(nil)
}

// forged is a root with the same keys whose certificates forge edits.
func (r *Root) forged(forge *Forge) *Root {
	secret := r.secret()
	return &Root{
		secret:  r.secret,
		rsa:     r.rsa,
		intel:   sync.OnceValues(func() (*intelRoot, error) { return newIntelRoot(secret[:], forge) }),
		amd:     sync.OnceValues(func() (*amdRoot, error) { return newAMDRoot(secret[:], r.rsa, forge) }),
		foreign: r.foreign,
	}
}

// Certificate is the root certificate, DER, that evidence of the kind ends in.
func (r *Root) Certificate(tee attest.TEE) ([]byte, error) {
	switch tee {
	case attest.SGX, attest.TDX:
		ca, err := r.intel()
		if err != nil {
			return nil, err
		}
		return ca.root.cert.Raw, nil
	case attest.SNP:
		ca, err := r.amd()
		if err != nil {
			return nil, err
		}
		return ca.ark.cert.Raw, nil
	}
	return nil, fmt.Errorf("no root for TEE %q", tee)
}

// stream is an endless string of bytes that follows from the secret and the
// label. Secrets have one length, so no two pairs give the same input.
func stream(secret []byte, label string) io.Reader {
	h := sha3.NewSHAKE256()
	h.Write(secret)
	io.WriteString(h, "holdfast simulated platform v1: "+label)
	return h
}

// fill reads from a stream, which does not fail.
func fill(dst []byte, r io.Reader) {
	if _, err := io.ReadFull(r, dst); err != nil {
		panic(err)
	}
}

// ecdsaKey is the first valid key of the stream. crypto/ecdsa.GenerateKey
// would not do: it takes no bytes from a reader that is given to it.
func ecdsaKey(curve elliptic.Curve, r io.Reader) *ecdsa.PrivateKey {
	b := make([]byte, curve.Params().BitSize/8)
	for {
		fill(b, r)
		if key, err := ecdsa.ParseRawPrivateKey(curve, b); err == nil {
			return key
		}
	}
}

// rsaKey is the first pair of primes of the stream, as a key. It is no way to
// make a key that has to be secret: the time it takes tells of the primes.
func rsaKey(r io.Reader) *rsa.PrivateKey {
	const e = 65537
	p, q := prime(r, e), prime(r, e)
	one := big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: e},
		D:         new(big.Int).ModInverse(big.NewInt(e), phi),
		Primes:    []*big.Int{p, q},
	}
	key.Precompute()
	return key
}

// prime is the first prime p of the stream for which e has an inverse mod p-1.
func prime(r io.Reader, e int64) *big.Int {
	b := make([]byte, rsaBits/2/8)
	for {
		fill(b, r)
		b[0] |= 0xc0 // two such primes multiply to the full length
		b[len(b)-1] |= 1
		p := new(big.Int).SetBytes(b)
		rest := new(big.Int).Mod(new(big.Int).Sub(p, big.NewInt(1)), big.NewInt(e))
		if rest.Sign() != 0 && p.ProbablyPrime(20) {
			return p
		}
	}
}

// An authority is a key with the certificate that says what it may sign.
type authority struct {
	key  crypto.Signer
	cert *x509.Certificate
	// salt is where an RSA-PSS signature takes its salt from. Nil for ECDSA,
	// which without a source of randomness is deterministic (RFC 6979).
	salt func(role Role) io.Reader
}

// issue makes a certificate for key, signed by a.
func (a *authority) issue(role Role, template *x509.Certificate, key crypto.Signer, forge *Forge) (*x509.Certificate, error) {
	issuer := template // self-signed
	if a.cert != nil {
		issuer = a.cert
	}
	forge.certificate(role, template)
	var random io.Reader
	if a.salt != nil {
		random = a.salt(role)
	}
	der, err := x509.CreateCertificate(random, template, issuer, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("issuing the certificate %q: %w", role, err)
	}
	return x509.ParseCertificate(der)
}

// revoke makes a revocation list of a.
func (a *authority) revoke(role Role, list *x509.RevocationList, forge *Forge) ([]byte, error) {
	forge.list(role, list)
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		return nil, fmt.Errorf("issuing the revocation list of %q: %w", role, err)
	}
	return der, nil
}

// serial names a certificate: 20 bytes, positive, the same for the same key
// and role.
func serial(role Role, key crypto.Signer) *big.Int {
	id := append(keyID(key.Public()), role...)
	sum := sha1.Sum(id)
	sum[0] = sum[0]&0x7f | 0x40
	return new(big.Int).SetBytes(sum[:])
}

// keyID is the subject key identifier of RFC 5280, method 1, which is a name
// and protects nothing.
func keyID(pub crypto.PublicKey) []byte {
	var point []byte
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		point, _ = pub.Bytes() // fails for curves of other packages only
	case *rsa.PublicKey:
		point = x509.MarshalPKCS1PublicKey(pub)
	}
	sum := sha1.Sum(point)
	return sum[:]
}

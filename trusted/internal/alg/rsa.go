package alg

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"sync"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

const (
	minExponent = 1<<16 + 1 // FIPS 186-5, section 5.1 (e); the library takes 31 bits at most

	// trials bound by 4⁻²⁰ the chance that a number which is not prime passes, even
	// one that was chosen to.
	trials = 20

	pkcs1Cost = 11                // bytes of a modulus that PKCS #1 v1.5 needs
	oaepCost  = 2*sha256.Size + 2 // bytes that OAEP with SHA-256 needs
)

// rsaBits is RSA (RFC 8017) with a modulus of exactly bits. The material is
// PKCS #1 DER with two primes.
func rsaBits(bits int) algorithm {
	return algorithm{
		generate: func() (secret.Bytes, error) {
			priv, err := rsa.GenerateKey(rand.Reader, bits)
			if err != nil {
				return secret.Bytes{}, err
			}
			return secret.New(x509.MarshalPKCS1PrivateKey(priv)), nil
		},
		parse: func(material []byte) (Key, error) {
			priv, err := x509.ParsePKCS1PrivateKey(material)
			if err != nil || priv.N.BitLen() != bits {
				return Key{}, kms.Errorf(kms.Damaged, "not an RSA key of %d bits", bits)
			}
			return rsaKey(priv), nil
		},
		parsePublic: func(spki []byte) (Key, error) {
			parsed, err := x509.ParsePKIXPublicKey(spki)
			if err != nil {
				return Key{}, err
			}
			pub, ok := parsed.(*rsa.PublicKey)
			if !ok || pub.N.BitLen() != bits {
				return Key{}, errMaterial
			}
			return rsaPublic(pub), nil
		},
		load: func(brought []byte) (secret.Bytes, error) { return loadRSA(brought, bits) },
		export: func(material []byte) (secret.Bytes, error) {
			priv, err := x509.ParsePKCS1PrivateKey(material)
			if err != nil {
				return secret.Bytes{}, kms.Errorf(kms.Damaged, "not an RSA key")
			}
			der, err := x509.MarshalPKCS8PrivateKey(priv)
			return secret.New(der), err
		},
	}
}

// loadRSA takes PKCS #8 or PKCS #1. That the numbers belong together, that the
// primes are far apart and the private exponent is not small, the library
// checks; that the primes are prime it leaves to whoever made them.
func loadRSA(brought []byte, bits int) (secret.Bytes, error) {
	priv, err := x509.ParsePKCS1PrivateKey(brought)
	if err != nil {
		key, err := x509.ParsePKCS8PrivateKey(brought)
		if err != nil || !isWhole(brought) {
			return secret.Bytes{}, errMaterial
		}
		var ok bool
		if priv, ok = key.(*rsa.PrivateKey); !ok {
			return secret.Bytes{}, errMaterial
		}
	}
	if priv.N.BitLen() != bits || priv.E < minExponent || len(priv.Primes) != 2 {
		return secret.Bytes{}, errMaterial
	}
	for _, p := range priv.Primes {
		if p.BitLen() != bits/2 || !likelyPrime(p) {
			return secret.Bytes{}, errMaterial
		}
	}
	return secret.New(x509.MarshalPKCS1PrivateKey(priv)), nil
}

// likelyPrime takes time that depends on p. It runs once in the life of a key,
// on a number that was not chosen here; nobody can ask again with another one.
func likelyPrime(p *big.Int) bool { return p.ProbablyPrime(trials) }

func rsaPublic(pub *rsa.PublicKey) Key {
	return Key{
		encTo: func(plaintext []byte, p kms.Padding) ([]byte, error) { return encryptRSA(pub, plaintext, p) },
		verify: func(in kms.SigningInput, signature []byte) (bool, error) {
			return verifyRSA(pub, in, signature)
		},
		public: func() ([]byte, error) { return x509.MarshalPKIXPublicKey(pub) },
	}
}

func rsaKey(priv *rsa.PrivateKey) Key {
	// Most keys never decrypt with PKCS #1 v1.5, so what that needs is made late.
	implicit := sync.OnceValues(func() (*implicitRejection, error) { return newImplicitRejection(priv) })
	k := rsaPublic(&priv.PublicKey)
	k.sign = func(in kms.SigningInput) ([]byte, error) { return signRSA(priv, in) }
	k.decFrom = func(ciphertext []byte, p kms.Padding) ([]byte, error) {
		switch p {
		case kms.PaddingOAEP:
			return decryptOAEP(priv, ciphertext)
		case kms.PaddingPKCS1:
			r, err := implicit()
			if err != nil {
				return nil, err
			}
			out, _, err := r.decrypt(ciphertext)
			return out, err
		}
		return nil, errPadding(p)
	}
	k.unwrap = func(wrapped []byte, w kms.Wrapping) ([]byte, bool, error) {
		switch w {
		case kms.WrapOAEP, kms.WrapOAEPAES:
			out, err := unwrapOAEP(priv, wrapped, w)
			return out, true, err
		case kms.WrapPKCS1:
			r, err := implicit()
			if err != nil {
				return nil, false, err
			}
			return r.decrypt(wrapped)
		}
		return nil, false, kms.Errorf(kms.Misused, "unknown wrapping of key material")
	}
	return k
}

func errPadding(p kms.Padding) error {
	return kms.Errorf(kms.Misused, "RSA has no padding %s for this operation", p)
}

func encryptRSA(pub *rsa.PublicKey, plaintext []byte, p kms.Padding) ([]byte, error) {
	cost := map[kms.Padding]int{kms.PaddingOAEP: oaepCost, kms.PaddingPKCS1: pkcs1Cost}[p]
	if cost == 0 {
		return nil, errPadding(p)
	}
	if limit := pub.Size() - cost; len(plaintext) > limit {
		return nil, kms.Errorf(kms.TooLarge, "%d bytes, at most %d with padding %s", len(plaintext), limit, p)
	}
	if p == kms.PaddingOAEP {
		return rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, plaintext, nil)
	}
	//lint:ignore SA1019 eHSM's clients have it. What is unsafe is to decrypt it, and that is in implicit.go.
	return rsa.EncryptPKCS1v15(rand.Reader, pub, plaintext)
}

func decryptOAEP(priv *rsa.PrivateKey, ciphertext []byte) ([]byte, error) {
	if len(ciphertext) != priv.Size() { // RFC 8017, section 7.1.2, step 1
		return nil, errDecrypt
	}
	out, err := rsa.DecryptOAEP(sha256.New(), nil, priv, ciphertext, nil)
	if err != nil {
		return nil, errDecrypt
	}
	return out, nil
}

// rsaDigest returns the digest that a signature is made over.
func rsaDigest(in kms.SigningInput) ([]byte, error) {
	if _, ok := sha2[in.Digest]; !ok {
		return nil, errDigest(in.Digest)
	}
	return digestOf(in)
}

// saltAsDigest is what eHSM and most others do.
var saltAsDigest = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}

func signRSA(priv *rsa.PrivateKey, in kms.SigningInput) ([]byte, error) {
	digest, err := rsaDigest(in)
	if err != nil {
		return nil, err
	}
	switch hash := sha2[in.Digest].id; in.Padding {
	case kms.PaddingPSS:
		return rsa.SignPSS(rand.Reader, priv, hash, digest, saltAsDigest)
	case kms.PaddingPKCS1:
		return rsa.SignPKCS1v15(nil, priv, hash, digest)
	}
	return nil, errPadding(in.Padding)
}

func verifyRSA(pub *rsa.PublicKey, in kms.SigningInput, signature []byte) (bool, error) {
	digest, err := rsaDigest(in)
	if err != nil {
		return false, err
	}
	switch hash := sha2[in.Digest].id; in.Padding {
	case kms.PaddingPSS:
		return rsa.VerifyPSS(pub, hash, digest, signature, saltAsDigest) == nil, nil
	case kms.PaddingPKCS1:
		return rsa.VerifyPKCS1v15(pub, hash, digest, signature) == nil, nil
	}
	return false, errPadding(in.Padding)
}

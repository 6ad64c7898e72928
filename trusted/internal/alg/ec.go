package alg

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg/secp256k1"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// A curve is what an algorithm over a curve has of its own. Its material is the
// private number, big-endian, as long as the order of the curve; points are
// uncompressed.
type curve struct {
	oid      objectID
	size     int // of a private number, in bytes
	generate func() ([]byte, error)
	private  func(scalar []byte) (k Key, point []byte, err error)
	public   func(point []byte) (Key, error)
}

// algorithm gives c the formats that all curves share.
func (c curve) algorithm() algorithm {
	return algorithm{
		generate: func() (secret.Bytes, error) {
			scalar, err := c.generate()
			return secret.New(scalar), err
		},
		parse: func(material []byte) (Key, error) {
			k, point, err := c.private(material)
			if err != nil {
				return Key{}, kms.Errorf(kms.Damaged, "private number does not parse")
			}
			return c.withPublic(k, point), nil
		},
		parsePublic: func(spki []byte) (Key, error) {
			point, err := parsePublic(c.oid, spki)
			if err != nil {
				return Key{}, err
			}
			k, err := c.public(point)
			return c.withPublic(k, point), err
		},
		load: c.load,
		export: func(material []byte) (secret.Bytes, error) {
			_, point, err := c.private(material)
			if err != nil {
				return secret.Bytes{}, kms.Errorf(kms.Damaged, "private number does not parse")
			}
			der, err := marshalPrivate(c.oid, material, point)
			return secret.New(der), err
		},
	}
}

func (c curve) withPublic(k Key, point []byte) Key {
	k.public = func() ([]byte, error) { return marshalPublic(c.oid, point) }
	return k
}

// load takes a bare private number, or PKCS #8 or SEC 1 around one. A public
// point that comes along must be its own.
func (c curve) load(brought []byte) (secret.Bytes, error) {
	scalar, given := brought, []byte(nil)
	if len(brought) != c.size || isStructured(brought) {
		var err error
		if scalar, given, err = parsePrivate(c.oid, brought, c.size); err != nil {
			return secret.Bytes{}, err
		}
		defer clear(scalar)
	}
	_, point, err := c.private(scalar)
	if err != nil {
		return secret.Bytes{}, err
	}
	if len(given) > 0 && !samePoint(given, point) {
		return secret.Bytes{}, errMaterial
	}
	return secret.Copy(scalar), nil
}

var (
	p224 = nist{elliptic.P224(), oidP224, nil} // crypto/ecdh does not have it
	p256 = nist{elliptic.P256(), oidP256, ecdh.P256()}
	p384 = nist{elliptic.P384(), oidP384, ecdh.P384()}
	p521 = nist{elliptic.P521(), oidP521, ecdh.P521()}
)

type nist struct {
	curve elliptic.Curve
	oid   objectID
	ecdh  ecdh.Curve // nil: no key agreement
}

// nistCurve is ECDSA and ECDH over a curve of FIPS 186-5 or, for P-224, 186-4. Signatures
// are ASN.1 DER.
func nistCurve(n nist) algorithm {
	return curve{
		oid:  n.oid,
		size: (n.curve.Params().N.BitLen() + 7) / 8,
		generate: func() ([]byte, error) {
			priv, err := ecdsa.GenerateKey(n.curve, rand.Reader)
			if err != nil {
				return nil, err
			}
			return priv.Bytes()
		},
		private: func(scalar []byte) (Key, []byte, error) {
			priv, err := ecdsa.ParseRawPrivateKey(n.curve, scalar)
			if err != nil {
				return Key{}, nil, err
			}
			k := verifying(func(digest, sig []byte) bool { return ecdsa.VerifyASN1(&priv.PublicKey, digest, sig) })
			k.sign = signing(func(digest []byte) ([]byte, error) { return ecdsa.SignASN1(rand.Reader, priv, digest) })
			if n.ecdh != nil {
				same, err := priv.ECDH()
				if err != nil {
					return Key{}, nil, err
				}
				k.agree = agreeing(same, n.peer)
			}
			point, err := priv.PublicKey.Bytes()
			return k, point, err
		},
		public: func(point []byte) (Key, error) {
			pub, err := ecdsa.ParseUncompressedPublicKey(n.curve, point)
			if err != nil {
				return Key{}, err
			}
			return verifying(func(digest, sig []byte) bool { return ecdsa.VerifyASN1(pub, digest, sig) }), nil
		},
	}.algorithm()
}

// curveSecp256k1 is ECDSA over the curve of SEC 2 that cryptocurrencies use.
var curveSecp256k1 = curve{
	oid:      oidSecp256k1,
	size:     secp256k1.ScalarSize,
	generate: func() ([]byte, error) { return secp256k1.Generate(), nil },
	private: func(scalar []byte) (Key, []byte, error) {
		priv, err := secp256k1.Parse(scalar)
		if err != nil {
			return Key{}, nil, err
		}
		k := verifying(priv.Verify)
		k.sign = signing(func(digest []byte) ([]byte, error) { return priv.Sign(digest), nil })
		return k, priv.Public(), nil
	},
	public: func(point []byte) (Key, error) {
		pub, err := secp256k1.ParsePublic(point)
		if err != nil {
			return Key{}, err
		}
		return verifying(pub.Verify), nil
	},
}.algorithm()

// signing makes the func of a Key of one that signs digests.
func signing(sign func(digest []byte) ([]byte, error)) func(kms.SigningInput) ([]byte, error) {
	return func(in kms.SigningInput) ([]byte, error) {
		digest, err := digestOf(in)
		if err != nil {
			return nil, err
		}
		return sign(digest)
	}
}

// verifying is a Key that verifies signatures of digests.
func verifying(verify func(digest, sig []byte) bool) Key {
	return Key{verify: func(in kms.SigningInput, signature []byte) (bool, error) {
		digest, err := digestOf(in)
		if err != nil {
			return false, err
		}
		return verify(digest, signature), nil
	}}
}

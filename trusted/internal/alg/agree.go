package alg

import (
	"bytes"
	"crypto/ecdh"
	"crypto/x509"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// errPeer is the one answer to a peer's key that cannot be agreed with: of
// another curve, malformed, not on the curve, or of so small an order that the
// result would be known to everybody (RFC 7748, section 6.1).
var errPeer = kms.Errorf(kms.Invalid, "not a public key that this key can agree with").WithField("peer_public_key")

// Agree is the secret that this key and a peer's public key, a
// SubjectPublicKeyInfo in DER, have in common, as it is: of a NIST curve the
// x-coordinate (NIST SP 800-56A revision 3, section 5.7.1.2), of X25519 that of
// RFC 7748. The caller clears it. A key that is not one to agree with is Invalid.
func (k Key) Agree(peer []byte) ([]byte, error) {
	if k.agree == nil {
		return nil, errMisused
	}
	return k.agree(peer)
}

// agreeing makes the func of a Key that agrees on secrets; point reads a peer's key.
func agreeing(priv *ecdh.PrivateKey, point func(spki []byte) (*ecdh.PublicKey, error)) func([]byte) ([]byte, error) {
	return func(spki []byte) ([]byte, error) {
		peer, err := point(spki)
		if err != nil {
			return nil, errPeer
		}
		shared, err := priv.ECDH(peer)
		if err != nil {
			return nil, errPeer
		}
		return shared, nil
	}
}

// peer reads the public key of somebody on the same curve, in its one encoding.
func (n nist) peer(spki []byte) (*ecdh.PublicKey, error) {
	point, err := parsePublic(n.oid, spki)
	if err != nil {
		return nil, err
	}
	if again, err := marshalPublic(n.oid, point); err != nil || !bytes.Equal(again, spki) {
		return nil, errMaterial
	}
	return n.ecdh.NewPublicKey(point)
}

// curve25519 is X25519 as RFC 7748 defines it. The material is the private
// string, 32 bytes; its formats are those of RFC 8410.
var curve25519 = algorithm{
	generate: func() (secret.Bytes, error) { return secret.Random(x25519Size), nil },
	parse: func(private []byte) (Key, error) {
		priv, err := ecdh.X25519().NewPrivateKey(private)
		if err != nil {
			return Key{}, kms.Errorf(kms.Damaged, "X25519 key has %d bytes, want %d", len(private), x25519Size)
		}
		k := x25519Public(priv.PublicKey())
		k.agree = agreeing(priv, parseX25519)
		return k, nil
	},
	parsePublic: func(spki []byte) (Key, error) {
		pub, err := parseX25519(spki)
		if err != nil {
			return Key{}, err
		}
		return x25519Public(pub), nil
	},
	load: func(brought []byte) (secret.Bytes, error) {
		if len(brought) == x25519Size {
			return secret.Copy(brought), nil
		}
		key, err := x509.ParsePKCS8PrivateKey(brought)
		if err != nil || !isWhole(brought) {
			return secret.Bytes{}, errMaterial
		}
		priv, ok := key.(*ecdh.PrivateKey)
		if !ok || priv.Curve() != ecdh.X25519() {
			return secret.Bytes{}, errMaterial
		}
		return secret.New(priv.Bytes()), nil
	},
	export: func(private []byte) (secret.Bytes, error) {
		priv, err := ecdh.X25519().NewPrivateKey(private)
		if err != nil {
			return secret.Bytes{}, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(priv)
		return secret.New(der), err
	},
}

const x25519Size = 32

func parseX25519(spki []byte) (*ecdh.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, err
	}
	pub, ok := parsed.(*ecdh.PublicKey)
	if !ok || pub.Curve() != ecdh.X25519() {
		return nil, errMaterial
	}
	if again, err := x509.MarshalPKIXPublicKey(pub); err != nil || !bytes.Equal(again, spki) {
		return nil, errMaterial
	}
	return pub, nil
}

func x25519Public(pub *ecdh.PublicKey) Key {
	return Key{public: func() ([]byte, error) { return x509.MarshalPKIXPublicKey(pub) }}
}

package client

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"

	"github.com/holdfast-kms/holdfast/kms"
)

// PublicKey returns the public half of an asymmetric key, whose Spec is zero
// where this SDK does not know it. Errors: NotFound, Foreign, Disabled,
// Misused for a symmetric key.
func (c *Client) PublicKey(ctx context.Context, id kms.KeyID) (kms.PublicKey, error) {
	r, err := call[struct {
		PEM string `json:"pubkey"`
	}](ctx, c, actPublicKey, keyPayload{id})
	if err != nil {
		return kms.PublicKey{}, err
	}
	spec, der, err := parsePublicKey(r.PEM)
	if err != nil {
		return kms.PublicKey{}, garbled(actPublicKey, 0, err)
	}
	return kms.PublicKey{Key: kms.KeyRef{ID: id}, Spec: spec, DER: der}, nil
}

// parsePublicKey reads a public key in PEM: of RSA in PKCS #1, as eHSM sends it,
// else a SubjectPublicKeyInfo. It returns the latter of either.
func parsePublicKey(text string) (kms.Spec, []byte, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(rest) > 0 {
		return 0, nil, errors.New("not a public key in PEM")
	}
	switch block.Type {
	case "RSA PUBLIC KEY":
		pub, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return 0, nil, err
		}
		der, err := x509.MarshalPKIXPublicKey(pub)
		return rsaSpecs[pub.N.BitLen()], der, err
	case "PUBLIC KEY":
		spec, err := specOf(block.Bytes)
		return spec, block.Bytes, err
	}
	return 0, nil, errors.New("a PEM block of another type")
}

// subjectPublicKeyInfo is of RFC 5280, section 4.1.
type subjectPublicKeyInfo struct {
	ID struct {
		Algorithm  asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	Key asn1.BitString
}

// Object identifiers of RFC 5480, RFC 8410 and RFC 8017.
const (
	oidEC      = "1.2.840.10045.2.1"
	oidX25519  = "1.3.101.110"
	oidEd25519 = "1.3.101.112"
	oidRSA     = "1.2.840.113549.1.1.1"
)

var (
	rsaSpecs = map[int]kms.Spec{2048: kms.RSA2048, 3072: kms.RSA3072, 4096: kms.RSA4096}

	// latticeSpecs is by the object identifier of the algorithm (RFC 9881, RFC 9935).
	latticeSpecs = map[string]kms.Spec{
		"2.16.840.1.101.3.4.4.2": kms.MLKEM768, "2.16.840.1.101.3.4.4.3": kms.MLKEM1024,
		"2.16.840.1.101.3.4.3.17": kms.MLDSA44, "2.16.840.1.101.3.4.3.18": kms.MLDSA65, "2.16.840.1.101.3.4.3.19": kms.MLDSA87,
	}

	// curveSpecs is by the object identifier of the curve (RFC 5480, SEC 2, GM/T 0006).
	curveSpecs = map[string]kms.Spec{
		"1.3.132.0.33": kms.ECP224, "1.2.840.10045.3.1.7": kms.ECP256, "1.3.132.0.10": kms.ECSecp256k1,
		"1.3.132.0.34": kms.ECP384, "1.3.132.0.35": kms.ECP521, "1.2.156.10197.1.301": kms.SM2,
	}
)

// specOf tells the spec of a SubjectPublicKeyInfo, zero for one that is not
// among ours. The standard library knows neither secp256k1 nor SM2.
func specOf(der []byte) (kms.Spec, error) {
	var info subjectPublicKeyInfo
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return 0, errors.New("not a SubjectPublicKeyInfo")
	}
	switch info.ID.Algorithm.String() {
	case oidEd25519:
		return kms.Ed25519, nil
	case oidX25519:
		return kms.X25519, nil
	case oidEC:
		var curve asn1.ObjectIdentifier
		if _, err := asn1.Unmarshal(info.ID.Parameters.FullBytes, &curve); err != nil {
			return 0, err
		}
		return curveSpecs[curve.String()], nil
	case oidRSA:
		pub, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return 0, err
		}
		return rsaSpecs[pub.(*rsa.PublicKey).N.BitLen()], nil
	}
	return latticeSpecs[info.ID.Algorithm.String()], nil
}

package alg

import (
	"bytes"
	"encoding/asn1"
)

// The formats of keys over curves, for all curves alike: the standard library
// has them for four curves only, and for neither secp256k1 nor SM2.

type objectID = asn1.ObjectIdentifier

// The curves (RFC 5480, section 2.1.1.1; SEC 2; GM/T 0006).
var (
	oidECPublicKey = objectID{1, 2, 840, 10045, 2, 1}

	oidP224      = objectID{1, 3, 132, 0, 33}
	oidP256      = objectID{1, 2, 840, 10045, 3, 1, 7}
	oidSecp256k1 = objectID{1, 3, 132, 0, 10}
	oidP384      = objectID{1, 3, 132, 0, 34}
	oidP521      = objectID{1, 3, 132, 0, 35}
	oidSM2       = objectID{1, 2, 156, 10197, 1, 301}
)

// curveID is the AlgorithmIdentifier of a key over a named curve (RFC 5480).
type curveID struct {
	Algorithm objectID
	Curve     objectID
}

// subjectPublicKeyInfo is of RFC 5280, section 4.1.
type subjectPublicKeyInfo struct {
	ID    curveID
	Point asn1.BitString
}

// privateKeyInfo is PKCS #8 (RFC 5958).
type privateKeyInfo struct {
	Version    int
	ID         curveID
	Key        []byte
	Attributes asn1.RawValue `asn1:"optional,tag:0"`
	Point      asn1.RawValue `asn1:"optional,tag:1"`
}

// ecPrivateKey is of SEC 1, appendix C.4 (RFC 5915).
type ecPrivateKey struct {
	Version int
	Scalar  []byte
	Curve   objectID       `asn1:"optional,explicit,tag:0"`
	Point   asn1.BitString `asn1:"optional,explicit,tag:1"`
}

const sec1Version = 1

func marshalPublic(curve objectID, point []byte) ([]byte, error) {
	return asn1.Marshal(subjectPublicKeyInfo{curveID{oidECPublicKey, curve}, bitString(point)})
}

// parsePublic returns the point of a SubjectPublicKeyInfo of this curve.
func parsePublic(curve objectID, spki []byte) ([]byte, error) {
	var parsed subjectPublicKeyInfo
	if _, err := asn1.Unmarshal(spki, &parsed); err != nil || !parsed.ID.Curve.Equal(curve) {
		return nil, errMaterial
	}
	return parsed.Point.RightAlign(), nil
}

// marshalPrivate is PKCS #8, with the public point inside, as others write it.
func marshalPrivate(curve objectID, scalar, point []byte) ([]byte, error) {
	inner, err := asn1.Marshal(ecPrivateKey{Version: sec1Version, Scalar: scalar, Point: bitString(point)})
	if err != nil {
		return nil, err
	}
	defer clear(inner)
	return asn1.Marshal(privateKeyInfo{ID: curveID{oidECPublicKey, curve}, Key: inner})
}

func bitString(b []byte) asn1.BitString { return asn1.BitString{Bytes: b, BitLength: 8 * len(b)} }

// parsePrivate reads PKCS #8 or SEC 1. The scalar is size bytes long and the
// caller's; the point is nil where there is none.
func parsePrivate(curve objectID, der []byte, size int) (scalar, point []byte, err error) {
	inner, outerCurve := der, objectID(nil)
	var outer privateKeyInfo
	if rest, err := asn1.Unmarshal(der, &outer); err == nil {
		if len(rest) > 0 || outer.Version > 1 || !outer.ID.Algorithm.Equal(oidECPublicKey) {
			return nil, nil, errMaterial
		}
		inner, outerCurve = outer.Key, outer.ID.Curve
	}
	var key ecPrivateKey
	if rest, err := asn1.Unmarshal(inner, &key); err != nil || len(rest) > 0 || key.Version != sec1Version {
		return nil, nil, errMaterial
	}
	for _, named := range []objectID{outerCurve, key.Curve} {
		if named != nil && !named.Equal(curve) {
			return nil, nil, errMaterial
		}
	}
	scalar, err = fill(key.Scalar, size)
	clear(key.Scalar)
	return scalar, key.Point.RightAlign(), err
}

// isWhole reports whether der is one SEQUENCE and nothing else. The standard
// library's parsers of private keys leave what follows to their callers.
func isWhole(der []byte) bool {
	var value asn1.RawValue
	rest, err := asn1.Unmarshal(der, &value)
	return err == nil && len(rest) == 0 && value.Tag == asn1.TagSequence
}

// isStructured reports whether b is a private key in PKCS #8 or SEC 1, of any
// algorithm. One in 2³⁹ bare numbers looks the same, and is refused.
func isStructured(b []byte) bool {
	var key struct {
		Version int
		Next    asn1.RawValue
	}
	rest, err := asn1.Unmarshal(b, &key)
	return err == nil && len(rest) == 0 && 0 <= key.Version && key.Version <= sec1Version
}

// fill makes a number size bytes long. Some programs write more zeros in front
// of it, and some leave them out.
func fill(number []byte, size int) ([]byte, error) {
	for len(number) > size && number[0] == 0 {
		number = number[1:]
	}
	if len(number) > size {
		return nil, errMaterial
	}
	out := make([]byte, size)
	copy(out[size-len(number):], number)
	return out, nil
}

// samePoint compares with an uncompressed point; given may be compressed.
func samePoint(given, point []byte) bool {
	if len(given) == len(point) {
		return bytes.Equal(given, point)
	}
	half := len(point) / 2
	compressed := append([]byte{2 | point[len(point)-1]&1}, point[1:1+half]...)
	return bytes.Equal(given, compressed)
}

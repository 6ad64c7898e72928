package alg

import (
	"bytes"
	"encoding/asn1"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// A lattice is what an algorithm over module lattices has of its own. Its
// material is the seed that FIPS 203 and 204 make keys of.
type lattice struct {
	oid     objectID
	size    int // of a seed, in bytes
	private func(seed []byte) (k Key, public []byte, err error)
	public  func(public []byte) (Key, error)
	// matches reports whether an expanded private key is of a seed, as far as that
	// can be told from what the library shows: all but the secret polynomials, which
	// are not used either.
	matches func(seed, public, expanded []byte) bool
}

// algorithm gives l the formats that all lattices share: SubjectPublicKeyInfo and
// PKCS #8 of RFC 9881 (ML-DSA) and RFC 9935 (ML-KEM). A private key leaves as its
// seed; one that comes must have it.
func (l lattice) algorithm() algorithm {
	return algorithm{
		generate: func() (secret.Bytes, error) { return secret.Random(l.size), nil },
		parse: func(seed []byte) (Key, error) {
			k, public, err := l.key(seed)
			if err != nil {
				return Key{}, kms.Errorf(kms.Damaged, "seed does not parse")
			}
			return l.withPublic(k, public), nil
		},
		parsePublic: func(spki []byte) (Key, error) {
			public, err := l.parsePublic(spki)
			if err != nil {
				return Key{}, err
			}
			k, err := l.public(public)
			return l.withPublic(k, public), err
		},
		load:   l.load,
		export: l.export,
	}
}

func (l lattice) key(seed []byte) (Key, []byte, error) {
	if len(seed) != l.size {
		return Key{}, nil, errMaterial
	}
	return l.private(seed)
}

// latticeID is an AlgorithmIdentifier whose parameters are absent, as both RFCs
// demand.
type latticeID struct{ Algorithm objectID }

type latticePublic struct {
	ID  latticeID
	Key asn1.BitString
}

// latticePrivate is PKCS #8 (RFC 5958).
type latticePrivate struct {
	Version    int
	ID         latticeID
	Key        []byte
	Attributes asn1.RawValue `asn1:"optional,tag:0"`
	Public     asn1.RawValue `asn1:"optional,tag:1"`
}

func (l lattice) withPublic(k Key, public []byte) Key {
	k.public = func() ([]byte, error) { return asn1.Marshal(latticePublic{latticeID{l.oid}, bitString(public)}) }
	return k
}

func (l lattice) parsePublic(spki []byte) ([]byte, error) {
	var parsed latticePublic
	if rest, err := asn1.Unmarshal(spki, &parsed); err != nil || len(rest) > 0 || !parsed.ID.Algorithm.Equal(l.oid) {
		return nil, errMaterial
	}
	return parsed.Key.RightAlign(), nil
}

// seedTag is that of `seed [0] IMPLICIT OCTET STRING`, the form in which keys
// leave (RFC 9881, section 6; RFC 9935, section 6).
const seedTag = 0x80

func (l lattice) export(seed []byte) (secret.Bytes, error) {
	inner := append([]byte{seedTag, byte(l.size)}, seed...)
	defer clear(inner)
	der, err := asn1.Marshal(latticePrivate{ID: latticeID{l.oid}, Key: inner})
	return secret.New(der), err
}

// load takes a bare seed, or PKCS #8 with a seed in it, alone or beside the
// expanded key. An expanded key alone is refused: its seed cannot be told.
func (l lattice) load(brought []byte) (secret.Bytes, error) {
	if len(brought) == l.size {
		return secret.Copy(brought), nil
	}
	var outer latticePrivate
	if rest, err := asn1.Unmarshal(brought, &outer); err != nil || len(rest) > 0 || outer.Version > 1 || !outer.ID.Algorithm.Equal(l.oid) {
		return secret.Bytes{}, errMaterial
	}
	defer clear(outer.Key)
	seed, expanded, err := l.choose(outer.Key)
	if err != nil {
		return secret.Bytes{}, err
	}
	_, public, err := l.key(seed)
	if err != nil || expanded != nil && !l.matches(seed, public, expanded) {
		return secret.Bytes{}, errMaterial
	}
	return secret.Copy(seed), nil
}

// choose reads the CHOICE inside PKCS #8.
func (l lattice) choose(inner []byte) (seed, expanded []byte, err error) {
	if bytes.HasPrefix(inner, []byte{seedTag, byte(l.size)}) && len(inner) == 2+l.size {
		return inner[2:], nil, nil
	}
	var both struct{ Seed, Expanded []byte }
	if rest, err := asn1.Unmarshal(inner, &both); err != nil || len(rest) > 0 || len(both.Seed) != l.size || both.Expanded == nil {
		return nil, nil, errMaterial
	}
	return both.Seed, both.Expanded, nil
}

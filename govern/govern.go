// Package govern holds the documents that a domain is ruled by. It takes bytes
// and returns values: it opens no file, reads no clock and keeps nothing.
//
// Every document has one canonical form, in which its members are printed in a
// fixed order without white space. A document may be written in another order
// and with white space, for people write charters by hand; digests are always
// taken over the canonical form. Beyond that the parsers are strict: a member
// that is unknown, missing, null or there twice is refused, and so is anything
// after the document.
package govern

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-kms/holdfast/kms"
)

// MaxDocument is the length in bytes from which a document is refused unread.
const MaxDocument = 64 << 10

const (
	charterLabel  = "holdfast charter v1"
	domainIDLabel = "holdfast domain id v1"
)

// A Digest is the SHA-256 of a document's canonical form under its label.
type Digest [sha256.Size]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText prints the digest as 64 lower-case hexadecimal digits.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// DomainID names the domain that a charter and a bootstrap found: the SHA-256
// of a label and both canonical forms, each with its length before it. Both
// must be valid and bootstrap must name charter, which Bootstrap.Names checks.
func DomainID(charter *Charter, bootstrap *Bootstrap) kms.DomainID {
	return kms.DomainID(digest(domainIDLabel, charter.Canonical(), bootstrap.Canonical()))
}

// digest hashes a label and parts, each with its length before it as 8 bytes,
// most significant first, so that no two lists of parts hash alike.
func digest(label string, parts ...[]byte) Digest {
	h := sha256.New()
	for _, part := range append([][]byte{[]byte(label)}, parts...) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write(part)
	}
	return Digest(h.Sum(nil))
}

// parse reads one strict JSON document into v. Duplicate names, invalid UTF-8
// and trailing bytes are refused by the decoder's own defaults.
func parse(what string, b []byte, v any) error {
	if len(b) > MaxDocument {
		return kms.Errorf(kms.TooLarge, "%s: %d bytes, at most %d are read", what, len(b), MaxDocument)
	}
	err := json.Unmarshal(b, v, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	return kms.Errorf(kms.Invalid, "%s: %w", what, err).WithField(faultyMember(err))
}

func faultyMember(err error) string {
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		return strings.TrimPrefix(string(semantic.JSONPointer), "/")
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		return strings.TrimPrefix(string(syntactic.JSONPointer), "/")
	}
	return ""
}

// canonical prints a document's wire form. It cannot fail: wire forms have
// strings and numbers only, and what is no UTF-8 is replaced (such a document
// is not valid, and its print does not parse).
func canonical(wire any) []byte {
	b, err := json.Marshal(wire, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic("govern: printing a document: " + err.Error())
	}
	return b
}

// decodeHex reads exactly len(dst) bytes of lower-case hexadecimal.
func decodeHex(dst []byte, s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(dst) || hex.EncodeToString(b) != s {
		return errors.New("not lower-case hexadecimal of the right length")
	}
	copy(dst, b)
	return nil
}

// decodeBase64 refuses line breaks and padding bits that are not zero, so that
// one value has one spelling.
func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || base64.StdEncoding.EncodeToString(b) != s {
		return nil, errors.New("not base64 with padding, on one line")
	}
	return b, nil
}

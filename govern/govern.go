// Package govern holds the documents that a domain is ruled by, and the rules
// by which one follows another. It takes bytes and returns values: it opens no
// file, reads no clock and keeps nothing. Where a date matters, the time is an
// argument.
//
//   - A Charter says who rules: owner, signers and their threshold, recovery
//     keys, restart mode, intervals. It is not signed; its digest names it.
//   - A Bootstrap founds a domain on a charter: it names the founder's key and
//     policy 1. Owner and threshold sign it. Charter and bootstrap make the
//     domain ID, which never changes.
//   - A Policy says who may replicate, query and operate. The threshold signs it.
//   - An Amendment changes what the charter said. The threshold in force signs
//     it, and every key that is new.
//   - A Recovery revives a domain that lost its quorum: owner and threshold.
//   - A Ticket, an Approval and a ConditionChange are an operator's word; the
//     policy in force names the operators.
//
// All but the charter travel in an Envelope. Opening one guarantees: it is of
// the type asked for; its payload is canonical and valid; it is for this domain;
// every signature on it is good and of a key with a say; and the keys that must
// have signed did, each counted once. One bad signature refuses the document.
// The owner's signature may stand on every document of the signers and never
// counts towards their threshold.
//
// Every document has one canonical form: its members in a fixed order, without
// white space, optional ones left out where they say nothing, times as
// 2006-01-02T15:04:05Z, durations as time.Duration prints them, digests and
// identifiers as lower-case hexadecimal. Digests and signatures are over that
// form alone. A draft, which the Parse functions read, may be written in
// another order, with white space, and with values spelled otherwise where the
// type allows it ("720h", a measurement in capitals). Beyond that parsers are
// strict: a member that is unknown, missing, null or there twice is refused, and
// so is anything after the document.
package govern

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/holdfast-kms/holdfast/kms"
)

// A Digest is the SHA-256 of a document's canonical form under its label.
type Digest [sha256.Size]byte

// IsZero reports whether d names nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText prints the digest as 64 lower-case hexadecimal digits.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText prints.
func (d *Digest) UnmarshalText(text []byte) error { return decodeHex(d[:], string(text)) }

// Labels of the digests; no two kinds of documents share one.
const (
	charterLabel   = "holdfast charter v1"
	policyLabel    = "holdfast policy v1"
	amendmentLabel = "holdfast amendment v1"
	domainIDLabel  = "holdfast domain id v1"
)

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

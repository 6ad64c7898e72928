// Package wire is eHSM's wire format: the signed request and its canonical
// string (protocol v1), and the names of specs, origins, usages, paddings,
// wrappings, digests and message types. The server and the Go client share it, so that
// they cannot disagree about what was signed.
//
// A request is a JSON object {appid, nonce?, timestamp, sign, payload?}. What
// is signed is the canonical string of its members appid, nonce, payload and
// timestamp; nothing else is, above all neither the action nor the host. The
// canonical string escapes nothing, so that different requests may share one
// signature; what keeps that harmless is said at the facade's checks.
//
// Parsing is strict where eHSM's was lax: duplicate member names and invalid
// UTF-8 are refused, depth and number of values are bounded.
package wire

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/holdfast-kms/holdfast/kms"
)

// Limits of a request. eHSM's own requests stay far below them.
const (
	MaxDepth  = 32   // objects and arrays within each other, the request itself included
	MaxValues = 1024 // values of every kind, the request itself included
)

// The errors of this package. None of them quotes what was sent.
var (
	ErrSyntax    error = kms.Errorf(kms.Invalid, "the body is not JSON, repeats a member's name, or is not UTF-8")
	ErrLimits    error = kms.Errorf(kms.Invalid, "the body nests too deep or holds too many values")
	ErrScalar    error = kms.Errorf(kms.Invalid, "the body is JSON, but neither object nor array")
	ErrNotObject error = kms.Errorf(kms.Invalid, "the body is not a JSON object")
)

// MACSize is the length of a MAC in bytes.
const MACSize = sha256.Size

// MAC is HMAC-SHA-256 (RFC 2104) under the API key's characters. Its standard
// base64 is a request's member "sign".
func MAC(apiKey, signed []byte) []byte {
	h := hmac.New(sha256.New, apiKey)
	h.Write(signed)
	return h.Sum(nil)
}

// StringToSign returns the canonical string of a request body: of its members
// appid, nonce, payload and timestamp, those that it has.
func StringToSign(body []byte) ([]byte, error) {
	r, err := Parse(body)
	if err != nil {
		return nil, err
	}
	defer r.Release()
	if r.root().Kind() != Object {
		return nil, ErrNotObject
	}
	return append([]byte(nil), r.Signed...), nil
}

// Canonical returns the canonical string of a whole JSON object, as eHSM signs
// the result of VerifyQuote.
func Canonical(object []byte) ([]byte, error) {
	r, err := parse(object)
	if err != nil {
		return nil, err
	}
	defer r.Release()
	if r.root().Kind() != Object {
		return nil, ErrNotObject
	}
	return r.root().AppendCanonical(nil), nil
}

package kms

import (
	"fmt"
	"time"
)

// A Scheme is a way in which a request proves who sent it.
type Scheme uint8

// The schemes.
const (
	// SchemeEHSMv1 is HMAC-SHA-256 under the API key over eHSM's canonical
	// string. It covers neither action nor host.
	SchemeEHSMv1 Scheme = iota + 1
	// SchemeV2 is our own: HMAC-SHA-256 over the whole request, under a key
	// derived from the API key. Package api/signature says what is signed.
	SchemeV2
	// SchemeSession is no signature: an attested workload without an app shows a
	// session alone. Its connection's client key is what proves who sends.
	SchemeSession
	schemeEnd
)

var schemes = [schemeEnd]struct{ name, keyLabel string }{
	SchemeEHSMv1: {"ehsm-v1", ""},
	SchemeV2:     {"v2", "holdfast request signature v2 key"},

	SchemeSession: {"session", ""},
}

// Signs reports whether s is a scheme in which an app signs.
func (s Scheme) Signs() bool { return s.Valid() && s != SchemeSession }

// Valid reports whether s is one of the schemes above.
func (s Scheme) Valid() bool { return s > 0 && s < schemeEnd }

// KeyLabel is what the scheme's key is derived by: HMAC-SHA-256 under the API
// key of the label. "": the API key itself is the key.
func (s Scheme) KeyLabel() string {
	if !s.Valid() {
		return ""
	}
	return schemes[s].keyLabel
}

func (s Scheme) String() string {
	if !s.Valid() {
		return fmt.Sprintf("Scheme(%d)", uint8(s))
	}
	return schemes[s].name
}

// A Credential is what a request shows of its sender. The facade that received
// it canonicalises; the core computes and compares. A facade never decides who
// is calling.
type Credential struct {
	Scheme Scheme
	ID     CredentialID
	Known  bool      // false where the caller's id could not even be an id; authentication fails as for an unknown one
	Signed []byte    // the exact bytes that the sender signed
	MAC    []byte    // what the sender says their MAC is
	Time   time.Time // when the sender says it signed
	Nonce  string    // "" where the scheme has none
	Scope  string    // what the signature is limited to, where the scheme has such a thing (SigV4: date/region/service)

	// Session is the ticket of an attested workload, "" where the request shows
	// none: in SchemeSession the only thing, in others beside a signature.
	Session string
	// Client is the SHA-256 of the key of the connection's client certificate
	// (SubjectPublicKeyInfo, DER); zeros where it has none.
	Client [32]byte
}

// Permissions is the set of what a credential may be used for.
type Permissions uint8

// The permissions.
const (
	PermUse     Permissions = 1 << iota // use keys
	PermManage                          // create, change and delete keys
	PermSecrets                         // read and write secrets
	PermRead                            // list and describe
	PermValues                          // read the values of secrets, and write none; PermSecrets implies it
	PermAll     = PermUse | PermManage | PermSecrets | PermRead
)

// Has reports whether every permission of q is in p.
func (p Permissions) Has(q Permissions) bool {
	if p&PermSecrets != 0 {
		p |= PermValues
	}
	return q != 0 && p&q == q
}

package kms

import "time"

// OpenSessionRequest is what a workload shows to become known: evidence that
// answers a challenge, for the key of the connection's client certificate.
type OpenSessionRequest struct {
	Challenge []byte
	Evidence  Evidence
	ClientKey []byte // SubjectPublicKeyInfo, DER; nil: the connection has no client certificate
}

// A Session is how an attested workload is known.
type Session struct {
	Ticket  string // for the header Holdfast-Session, on connections with the same client key
	Expires time.Time
}

// SetConditionRequest says which attested programs may use a key, and for what.
type SetConditionRequest struct {
	Key       KeyID
	Condition []byte // the JSON of govern.Condition; empty: none
	Order     []byte // an operator's signed document, as an envelope, or nil
}

// A Condition is who may use a key, as it stands.
type Condition struct {
	Condition []byte // canonical JSON; empty: none
	Revision  uint64 // of the key
}

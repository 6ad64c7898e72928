package kms

import "time"

// A Compromise is a generation of the master secret that others know, and how far
// the domain has come in replacing what hangs on it.
type Compromise struct {
	Generation uint32    `json:"generation"`
	Declared   time.Time `json:"declared"`
	Refused    time.Time `json:"credentials_refused_from"`
	Finished   time.Time `json:"finished,omitzero"` // zero: the domain is still at work
	Left       int       `json:"keys_left"`         // keys that are still to get a new version; it may lag a little
}

// An Exposed is something whose secret others may know, and that the domain alone
// cannot make good.
type Exposed struct {
	App        AppID           `json:"app"`
	Key        KeyID           `json:"key,omitzero"`
	Spec       Spec            `json:"spec,omitzero"`
	Versions   []KeyVersion    `json:"versions,omitempty"` // of the key: what they encrypted is to be encrypted again
	Replaced   bool            `json:"replaced,omitempty"` // the key has a version that nobody knows
	Credential CredentialID    `json:"credential,omitzero"`
	Refused    time.Time       `json:"refused_from,omitzero"` // the credential
	Secret     SecretName      `json:"secret,omitempty"`
	Values     []SecretVersion `json:"values,omitempty"` // versions of the secret
	Advice     string          `json:"advice"`
}

// ExposedPage is a part of the list.
type ExposedPage struct {
	Items []Exposed
	Next  string // what to ask for next; empty: that was all
}

// Warnings about keys whose material others may know.
const (
	WarnExposed = "others may know versions of this key: re-encrypt what they encrypted, then disable and destroy them"
	WarnKnown   = "others may know this key as it is used now: make a new key, have the alias name it, and re-encrypt or sign anew"
)

// MaxExposedPage is how many come at once.
const MaxExposedPage = 500

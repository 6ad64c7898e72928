package kms

import "time"

// Limits that hold for every facade.
const (
	MaxPlaintext = 6144 // bytes that one Encrypt or Sign takes
	MaxBinding   = 6144 // bytes of raw additional data
	MaxDataKey   = 1024 // bytes of a data key
)

// CreateKeyRequest asks for a new key of the caller's app.
type CreateKeyRequest struct {
	Spec       Spec
	Usages     Usages // zero: the spec's default
	Origin     Origin
	Exportable bool
	Condition  []byte // the JSON of govern.Condition: which attested programs may use the key; empty: none

	Expires time.Time // zero: never
	// RotationPeriod is how often the key gets a new version by itself; zero: not.
	RotationPeriod time.Duration
	Description    string
	Tags           []Tag
	Alias          string // made with the key, in one step; "": none
}

// EncryptRequest asks to encrypt Plaintext under the key's current version.
type EncryptRequest struct {
	Key       KeyRef
	Plaintext []byte // 1 to MaxPlaintext bytes
	Binding   Binding
	Layout    Layout
	Padding   Padding // asymmetric keys of a spec with paddings must name one
	Family    Family  // zero: any; a key of another is Misused
}

// Ciphertext is an encryption's result, with the key and version that made it.
type Ciphertext struct {
	Key  KeyRef
	Data []byte
}

// DecryptRequest asks to open what Encrypt or GenerateDataKey sealed.
type DecryptRequest struct {
	Key     KeyRef // LayoutNative names its key itself; this must agree or be zero
	Data    []byte
	Binding Binding
	Layout  Layout
	Padding Padding // as in EncryptRequest
	Family  Family  // as in EncryptRequest
}

// Plaintext is a decryption's result, with the key and version that opened it.
type Plaintext struct {
	Key  KeyRef
	Data []byte
}

// DataKeyRequest asks for random bytes and their encryption under the key.
type DataKeyRequest struct {
	Key         KeyRef
	Length      int // 1 to MaxDataKey bytes
	Binding     Binding
	Layout      Layout
	NoPlaintext bool // leave the plaintext out of the result
}

// DataKey is a data key, in clear where it was asked for, and wrapped.
type DataKey struct {
	Key       KeyRef
	Plaintext []byte // nil with NoPlaintext
	Wrapped   []byte
}

// A SigningInput is what is signed: a message, or a digest of one.
type SigningInput struct {
	Message   []byte // 1 to MaxPlaintext bytes
	Digest    Digest // zero: the spec's default
	Prehashed bool   // Message is the digest itself; for SM2, of the signer's Z and the message
	Padding   Padding

	// EHSM reads the input of a spec with one digest as eHSM does: to sign, any
	// digest means that one, and what is called a digest is a message.
	EHSM bool
}

// SignRequest asks for a signature under the key's current version.
type SignRequest struct {
	Key   KeyRef
	Input SigningInput
}

// Signature is a signature, with the key and version that made it.
type Signature struct {
	Key  KeyRef
	Data []byte // ECDSA: ASN.1 DER
}

// VerifyRequest asks whether Signature is one of Input under the key.
type VerifyRequest struct {
	Key       KeyRef
	Input     SigningInput
	Signature []byte
}

// Verification says whether a signature is good. A bad one is not an error.
type Verification struct {
	Key   KeyRef
	Valid bool
}

// PublicKey is the public half of an asymmetric key.
type PublicKey struct {
	Key  KeyRef
	Spec Spec
	DER  []byte // SubjectPublicKeyInfo
}

// ListKeysRequest pages through the caller's keys in order of their ids.
type ListKeysRequest struct {
	After KeyID // zero: from the start
	Limit int   // zero: MaxKeysPage

	// Filters, for DescribeKeys alone.
	State KeyState // zero: any
	Tag   *Tag     // nil: any; with an empty value, any value of that name
	// Exposed: only keys with a version whose material others may know.
	Exposed bool
}

// MaxKeysPage is the most keys that one page lists.
const MaxKeysPage = 10_000

// KeyPage is one page of keys; Next is zero on the last one.
type KeyPage struct {
	Keys []Key
	Next KeyID
}

// KeyDescriptionPage is one page of keys that a filter lets through. It may be
// short, or empty, and still not be the last one.
type KeyDescriptionPage struct {
	Keys []KeyDescription
	Next KeyID // zero: it is the last one
}

// Enrolment is a new app with its first credential.
type Enrolment struct {
	App        AppID
	Credential CredentialID
	APIKey     string // shown once
}

// A Head is how far a node's copy of its domain's log has come. Who signs recoveries
// remembers the highest that he saw.
type Head struct {
	Term         uint64 `json:"term"`
	Index        uint64 `json:"index"`
	Digest       string `json:"digest"` // of the state at that index
	PolicySerial uint64 `json:"policy_serial"`
}

// Status is what a node tells anyone of itself and its domain.
type Status struct {
	Domain      string    `json:"domain"`
	DomainID    DomainID  `json:"domain_id"`
	Node        NodeID    `json:"node_id"`
	Ready       bool      `json:"ready"`
	Reason      string    `json:"reason,omitempty"` // why not ready
	Secure      bool      `json:"secure"`           // false for good once simulated evidence was admitted
	Attestation string    `json:"attestation"`
	RestartMode string    `json:"restart_mode"`
	Protected   bool      `json:"rollback_and_fork_protected"`
	Time        string    `json:"time"` // "host" below three voters
	DomainTime  time.Time `json:"domain_time"`
	Feature     uint32    `json:"feature_level"`
	Initialized bool      `json:"initialized"` // the domain was founded, and this node has its state
	Generation  uint32    `json:"generation"`  // the newest
	Index       uint64    `json:"applied_index"`
	Apps        int       `json:"apps"`
	Keys        int       `json:"keys"`
	ReplayAge   string    `json:"replay_accepted_age"` // how old a v1 request may be

	Checksum     string    `json:"checksum,omitempty"`            // of the master secret, which links it to those before
	SigningKey   string    `json:"runtime_signing_key,omitempty"` // Ed25519: signs runtimes' public keys
	LastRotation time.Time `json:"last_rotation,omitzero"`        // when it was made
	NextRotation time.Time `json:"next_rotation,omitzero"`        // zero: on demand alone
	Left         int       `json:"left_to_rewrap"`                // secrets under older ones; it may lag a little

	PolicySerial uint64    `json:"policy_serial"`
	PolicyDigest string    `json:"policy_digest"`
	PolicyUntil  time.Time `json:"policy_valid_until"`
	Enrolment    string    `json:"enrolment"`           // how apps enrol: "open", "ticket", "attested" or "closed"
	Scheduled    []string  `json:"scheduled,omitempty"` // changes that wait for their time
	Amendments   int       `json:"amendments"`          // of the charter

	Head              Head      `json:"head"`
	Recoverable       bool      `json:"recoverable"` // from a backup, by those who hold recovery keys
	RecoveryShares    int       `json:"recovery_shares,omitempty"`
	RecoveryThreshold int       `json:"recovery_threshold,omitempty"`
	LastBackup        time.Time `json:"last_backup,omitzero"` // when it was ordered

	Epoch     uint64    `json:"epoch"`
	EpochEnds time.Time `json:"epoch_ends"`

	Voters int        `json:"voters"` // how many nodes vote
	Leader NodeID     `json:"leader,omitzero"`
	Nodes  []NodeInfo `json:"nodes,omitempty"` // by id, those that wait included

	Warnings []string `json:"warnings,omitempty"`
}

package govern

import (
	"crypto/sha256"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

const (
	// FounderVersion is the one version of a founder's file that is understood.
	FounderVersion = 1
	// MaxFounder bounds a founder's file, in bytes: evidence comes with collateral.
	MaxFounder = 8 << 20
)

// A Founder is what owner and signers look at before they sign the bootstrap that
// names it, as the node that is to found a domain writes it. Nothing in it is
// secret or signed, and nothing is to be believed before the evidence is
// verified: for the purpose "bootstrap", the key, the charter's digest in place of
// a domain, and no nonce.
type Founder struct {
	Version       int             `json:"version"`        // FounderVersion
	Node          kms.NodeID      `json:"node"`           // SHA-256 of Key
	Key           []byte          `json:"key"`            // SubjectPublicKeyInfo
	CharterDigest Digest          `json:"charter_digest"` // Charter.Digest
	Evidence      attest.Evidence `json:"evidence"`
}

// ParseFounder reads a founder's file and validates it, without a look at the
// evidence. The error is Invalid or TooLarge and names the member at fault where
// one is.
func ParseFounder(b []byte) (*Founder, error) {
	f := &Founder{}
	if err := parse("founder", b, MaxFounder, f); err != nil {
		return nil, err
	}
	return f, f.validate()
}

func (f *Founder) validate() error {
	switch {
	case f.Version != FounderVersion:
		return badVersion("founder", f.Version)
	case f.Node != kms.NodeID(sha256.Sum256(f.Key)):
		return kms.Errorf(kms.Invalid, "founder: its id is not that of its key").WithField("node")
	}
	return nil
}

// Text prints the file; ParseFounder reads it back.
func (f *Founder) Text() []byte { return append(canonical(f), '\n') }

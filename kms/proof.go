package kms

import (
	"encoding/hex"
	"time"
)

// Evidence is what a TEE handed out, for whoever verifies it.
type Evidence struct {
	TEE        string // "sgx", "tdx" or "snp"
	Quote      []byte // as the platform made it
	Collateral []byte // what the vendor published about the platform
}

// A Proof is what a node shows to anyone who asks what it is: evidence for the
// asker's nonce, and everything that it is to be checked against.
type Proof struct {
	Evidence   Evidence
	Domain     DomainID
	Node       NodeID
	Charter    []byte   // JSON
	Bootstrap  []byte   // envelope
	Amendments [][]byte // envelopes, oldest first
	Policy     []byte   // envelope of the policy in force
	Authority  []byte   // certificate of the domain's CA, X.509 DER
}

// SubmittedPolicy names the policy that was put in force.
type SubmittedPolicy struct {
	Serial    uint64
	Digest    [32]byte
	Activates time.Time // zero: at once
}

// ParseDomainID reads 64 hexadecimal digits of either case. The error is Invalid.
func ParseDomainID(s string) (DomainID, error) {
	id, err := parse32("domain id", s)
	return DomainID(id), err
}

// ParseNodeID reads 64 hexadecimal digits of either case. The error is Invalid.
func ParseNodeID(s string) (NodeID, error) {
	id, err := parse32("node id", s)
	return NodeID(id), err
}

func parse32(what, s string) (id [32]byte, err error) {
	if len(s) == 2*len(id) {
		if _, err := hex.Decode(id[:], []byte(s)); err == nil {
			return id, nil
		}
	}
	return [32]byte{}, Errorf(Invalid, "not a %s, which is 64 hexadecimal digits", what)
}

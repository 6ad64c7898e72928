// Package kms is the vocabulary of Holdfast: the identifiers, key specs,
// usages, states, requests, results and error kinds that every other package
// speaks in. It imports nothing but the standard library, holds no key
// material and touches no machine.
//
// Every enumeration has an invalid zero value, so that a forgotten field is
// refused instead of meaning something.
package kms

import (
	"encoding/hex"
	"fmt"
	"time"
)

// idLen is the length of an identifier in bytes.
const idLen = 16

// An AppID names a tenant; it is printed as a lower-case UUID.
type AppID [idLen]byte

// A KeyID names a customer master key; it is printed as a lower-case UUID.
type KeyID [idLen]byte

// A CredentialID names one credential of an app. The first credential of an
// app carries the app's own id, as eHSM's clients expect.
type CredentialID [idLen]byte

// A CommandID is the random name of one state change. A command that is sent
// twice under one id is done once.
type CommandID [idLen]byte

// A DomainID is the SHA-256 of a domain's founding documents.
type DomainID [32]byte

// A NodeID is the SHA-256 of a node's peer public key (SubjectPublicKeyInfo, DER).
type NodeID [32]byte

func (id AppID) String() string        { return formatUUID(id) }
func (id KeyID) String() string        { return formatUUID(id) }
func (id CredentialID) String() string { return formatUUID(id) }
func (id CommandID) String() string    { return formatUUID(id) }
func (id DomainID) String() string     { return hex.EncodeToString(id[:]) }
func (id NodeID) String() string       { return hex.EncodeToString(id[:]) }

// MarshalText prints the identifier as String does.
func (id AppID) MarshalText() ([]byte, error)        { return []byte(id.String()), nil }
func (id KeyID) MarshalText() ([]byte, error)        { return []byte(id.String()), nil }
func (id CredentialID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }
func (id DomainID) MarshalText() ([]byte, error)     { return []byte(id.String()), nil }
func (id NodeID) MarshalText() ([]byte, error)       { return []byte(id.String()), nil }

// ParseAppID reads the 36-character lower-case UUID form. The error is Invalid.
func ParseAppID(s string) (AppID, error) {
	id, err := parseUUID(s)
	return AppID(id), err
}

// ParseKeyID reads the 36-character lower-case UUID form. The error is Invalid.
func ParseKeyID(s string) (KeyID, error) {
	id, err := parseUUID(s)
	return KeyID(id), err
}

// ParseCredentialID reads the 36-character lower-case UUID form. The error is Invalid.
func ParseCredentialID(s string) (CredentialID, error) {
	id, err := parseUUID(s)
	return CredentialID(id), err
}

const uuidLen = 36

// formatUUID prints 16 bytes in the 8-4-4-4-12 form of RFC 9562, section 4.
func formatUUID(id [idLen]byte) string {
	var b [uuidLen]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

func parseUUID(s string) (id [idLen]byte, err error) {
	if len(s) != uuidLen || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, Errorf(Invalid, "identifier is not of the form 8-4-4-4-12")
	}
	n := 0
	for i := 0; i < uuidLen; i++ {
		if s[i] == '-' && (i == 8 || i == 13 || i == 18 || i == 23) {
			continue
		}
		v := unhex(s[i])
		if v == 0xff {
			return [idLen]byte{}, Errorf(Invalid, "identifier has a character that is not lower-case hexadecimal")
		}
		id[n/2] |= v << (4 * (1 - n%2))
		n++
	}
	return id, nil
}

// unhex returns 0xff for what is not a lower-case hexadecimal digit: one
// identifier has one spelling, so that no two strings name the same key.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// NewUUID sets the version and variant bits of 16 random bytes, which makes
// them a UUID version 4 (RFC 9562, section 5.4).
func NewUUID(random [idLen]byte) [idLen]byte {
	random[6] = random[6]&0x0f | 0x40
	random[8] = random[8]&0x3f | 0x80
	return random
}

// A KeyState says what may be done with a key (NIST SP 800-57 part 1, section 7,
// with the states that import and scheduled deletion need).
type KeyState uint8

// The states of a key.
const (
	PreActive       KeyState = iota + 1 // made, not yet to be used
	Enabled                             // everything its usages allow
	KeyDisabled                         // nothing, until it is enabled again
	Deactivated                         // opens and verifies, no new use
	Compromised                         // opens and verifies, with a warning
	PendingImport                       // waits for its key material
	PendingDeletion                     // nothing, until cancelled or destroyed
	Destroyed                           // its material is gone
)

var keyStateNames = [...]string{
	PreActive: "pre-active", Enabled: "enabled", KeyDisabled: "disabled", Deactivated: "deactivated",
	Compromised: "compromised", PendingImport: "pending-import", PendingDeletion: "pending-deletion", Destroyed: "destroyed",
}

// Valid reports whether s is one of the states above.
func (s KeyState) Valid() bool { return s > 0 && int(s) < len(keyStateNames) }

func (s KeyState) String() string {
	if !s.Valid() {
		return fmt.Sprintf("KeyState(%d)", uint8(s))
	}
	return keyStateNames[s]
}

// MarshalText prints the state's name.
func (s KeyState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Allows reports whether a key in state s may be used for u.
func (s KeyState) Allows(u Usage) bool {
	switch s {
	case Enabled:
		return true
	case Deactivated, Compromised:
		return u == UseDecrypt || u == UseVerify || u == UseUnwrap
	}
	return false
}

// An Origin says where a key's material came from.
type Origin uint8

// The origins of a key.
const (
	Generated Origin = iota + 1 // made inside a node
	Imported                    // brought by the tenant
)

// Valid reports whether o is one of the origins above.
func (o Origin) Valid() bool { return o == Generated || o == Imported }

func (o Origin) String() string {
	switch o {
	case Generated:
		return "generated"
	case Imported:
		return "imported"
	}
	return fmt.Sprintf("Origin(%d)", uint8(o))
}

// MarshalText prints the origin's name.
func (o Origin) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// A KeyVersion is one set of key material of a key; the first is 1.
type KeyVersion uint32

// A KeyRef names a key and, where Version is not zero, one version of it.
// Version zero is the current version for new use, and the version that a
// ciphertext names where one is opened.
type KeyRef struct {
	ID      KeyID
	Version KeyVersion
}

// Key is what may be told of a key: everything but its material.
type Key struct {
	ID         KeyID        `json:"key_id"`
	App        AppID        `json:"app_id"`
	Spec       Spec         `json:"spec"`
	Usages     Usages       `json:"usages"`
	State      KeyState     `json:"state"`
	Origin     Origin       `json:"origin"`
	Exportable bool         `json:"exportable"`
	Created    time.Time    `json:"created"`
	Expires    time.Time    `json:"expires,omitzero"` // zero: never
	Current    KeyVersion   `json:"current_version"`
	Versions   []KeyVersion `json:"versions"`
	Revision   uint64       `json:"revision"` // moves with every change of the key
}

package kms

import (
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxSocket bounds the address at which a node listens for others, in bytes.
const MaxSocket = 256

// Printable reports whether a text of at most so many bytes, which another node
// wrote, can be shown to people and logged in one line.
func Printable(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// UnmarshalText reads what MarshalText prints. The error is Invalid.
func (id *NodeID) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(id) {
		return Errorf(Invalid, "a node's id has %d hexadecimal digits", 2*len(id))
	}
	copy(id[:], b)
	return nil
}

// UnmarshalText reads what MarshalText prints. A role that is not known, of a
// newer node, is none.
func (r *NodeRole) UnmarshalText(text []byte) error {
	*r = 0
	for known := RoleWaiting; known.Valid(); known++ {
		if known.String() == string(text) {
			*r = known
		}
	}
	return nil
}

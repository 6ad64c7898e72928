package kms

import "encoding/hex"

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

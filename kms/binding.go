package kms

import (
	"encoding/binary"
	"sort"
)

// A Binding is data that a ciphertext is bound to: it opens only where the
// same binding is given again. It is authenticated, not stored. The zero
// Binding is "nothing", and is bound as such.
type Binding struct {
	raw     []byte
	context map[string]string
}

// RawBinding binds to bytes, as eHSM's aad and most APIs do. Empty is nothing.
func RawBinding(b []byte) Binding { return Binding{raw: b} }

// ContextBinding binds to a map, as AWS KMS's encryption context. Empty is nothing.
func ContextBinding(m map[string]string) Binding { return Binding{context: m} }

// Raw returns the bytes, and false where the binding is a context.
func (b Binding) Raw() ([]byte, bool) { return b.raw, len(b.context) == 0 }

// Context returns the map, and false where the binding is to bytes.
func (b Binding) Context() (map[string]string, bool) { return b.context, len(b.context) > 0 }

// IsZero reports whether the binding is "nothing".
func (b Binding) IsZero() bool { return len(b.raw) == 0 && len(b.context) == 0 }

// Size is how long the data is that is bound to, in bytes.
func (b Binding) Size() int {
	n := len(b.raw)
	for name, value := range b.context {
		n += len(name) + len(value)
	}
	return n
}

// The labels under which each type of binding is encoded; no encoding of one
// type is an encoding of another.
const (
	bindNothing byte = iota
	bindRaw
	bindContext
)

// AppendTo appends the encoding under which native ciphertexts are bound: a
// label byte, then raw bytes, or count and length-prefixed pairs in order of
// their names (all lengths 8 bytes, big-endian).
func (b Binding) AppendTo(dst []byte) []byte {
	switch {
	case len(b.context) > 0:
		return b.appendContext(append(dst, bindContext))
	case len(b.raw) > 0:
		return append(append(dst, bindRaw), b.raw...)
	}
	return append(dst, bindNothing)
}

func (b Binding) appendContext(dst []byte) []byte {
	names := make([]string, 0, len(b.context))
	for k := range b.context {
		names = append(names, k)
	}
	sort.Strings(names)
	dst = binary.BigEndian.AppendUint64(dst, uint64(len(names)))
	for _, k := range names {
		dst = appendString(dst, k)
		dst = appendString(dst, b.context[k])
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(len(s)))
	return append(dst, s...)
}

package intel

import (
	"encoding/binary"

	"github.com/holdfast-kms/holdfast/attest"
)

// A reader takes fields off the front of a message. The first one that is not
// there makes it fail, and from then on it yields zeros; so a parser reads to
// its end and asks once. Fields are little-endian, as in all of Intel's formats.
type reader struct {
	part   string // what is read, for the error
	rest   []byte
	failed bool
}

// take is the next n bytes, not copied.
func (r *reader) take(n int) []byte {
	if r.failed || n < 0 || n > len(r.rest) {
		r.failed = true
		// Fields have small fixed sizes; a length read from the message itself is
		// not worth allocating for.
		return make([]byte, max(0, min(n, 1024)))
	}
	field := r.rest[:n:n]
	r.rest = r.rest[n:]
	return field
}

func (r *reader) uint16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *reader) uint32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }

// sized is a field whose length stands before it.
func (r *reader) sized(n uint32) []byte {
	if uint64(n) > uint64(len(r.rest)) {
		r.failed = true
		return nil
	}
	return r.take(int(n))
}

// end refuses what was too short and what has bytes left over.
func (r *reader) end() error {
	switch {
	case r.failed:
		return attest.Refuse(attest.Malformed, r.part, "too short")
	case len(r.rest) > 0:
		return attest.Refuse(attest.Malformed, r.part, "%d bytes too long", len(r.rest))
	}
	return nil
}

package device

import (
	"bytes"
	"encoding/binary"

	"github.com/holdfast-kms/holdfast/kms"
)

// Where the length of a quote's signature lies, in bytes (DCAP library
// references, "Quote Format").
const (
	headerLen   = 48
	sgxBodyLen  = 384
	td10BodyLen = 584
	typeTDX     = 0x81
)

// Trim cuts the zeros off that some quoting services pad an Intel quote with
// to the size of their buffer. Anything else is returned as it is, for a
// parser to refuse.
func Trim(quote []byte) []byte {
	at, ok := signatureAt(quote)
	if !ok || uint64(len(quote)) < at+4 {
		return quote
	}
	end := at + 4 + uint64(binary.LittleEndian.Uint32(quote[at:]))
	if end > uint64(len(quote)) {
		return quote
	}
	padding := quote[end:]
	if bytes.Count(padding, []byte{0}) != len(padding) {
		return quote
	}
	return quote[:end]
}

// signatureAt is where the signature begins with its length.
func signatureAt(quote []byte) (at uint64, ok bool) {
	if len(quote) < headerLen+6 {
		return 0, false
	}
	version, tdx := binary.LittleEndian.Uint16(quote), quote[4] == typeTDX
	switch {
	case version == 3:
		return headerLen + sgxBodyLen, true
	case version == 4 && tdx:
		return headerLen + td10BodyLen, true
	case version == 5: // the body says its type and its length first
		return headerLen + 6 + uint64(binary.LittleEndian.Uint32(quote[headerLen+2:])), true
	}
	return 0, false
}

// Carries checks that a quote carries the report data that was asked for. If
// it does not, it was made for someone else, and may prove what he wanted.
func Carries(got []byte, asked [64]byte) error {
	if !bytes.Equal(got, asked[:]) {
		return kms.Errorf(kms.Unavailable, "the TEE signed other report data than it was asked to").
			WithHint("nothing but this program may use the TEE's device in its enclave or machine; find out what else does")
	}
	return nil
}

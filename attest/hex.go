package attest

import (
	"bytes"
	"encoding/hex"
)

// Hex is bytes whose text is hexadecimal: written in lower case, read in
// either, so that values copied from any vendor's tool compare equal. In a
// policy nil means "not stated", which is not the same as a value of zeros.
type Hex []byte

// String is h in lower case.
func (h Hex) String() string { return hex.EncodeToString(h) }

// MarshalText is String.
func (h Hex) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads hexadecimal digits of either case.
func (h *Hex) UnmarshalText(text []byte) error {
	b, err := hex.AppendDecode(nil, text)
	if err != nil {
		return err
	}
	*h = b
	return nil
}

// Equal reports whether both are the same bytes.
func (h Hex) Equal(other []byte) bool { return bytes.Equal(h, other) }

package trustedtest

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// Forms lists how bytes turn up in text: raw, hexadecimal, base64, and as Go
// prints byte slices.
func Forms(b []byte) [][]byte {
	forms := [][]byte{
		b,
		[]byte(hex.EncodeToString(b)), fmt.Appendf(nil, "%X", b),
		[]byte(base64.StdEncoding.EncodeToString(b)), []byte(base64.URLEncoding.EncodeToString(b)),
		[]byte(base64.RawStdEncoding.EncodeToString(b)), []byte(base64.RawURLEncoding.EncodeToString(b)),
		fmt.Append(nil, b),
	}
	if q := fmt.Sprintf("%q", b); len(q) > 2 {
		forms = append(forms, []byte(q[1:len(q)-1]))
	}
	return forms
}

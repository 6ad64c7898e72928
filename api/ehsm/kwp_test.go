package ehsm_test

import (
	"crypto/aes"
	"encoding/binary"
	"testing"
)

// wrapKWP is AES key wrap with padding (RFC 5649, section 4.1), for material of
// more than 8 bytes.
func wrapKWP(t *testing.T, key, material []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	head := binary.BigEndian.AppendUint32([]byte{0xa6, 0x59, 0x59, 0xa6}, uint32(len(material)))
	out := append(head, material...)
	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	var b [16]byte
	copy(b[:8], out)
	n := len(out)/8 - 1
	for step := 1; step <= 6*n; step++ {
		half := out[8*(1+(step-1)%n):][:8]
		copy(b[8:], half)
		block.Encrypt(b[:], b[:])
		copy(half, b[8:])
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])^uint64(step))
	}
	copy(out, b[:8])
	return out
}

package root

import (
	"crypto/sha3"
	"encoding/binary"
)

// rate of cSHAKE256 in bytes (NIST SP 800-185, section 3.3: 1600 − 512 bits).
const kmacRate = 136

// KMAC256 is the keyed hash of NIST SP 800-185, section 4, with an output of
// size bytes: KMAC256(key, data, 8·size, customization). The parts of data are
// hashed one after the other, as if they were one string.
func KMAC256(key []byte, size int, customization string, data ...[]byte) []byte {
	h := sha3.NewCSHAKE256([]byte("KMAC"), []byte(customization))
	h.Write(bytepad(encodeString(key)))
	for _, d := range data {
		h.Write(d)
	}
	h.Write(rightEncode(uint64(size) * 8))
	out := make([]byte, size)
	h.Read(out)
	return out
}

// leftEncode and rightEncode are those of SP 800-185, section 2.3.1: the
// number in as few bytes as it needs, at least one, and how many they were.
func leftEncode(n uint64) []byte  { b := minimal(n); return append([]byte{byte(len(b))}, b...) }
func rightEncode(n uint64) []byte { b := minimal(n); return append(b, byte(len(b))) }

func minimal(n uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

func encodeString(s []byte) []byte { return append(leftEncode(uint64(len(s))*8), s...) }

// bytepad fills up to a whole block, so that the key occupies blocks of its own.
func bytepad(s []byte) []byte {
	b := append(leftEncode(kmacRate), s...)
	for len(b)%kmacRate != 0 {
		b = append(b, 0)
	}
	return b
}

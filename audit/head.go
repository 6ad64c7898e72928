package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// A Head says that a node's chain has a hash at a number, and with that
// everything before it.
type Head struct {
	Seq        uint64
	Node       kms.NodeID
	Time       time.Time // domain time, in whole microseconds
	Generation uint32    // of the master secret that the key is derived from
	Hash       Hash
	Signature  [ed25519.SignatureSize]byte
}

const (
	headLabel = "holdfast audit head v1\n"
	keyLabel  = "holdfast audit key v1\n"
)

// Text is what is signed: every member under a label, for a domain.
func (h *Head) Text(domain kms.DomainID) []byte {
	b := append([]byte(headLabel), domain[:]...)
	b = append(b, h.Node[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Time.UnixMicro()))
	b = binary.BigEndian.AppendUint32(b, h.Generation)
	return append(b, h.Hash[:]...)
}

// VerifiedBy reports whether the head is signed with the domain's audit key.
func (h *Head) VerifiedBy(domain kms.DomainID, public []byte) bool {
	return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, h.Text(domain), h.Signature[:])
}

const headStart = `{"head":`

// Append prints a head as a line without its end.
func (h *Head) Append(b []byte) []byte {
	b = strconv.AppendUint(append(b, headStart...), h.Seq, 10)
	b = hex.AppendEncode(append(b, `,"node":"`...), h.Node[:])
	b = appendTime(append(b, `","time":"`...), h.Time)
	b = strconv.AppendUint(append(b, `","generation":`...), uint64(h.Generation), 10)
	b = hex.AppendEncode(append(b, `,"hash":"`...), h.Hash[:])
	b = hex.AppendEncode(append(b, `","signature":"`...), h.Signature[:])
	return append(b, `"}`...)
}

// IsHead reports whether a line is to be read by ParseHead.
func IsHead(line []byte) bool { return bytes.HasPrefix(line, []byte(headStart)) }

// ParseHead reads what Append prints and nothing else. The error is Invalid.
func ParseHead(line []byte) (h Head, err error) {
	s := &scanner{rest: line}
	s.expect(headStart)
	h.Seq = s.number()
	s.expect(`,"node":"`)
	s.hex(h.Node[:])
	s.expect(`","time":"`)
	h.Time = s.time()
	s.expect(`","generation":`)
	g := s.number()
	h.Generation = uint32(g)
	s.expect(`,"hash":"`)
	s.hex(h.Hash[:])
	s.expect(`","signature":"`)
	s.hex(h.Signature[:])
	s.expect(`"}`)
	if s.failed || len(s.rest) != 0 || uint64(h.Generation) != g || !bytes.Equal(h.Append(nil), line) {
		return Head{}, kms.Errorf(kms.Invalid, "not an audit head in its one spelling")
	}
	return h, nil
}

// A Key is the domain's audit key of a generation. The runtime signing key of
// that generation, which the domain publishes, vouches for it.
type Key struct {
	Generation uint32
	Public     [ed25519.PublicKeySize]byte
	Voucher    [ed25519.SignatureSize]byte
}

// Text is what the voucher signs.
func (k *Key) Text(domain kms.DomainID) []byte {
	b := append([]byte(keyLabel), domain[:]...)
	b = binary.BigEndian.AppendUint32(b, k.Generation)
	return append(b, k.Public[:]...)
}

// VerifiedBy reports whether a runtime signing key vouches for the key.
func (k *Key) VerifiedBy(domain kms.DomainID, signing []byte) bool {
	return len(signing) == ed25519.PublicKeySize && ed25519.Verify(signing, k.Text(domain), k.Voucher[:])
}

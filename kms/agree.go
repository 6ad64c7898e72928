package kms

import (
	"bytes"
	"encoding/binary"
)

// A Derivation says what is made of a secret that two sides share. Unless it is
// asked for as it is, HKDF-SHA-256 (RFC 5869, without salt; NIST SP 800-56C
// revision 2, section 5) makes Length bytes of it, bound to the key, the peer
// and Info. AgreementInfo and EncapsulationInfo are the info of HKDF, so that a
// side without Holdfast can derive the same.
type Derivation struct {
	Info   []byte // what the derived bytes are for, at most MaxBinding
	Length int    // 1 to MaxDataKey; zero: DefaultDerived
	Raw    bool   // the secret as it is; the key must have the usage UseRaw
}

// DefaultDerived is how many bytes are derived where no number is named.
const DefaultDerived = 32

// Check fills in what was left out. The errors are Invalid and TooLarge.
func (d *Derivation) Check() error {
	switch {
	case d.Raw && (len(d.Info) > 0 || d.Length != 0):
		return Errorf(Invalid, "a secret as it is has no info and a length of its own").WithField("raw")
	case d.Length < 0 || d.Length > MaxDataKey:
		return Errorf(Invalid, "1 to %d bytes are derived", MaxDataKey).WithField("length")
	case len(d.Info) > MaxBinding:
		return Errorf(TooLarge, "%d bytes, at most %d", len(d.Info), MaxBinding).WithField("info")
	}
	if d.Length == 0 {
		d.Length = DefaultDerived
	}
	return nil
}

// A Party is one side of an agreement.
type Party struct {
	Key    KeyID  // zero: it is no key of Holdfast, or is not to be bound
	Public []byte // SubjectPublicKeyInfo, DER
}

// The labels that set derivations apart.
const (
	agreementLabel     = "holdfast/v1/agree"
	encapsulationLabel = "holdfast/v1/encapsulate"
)

// AgreementInfo is what the derived bytes of a key agreement are bound to. It is
// the same from either side: the parties stand in order of their public keys.
//
//	label ‖ party ‖ party ‖ info ‖ length (4 bytes)
//	party: id (36 characters, or none) ‖ public key
//
// Every member but label and length has its own length in front, 4 bytes. All
// numbers are big-endian.
func (d *Derivation) AgreementInfo(a, b Party) []byte {
	if bytes.Compare(a.Public, b.Public) > 0 {
		a, b = b, a
	}
	return d.close(b.appendTo(a.appendTo([]byte(agreementLabel))))
}

// EncapsulationInfo is what the derived bytes of an encapsulated secret are
// bound to: label ‖ party ‖ ciphertext ‖ info ‖ length, as in AgreementInfo.
func (d *Derivation) EncapsulationInfo(p Party, ciphertext []byte) []byte {
	return d.close(appendSized(p.appendTo([]byte(encapsulationLabel)), ciphertext))
}

func (d *Derivation) close(b []byte) []byte {
	return binary.BigEndian.AppendUint32(appendSized(b, d.Info), uint32(d.Length))
}

func (p Party) appendTo(b []byte) []byte {
	var id []byte
	if p.Key != (KeyID{}) {
		id = []byte(p.Key.String())
	}
	return appendSized(appendSized(b, id), p.Public)
}

func appendSized(b, member []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(member))), member...)
}

// AgreeRequest asks for what a key and a peer's public key have in common.
type AgreeRequest struct {
	Key     KeyRef
	Peer    []byte // the peer's SubjectPublicKeyInfo, DER, of the same curve
	PeerKey KeyID  // where the peer is a key of Holdfast too and both sides name the other's id; zero: it is not bound
	Derivation
}

// EncapsulateRequest asks for a new secret and its ciphertext.
type EncapsulateRequest struct {
	Key KeyRef
	Derivation
}

// DecapsulateRequest asks for the secret of a ciphertext.
type DecapsulateRequest struct {
	Key        KeyRef
	Ciphertext []byte
	Derivation
}

// A SharedSecret is what two sides now share, or what was derived from it.
type SharedSecret struct {
	Key        KeyRef
	Secret     []byte
	Ciphertext []byte // of Encapsulate: what the other side decapsulates
}

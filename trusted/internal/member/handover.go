package member

import (
	"encoding/binary"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// A Handover is one secret of the domain on its way to one node: what it is
// sealed for is part of the seal, so that it opens as nothing else.
type Handover struct {
	Domain kms.DomainID
	To     kms.NodeID
	Kind   HandoverKind
	Number uint64 // of the generation, or of the epoch
}

// A HandoverKind is what is handed over.
type HandoverKind string

// The kinds.
const (
	MasterSecret HandoverKind = "master secret"
	EpochSecret  HandoverKind = "epoch secret"
)

const handoverLabel = "holdfast/v1/handover"

// info is HPKE's (RFC 9180 section 5): label, domain, receiver, kind and number,
// what has no fixed length with its length in front.
func (h Handover) info() []byte {
	b := append([]byte(handoverLabel), h.Domain[:]...)
	b = append(b, h.To[:]...)
	b = append(b, byte(len(h.Kind)))
	b = append(b, h.Kind...)
	return binary.BigEndian.AppendUint64(b, h.Number)
}

// Seal seals a secret to the key of the receiver's present start, which its
// evidence vouches for.
func (h Handover) Seal(boot []byte, s secret.Bytes) (sealed []byte, err error) {
	err = s.Use(func(b []byte) error {
		sealed, err = Seal(boot, h.info(), b)
		return err
	})
	return sealed, err
}

// Open opens what was sealed for this node's present start. The error is Denied.
func (h Handover) Open(boot *Boot, sealed []byte) (secret.Bytes, error) {
	b, err := boot.Open(h.info(), sealed)
	if err != nil {
		return secret.Bytes{}, kms.Errorf(kms.Denied, "%s %d does not open: it is sealed for another node, another start, or as something else", h.Kind, h.Number)
	}
	return secret.New(b), nil
}

const replacementLabel = "holdfast/v1/replaces"

// ReplacementMessage is what a node signs with the peer key of its former start
// to prove that it takes that one's place: label, domain, the new node and the
// challenge that the join answers.
func ReplacementMessage(domain kms.DomainID, node kms.NodeID, challenge []byte) []byte {
	b := append([]byte(replacementLabel), domain[:]...)
	b = append(b, node[:]...)
	return append(b, challenge...)
}

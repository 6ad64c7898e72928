package backup

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// ShareSize is that of a share in bytes.
const ShareSize = 32

const (
	heldLabel   = "holdfast/v1/recovery-share"
	handedLabel = "holdfast/v1/recovery-handover"
)

// HeldInfo is what a share is sealed to its holder for (RFC 9180, info): label,
// domain, recovery key, number and holder.
func HeldInfo(domain kms.DomainID, public []byte, number int, holder string) []byte {
	return append(shareInfo(heldLabel, domain, public, number), holder...)
}

// HandedInfo is what a share is sealed to a node for: label, domain, recovery key,
// number and node.
func HandedInfo(domain kms.DomainID, public []byte, number int, node kms.NodeID) []byte {
	return append(shareInfo(handedLabel, domain, public, number), node[:]...)
}

func shareInfo(label string, domain kms.DomainID, public []byte, number int) []byte {
	key := sha256.Sum256(public)
	b := append([]byte(label), domain[:]...)
	return binary.BigEndian.AppendUint32(append(b, key[:]...), uint32(number))
}

// A Handed is a share on its way to a node. It opens in that node alone.
type Handed struct {
	Domain kms.DomainID
	Node   kms.NodeID
	Number int // of the share, from 1
	Sealed []byte
}

type handedJSON struct {
	Version int    `json:"version"`
	Domain  string `json:"domain"`
	Node    string `json:"node"`
	Number  int    `json:"number"`
	Sealed  []byte `json:"sealed"`
}

// Encode prints it; ParseHanded reads it back.
func (s *Handed) Encode() ([]byte, error) {
	return json.Marshal(handedJSON{Version, s.Domain.String(), s.Node.String(), s.Number, s.Sealed})
}

// ParseHanded reads a share on its way. The error is Invalid or TooLarge.
func ParseHanded(b []byte) (*Handed, error) {
	var j handedJSON
	if err := parseJSON("share", b, &j); err != nil {
		return nil, err
	}
	s := &Handed{Number: j.Number, Sealed: j.Sealed}
	var err error
	if s.Domain, err = kms.ParseDomainID(j.Domain); err != nil {
		return nil, malformed("share", "domain")
	}
	if s.Node, err = kms.ParseNodeID(j.Node); err != nil {
		return nil, malformed("share", "node")
	}
	switch {
	case j.Version != Version:
		return nil, malformed("share", "version")
	case s.Number < 1 || s.Number > govern.MaxKeys:
		return nil, malformed("share", "number")
	}
	return s, nil
}

// Hand opens the share that a header has for key, and seals it to the receiver of
// a request. The caller has verified the request: it is the one thing that keeps
// the share from whoever asks. The errors are NotFound (the key holds no share)
// and DecryptFailed.
func (h *Header) Hand(key *govern.PrivateKey, to *Request) (*Handed, error) {
	if h.Recovery == nil {
		return nil, kms.Errorf(kms.NotFound, "the domain of this backup has no recovery keys")
	}
	if len(to.Receiver) == 0 {
		return nil, kms.Errorf(kms.Invalid, "the node asks for no shares").WithField("receiver")
	}
	for i, s := range h.Recovery.Shares {
		if s.Key == key.Public().ID() {
			return h.hand(key, to, i+1, s.Sealed)
		}
	}
	return nil, kms.Errorf(kms.NotFound, "no share in this backup is sealed to key %s", key.Public().ID()).
		WithHint("was it dealt to other keys, by an amendment, before or after this backup?")
}

func (h *Header) hand(key *govern.PrivateKey, to *Request, number int, sealed []byte) (*Handed, error) {
	share, err := key.Unseal(HeldInfo(h.Domain, h.Recovery.Public, number, key.Public().ID()), sealed)
	if err != nil {
		return nil, err
	}
	defer clear(share)
	receiver, err := hpke.MLKEM768X25519().NewPublicKey(to.Receiver)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "the request's receiver is no key").WithField("receiver")
	}
	out := &Handed{Domain: h.Domain, Node: to.Node, Number: number}
	out.Sealed, err = hpke.Seal(receiver, hpke.HKDFSHA256(), hpke.AES256GCM(), HandedInfo(h.Domain, h.Recovery.Public, number, to.Node), share)
	return out, err
}

package audit

import (
	"encoding/hex"
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-kms/holdfast/kms"
)

// A Checkpoint is what a domain publishes of its audit: the newest head of each
// node, and the keys that signed it with what vouches for them. Who keeps one can
// prove later that nothing up to its heads is missing. It proves as much as the
// way that it was had by: ask a node whose certificate you trust, and compare
// SigningKeys with what `holdfast status` or another node shows.
type Checkpoint struct {
	Domain      kms.DomainID
	SigningKeys []SigningKey
	Keys        []Key
	Heads       []Head
}

// A SigningKey is the runtime signing key of a generation, as status shows it.
type SigningKey struct {
	Generation uint32
	Public     [32]byte
}

// MaxCheckpoint is the length in bytes from which a checkpoint is refused unread.
const MaxCheckpoint = 1 << 20

// The document, as it is written.
type (
	checkpointJSON struct {
		Version     int              `json:"version"`
		Domain      string           `json:"domain"`
		SigningKeys []signingKeyJSON `json:"signing_keys"`
		Keys        []keyJSON        `json:"audit_keys"`
		Heads       []jsontext.Value `json:"heads"`
	}
	signingKeyJSON struct {
		Generation uint32 `json:"generation"`
		Public     string `json:"public"`
	}
	keyJSON struct {
		Generation uint32 `json:"generation"`
		Public     string `json:"public"`
		Voucher    string `json:"voucher"`
	}
)

const checkpointVersion = 1

// JSON prints the checkpoint, for a file.
func (c *Checkpoint) JSON() []byte {
	doc := checkpointJSON{Version: checkpointVersion, Domain: c.Domain.String(),
		SigningKeys: []signingKeyJSON{}, Keys: []keyJSON{}, Heads: []jsontext.Value{}}
	for _, k := range c.SigningKeys {
		doc.SigningKeys = append(doc.SigningKeys, signingKeyJSON{k.Generation, hex.EncodeToString(k.Public[:])})
	}
	for _, k := range c.Keys {
		doc.Keys = append(doc.Keys, keyJSON{k.Generation, hex.EncodeToString(k.Public[:]), hex.EncodeToString(k.Voucher[:])})
	}
	for i := range c.Heads {
		doc.Heads = append(doc.Heads, c.Heads[i].Append(nil))
	}
	b, err := json.Marshal(doc, jsontext.WithIndent("  "))
	if err != nil {
		panic("audit: printing a checkpoint: " + err.Error()) // it has nothing but numbers and hexadecimal digits
	}
	return append(b, '\n')
}

// ParseCheckpoint reads a checkpoint and verifies its signatures: of each key by
// the signing key of its generation, of each head by its key. The errors are
// Invalid and TooLarge.
func ParseCheckpoint(b []byte) (*Checkpoint, error) {
	if len(b) > MaxCheckpoint {
		return nil, kms.Errorf(kms.TooLarge, "checkpoint: %d bytes, at most %d are read", len(b), MaxCheckpoint)
	}
	var doc checkpointJSON
	if err := json.Unmarshal(b, &doc, json.RejectUnknownMembers(true)); err != nil {
		return nil, kms.Errorf(kms.Invalid, "checkpoint: %w", err)
	}
	if doc.Version != checkpointVersion {
		return nil, kms.Errorf(kms.Invalid, "checkpoint: version %d, this program reads %d", doc.Version, checkpointVersion).WithField("version")
	}
	c, err := doc.read()
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "checkpoint: %w", err)
	}
	return c, c.Verify()
}

func (doc *checkpointJSON) read() (*Checkpoint, error) {
	c := &Checkpoint{}
	if err := unhex(c.Domain[:], doc.Domain); err != nil {
		return nil, err
	}
	for _, s := range doc.SigningKeys {
		k := SigningKey{Generation: s.Generation}
		if err := unhex(k.Public[:], s.Public); err != nil {
			return nil, err
		}
		c.SigningKeys = append(c.SigningKeys, k)
	}
	for _, s := range doc.Keys {
		k := Key{Generation: s.Generation}
		if err := errors.Join(unhex(k.Public[:], s.Public), unhex(k.Voucher[:], s.Voucher)); err != nil {
			return nil, err
		}
		c.Keys = append(c.Keys, k)
	}
	for _, s := range doc.Heads {
		if err := s.Compact(); err != nil {
			return nil, err
		}
		h, err := ParseHead(s)
		if err != nil {
			return nil, err
		}
		c.Heads = append(c.Heads, h)
	}
	return c, nil
}

func unhex(dst []byte, s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(dst) || hex.EncodeToString(b) != s {
		return errors.New("not lower-case hexadecimal of the right length")
	}
	copy(dst, b)
	return nil
}

// Verify checks every signature. The error is Invalid.
func (c *Checkpoint) Verify() error {
	for i := range c.Keys {
		k := &c.Keys[i]
		signing, ok := c.signingKey(k.Generation)
		if !ok || !k.VerifiedBy(c.Domain, signing) {
			return kms.Errorf(kms.Invalid, "checkpoint: nothing that the domain published vouches for the audit key of generation %d", k.Generation).WithField("audit_keys")
		}
	}
	for i := range c.Heads {
		h := &c.Heads[i]
		if public, ok := c.Key(h.Generation); !ok || !h.VerifiedBy(c.Domain, public) {
			return kms.Errorf(kms.Invalid, "checkpoint: the head of node %s at entry %d is not signed by the domain", h.Node, h.Seq).WithField("heads")
		}
	}
	return nil
}

// Key is the domain's audit key of a generation.
func (c *Checkpoint) Key(generation uint32) ([]byte, bool) {
	for i := range c.Keys {
		if c.Keys[i].Generation == generation {
			return c.Keys[i].Public[:], true
		}
	}
	return nil, false
}

func (c *Checkpoint) signingKey(generation uint32) ([]byte, bool) {
	for i := range c.SigningKeys {
		if c.SigningKeys[i].Generation == generation {
			return c.SigningKeys[i].Public[:], true
		}
	}
	return nil, false
}

package govern

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"

	"github.com/holdfast-kms/holdfast/kms"
)

// Limits of envelopes.
const (
	// MaxEnvelope is the length in bytes from which an envelope is refused unread.
	MaxEnvelope = 2 * MaxDocument
	// MaxSignatures is how many signatures an envelope may have: enough for
	// every signer, old and new, every recovery key and two owners.
	MaxSignatures = 3*MaxKeys + 2
)

// A PayloadType is what a signature says that a document is, so that one kind
// is never read as another.
type PayloadType string

// The types of signed documents.
const (
	BootstrapType       PayloadType = "application/vnd.holdfast.bootstrap.v1+json"
	PolicyType          PayloadType = "application/vnd.holdfast.policy.v1+json"
	AmendmentType       PayloadType = "application/vnd.holdfast.amendment.v1+json"
	RecoveryType        PayloadType = "application/vnd.holdfast.recovery.v1+json"
	TicketType          PayloadType = "application/vnd.holdfast.ticket.v1+json"
	ApprovalType        PayloadType = "application/vnd.holdfast.approval.v1+json"
	ConditionChangeType PayloadType = "application/vnd.holdfast.condition-change.v1+json"
	OrderType           PayloadType = "application/vnd.holdfast.order.v1+json"
)

var payloadNames = map[PayloadType]string{
	BootstrapType: "bootstrap", PolicyType: "policy", AmendmentType: "amendment", RecoveryType: "recovery",
	TicketType: "ticket", ApprovalType: "approval", ConditionChangeType: "condition change", OrderType: "order",
}

// Known reports whether t is one of the types above.
func (t PayloadType) Known() bool { return payloadNames[t] != "" }

// String is t in a word or two.
func (t PayloadType) String() string {
	if name := payloadNames[t]; name != "" {
		return name
	}
	return fmt.Sprintf("document of the unknown type %q", string(t))
}

// A Signature is one key's on an envelope.
type Signature struct {
	KeyID string // PublicKey.ID
	Sig   []byte // as PublicKey.Verify takes it
}

// An Envelope carries a document and signatures (DSSE, protocol version 1.0.2).
// A parsed one is well-formed and no more: nothing in it is verified. Its form
// is
//
//	{"payload":"…","payloadType":"…","signatures":[{"keyid":"…","sig":"…"}]}
//
// with base64 in the standard alphabet, padded.
type Envelope struct {
	Type       PayloadType
	Payload    []byte
	Signatures []Signature
}

type envelopeJSON struct {
	Payload     string          `json:"payload"`
	PayloadType string          `json:"payloadType"`
	Signatures  []signatureJSON `json:"signatures"`
}

type signatureJSON struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// ParseEnvelope reads an envelope. The error is Invalid or TooLarge.
func ParseEnvelope(b []byte) (*Envelope, error) {
	var j envelopeJSON
	if err := parse("envelope", b, MaxEnvelope, &j); err != nil {
		return nil, err
	}
	if err := refuseGaps("envelope", b, canonical(j)); err != nil {
		return nil, err
	}
	payload, err := decodeBase64(j.Payload)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "envelope: %w", err).WithField("payload")
	}
	e := &Envelope{Type: PayloadType(j.PayloadType), Payload: payload}
	if !e.Type.Known() {
		return nil, kms.Errorf(kms.Invalid, "envelope: a %s", e.Type).WithField("payloadType")
	}
	e.Signatures, err = parseSignatures(j.Signatures)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func parseSignatures(all []signatureJSON) ([]Signature, error) {
	if len(all) > MaxSignatures {
		return nil, kms.Errorf(kms.TooLarge, "envelope: %d signatures, at most %d", len(all), MaxSignatures).WithField("signatures")
	}
	var sigs []Signature
	for i, s := range all {
		var id [32]byte
		sig, err := decodeBase64(s.Sig)
		if err = firstError(decodeHex(id[:], s.KeyID), err); err != nil {
			return nil, kms.Errorf(kms.Invalid, "envelope: %w", err).WithField(fmt.Sprintf("signatures/%d", i))
		}
		sigs = append(sigs, Signature{s.KeyID, sig})
	}
	return sigs, nil
}

// Encode prints the envelope; ParseEnvelope reads it back.
func (e *Envelope) Encode() []byte {
	j := envelopeJSON{Payload: base64.StdEncoding.EncodeToString(e.Payload), PayloadType: string(e.Type)}
	for _, s := range e.Signatures {
		j.Signatures = append(j.Signatures, signatureJSON{s.KeyID, base64.StdEncoding.EncodeToString(s.Sig)})
	}
	return canonical(j)
}

// NewEnvelope puts the canonical form of a document into an envelope without
// signatures.
func NewEnvelope(t PayloadType, payload []byte) []byte {
	return (&Envelope{Type: t, Payload: payload}).Encode()
}

// Sign adds k's signature, in place of those of k that are there. It looks at
// no other signature and does not ask what k may sign. The error is Invalid or
// TooLarge.
func Sign(envelope []byte, k *PrivateKey) ([]byte, error) {
	e, err := ParseEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	sig, err := k.sign(e.signed())
	if err != nil {
		return nil, err
	}
	id := k.Public().ID()
	e.Signatures = slices.DeleteFunc(e.Signatures, func(s Signature) bool { return s.KeyID == id })
	e.Signatures = append(e.Signatures, Signature{id, sig})
	if len(e.Signatures) > MaxSignatures {
		return nil, kms.Errorf(kms.TooLarge, "envelope: %d signatures are there", MaxSignatures).WithField("signatures")
	}
	return e.Encode(), nil
}

// Merge puts the signatures of two envelopes around the same document into one:
// of people who signed it at the same time. Where both have one of the same key
// it is a's. Nothing is verified. The error is Invalid, TooLarge, or Conflict
// where the documents differ.
func Merge(a, b []byte) ([]byte, error) {
	into, err := ParseEnvelope(a)
	if err != nil {
		return nil, err
	}
	from, err := ParseEnvelope(b)
	if err != nil {
		return nil, err
	}
	if into.Type != from.Type || !bytes.Equal(into.Payload, from.Payload) {
		return nil, kms.Errorf(kms.Conflict, "envelope: the two are not around the same document").WithField("payload").
			WithHint("signatures of one document say nothing of another: have one of them signed again by all")
	}
	for _, s := range from.Signatures {
		if !slices.ContainsFunc(into.Signatures, func(o Signature) bool { return o.KeyID == s.KeyID }) {
			into.Signatures = append(into.Signatures, s)
		}
	}
	if len(into.Signatures) > MaxSignatures {
		return nil, kms.Errorf(kms.TooLarge, "envelope: more than %d signatures", MaxSignatures).WithField("signatures")
	}
	return into.Encode(), nil
}

// signed is what a signature covers: DSSE's pre-authentication encoding.
func (e *Envelope) signed() []byte {
	var b bytes.Buffer
	b.WriteString("DSSEv1 " + strconv.Itoa(len(e.Type)) + " " + string(e.Type) + " " + strconv.Itoa(len(e.Payload)) + " ")
	b.Write(e.Payload)
	return b.Bytes()
}

// SignedBy reports whether a good signature of k is on the envelope.
func (e *Envelope) SignedBy(k PublicKey) bool {
	return slices.ContainsFunc(e.Signatures, func(s Signature) bool { return s.KeyID == k.ID() && k.Verify(e.signed(), s.Sig) })
}

// signers are the keys, each once, whose signatures the envelope carries. Every
// signature must be good and of one of the known keys.
func (e *Envelope) signers(known ...PublicKey) ([]PublicKey, error) {
	byID := map[string]PublicKey{}
	for _, k := range known {
		byID[k.ID()] = k
	}
	var who []PublicKey
	for i, s := range e.Signatures {
		field := fmt.Sprintf("signatures/%d", i)
		k, ok := byID[s.KeyID]
		if !ok {
			return nil, kms.Errorf(kms.Denied, "%s: signed with key %s, which has no say", e.Type, s.KeyID).WithField(field).
				WithHint("leave signatures of other keys off: one of them refuses the document")
		}
		if !k.Verify(e.signed(), s.Sig) {
			return nil, kms.Errorf(kms.Denied, "%s: the signature with key %s does not hold", e.Type, s.KeyID).WithField(field).
				WithHint("the document changed after it was signed, or the signature did; one bad signature refuses the document")
		}
		if !slices.Contains(who, k) {
			who = append(who, k)
		}
	}
	return who, nil
}

// requireThreshold refuses fewer than threshold of the signers among who. A
// threshold that was never set is reached by nobody.
func requireThreshold(t PayloadType, who, signers []PublicKey, threshold int) error {
	n := 0
	for _, k := range signers {
		if slices.Contains(who, k) {
			n++
		}
	}
	if threshold < 1 || n < threshold {
		return kms.Errorf(kms.Denied, "%s: signed by %d of the signers, and it takes %d", t, n, threshold).WithField("signatures").
			WithHint("have more of the signers sign it; nobody else's signature counts")
	}
	return nil
}

// requireOwner refuses where the owner is not among who.
func requireOwner(t PayloadType, who []PublicKey, owner PublicKey) error {
	if owner.IsZero() || !slices.Contains(who, owner) {
		return kms.Errorf(kms.Denied, "%s: the owner did not sign it", t).WithField("signatures").
			WithHint("have the owner sign it beside the signers")
	}
	return nil
}

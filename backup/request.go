package backup

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// MaxRequest is the length in bytes from which a request or a share is refused unread.
const MaxRequest = 1 << 20

// ReceiverSize is that of the key that shares are sealed to: MLKEM768-X25519.
const ReceiverSize = 1184 + 32

// A Request is what a node shows that is to carry a domain on: who it is, from
// where it would, and evidence for both. Owner and signers sign a recovery that
// names its node and head; holders hand their shares to its receiver.
type Request struct {
	Domain   kms.DomainID
	Node     kms.NodeID // the SHA-256 of Key
	Key      []byte     // SubjectPublicKeyInfo of the node's key
	Receiver []byte     // that shares are sealed to; nil: it holds the master secrets, and wants none
	Head     govern.Head
	// Evidence is for the purpose "recovery", these keys, the domain, the policy at
	// the head, and the head in place of a nonce: see ReportData.
	Evidence attest.Evidence
}

type requestJSON struct {
	Version  int             `json:"version"`
	Domain   string          `json:"domain"`
	Node     string          `json:"node"`
	Key      []byte          `json:"key"`
	Receiver []byte          `json:"receiver,omitempty"`
	Head     govern.Head     `json:"head"`
	Evidence attest.Evidence `json:"evidence"`
}

// Encode prints the request; ParseRequest reads it back.
func (r *Request) Encode() ([]byte, error) {
	return json.Marshal(requestJSON{Version, r.Domain.String(), r.Node.String(), r.Key, r.Receiver, r.Head, r.Evidence})
}

// ParseRequest reads a request. Nothing in it is verified but its form. The error
// is Invalid or TooLarge.
func ParseRequest(b []byte) (*Request, error) {
	var j requestJSON
	if err := parseJSON("request", b, &j); err != nil {
		return nil, err
	}
	r := &Request{Key: j.Key, Receiver: j.Receiver, Head: j.Head, Evidence: j.Evidence}
	var err error
	if r.Domain, err = kms.ParseDomainID(j.Domain); err != nil {
		return nil, malformed("request", "domain")
	}
	if r.Node, err = kms.ParseNodeID(j.Node); err != nil {
		return nil, malformed("request", "node")
	}
	switch {
	case j.Version != Version:
		return nil, malformed("request", "version")
	case !peerKey(r.Key) || sha256.Sum256(r.Key) != r.Node:
		return nil, malformed("request", "key")
	case len(r.Receiver) != 0 && len(r.Receiver) != ReceiverSize:
		return nil, malformed("request", "receiver")
	case r.Head.Term == 0 || r.Head.Index == 0 || r.Head.Digest.IsZero() || r.Head.PolicySerial == 0:
		return nil, malformed("request", "head")
	}
	return r, nil
}

func peerKey(spki []byte) bool {
	public, err := x509.ParsePKIXPublicKey(spki)
	key, ok := public.(*ecdsa.PublicKey)
	return err == nil && ok && key.Curve == elliptic.P256()
}

// ReportData is what the evidence of a request is for, where policy is the one in
// force at its head.
func (r *Request) ReportData(policy govern.Digest) [64]byte {
	keys := [][]byte{r.Key}
	if len(r.Receiver) > 0 {
		keys = append(keys, r.Receiver)
	}
	head := binary.BigEndian.AppendUint64(nil, r.Head.Term)
	head = append(binary.BigEndian.AppendUint64(head, r.Head.Index), r.Head.Digest[:]...)
	return attest.ReportData(attest.ForRecovery, attest.Binding{Keys: keys, Domain: r.Domain,
		PolicySerial: r.Head.PolicySerial, PolicyDigest: policy, Nonce: head})
}

// Verify verifies what the request shows under the rules of the domain: evidence
// for all of it, of a program that the policy admits, as of the time at. The error
// is Denied.
func (r *Request) Verify(rules *Rules, verifiers attest.Verifiers, at time.Time) (attest.Claims, error) {
	if r.Domain != rules.Domain {
		return attest.Claims{}, kms.Errorf(kms.Denied, "the node wants to carry on another domain, %s", r.Domain).WithField("domain")
	}
	if r.Head.PolicySerial != rules.Policy.Serial {
		return attest.Claims{}, kms.Errorf(kms.Denied, "the node would carry on under policy %d, and here is policy %d", r.Head.PolicySerial, rules.Policy.Serial).WithField("head").
			WithHint("give the backup that the node is to carry on from")
	}
	want := r.ReportData(rules.Policy.Digest())
	claims, err := verifiers.Verify(r.Evidence, rules.Policy.NodePolicy().BoundTo(want), at)
	if err != nil {
		return attest.Claims{}, kms.Errorf(kms.Denied, "the node's evidence: %w", err).WithHint(attest.ReasonOf(err).Hint())
	}
	return claims, nil
}

func parseJSON(what string, b []byte, v any) error {
	if len(b) > MaxRequest {
		return kms.Errorf(kms.TooLarge, "%s: %d bytes, at most %d are read", what, len(b), MaxRequest)
	}
	if err := json.Unmarshal(b, v, json.RejectUnknownMembers(true)); err != nil {
		return kms.Errorf(kms.Invalid, "%s: %w", what, err)
	}
	return nil
}

func malformed(what, field string) error {
	return kms.Errorf(kms.Invalid, "%s: malformed", what).WithField(field)
}

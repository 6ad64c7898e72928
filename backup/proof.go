package backup

import (
	"crypto/sha256"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// evidenceField is the number of the field that is not under its own evidence. It
// is behind all others, so that what is under it is one piece of what was written.
const evidenceField = 30

// unproved is the advice where nothing says that a node made a backup.
const unproved = "take the backup from where you put it: whoever made this one may know the secrets that it would bring back"

// body is the header without the evidence.
func (h *Header) body() ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(h.proto())
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "encoding a backup's header: %w", err)
	}
	return b, nil
}

// Prove adds the evidence of the node that makes the backup, which quote has its
// platform make for all that the header says. The header is not to be changed
// after. The error is that of quote.
func (h *Header) Prove(policy govern.Digest, quote func(reportData [64]byte) (attest.Evidence, error)) error {
	body, err := h.body()
	if err != nil {
		return err
	}
	h.Evidence, err = quote(h.reportData(policy, sha256.Sum256(body)))
	return err
}

// reportData is what the evidence is for: the purpose "backup", no keys, the domain,
// the policy in force at the head, and the SHA-256 of the rest of the header in place
// of a nonce.
func (h *Header) reportData(policy govern.Digest, body [32]byte) [64]byte {
	return attest.ReportData(attest.ForBackup, attest.Binding{Domain: h.Domain,
		PolicySerial: h.Head.PolicySerial, PolicyDigest: policy, Nonce: body[:]})
}

// verify verifies that a program that the policy in force then admitted has made
// this header, as of its time, and returns what it was. The error is Denied.
func (h *Header) verify(policy *govern.Policy, verifiers attest.Verifiers) (attest.Claims, error) {
	if len(h.Evidence.Quote) == 0 {
		return attest.Claims{}, kms.Errorf(kms.Denied, "nothing proves that a node of the domain made this backup").WithField("evidence").WithHint(unproved)
	}
	want := h.reportData(policy.Digest(), h.sum)
	claims, err := verifiers.Verify(h.Evidence, policy.NodePolicy().BoundTo(want), h.Time)
	if err != nil {
		return attest.Claims{}, kms.Errorf(kms.Denied, "the backup is not proved to be of a node of the domain: as of %s: %w", h.Time.Format(time.RFC3339), err).
			WithField("evidence").WithHint(unproved)
	}
	return claims, nil
}

func (h *Header) evidenceProto() *holdfastv1.Evidence {
	return &holdfastv1.Evidence{Tee: string(h.Evidence.TEE), Quote: h.Evidence.Quote, Collateral: h.Evidence.Collateral}
}

// appendEvidence is the whole header: body, and the evidence behind it.
func (h *Header) appendEvidence(body []byte) ([]byte, error) {
	if len(h.Evidence.Quote) == 0 {
		return body, nil
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(h.evidenceProto())
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "encoding a backup's evidence: %w", err)
	}
	return protowire.AppendBytes(protowire.AppendTag(body, evidenceField, protowire.BytesType), b), nil
}

// beforeEvidence is the part of a header that its evidence is for: all of it, if
// there is none. Evidence that is not the last field, or there twice, is Invalid.
func beforeEvidence(b []byte) ([]byte, error) {
	for rest := b; len(rest) > 0; {
		number, _, n := protowire.ConsumeField(rest)
		switch {
		case n < 0:
			return nil, bad("")
		case number == evidenceField && n != len(rest):
			return nil, bad("evidence")
		case number == evidenceField:
			return b[:len(b)-len(rest)], nil
		}
		rest = rest[n:]
	}
	return b, nil
}

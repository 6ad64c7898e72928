package govern

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// ApprovalVersion is the one version of the approval that is understood.
const ApprovalVersion = 1

// An Action is what an operator approves of.
type Action uint8

// The actions.
const (
	ActJoin    Action = iota + 1 // a node joins
	ActReplace                   // a node joins in place of one that it cannot prove to have been
)

var actionNames = [...]string{ActJoin: "join", ActReplace: "replace"}

// Valid reports whether a is one of the actions above.
func (a Action) Valid() bool { return a > 0 && int(a) < len(actionNames) }

func (a Action) String() string {
	if !a.Valid() {
		return fmt.Sprintf("Action(%d)", uint8(a))
	}
	return actionNames[a]
}

// MarshalText prints the action's name.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the action's name.
func (a *Action) UnmarshalText(text []byte) error { return readEnum(a, actionNames[:], string(text)) }

// A Nonce makes a document good once. It is random.
type Nonce [16]byte

func (n Nonce) String() string { return hex.EncodeToString(n[:]) }

// MarshalText prints the nonce as 32 lower-case hexadecimal digits.
func (n Nonce) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText reads what MarshalText prints.
func (n *Nonce) UnmarshalText(text []byte) error { return decodeHex(n[:], string(text)) }

// An Approval is an operator's word that one machine running one program may
// join.
type Approval struct {
	Version      int          `json:"version"` // ApprovalVersion
	Domain       kms.DomainID `json:"domain"`
	Action       Action       `json:"action"`
	Replaces     kms.NodeID   `json:"replaces,omitzero"` // the node that goes; with ActReplace alone
	Platform     attest.Hex   `json:"platform"`          // attest.Platform's PPID (16 bytes) or ChipID (64; Turin 8): one machine, not a model
	Identity     Identity     `json:"identity"`
	PolicySerial uint64       `json:"policy_serial"` // of the policy in force; under another it is not good
	Expires      time.Time    `json:"expires"`       // whole seconds
	Nonce        Nonce        `json:"nonce"`         // the domain remembers which are spent
}

// ParseApproval reads an approval without its envelope.
func ParseApproval(b []byte) (*Approval, error) { return parseDocument[Approval]("approval", b) }

// Canonical prints the approval; ParseApproval reads it back.
func (a *Approval) Canonical() []byte { return canonical(a) }

// Validate checks every member. The error is Invalid and names the member.
func (a *Approval) Validate() error {
	switch {
	case a.Version != ApprovalVersion:
		return badVersion("approval", a.Version)
	case a.Domain == kms.DomainID{}:
		return kms.Errorf(kms.Invalid, "approval: names no domain").WithField("domain")
	case !a.Action.Valid():
		return kms.Errorf(kms.Invalid, "approval: neither %q nor %q", ActJoin, ActReplace).WithField("action")
	case (a.Action == ActReplace) != (a.Replaces != kms.NodeID{}):
		return kms.Errorf(kms.Invalid, "approval: a node to replace goes with %q", ActReplace).WithField("replaces")
	case len(a.Platform) != 8 && len(a.Platform) != 16 && len(a.Platform) != 64:
		return kms.Errorf(kms.Invalid, "approval: %d bytes are neither PPID (16) nor chip id (64; Turin 8)", len(a.Platform)).WithField("platform")
	case a.PolicySerial == 0 || a.PolicySerial > MaxSerial:
		return kms.Errorf(kms.Invalid, "approval: names no policy").WithField("policy_serial")
	case !wholeTime(a.Expires):
		return kms.Errorf(kms.Invalid, "approval: no time in whole seconds").WithField("expires")
	case a.Nonce == Nonce{}:
		return kms.Errorf(kms.Invalid, "approval: no nonce").WithField("nonce")
	}
	if err := a.Identity.Validate(); err != nil {
		return kms.Errorf(kms.Invalid, "approval: %w", err).WithField("identity")
	}
	return nil
}

// ValidAt says whether the approval can still be used. The error is Expired.
func (a *Approval) ValidAt(at time.Time) error { return notAfter("approval", a.Expires, at) }

// OpenApproval opens an approval for p's domain and under p that one of p's
// operators signed, and nobody else. Whether it is spent or past its time is for
// the caller to ask. The error is Invalid, TooLarge, Denied, or Stale where it
// was given under another policy.
func (p *Policy) OpenApproval(envelope []byte) (*Approval, error) {
	a, err := openOperators(p, envelope, ApprovalType, func(a *Approval) kms.DomainID { return a.Domain })
	if err != nil {
		return nil, err
	}
	if a.PolicySerial != p.Serial {
		return nil, kms.Errorf(kms.Stale, "approval: given under policy %d, and policy %d is in force", a.PolicySerial, p.Serial).
			WithField("policy_serial").WithHint("have it issued again under the policy in force")
	}
	return a, nil
}

// Approves says whether the approval is for the machine and program that proved
// c, as of the time at, under p's requirements. The error is Denied or Expired.
func (p *Policy) Approves(a *Approval, c attest.Claims, at time.Time) error {
	if err := a.ValidAt(at); err != nil {
		return err
	}
	if err := p.Attestation.admits([]Identity{a.Identity}, c, at); err != nil {
		return kms.Errorf(kms.Denied, "approval: %w", err)
	}
	for _, id := range c.Platform.IDs() {
		if id.Equal(a.Platform) {
			return nil
		}
	}
	return kms.Errorf(kms.Denied, "approval: for the platform %s, not %v", a.Platform, c.Platform.IDs()).WithField("platform")
}

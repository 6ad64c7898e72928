package govern

import (
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// TicketVersion is the one version of the ticket that is understood.
const TicketVersion = 1

// A TicketID is the random name of a ticket, so that it is taken once.
type TicketID [16]byte

func (id TicketID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText prints the id as 32 lower-case hexadecimal digits.
func (id TicketID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText prints.
func (id *TicketID) UnmarshalText(text []byte) error { return decodeHex(id[:], string(text)) }

// A Ticket lets its bearer enrol one app. The envelope with an operator's
// signature on it is the one-time code; see EncodeCode.
type Ticket struct {
	Version     int             `json:"version"` // TicketVersion
	Domain      kms.DomainID    `json:"domain"`
	ID          TicketID        `json:"id"`          // random; the domain remembers which are spent
	Expires     time.Time       `json:"expires"`     // whole seconds
	Permissions kms.Permissions `json:"permissions"` // of the first credential: names in an array, at least one
}

// ParseTicket reads a ticket without its envelope.
func ParseTicket(b []byte) (*Ticket, error) { return parseDocument[Ticket]("ticket", b) }

// Canonical prints the ticket; ParseTicket reads it back.
func (t *Ticket) Canonical() []byte { return canonical(t) }

// Validate checks every member. The error is Invalid and names the member.
func (t *Ticket) Validate() error {
	switch {
	case t.Version != TicketVersion:
		return badVersion("ticket", t.Version)
	case t.Domain == kms.DomainID{}:
		return kms.Errorf(kms.Invalid, "ticket: names no domain").WithField("domain")
	case t.ID == TicketID{}:
		return kms.Errorf(kms.Invalid, "ticket: no id").WithField("id")
	case !wholeTime(t.Expires):
		return kms.Errorf(kms.Invalid, "ticket: no time in whole seconds").WithField("expires")
	case !t.Permissions.Valid():
		return kms.Errorf(kms.Invalid, "ticket: no permission, or one that is not known").WithField("permissions")
	}
	return nil
}

// ValidAt says whether the ticket can still be taken. The error is Expired.
func (t *Ticket) ValidAt(at time.Time) error { return notAfter("ticket", t.Expires, at) }

// OpenTicket opens a ticket for p's domain that one of p's operators signed, and
// nobody else. Whether it is spent or past its time is for the caller to ask.
// The error is Invalid, TooLarge or Denied.
func (p *Policy) OpenTicket(envelope []byte) (*Ticket, error) {
	return openOperators(p, envelope, TicketType, func(t *Ticket) kms.DomainID { return t.Domain })
}

// openOperators opens a document for p's domain that operators of p signed.
func openOperators[T any, P interface {
	*T
	document
}](p *Policy, envelope []byte, want PayloadType, domain func(P) kms.DomainID) (P, error) {
	if p == nil || p.domain == (kms.DomainID{}) {
		return nil, kms.Errorf(kms.Invalid, "%s: the policy was not opened in a domain", want)
	}
	e, err := ParseEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	d, err := openPayload[T, P](e, want)
	if err != nil {
		return nil, err
	}
	if domain(d) != p.domain {
		return nil, otherDomain(want.String(), domain(d))
	}
	who, err := e.signers(p.Operators...)
	if err != nil {
		return nil, err
	}
	if len(who) == 0 {
		return nil, kms.Errorf(kms.Denied, "%s: no operator signed it", want).WithField("signatures").
			WithHint("an operator is a key that the policy in force lists")
	}
	return d, nil
}

func notAfter(what string, end, at time.Time) error {
	if !at.Before(end) {
		return kms.Errorf(kms.Expired, "%s: was good until %s", what, end.UTC().Format(timeLayout)).WithField("expires").
			WithHint("have an operator issue another one")
	}
	return nil
}

// EncodeCode prints an envelope as a code that is handed to a person: base64url
// without padding.
func EncodeCode(envelope []byte) string { return base64.RawURLEncoding.EncodeToString(envelope) }

// DecodeCode reads what EncodeCode prints. The error is Invalid or TooLarge.
func DecodeCode(code string) ([]byte, error) {
	if len(code) > base64.RawURLEncoding.EncodedLen(MaxEnvelope) {
		return nil, kms.Errorf(kms.TooLarge, "code: %d characters", len(code))
	}
	b, err := base64.RawURLEncoding.DecodeString(code)
	if err != nil || EncodeCode(b) != code {
		return nil, kms.Errorf(kms.Invalid, "code: not base64url on one line")
	}
	return b, nil
}

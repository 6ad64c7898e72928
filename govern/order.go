package govern

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// OrderVersion is the one version of the order that is understood.
const OrderVersion = 1

// A Deed is what an order has the domain do.
type Deed uint8

// The deeds.
const (
	DeedRotate Deed = iota + 1 // make the next generation of the master secret
	DeedRetire                 // end all use of a generation
	DeedRemove                 // have a node leave the domain for good
)

var deedNames = [...]string{DeedRotate: "rotate-master-secret", DeedRetire: "retire-generation", DeedRemove: "remove-node"}

// Valid reports whether d is one of the deeds above.
func (d Deed) Valid() bool { return d > 0 && int(d) < len(deedNames) }

func (d Deed) String() string {
	if !d.Valid() {
		return fmt.Sprintf("Deed(%d)", uint8(d))
	}
	return deedNames[d]
}

// MarshalText prints the deed's name.
func (d Deed) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the deed's name.
func (d *Deed) UnmarshalText(text []byte) error { return readEnum(d, deedNames[:], string(text)) }

// An Order has a domain do one thing to its master secrets or its nodes, once. To
// rotate or to remove a node takes one operator or the owner; to retire takes the
// signers' threshold, for what only the retired generation derives is lost to
// those who still need it.
type Order struct {
	Version    int          `json:"version"` // OrderVersion
	Domain     kms.DomainID `json:"domain"`
	Deed       Deed         `json:"deed"`
	Generation uint32       `json:"generation"`    // that is made, or that ends; 0 with DeedRemove
	Node       kms.NodeID   `json:"node,omitzero"` // that leaves; with DeedRemove alone
	Expires    time.Time    `json:"expires"`       // whole seconds
	Nonce      Nonce        `json:"nonce"`         // the domain remembers which are spent
}

// ParseOrder reads an order without its envelope.
func ParseOrder(b []byte) (*Order, error) { return parseDocument[Order]("order", b) }

// Canonical prints the order; ParseOrder reads it back.
func (o *Order) Canonical() []byte { return canonical(o) }

// Validate checks every member. The error is Invalid and names the member.
func (o *Order) Validate() error {
	switch {
	case o.Version != OrderVersion:
		return badVersion("order", o.Version)
	case o.Domain == kms.DomainID{}:
		return kms.Errorf(kms.Invalid, "order: names no domain").WithField("domain")
	case !o.Deed.Valid():
		return kms.Errorf(kms.Invalid, "order: none of %q, %q and %q", DeedRotate, DeedRetire, DeedRemove).WithField("deed")
	case (o.Deed == DeedRemove) != (o.Node != kms.NodeID{}):
		return kms.Errorf(kms.Invalid, "order: a node goes with %q", DeedRemove).WithField("node")
	case o.Deed == DeedRemove && o.Generation != 0:
		return kms.Errorf(kms.Invalid, "order: no generation goes with %q", DeedRemove).WithField("generation")
	case o.Deed == DeedRotate && o.Generation == 0:
		return kms.Errorf(kms.Invalid, "order: generation 0 is made when the domain is founded").WithField("generation")
	case !wholeTime(o.Expires):
		return kms.Errorf(kms.Invalid, "order: no time in whole seconds").WithField("expires")
	case o.Nonce == Nonce{}:
		return kms.Errorf(kms.Invalid, "order: no nonce").WithField("nonce")
	}
	return nil
}

// ValidAt says whether the order can still be obeyed. The error is Expired.
func (o *Order) ValidAt(at time.Time) error { return notAfter("order", o.Expires, at) }

// OpenOrder opens an order for the domain that s rules, of the deed that is
// wanted, signed by those who may give it under p, and nobody else. Whether it is
// spent or past its time is for the caller to ask. The error is Invalid, TooLarge
// or Denied.
func (s Standing) OpenOrder(p *Policy, envelope []byte, want Deed) (*Order, error) {
	e, err := ParseEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	o, err := openPayload[Order](e, OrderType)
	if err != nil {
		return nil, err
	}
	if o.Domain != s.Domain || s.Domain == (kms.DomainID{}) {
		return nil, otherDomain(OrderType.String(), o.Domain)
	}
	if o.Deed != want {
		return nil, kms.Errorf(kms.Denied, "order: to %q, not to %q", o.Deed, want).WithField("deed")
	}
	if err := s.mayOrder(p, e, want); err != nil {
		return nil, err
	}
	return o, nil
}

func (s Standing) mayOrder(p *Policy, e *Envelope, d Deed) error {
	switch {
	case d == DeedRetire:
		_, err := s.rules().authority(e)
		return err
	case d != DeedRotate && d != DeedRemove || p == nil: // "unknown" is nobody's
		return kms.Errorf(kms.Denied, "order: nobody may order %q", d).WithField("deed")
	}
	who, err := e.signers(append(slices.Clone(p.Operators), s.Owner)...)
	if err != nil {
		return err
	}
	if len(who) == 0 {
		return kms.Errorf(kms.Denied, "order: neither the owner nor an operator signed it").WithField("signatures").
			WithHint("an operator is a key that the policy in force lists")
	}
	return nil
}

package govern

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// OrderVersion is the one version of the order that is understood.
const OrderVersion = 1

// A Deed is what an order has the domain do.
type Deed uint8

// The deeds.
const (
	DeedRotate     Deed = iota + 1 // make the next generation of the master secret
	DeedRetire                     // end all use of a generation
	DeedRemove                     // have a node leave the domain for good
	DeedBackup                     // make a backup of the domain
	DeedCompromise                 // hold a generation for known to others, and replace all that hangs on it
	DeedReplaceCA                  // make another certificate authority, and end the one there is
	DeedDrain                      // have a node finish what it has begun, and leave by itself
)

var deedNames = [...]string{DeedRotate: "rotate-master-secret", DeedRetire: "retire-generation", DeedRemove: "remove-node", DeedBackup: "backup",
	DeedCompromise: "compromised-generation", DeedReplaceCA: "replace-ca", DeedDrain: "drain-node"}

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

// MaxGrace is how long credentials that were wrapped under a compromised
// generation may go on at most.
const MaxGrace = 30 * day

// An Order has a domain do one thing, once. To rotate, to remove or drain a node, to
// replace the certificate authority or to make a backup takes one operator or the
// owner: nobody loses by it what he cannot have again. To retire a generation, or
// to hold it for compromised, takes the signers' threshold, for what only that
// generation derives is lost to those who still need it.
type Order struct {
	Version    int          `json:"version"` // OrderVersion
	Domain     kms.DomainID `json:"domain"`
	Deed       Deed         `json:"deed"`
	Generation uint32       `json:"generation"`         // that is made, or that ends; 0 with the other deeds
	Node       kms.NodeID   `json:"node,omitzero"`      // that leaves; with DeedRemove and DeedDrain alone
	ForCause   bool         `json:"for_cause,omitzero"` // with DeedRemove: the certificate authority is replaced, too
	Grace      attest.Age   `json:"grace,omitzero"`     // with DeedCompromise: how long credentials are good; 0: no longer
	Expires    time.Time    `json:"expires"`            // whole seconds
	Nonce      Nonce        `json:"nonce"`              // the domain remembers which are spent
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
		return kms.Errorf(kms.Invalid, "order: none of %q", deedNames[1:]).WithField("deed")
	case (o.Deed == DeedRemove || o.Deed == DeedDrain) != (o.Node != kms.NodeID{}):
		return kms.Errorf(kms.Invalid, "order: a node goes with %q and %q", DeedRemove, DeedDrain).WithField("node")
	case o.ForCause && o.Deed != DeedRemove:
		return kms.Errorf(kms.Invalid, "order: a cause goes with %q", DeedRemove).WithField("for_cause")
	case o.Grace < 0 || o.Grace > attest.Age(MaxGrace) || o.Grace != 0 && o.Deed != DeedCompromise:
		return kms.Errorf(kms.Invalid, "order: a grace of up to %v goes with %q", time.Duration(MaxGrace), DeedCompromise).WithField("grace")
	case !o.Deed.names() && o.Generation != 0:
		return kms.Errorf(kms.Invalid, "order: no generation goes with %q", o.Deed).WithField("generation")
	case o.Deed == DeedRotate && o.Generation == 0:
		return kms.Errorf(kms.Invalid, "order: generation 0 is made when the domain is founded").WithField("generation")
	case !wholeTime(o.Expires):
		return kms.Errorf(kms.Invalid, "order: no time in whole seconds").WithField("expires")
	case o.Nonce == Nonce{}:
		return kms.Errorf(kms.Invalid, "order: no nonce").WithField("nonce")
	}
	return nil
}

// names reports whether the deed is about a generation.
func (d Deed) names() bool { return d == DeedRotate || d == DeedRetire || d == DeedCompromise }

// byThreshold reports whether the deed takes the signers' threshold.
func (d Deed) byThreshold() bool { return d == DeedRetire || d == DeedCompromise }

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
	case d.byThreshold():
		_, err := s.rules().authority(e)
		return err
	case !d.Valid() || p == nil: // "unknown" is nobody's
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

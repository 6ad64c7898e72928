package govern

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// An Identity is what attestation proves a program is. Exactly one is set.
type Identity struct {
	SGX *attest.SGXIdentity `json:"sgx,omitzero"`
	TDX *attest.TDXIdentity `json:"tdx,omitzero"`
	SNP *attest.SNPIdentity `json:"snp,omitzero"`
}

// IdentityOf is the very program that claims are of, and no other one by the same
// signer. What claims are of no program is no identity.
func IdentityOf(c attest.Claims) (id Identity) {
	switch {
	case c.SGX != nil:
		id.SGX = &attest.SGXIdentity{MRENCLAVE: c.SGX.MRENCLAVE}
	case c.TDX != nil:
		id.TDX = &attest.TDXIdentity{MRTD: c.TDX.MRTD, RTMR0: c.TDX.RTMR0, RTMR1: c.TDX.RTMR1, RTMR2: c.TDX.RTMR2}
	case c.SNP != nil:
		id.SNP = &attest.SNPIdentity{Measurement: c.SNP.Measurement}
	}
	return id
}

// ParseIdentity reads an identity. The error is Invalid or TooLarge.
func ParseIdentity(b []byte) (Identity, error) {
	id, err := parseDocument[Identity]("identity", b)
	if err != nil {
		return Identity{}, err
	}
	return *id, nil
}

// Canonical prints the identity; ParseIdentity reads it back.
func (id Identity) Canonical() []byte { return canonical(id) }

// TEE is the kind of TEE that the identity is of, "" unless exactly one is set.
func (id Identity) TEE() attest.TEE {
	switch {
	case id.SGX != nil && id.TDX == nil && id.SNP == nil:
		return attest.SGX
	case id.SGX == nil && id.TDX != nil && id.SNP == nil:
		return attest.TDX
	case id.SGX == nil && id.TDX == nil && id.SNP != nil:
		return attest.SNP
	}
	return ""
}

// Validate refuses an identity that names nobody in particular. The error is
// Invalid.
func (id Identity) Validate() error {
	if id.TEE() == "" {
		return kms.Errorf(kms.Invalid, "identity: not exactly one of sgx, tdx and snp")
	}
	if err := (Requirements{}).admitting(id).Validate(); err != nil {
		return kms.Errorf(kms.Invalid, "identity: %w", err)
	}
	return id.validateProducts()
}

// validateProducts keeps products to words, as AMD's are ("Milan"), so that the
// print of an identity is as plain as the identity.
func (id Identity) validateProducts() error {
	if id.SNP == nil {
		return nil
	}
	for _, p := range id.SNP.Products {
		if !validName(p) || strings.ContainsFunc(p, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' }) {
			return kms.Errorf(kms.Invalid, "identity: product %q is no word of letters, digits and hyphens", p)
		}
	}
	return nil
}

// Equal reports whether both state the same.
func (id Identity) Equal(other Identity) bool { return bytes.Equal(canonical(id), canonical(other)) }

// String is the identity for a person, all of it, on one line:
// "SGX mrsigner:83d7…, isv_prod_id:1". No two identities print alike.
func (id Identity) String() string {
	var inner string
	switch id.TEE() {
	case attest.SGX:
		inner = string(canonical(id.SGX))
	case attest.TDX:
		inner = string(canonical(id.TDX))
	case attest.SNP:
		inner = string(canonical(id.SNP))
	default:
		return "no identity"
	}
	plain := strings.NewReplacer(`"`, "", ",", ", ").Replace(inner[1 : len(inner)-1])
	return strings.ToUpper(string(id.TEE())) + " " + plain
}

// checkIdentities refuses one that is not valid and one that is there twice.
func checkIdentities(what, field string, ids []Identity) error {
	seen := map[string]bool{}
	for i, id := range ids {
		at := fmt.Sprintf("%s/%d", field, i)
		if err := id.Validate(); err != nil {
			return kms.Errorf(kms.Invalid, "%s: %w", what, err).WithField(at)
		}
		form := string(canonical(id))
		if seen[form] {
			return kms.Errorf(kms.Invalid, "%s: an identity that is there twice", what).WithField(at)
		}
		seen[form] = true
	}
	return nil
}

// Requirements are what the domain demands of platforms, whatever runs on them.
// The zero Requirements are the strictest.
type Requirements struct {
	SGX attest.Terms `json:"sgx,omitzero"`
	TDX attest.Terms `json:"tdx,omitzero"`
	SNP attest.Terms `json:"snp,omitzero"`
}

// Validate refuses what cannot be meant. The error is Invalid.
func (r Requirements) Validate() error {
	if err := r.admitting().Validate(); err != nil {
		return kms.Errorf(kms.Invalid, "%w", err)
	}
	return nil
}

// admitting is the attestation policy that admits these identities, and nobody
// where there are none.
func (r Requirements) admitting(ids ...Identity) attest.Policy {
	p := attest.Policy{SGX: attest.SGXPolicy{Terms: r.SGX}, TDX: attest.TDXPolicy{Terms: r.TDX}, SNP: attest.SNPPolicy{Terms: r.SNP}}
	for _, id := range ids {
		switch id.TEE() {
		case attest.SGX:
			p.SGX.Identities = append(p.SGX.Identities, *id.SGX)
		case attest.TDX:
			p.TDX.Identities = append(p.TDX.Identities, *id.TDX)
		case attest.SNP:
			p.SNP.Identities = append(p.SNP.Identities, *id.SNP)
		}
	}
	return p
}

// admits says whether claims are of one of these identities and meet r, as of
// the time at. The error is Denied and wraps the *attest.Error.
func (r Requirements) admits(ids []Identity, c attest.Claims, at time.Time) error {
	if err := r.admitting(ids...).Admit(c, at); err != nil {
		return kms.Errorf(kms.Denied, "%w", err).WithHint(attest.ReasonOf(err).Hint())
	}
	return nil
}

package intel

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-kms/holdfast/attest"
)

// MaxCollateral bounds what is read. Intel's collateral has about 14 KiB; the
// revocation lists may grow.
const MaxCollateral = 4 << 20

// Collateral is what Intel published about a platform. See the package for
// what the members are.
type Collateral struct {
	PCKCRLChain         string     `json:"pck_crl_issuer_chain,omitzero"`
	RootCRL             attest.Hex `json:"root_ca_crl,omitzero"`
	PCKCRL              attest.Hex `json:"pck_crl,omitzero"`
	TCBInfoChain        string     `json:"tcb_info_issuer_chain,omitzero"`
	TCBInfo             string     `json:"tcb_info,omitzero"`
	TCBInfoSignature    string     `json:"tcb_info_signature,omitzero"`
	QEIdentityChain     string     `json:"qe_identity_issuer_chain,omitzero"`
	QEIdentity          string     `json:"qe_identity,omitzero"`
	QEIdentitySignature string     `json:"qe_identity_signature,omitzero"`
}

// ParseCollateral reads the JSON form. A member that is not known, or there
// twice, is refused: a revocation list under a misspelt name would be one that
// is not looked at.
func ParseCollateral(b []byte) (*Collateral, error) {
	const part = "collateral"
	switch {
	case len(b) == 0:
		return nil, attest.Refuse(attest.MissingCollateral, part, "there is none")
	case len(b) > MaxCollateral:
		return nil, attest.Refuse(attest.Malformed, part, "more than %d bytes", MaxCollateral)
	}
	var c Collateral
	if err := json.Unmarshal(b, &c, json.RejectUnknownMembers(true)); err != nil {
		return nil, attest.Refuse(attest.Malformed, part, "%w", err)
	}
	return &c, nil
}

// Encode prints the JSON form, the same for equal collateral.
func (c *Collateral) Encode() ([]byte, error) {
	return json.Marshal(c, jsontext.Multiline(false))
}

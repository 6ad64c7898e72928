package attest

import "github.com/go-json-experiment/json"

// MaxKeptClaims is the length in bytes from which kept claims are refused
// unread. Those of TDX, the largest, take some 3,000.
const MaxKeptClaims = 16 << 10

// Encode prints the claims to be kept, the same for equal claims.
func (c Claims) Encode() ([]byte, error) { return json.Marshal(c, json.Deterministic(true)) }

// ParseClaims reads claims that were kept. What it returns proves nothing by
// itself: it is as good as the place where they were kept. A member that is not
// known, or there twice, is refused, and so is another spelling than Encode's: so
// that whoever reads the same bytes judges the same claims. The error is an
// *Error with the reason Malformed.
func ParseClaims(b []byte) (Claims, error) {
	var c Claims
	if len(b) > MaxKeptClaims {
		return Claims{}, Refuse(Malformed, "claims", "more than %d bytes", MaxKeptClaims)
	}
	if err := json.Unmarshal(b, &c, json.RejectUnknownMembers(true)); err != nil {
		return Claims{}, Refuse(Malformed, "claims", "%w", err)
	}
	if again, err := c.Encode(); err != nil || string(again) != string(b) {
		return Claims{}, Refuse(Malformed, "claims", "not as they are kept")
	}
	return c, nil
}

package attest

import "github.com/go-json-experiment/json"

// maxPolicy is the length in bytes from which a policy is refused unread.
const maxPolicy = 1 << 20

// ParsePolicy reads a policy in JSON. A member that is not known, or there
// twice, is refused: a demand under a misspelt name would be one that is not
// made. The error is an *Error with the reason BadPolicy.
func ParsePolicy(b []byte) (Policy, error) {
	var p Policy
	if len(b) > maxPolicy {
		return Policy{}, Refuse(BadPolicy, "policy", "more than %d bytes", maxPolicy)
	}
	if err := json.Unmarshal(b, &p, json.RejectUnknownMembers(true)); err != nil {
		return Policy{}, Refuse(BadPolicy, "policy", "%w", err)
	}
	if err := p.Validate(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// Encode prints the policy as ParsePolicy reads it, the same for equal
// policies. What BoundTo set is left out.
func (p Policy) Encode() ([]byte, error) { return json.Marshal(p) }

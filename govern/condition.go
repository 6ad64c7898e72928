package govern

import (
	"fmt"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// MaxRules is how many rules a condition may have.
const MaxRules = 64

// A Condition says which programs may use a key for what. Whatever no rule of it
// allows is denied: the zero Condition, and none at all, admit nobody. That a
// key has no condition, and so needs no evidence, is for its record to say.
// Its canonical form is
//
//	{"rules":[{"operations":["encrypt","decrypt"],"programs":[{"sgx":{…}}]}]}
type Condition struct {
	Rules []ConditionRule `json:"rules"` // at most MaxRules; none: nobody
}

// A ConditionRule allows each of its programs each of its operations.
type ConditionRule struct {
	Operations kms.Usages `json:"operations"` // at least one
	Programs   []Identity `json:"programs"`   // at least one
}

// ParseCondition reads a condition and validates it. The error is Invalid or
// TooLarge and names the member at fault where one is.
func ParseCondition(b []byte) (*Condition, error) { return parseDocument[Condition]("condition", b) }

// Canonical prints the condition; ParseCondition reads it back.
func (c *Condition) Canonical() []byte { return canonical(c) }

// Validate checks every member. The error is Invalid and names the member.
func (c *Condition) Validate() error {
	if len(c.Rules) > MaxRules {
		return kms.Errorf(kms.Invalid, "condition: %d rules, at most %d", len(c.Rules), MaxRules).WithField("rules")
	}
	for i, r := range c.Rules {
		at := fmt.Sprintf("rules/%d", i)
		if !r.Operations.Valid() {
			return kms.Errorf(kms.Invalid, "condition: no operation").WithField(at + "/operations")
		}
		if len(r.Programs) == 0 {
			return kms.Errorf(kms.Invalid, "condition: no program").WithField(at + "/programs")
		}
		if err := checkIdentities("condition", at+"/programs", r.Programs); err != nil {
			return err
		}
	}
	return nil
}

// Admits says whether the program that proved claims may use the key for op, on
// a platform that meets r, as of the time at. The error is Denied; it names no
// program of the condition but those that the claims were compared with.
func (c *Condition) Admits(op kms.Usage, claims attest.Claims, r Requirements, at time.Time) error {
	var programs []Identity
	if c != nil {
		for _, rule := range c.Rules {
			if rule.Operations.Has(op) {
				programs = append(programs, rule.Programs...)
			}
		}
	}
	if len(programs) == 0 {
		return kms.Errorf(kms.Denied, "condition: nobody may use the key to %s", op).WithHint("the key's use condition names no such operation")
	}
	if err := r.admits(programs, claims, at); err != nil {
		return kms.Errorf(kms.Denied, "condition: %w", err)
	}
	return nil
}

// Narrows reports whether c admits nothing that old does not: every program of c
// is, for each operation, as closely described as one of old's. It errs on the
// side of no: that an MRENCLAVE comes from a signer is nothing it can know. A
// nil old is a key without condition, which everything narrows; a nil c is none
// any more, which narrows nothing else.
func (c *Condition) Narrows(old *Condition) bool {
	if c == nil || old == nil {
		return old == nil
	}
	for _, rule := range c.Rules {
		for _, op := range kms.AllUsages() {
			if rule.Operations.Has(op) && !old.coversAll(op, rule.Programs) {
				return false
			}
		}
	}
	return true
}

func (c *Condition) coversAll(op kms.Usage, programs []Identity) bool {
	for _, p := range programs {
		if !c.covers(op, p) {
			return false
		}
	}
	return true
}

func (c *Condition) covers(op kms.Usage, program Identity) bool {
	for _, rule := range c.Rules {
		for _, p := range rule.Programs {
			if rule.Operations.Has(op) && p.covers(program) {
				return true
			}
		}
	}
	return false
}

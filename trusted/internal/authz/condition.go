package authz

import (
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A Deed is what is done with a key that no usage stands for, so that no
// condition can name it.
type Deed uint8

// The deeds.
const (
	// Administer is to see what a key is, to switch it on and off, and to change
	// its condition by that change's own rules.
	Administer Deed = iota + 1
	// Transfer is to import, export or re-encrypt; Destroy to delete. A key with a
	// condition is out of their reach, its owner's too: what the programs it names
	// rely on would leave their hands.
	Transfer
	Destroy
)

// Deeds asks whether a key's condition leaves room for d. The error is Denied.
func Deeds(k *state.Key, d Deed) error {
	if d == Administer || len(k.Condition) == 0 {
		return nil
	}
	return ErrCondition()
}

// ErrCondition is the one answer to whoever does not meet a key's condition.
func ErrCondition() error {
	return kms.Errorf(kms.Denied, "the key's use condition does not allow this").
		WithHint("the condition says which attested programs may use the key and for what; come with a session of one of them")
}

// Named lists every usage that a condition names, or, where it names none, all:
// a condition that nobody meets is met by nobody.
func Named(c *govern.Condition) []kms.Usage {
	var set kms.Usages
	for _, r := range c.Rules {
		set |= r.Operations
	}
	var all []kms.Usage
	for _, u := range kms.AllUsages() {
		if set == 0 || set.Has(u) {
			all = append(all, u)
		}
	}
	return all
}

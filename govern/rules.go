package govern

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// MaxKeys is how many keys one list of a document may have.
const MaxKeys = 32

// Intervals are those of domain time.
type Intervals struct {
	Tick  attest.Age `json:"tick"`  // between two readings of the clock: 100 ms to 1 minute
	Epoch attest.Age `json:"epoch"` // length of an epoch, the coarse tick: 1 s to 30 days, not below Tick
}

// DefaultIntervals are those of a charter that has no reason to choose.
func DefaultIntervals() Intervals {
	return Intervals{Tick: attest.Age(time.Second), Epoch: attest.Age(time.Hour)}
}

const day = 24 * time.Hour

func (i Intervals) validate(what string) error {
	return firstError(
		checkAge(what, "intervals/tick", i.Tick, 100*time.Millisecond, time.Minute),
		checkAge(what, "intervals/epoch", i.Epoch, max(time.Second, time.Duration(i.Tick)), 30*day),
	)
}

// rules are what a charter sets and an amendment sets anew.
type rules struct {
	owner             PublicKey
	signers           []PublicKey
	threshold         int
	recoveryKeys      []PublicKey
	recoveryThreshold int
	restartMode       RestartMode
	intervals         Intervals
}

func (r rules) validate(what string) error {
	if r.owner.IsZero() {
		return kms.Errorf(kms.Invalid, "%s: no owner key", what).WithField("owner_key")
	}
	return firstError(
		r.validateSigners(what),
		r.validateRecovery(what),
		r.validateMode(what),
		r.intervals.validate(what),
	)
}

func (r rules) validateSigners(what string) error {
	if err := checkKeys(what, "signers", r.signers, MaxKeys); err != nil {
		return err
	}
	switch {
	case len(r.signers) == 0:
		return kms.Errorf(kms.Invalid, "%s: no signer", what).WithField("signers")
	case slices.Contains(r.signers, r.owner):
		return kms.Errorf(kms.Invalid, "%s: the owner is a signer", what).WithField("signers").
			WithHint("who submits does not authorise: make a key of its own for each")
	case r.threshold < 1 || r.threshold > len(r.signers):
		return kms.Errorf(kms.Invalid, "%s: a threshold of %d among %d signers", what, r.threshold, len(r.signers)).WithField("threshold")
	}
	return nil
}

func (r rules) validateRecovery(what string) error {
	if err := checkKeys(what, "recovery_keys", r.recoveryKeys, MaxKeys); err != nil {
		return err
	}
	least := min(1, len(r.recoveryKeys))
	if r.recoveryThreshold < least || r.recoveryThreshold > len(r.recoveryKeys) {
		return kms.Errorf(kms.Invalid, "%s: a threshold of %d among %d recovery keys", what, r.recoveryThreshold, len(r.recoveryKeys)).
			WithField("recovery_threshold")
	}
	return nil
}

func (r rules) validateMode(what string) error {
	if !r.restartMode.Valid() {
		return kms.Errorf(kms.Invalid, "%s: neither %q nor %q", what, Sealed, Rejoin).WithField("restart_mode")
	}
	return nil
}

// equal reports whether both say the same.
func (r rules) equal(o rules) bool {
	return r.owner == o.owner && r.threshold == o.threshold && r.recoveryThreshold == o.recoveryThreshold &&
		r.restartMode == o.restartMode && r.intervals == o.intervals &&
		slices.Equal(r.signers, o.signers) && slices.Equal(r.recoveryKeys, o.recoveryKeys)
}

// clone shares no memory with r.
func (r rules) clone() rules {
	r.signers, r.recoveryKeys = slices.Clone(r.signers), slices.Clone(r.recoveryKeys)
	return r
}

// checkKeys refuses a key that is none and one that is there twice.
func checkKeys(what, field string, keys []PublicKey, limit int) error {
	if len(keys) > limit {
		return kms.Errorf(kms.Invalid, "%s: %d keys, at most %d", what, len(keys), limit).WithField(field)
	}
	for i, k := range keys {
		if k.IsZero() || slices.Contains(keys[:i], k) {
			return kms.Errorf(kms.Invalid, "%s: no key, or one that is there twice", what).WithField(fmt.Sprintf("%s/%d", field, i))
		}
	}
	return nil
}

// checkAge refuses a duration outside its bounds, both inclusive.
func checkAge(what, field string, age attest.Age, least, most time.Duration) error {
	if d := time.Duration(age); d < least || d > most {
		return kms.Errorf(kms.Invalid, "%s: %s is not between %s and %s", what, d, least, most).WithField(field)
	}
	return nil
}

// firstError is the first that is one.
func firstError(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

package kms

import (
	"fmt"
	"time"
)

// Limits of rotation by interval, and of what opens without naming its version.
const (
	MinRotationDays = 1
	MaxRotationDays = 3650

	// MaxTrials is how many versions a ciphertext that names none is tried under,
	// the newest first.
	MaxTrials = 16
)

// SetRotationRequest asks to have a key rotated by itself.
type SetRotationRequest struct {
	Key    KeyID
	Period time.Duration // whole days, MinRotationDays to MaxRotationDays; zero: not any more
}

// RotationDays is a number of days as a rotation period; one that is too long for
// that is one that CheckRotation refuses.
func RotationDays(n uint32) time.Duration {
	return time.Duration(min(n, MaxRotationDays+1)) * Day
}

// CheckRotation refuses what is no period to rotate by. The error is Invalid.
func CheckRotation(period time.Duration) error {
	if period < 0 || period%Day != 0 || period > MaxRotationDays*Day {
		return Errorf(Invalid, "a rotation period is %d to %d whole days", MinRotationDays, MaxRotationDays).WithField("rotation_period_days")
	}
	return nil
}

// WarnOutOfReach says that versions older than oldest open no ciphertexts in
// eHSM's layout any more.
func WarnOutOfReach(oldest KeyVersion) string {
	return fmt.Sprintf("ciphertexts in eHSM's layout name no version, and only the newest %d are tried: what was encrypted before version %d needs re-encryption "+
		"(ReEncrypt with the version that encrypted it)", MaxTrials, oldest)
}

// WarnFull says that a key is not rotated by itself any more.
const WarnFull = "the key has its full number of versions, so it is not rotated any more: re-encrypt what is under the oldest ones, and destroy them"

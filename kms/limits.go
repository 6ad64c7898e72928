package kms

import (
	"errors"
	"fmt"
	"time"
)

// A WorkClass is a kind of work that an app has a rate of its own for.
type WorkClass uint8

// The classes of work.
const (
	SymmetricWork  WorkClass = iota + 1 // with keys of symmetric specs, and random bytes
	AsymmetricWork                      // with keys of asymmetric specs, a runtime's keys and quotes
	ManagementWork                      // making, changing, describing and listing
	SecretWork                          // everything about secrets
	workClassEnd
)

var workClassNames = [...]string{SymmetricWork: "symmetric", AsymmetricWork: "asymmetric", ManagementWork: "management", SecretWork: "secrets"}

// WorkClasses lists every class, in order.
func WorkClasses() []WorkClass {
	return []WorkClass{SymmetricWork, AsymmetricWork, ManagementWork, SecretWork}
}

// Valid reports whether c is one of the classes above.
func (c WorkClass) Valid() bool { return c > 0 && c < workClassEnd }

func (c WorkClass) String() string {
	if !c.Valid() {
		return fmt.Sprintf("WorkClass(%d)", uint8(c))
	}
	return workClassNames[c]
}

// A Rate is what a token bucket lets through: Burst at once, and PerSecond for
// as long as it lasts. PerSecond zero is no limit.
type Rate struct {
	PerSecond uint32
	Burst     uint32
}

// RetryAfter is after what time it makes sense to ask again, as the outermost
// error that says so has it; zero where none does.
func RetryAfter(err error) time.Duration {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return 0
		}
		if e.Retry > 0 {
			return e.Retry
		}
		err = e.Err
	}
	return 0
}

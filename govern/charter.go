package govern

import (
	"fmt"

	"github.com/holdfast-kms/holdfast/kms"
)

// CharterVersion is the one version of the charter that is understood.
const CharterVersion = 1

// MaxName is the length of the longest name of a domain, a node entry or a
// runtime.
const MaxName = 64

// A Charter is the document that a domain is founded on. Its canonical form is
//
//	{"version":1,"name":"…","owner_key":"…","signers":["…"],"threshold":1,
//	 "recovery_keys":[],"recovery_threshold":0,"restart_mode":"sealed",
//	 "intervals":{"tick":"1s","epoch":"1h0m0s"}}
//
// on one line, with keys as base64 of a DER SubjectPublicKeyInfo.
type Charter struct {
	Version           int         `json:"version"`            // CharterVersion
	Name              string      `json:"name"`               // 1 to MaxName printable ASCII characters, no space at either end
	Owner             PublicKey   `json:"owner_key"`          // may submit documents; reads no key and authorises nothing
	Signers           []PublicKey `json:"signers"`            // 1 to MaxKeys, none of them the owner's
	Threshold         int         `json:"threshold"`          // how many of the signers must sign: 1 to all
	RecoveryKeys      []PublicKey `json:"recovery_keys"`      // who holds shares of backups; may be empty
	RecoveryThreshold int         `json:"recovery_threshold"` // how many of them it takes: 1 to all, 0 if there are none
	RestartMode       RestartMode `json:"restart_mode"`       // how a node comes back after a stop
	Intervals         Intervals   `json:"intervals"`          // of domain time
}

// ParseCharter reads a charter and validates it. The error is Invalid or
// TooLarge and names the member at fault where one is.
func ParseCharter(b []byte) (*Charter, error) { return parseDocument[Charter]("charter", b) }

// Validate checks every member. The error is Invalid and names the member.
func (c *Charter) Validate() error {
	switch {
	case c.Version != CharterVersion:
		return badVersion("charter", c.Version)
	case !validName(c.Name):
		return badName("charter").WithField("name")
	}
	return c.rules().validate("charter")
}

func (c *Charter) rules() rules {
	return rules{c.Owner, c.Signers, c.Threshold, c.RecoveryKeys, c.RecoveryThreshold, c.RestartMode, c.Intervals}
}

// Canonical prints the charter; ParseCharter reads it back.
func (c *Charter) Canonical() []byte { return canonical(c) }

// Digest names the charter.
func (c *Charter) Digest() Digest { return digest(charterLabel, c.Canonical()) }

func badName(what string) *kms.Error {
	return kms.Errorf(kms.Invalid, "%s: a name has 1 to %d printable ASCII characters and no space at either end", what, MaxName)
}

func validName(s string) bool {
	if len(s) == 0 || len(s) > MaxName || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// A RestartMode says how a node comes back after a stop.
type RestartMode uint8

// The restart modes.
const (
	Sealed RestartMode = iota + 1 // resumes from its sealed state; a rollback of all its files goes unseen
	Rejoin                        // trusts no old state and joins anew
)

var restartModeNames = [...]string{Sealed: "sealed", Rejoin: "rejoin"}

// Valid reports whether m is one of the modes above.
func (m RestartMode) Valid() bool { return m > 0 && int(m) < len(restartModeNames) }

func (m RestartMode) String() string {
	if !m.Valid() {
		return fmt.Sprintf("RestartMode(%d)", uint8(m))
	}
	return restartModeNames[m]
}

// MarshalText prints the mode's name.
func (m RestartMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the mode's name.
func (m *RestartMode) UnmarshalText(text []byte) error {
	return readEnum(m, restartModeNames[:], string(text))
}

// readEnum sets v to the index at which names has name.
func readEnum[E ~uint8](v *E, names []string, name string) error {
	for i, n := range names {
		if n == name && n != "" {
			*v = E(i)
			return nil
		}
	}
	return fmt.Errorf("none of %q", names)
}

package govern

import (
	"fmt"

	"github.com/holdfast-kms/holdfast/kms"
)

// CharterVersion is the one version of the charter that is understood.
const CharterVersion = 1

// MaxName is the length of the longest name of a domain.
const MaxName = 64

// A Charter is the document that a domain is founded on. Its canonical form is
//
//	{"version":1,"name":"…","owner_key":"…","restart_mode":"sealed"}
//
// with the owner's key as base64 of a DER SubjectPublicKeyInfo.
type Charter struct {
	Version     int         // CharterVersion
	Name        string      // 1 to MaxName printable ASCII characters, no space at either end
	Owner       PublicKey   // may submit documents; reads no key
	RestartMode RestartMode // how a node comes back after a stop
}

type charterJSON struct {
	Version     int    `json:"version"`
	Name        string `json:"name"`
	OwnerKey    string `json:"owner_key"`
	RestartMode string `json:"restart_mode"`
}

// ParseCharter reads a charter and validates it. The error is Invalid or
// TooLarge and names the member at fault where one is.
func ParseCharter(b []byte) (*Charter, error) {
	var j charterJSON
	if err := parse("charter", b, &j); err != nil {
		return nil, err
	}
	der, err := decodeBase64(j.OwnerKey)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "charter: %w", err).WithField("owner_key")
	}
	owner, err := ParsePublicKey(der)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "charter: %w", err).WithField("owner_key")
	}
	c := &Charter{Version: j.Version, Name: j.Name, Owner: owner, RestartMode: parseRestartMode(j.RestartMode)}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// Validate checks every member. The error is Invalid and names the member.
func (c *Charter) Validate() error {
	switch {
	case c.Version != CharterVersion:
		return kms.Errorf(kms.Invalid, "charter: version %d is not understood", c.Version).WithField("version")
	case !validName(c.Name):
		return kms.Errorf(kms.Invalid, "charter: a name has 1 to %d printable ASCII characters and no space at either end", MaxName).WithField("name")
	case c.Owner.IsZero():
		return kms.Errorf(kms.Invalid, "charter: no owner key").WithField("owner_key")
	case !c.RestartMode.Valid():
		return kms.Errorf(kms.Invalid, "charter: neither %q nor %q", Sealed, Rejoin).WithField("restart_mode")
	}
	return nil
}

// Canonical prints the charter; ParseCharter reads it back.
func (c *Charter) Canonical() []byte {
	return canonical(charterJSON{Version: c.Version, Name: c.Name, OwnerKey: c.Owner.String(), RestartMode: c.RestartMode.String()})
}

// Digest names the charter.
func (c *Charter) Digest() Digest { return digest(charterLabel, c.Canonical()) }

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

// parseRestartMode returns zero, which is not valid, for what is no mode.
func parseRestartMode(s string) RestartMode {
	for m := Sealed; m.Valid(); m++ {
		if restartModeNames[m] == s {
			return m
		}
	}
	return 0
}

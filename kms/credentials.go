package kms

import (
	"strings"
	"time"
)

// Limits of an app's credentials.
const (
	MaxCredentials    = 16 // of an app, those in their grace time among them
	MaxCredentialName = 64 // characters
	MaxGrace          = 30 * 24 * time.Hour
)

var permissionNames = []struct {
	p    Permissions
	name string
}{
	{PermUse, "use"}, {PermManage, "manage"}, {PermSecrets, "secrets"}, {PermRead, "read"}, {PermValues, "values"},
}

// Valid reports whether p names known permissions only, and at least one.
func (p Permissions) Valid() bool { return p != 0 && p&^(PermAll|PermValues) == 0 }

// Names lists the permissions by name: "use", "manage", "secrets", "read",
// "values". What another one implies is not listed.
func (p Permissions) Names() []string {
	var names []string
	for _, n := range permissionNames {
		if p&n.p != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// String prints the set as "use,manage".
func (p Permissions) String() string { return strings.Join(p.Names(), ",") }

// ParsePermissions reads names, each at most once and at least one. The error
// is Invalid.
func ParsePermissions(names []string) (p Permissions, err error) {
	for _, name := range names {
		one := permissionOf(name)
		if one == 0 || p&one != 0 {
			return 0, Errorf(Invalid, "a permission is use, manage, secrets, read or values, each at most once").WithField("permissions")
		}
		p |= one
	}
	if p == 0 {
		return 0, Errorf(Invalid, "no permission is named").WithField("permissions")
	}
	return p, nil
}

func permissionOf(name string) Permissions {
	for _, n := range permissionNames {
		if n.name == name {
			return n.p
		}
	}
	return 0
}

// ValidCredentialName reports whether s may be the name of a credential: at
// most MaxCredentialName printable ASCII characters, or none at all.
func ValidCredentialName(s string) bool {
	if len(s) > MaxCredentialName {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// CredentialInfo is what may be told of a credential: everything but its secret.
type CredentialInfo struct {
	ID          CredentialID
	App         AppID
	Name        string // for people
	Permissions Permissions
	Created     time.Time
	Expires     time.Time // zero: never
}

// NewCredential is a credential that was just made.
type NewCredential struct {
	CredentialInfo
	APIKey string // shown once
}

// CreateCredentialRequest asks for another credential of the caller's app.
type CreateCredentialRequest struct {
	Name        string
	Permissions Permissions // at most the caller's
	Expires     time.Time   // zero: never, where the caller's own does not
}

// RotateCredentialRequest asks for a successor of a credential, with the same
// name, permissions and expiry.
type RotateCredentialRequest struct {
	ID    CredentialID
	Grace time.Duration // for how long the old one stays good; zero: it ends at once
}

// AttestedEnrolment is a program that asks to enrol by what it is.
type AttestedEnrolment struct {
	ClientKey []byte // SubjectPublicKeyInfo of the connection's client certificate, DER
	Challenge []byte // as the domain gave it
	Evidence  Evidence
}

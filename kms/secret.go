package kms

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of secrets.
const (
	MaxSecretName        = 64       // characters, counted as UTF-16 does
	MaxSecretDescription = 4096     // characters
	MaxSecretValue       = 64 << 10 // bytes
	MaxSecretVersions    = 1024     // that a secret keeps: see PutSecretRequest
	MaxSecretLabels      = 20       // of a secret, beside current and previous
	MaxSecretLabel       = 64       // bytes
	MaxSecretBytes       = 32 << 20 // of an app's sealed values, names and descriptions
	MaxSecretsPage       = 1000

	MinSecretRotation = 6 * time.Hour
	MaxSecretRotation = 8760 * time.Hour

	MinRecoveryDays     = 1
	MaxRecoveryDays     = 365
	DefaultRecoveryDays = 30

	// SecretVersionAge is how old a version is at least that makes room for a new one.
	SecretVersionAge = Day
)

// The labels that every secret knows. Others are the app's own.
const (
	LabelCurrent  = "current"  // what is read where no version is named
	LabelPrevious = "previous" // what was current before
)

// A SecretName names a secret of an app: 1 to MaxSecretName characters of any
// kind, control characters among them.
type SecretName string

// Valid reports whether n may be the name of a secret.
func (n SecretName) Valid() bool {
	return n != "" && utf8.ValidString(string(n)) && utf16Len(string(n)) <= MaxSecretName
}

// Check refuses what is no name of a secret. The error is Invalid.
func (n SecretName) Check() error {
	if !n.Valid() {
		return Errorf(Invalid, "a secret's name has 1 to %d characters", MaxSecretName).WithField("name")
	}
	return nil
}

// CheckSecretDescription refuses what is no description of a secret. The error
// is Invalid.
func CheckSecretDescription(s string) error {
	if !utf8.ValidString(s) || utf16Len(s) > MaxSecretDescription {
		return Errorf(Invalid, "a secret's description has at most %d characters", MaxSecretDescription).WithField("description")
	}
	return nil
}

// utf16Len counts characters as JavaScript does: those beyond U+FFFF are two.
func utf16Len(s string) (n int) {
	for _, r := range s {
		n++
		if r > 0xffff {
			n++
		}
	}
	return n
}

// A SecretVersion is the number of one value of a secret; the first is 1. Where
// one is asked for, zero is the current one.
type SecretVersion uint32

// ValidSecretLabel reports whether s may be a label: 1 to MaxSecretLabel letters,
// digits, and any of / _ - . : +
func ValidSecretLabel(s string) bool {
	if s == "" || len(s) > MaxSecretLabel {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("/_-.:+", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// OwnSecretLabel reports whether s may be a label of the app's own.
func OwnSecretLabel(s string) bool {
	return ValidSecretLabel(s) && s != LabelCurrent && s != LabelPrevious
}

// A RotationInterval says how often a secret is to get a new value: up to four
// digits and one of d h m s, such as "30d". "" is never.
type RotationInterval string

var rotationUnits = [...]struct {
	letter byte
	unit   time.Duration
}{{'d', Day}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

// Duration is the interval's length. The error is Invalid for what is malformed;
// whether the length is allowed is not asked.
func (r RotationInterval) Duration() (time.Duration, error) {
	const maxDigits = 4
	if r == "" {
		return 0, nil
	}
	count, digits := time.Duration(0), len(r)-1
	for i := range digits {
		if r[i] < '0' || r[i] > '9' || digits > maxDigits {
			return 0, errInterval()
		}
		count = count*10 + time.Duration(r[i]-'0')
	}
	for _, u := range rotationUnits {
		if u.letter == r[digits] && digits > 0 {
			return count * u.unit, nil
		}
	}
	return 0, errInterval()
}

// Check refuses what is no interval, or one of a length that is not allowed.
// The error is Invalid.
func (r RotationInterval) Check() error {
	d, err := r.Duration()
	if err == nil && r != "" && (d < MinSecretRotation || d > MaxSecretRotation) {
		err = Errorf(Invalid, "the interval is shorter than %d hours or longer than %d hours",
			MinSecretRotation/time.Hour, MaxSecretRotation/time.Hour).WithField("rotation")
	}
	return err
}

func errInterval() error {
	return Errorf(Invalid, "an interval is up to four digits and one of d h m s, such as 30d").WithField("rotation")
}

// A SecretLabel is a label and the version that it is on.
type SecretLabel struct {
	Name    string        `json:"name"`
	Version SecretVersion `json:"version"`
}

// SecretInfo is what may be told of a secret: everything but its values.
type SecretInfo struct {
	Name        SecretName       `json:"name"`
	Description string           `json:"description,omitempty"`
	Created     time.Time        `json:"created"`
	Changed     time.Time        `json:"changed"`           // when its value did, last
	Due         time.Time        `json:"deletion,omitzero"` // when it is deleted; zero: it is not
	Key         KeyID            `json:"-"`                 // zero: the domain protects it by a key of its own
	Rotation    RotationInterval `json:"rotation,omitempty"`
	Rotated     time.Time        `json:"last_rotation,omitzero"` // zero: its first value is the only one
	NextRotated time.Time        `json:"next_rotation,omitzero"` // zero: it has no interval
	Current     SecretVersion    `json:"current_version"`
	Versions    int              `json:"versions"` // how many are kept
	Labels      []SecretLabel    `json:"labels"`   // in order of their names, current and previous among them
	Revision    uint64           `json:"-"`
}

// A SecretVersionInfo is what may be told of one version of a secret.
type SecretVersionInfo struct {
	Number  SecretVersion `json:"version"`
	Created time.Time     `json:"created"`
	Labels  []string      `json:"labels"` // in order
	Key     KeyRef        `json:"-"`      // that its data key is wrapped under; zero: the domain's own
}

// A SecretValue is one version of a secret, in clear.
type SecretValue struct {
	SecretVersionInfo
	Name SecretName
	Data []byte // the caller's to clear
}

// CreateSecretRequest asks for a secret with its first value.
type CreateSecretRequest struct {
	Name        SecretName
	Value       []byte // 1 to MaxSecretValue bytes
	Key         KeyID  // a symmetric key of the app that encrypts; zero: the domain takes a key of its own
	Description string
	Rotation    RotationInterval
}

// PutSecretRequest asks for another version of a secret. One that keeps
// MaxSecretVersions drops the oldest that bears no label and is older than
// SecretVersionAge; if there is none it takes no more.
type PutSecretRequest struct {
	Name    SecretName
	Value   []byte
	Pending bool     // it does not become the current one, until it is promoted
	Labels  []string // of the app's own, that it gets
}

// GetSecretRequest asks for a value: the current one, or that of a version or
// label.
type GetSecretRequest struct {
	Name    SecretName
	Version SecretVersion
	Label   string
}

// UpdateSecretRequest changes what is noted beside a secret.
type UpdateSecretRequest struct {
	Name        SecretName
	Description *string           // nil: as it is
	Rotation    *RotationInterval // nil: as it is
}

// LabelSecretRequest asks to put a label on a version, wherever it was before.
// LabelCurrent promotes the version.
type LabelSecretRequest struct {
	Name    SecretName
	Label   string
	Version SecretVersion // zero: take the label away, if it is the app's own
}

// SecretVersionRef names a version of a secret.
type SecretVersionRef struct {
	Name    SecretName
	Version SecretVersion
}

// SetSecretKeyRequest asks to protect a secret by another key: all its versions.
type SetSecretKeyRequest struct {
	Name SecretName
	Key  KeyID // zero: the domain's own
}

// DeleteSecretRequest asks to delete a secret, after some days in which it can
// be had back, or at once.
type DeleteSecretRequest struct {
	Name  SecretName
	Days  int // MinRecoveryDays to MaxRecoveryDays; zero: DefaultRecoveryDays
	Force bool
}

// ListSecretsRequest pages through the app's secrets in order of their names.
type ListSecretsRequest struct {
	After   SecretName // "": from the start
	Limit   int        // zero: MaxSecretsPage
	Key     KeyID      // only those that it protects; zero: all
	Overdue bool       // only those whose next rotation is past
}

// A SecretPage is one page of secrets; Next is "" on the last one.
type SecretPage struct {
	Secrets []SecretInfo
	Next    SecretName
}

// ListSecretVersionsRequest pages through the versions of a secret, oldest first.
type ListSecretVersionsRequest struct {
	Name  SecretName
	After SecretVersion
	Limit int // zero: all
}

// A SecretVersionPage is one page of versions; Next is 0 on the last one.
type SecretVersionPage struct {
	Versions []SecretVersionInfo
	Total    int // on all pages
	Next     SecretVersion
}

// MaxHeld is how many secrets a KeyHeldError names.
const MaxHeld = 20

// A KeyHeldError says which secrets a key still protects, so that it cannot go.
type KeyHeldError struct {
	Secrets []SecretName // the first MaxHeld, in order
	Total   int          // how many there are
}

func (e *KeyHeldError) Error() string {
	var names []string
	for _, n := range e.Secrets {
		names = append(names, fmt.Sprintf("%q", string(n)))
	}
	text := strings.Join(slices.Clip(names), ", ")
	if more := e.Total - len(e.Secrets); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// ErrKeyHeld is the refusal to destroy a key that protects secrets. The kind is
// Misused.
func ErrKeyHeld(held *KeyHeldError) error {
	return Errorf(Misused, "the key still protects secrets: %w", held).
		WithHint("delete these secrets, or have another key protect them (SetSecretKey, `holdfast secret rekey`)")
}

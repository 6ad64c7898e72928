package kms

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a key's life.
const (
	MaxKeyVersions = 100 // that a key keeps; a version that is destroyed counts no more
	MaxDescription = 1024
	MaxTags        = 50
	MaxTagName     = 128  // bytes
	MaxTagValue    = 256  // bytes
	MaxRandom      = 1024 // bytes

	MinDeletionDays     = 1
	MaxDeletionDays     = 30
	DefaultDeletionDays = 30
)

// Day is what deletion windows are counted in.
const Day = 24 * time.Hour

// A VersionState says what may be done with one version of a key.
type VersionState uint8

// The states of a version. Which version is used for new work is not a state:
// it is the key's current one.
const (
	VersionEnabled  VersionState = iota + 1 // what the key's state allows
	VersionDisabled                         // nothing, until it is enabled again
	VersionDestroyed
)

var versionStateNames = [...]string{VersionEnabled: "enabled", VersionDisabled: "disabled", VersionDestroyed: "destroyed"}

// Valid reports whether s is one of the states above.
func (s VersionState) Valid() bool { return s > 0 && int(s) < len(versionStateNames) }

func (s VersionState) String() string {
	if !s.Valid() {
		return "unknown"
	}
	return versionStateNames[s]
}

// MarshalText prints the state's name.
func (s VersionState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ParseVersionState finds a state by its name. The error is Invalid.
func ParseVersionState(name string) (VersionState, error) {
	if i := slices.Index(versionStateNames[1:], name); i >= 0 {
		return VersionState(i + 1), nil
	}
	return 0, Errorf(Invalid, "a version is enabled, disabled or destroyed").WithField("state")
}

// ParseKeyState finds a state of a key by its name. The error is Invalid.
func ParseKeyState(name string) (KeyState, error) {
	if i := slices.Index(keyStateNames[1:], name); i >= 0 {
		return KeyState(i + 1), nil
	}
	return 0, Errorf(Invalid, "unknown key state").WithField("state")
}

// ParseOrigin finds an origin by its name. The error is Invalid.
func ParseOrigin(name string) (Origin, error) {
	for _, o := range []Origin{Generated, Imported} {
		if o.String() == name {
			return o, nil
		}
	}
	return 0, Errorf(Invalid, "a key is generated or imported").WithField("origin")
}

// ParseDigest finds a digest by its name; "" is the spec's default. The error is
// Invalid.
func ParseDigest(name string) (Digest, error) {
	for d := SHA224; d <= SM3; d++ {
		if d.String() == name {
			return d, nil
		}
	}
	if name == "" {
		return 0, nil
	}
	return 0, Errorf(Invalid, "unknown digest").WithField("digest")
}

// ParsePadding finds a padding by its name; "" is def. The error is Invalid.
func ParsePadding(name string, def Padding) (Padding, error) {
	for p := PaddingPKCS1; p <= PaddingOAEP; p++ {
		if p.String() == name {
			return p, nil
		}
	}
	if name == "" {
		return def, nil
	}
	return 0, Errorf(Invalid, "unknown padding").WithField("padding")
}

var wrappingNames = [...]string{WrapPKCS1: "PKCS1", WrapOAEP: "OAEP", WrapOAEPAES: "OAEP-AES", WrapSM2: "SM2"}

func (w Wrapping) String() string {
	if w == 0 || int(w) >= len(wrappingNames) {
		return "unknown"
	}
	return wrappingNames[w]
}

// ParseWrapping finds a wrapping by its name; "" is WrapOAEPAES. The error is
// Invalid.
func ParseWrapping(name string) (Wrapping, error) {
	if name == "" {
		return WrapOAEPAES, nil
	}
	if i := slices.Index(wrappingNames[1:], name); i >= 0 {
		return Wrapping(i + 1), nil
	}
	return 0, Errorf(Invalid, "unknown wrapping").WithField("wrapping")
}

// Names lists the usages of a set by name.
func (s Usages) Names() []string {
	if s == 0 {
		return nil
	}
	return strings.Split(s.String(), ",")
}

// ParseUsages reads names, each at most once; none is the empty set. The error
// is Invalid.
func ParseUsages(names []string) (set Usages, err error) {
	for _, name := range names {
		i := slices.IndexFunc(AllUsages(), func(u Usage) bool { return u.String() == name })
		if i < 0 || set.Has(AllUsages()[i]) {
			return 0, Errorf(Invalid, "unknown usage, or one that is there twice").WithField("usages")
		}
		set |= Usages(AllUsages()[i])
	}
	return set, nil
}

// A KeyVersionInfo is what may be told of one version of a key.
type KeyVersionInfo struct {
	Number  KeyVersion   `json:"number"`
	State   VersionState `json:"state"`
	Created time.Time    `json:"created"`
	// Invocations of encryption that nodes have set aside under this version. No
	// more were done. Zero for specs that have no limit of them.
	Invocations uint64 `json:"invocations,omitempty"`
	// Exposed: others may know its material, since they know a generation of the
	// master secret that it was wrapped under. What it encrypted is to be encrypted
	// again, what it signed is worth nothing more.
	Exposed bool `json:"exposed,omitempty"`
}

// A KeyDescription is a key with everything that its owner may be told.
type KeyDescription struct {
	Key
	Description string           `json:"description,omitempty"`
	Tags        []Tag            `json:"tags,omitempty"` // in order of their names
	Aliases     []string         `json:"aliases,omitempty"`
	Conditioned bool             `json:"conditioned"`       // only programs that its condition names may use it
	Due         time.Time        `json:"deletion,omitzero"` // when it is destroyed; zero: it is not
	Details     []KeyVersionInfo `json:"version_details"`   // of Versions, oldest first

	RotationPeriod time.Duration `json:"rotation_period,omitzero"` // in JSON: ns; zero: it is not rotated by itself
	NextRotation   time.Time     `json:"next_rotation,omitzero"`
	LastUsed       time.Time     `json:"last_used,omitzero"` // when the epoch began in which it was used last; zero: it was not
	Warnings       []string      `json:"warnings,omitempty"` // what the owner should do
}

// Layout is what LayoutOwn means for ciphertexts of this spec that are bound to
// b; every other layout is itself. The error is Invalid.
func (c *Capability) Layout(l Layout, b Binding) (Layout, error) {
	switch {
	case l != LayoutOwn:
		return l, nil
	case c.Binds:
		return LayoutNative, nil
	case !b.IsZero():
		return 0, Errorf(Invalid, "ciphertexts of spec %s cannot be bound to anything", c.Name).WithField("binding")
	}
	return LayoutEHSM, nil
}

// A Tag is a name and a value that an app gives a key. They mean nothing here.
type Tag struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// CheckTags refuses tags that are not what a key may have: at most MaxTags, in
// order of their names, each name once. The error is Invalid, with the field.
func CheckTags(tags []Tag) error {
	if len(tags) > MaxTags {
		return Errorf(Invalid, "%d tags, at most %d", len(tags), MaxTags).WithField("tags")
	}
	for i, t := range tags {
		switch {
		case t.Name == "" || len(t.Name) > MaxTagName || !plain(t.Name):
			return Errorf(Invalid, "a tag's name has 1 to %d bytes of printable text", MaxTagName).WithField("tags")
		case len(t.Value) > MaxTagValue || !plain(t.Value):
			return Errorf(Invalid, "a tag's value has at most %d bytes of printable text", MaxTagValue).WithField("tags")
		case i > 0 && tags[i-1].Name >= t.Name:
			return Errorf(Invalid, "a tag is there twice").WithField("tags")
		}
	}
	return nil
}

// SortTags puts tags in order of their names.
func SortTags(tags []Tag) {
	slices.SortStableFunc(tags, func(a, b Tag) int { return strings.Compare(a.Name, b.Name) })
}

// CheckDescription refuses what is no description. The error is Invalid.
func CheckDescription(s string) error {
	if len(s) > MaxDescription || !plain(s) {
		return Errorf(Invalid, "a description has at most %d bytes of printable text", MaxDescription).WithField("description")
	}
	return nil
}

// plain reports whether s is text that a terminal shows and does not obey.
func plain(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return false
		}
	}
	return true
}

// LabelsRequest changes what an app notes beside a key.
type LabelsRequest struct {
	Key         KeyID
	Description *string  // nil: as it is
	Set         []Tag    // added, or given another value
	Remove      []string // names; one that the key does not have is no error
}

// ScheduleDeletionRequest asks to destroy a key after a while in which nobody
// can use it and its owner can still change their mind.
type ScheduleDeletionRequest struct {
	Key  KeyID
	Days int // MinDeletionDays to MaxDeletionDays; zero: DefaultDeletionDays
}

// SetVersionStateRequest asks to enable, disable or destroy a version that is
// not the key's current one. Only a disabled version can be destroyed.
type SetVersionStateRequest struct {
	Key   KeyRef // with the version
	State VersionState
}

// ReencryptRequest asks to open a ciphertext and to encrypt what is in it under
// the current version of another key, or of the same. The plaintext does not
// leave.
type ReencryptRequest struct {
	Source DecryptRequest
	Target EncryptRequest // without Plaintext
}

// A Reencrypted is the new ciphertext, and the version that opened the old one.
type Reencrypted struct {
	Ciphertext
	Source KeyRef
}

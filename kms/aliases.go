package kms

import (
	"strings"
	"time"
)

// Limits of aliases.
const (
	AliasPrefix = "alias/"
	MaxAlias    = 128 // characters behind the prefix
	MaxAliases  = 16  // of a key
)

// An Alias is a name that an app gives one of its keys and may give another
// later.
type Alias struct {
	Name    string    `json:"name"`
	Key     KeyID     `json:"key_id"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"` // when it came to name this key
}

// ValidAlias reports whether s may be an alias: AliasPrefix and 1 to MaxAlias
// letters, digits, and any of / _ - . behind it.
func ValidAlias(s string) bool {
	name, ok := strings.CutPrefix(s, AliasPrefix)
	if !ok || name == "" || len(name) > MaxAlias {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("/_-.", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// CheckAlias refuses what is no alias. The error is Invalid.
func CheckAlias(s string) error {
	if !ValidAlias(s) {
		return Errorf(Invalid, "an alias is %s and up to %d letters, digits and / _ - .", AliasPrefix, MaxAlias).WithField("alias")
	}
	return nil
}

// ListAliasesRequest pages through the app's aliases in order of their names.
type ListAliasesRequest struct {
	Key   KeyID  // of this key only; zero: of all
	After string // "": from the start
	Limit int    // zero: MaxKeysPage
}

// An AliasPage is one page of aliases; Next is "" on the last one.
type AliasPage struct {
	Aliases []Alias
	Next    string
}

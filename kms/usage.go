package kms

import (
	"strings"
)

// A Usage is one thing that a key may be used for.
type Usage uint16

// Usages is a set of them. The empty set allows nothing.
type Usages uint16

// The usages of a key.
const (
	UseEncrypt Usage = 1 << iota
	UseDecrypt
	UseSign
	UseVerify
	UseWrap
	UseUnwrap
	UseMAC
	UseDerive
	UseAgree
	UseRaw // hand out a shared secret as it is, not only what is derived from it
	usageEnd
)

// Sets that facades speak of.
const (
	EncryptDecrypt = Usages(UseEncrypt | UseDecrypt)
	SignVerify     = Usages(UseSign | UseVerify)
	KeyAgreement   = Usages(UseAgree)
	Encapsulation  = Usages(UseWrap | UseUnwrap)
)

var usageNames = []struct {
	u    Usage
	name string
}{
	{UseEncrypt, "encrypt"}, {UseDecrypt, "decrypt"}, {UseSign, "sign"}, {UseVerify, "verify"},
	{UseWrap, "wrap"}, {UseUnwrap, "unwrap"}, {UseMAC, "mac"}, {UseDerive, "derive"}, {UseAgree, "agree"}, {UseRaw, "raw"},
}

// AllUsages lists every usage.
func AllUsages() []Usage {
	all := make([]Usage, len(usageNames))
	for i, n := range usageNames {
		all[i] = n.u
	}
	return all
}

func (u Usage) String() string { return Usages(u).String() }

// Has reports whether u is in the set.
func (s Usages) Has(u Usage) bool { return u != 0 && Usage(s)&u == u }

// Within reports whether s is not empty and every usage of s is in max.
func (s Usages) Within(limit Usages) bool { return s != 0 && s&^limit == 0 }

// Valid reports whether s names known usages only, and at least one.
func (s Usages) Valid() bool { return s.Within(Usages(usageEnd - 1)) }

// String prints the set as "encrypt,decrypt".
func (s Usages) String() string {
	var names []string
	for _, n := range usageNames {
		if s.Has(n.u) {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

// MarshalText prints the set as String does.
func (s Usages) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

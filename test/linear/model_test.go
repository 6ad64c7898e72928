//go:build unix

package linear_test

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/holdfast-kms/holdfast/kms"
)

// A thing is what a partition of the history is about: a key, an alias or a
// credential. No operation touches two of them: keys that aliases name, and that
// credentials use, are never changed.
type thing struct {
	kind string // "key", "alias", "credential"
	name string
}

// A call is what was asked.
type call struct {
	what   string
	target string // of an alias
}

// A finding is what was answered. An unknown one leaves open whether the call was
// done, now or ever.
type finding struct {
	unknown bool
	err     kms.Kind // 0: done
	failed  bool
	version kms.KeyVersion
	state   kms.KeyState
	target  string
}

func (f finding) String() string {
	switch {
	case f.unknown:
		return "unknown"
	case f.failed:
		return f.err.Error()
	}
	return strings.TrimSpace(fmt.Sprintf("done %s %s %s", number(f.version), nonzero(f.state), f.target))
}

func number(v kms.KeyVersion) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("version %d", v)
}

func nonzero(s kms.KeyState) string {
	if s == 0 {
		return ""
	}
	return s.String()
}

// is reports whether the answer is an error of that kind.
func (f finding) is(k kms.Kind) bool { return f.failed && f.err == k }

// A rule of the model says what a call does to the state of a thing. It returns the
// state after it, and whether the call can have been answered so.
var models = map[string]porcupine.Model{
	"key":        {Init: func() any { return keyState{} }, Step: stepKey, DescribeOperation: describe, DescribeState: describeState},
	"alias":      {Init: func() any { return "" }, Step: stepAlias, DescribeOperation: describe, DescribeState: describeState},
	"credential": {Init: func() any { return absent }, Step: stepCredential, DescribeOperation: describe, DescribeState: describeState},
}

func describe(in, out any) string {
	c := in.(call)
	return strings.TrimSpace(c.what+" "+c.target) + ": " + out.(finding).String()
}

func describeState(s any) string { return fmt.Sprintf("%+v", s) }

// refusedAnyway are answers that every change may get whatever the state is, and
// that say that it was not done.
func refusedAnyway(f finding) bool {
	return f.is(kms.Conflict) || f.is(kms.Replayed) || f.is(kms.Exhausted)
}

// keyState is a key as the model has it. The zero value is a key that does not exist.
type keyState struct {
	is      kms.KeyState
	before  kms.KeyState // deletion was scheduled
	current kms.KeyVersion
	gone    bool
}

// stepKey is the life of a key.
func stepKey(state, in, out any) (bool, any) {
	s, c, f := state.(keyState), in.(call), out.(finding)
	if refusedAnyway(f) {
		return true, s
	}
	next, refused := s.after(c.what)
	switch {
	case f.unknown && refused != 0:
		return true, s
	case f.unknown:
		return true, next
	case f.failed:
		return f.err == refused, s
	case refused != 0:
		return false, s
	}
	return s.answers(c.what, next, f), next
}

// after is the key after a call, or the kind of error that the call gets.
func (s keyState) after(what string) (keyState, kms.Kind) {
	if what == "create" {
		return keyState{is: kms.Enabled, current: 1}, 0
	}
	if s.gone || s.is == 0 {
		if what == "delete" { // of what is not there is no error
			return s, 0
		}
		return s, kms.NotFound
	}
	next, pending := s, s.is == kms.PendingDeletion
	switch what {
	case "enable", "disable":
		if pending {
			return s, kms.Disabled
		}
		next.is = map[string]kms.KeyState{"enable": kms.Enabled, "disable": kms.KeyDisabled}[what]
	case "delete":
		next = keyState{gone: true}
	case "schedule":
		if pending {
			return s, kms.Exists
		}
		next.is, next.before = kms.PendingDeletion, s.is
	case "cancel":
		if !pending {
			return s, kms.Misused
		}
		next.is, next.before = s.before, 0
	case "rotate":
		if s.is != kms.Enabled {
			return s, kms.Disabled
		}
		next.current++
	case "encrypt", "decrypt":
		if s.is != kms.Enabled {
			return s, kms.Disabled
		}
	}
	return next, 0
}

// answers reports whether what was told of the key is so.
func (s keyState) answers(what string, next keyState, f finding) bool {
	switch what {
	case "encrypt":
		return f.version == s.current
	case "describe", "rotate", "schedule", "cancel":
		return f.version == next.current && f.state == next.is
	}
	return true
}

// stepAlias is the life of an alias: which key it names.
func stepAlias(state, in, out any) (bool, any) {
	s, c, f := state.(string), in.(call), out.(finding)
	if refusedAnyway(f) {
		return true, s
	}
	next, refused := aliasAfter(s, c)
	switch {
	case f.unknown && refused != 0:
		return true, s
	case f.unknown:
		return true, next
	case f.failed:
		return f.err == refused, s
	case c.what == "resolve":
		return s != "" && f.target == s, s
	}
	return refused == 0, next
}

func aliasAfter(s string, c call) (string, kms.Kind) {
	switch {
	case c.what == "create" && s != "":
		return s, kms.Exists
	case c.what != "create" && s == "":
		return s, kms.NotFound
	case c.what == "create", c.what == "update":
		return c.target, 0
	case c.what == "delete":
		return "", 0
	}
	return s, 0
}

// The states of a credential.
const (
	absent = iota
	alive
	revoked
)

// stepCredential is the life of a credential.
func stepCredential(state, in, out any) (bool, any) {
	s, c, f := state.(int), in.(call), out.(finding)
	if refusedAnyway(f) {
		return true, s
	}
	switch c.what {
	case "create":
		return !f.failed && s == absent, alive
	case "use":
		if f.failed {
			return f.err == kms.Unauthenticated && s == revoked, s
		}
		return s == alive, s
	}
	switch { // revoke
	case f.failed:
		return f.err == kms.NotFound && s == revoked, s
	case f.unknown:
		return true, revoked
	}
	return s == alive, revoked
}

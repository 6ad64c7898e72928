package kms

import (
	"errors"
	"fmt"
	"time"
)

// A Kind is what a caller can do about an error. It is an error itself, so
// that errors.Is(err, kms.NotFound) asks for it.
type Kind uint8

// The kinds of errors. Anything without a kind is Internal, and its text never
// leaves the server.
const (
	Internal        Kind = iota // a fault of ours; nothing is told of it
	Invalid                     // the request is malformed; say it differently
	Unauthenticated             // no valid credential; every cause looks alike
	Denied                      // authenticated, but not allowed
	Foreign                     // exists, but belongs to another app
	Misused                     // the key's spec or usages do not allow this operation
	NotFound                    // no such thing
	Exists                      // there already
	Conflict                    // something changed meanwhile; read again and retry
	Disabled                    // the key's state forbids it
	Expired                     // past its time
	Stale                       // too old, or the node cannot prove that its view is current
	Replayed                    // this very request was accepted before
	TooLarge                    // over a limit of size
	Exhausted                   // over a quota or a rate; come back later
	Unavailable                 // not now; it may have happened all the same
	DecryptFailed               // did not open; every cause looks alike
	Damaged                     // stored state is missing or altered
	Unsupported                 // not before every node's program knows it
	kindEnd
)

var kindNames = [...]string{
	Internal: "internal error", Invalid: "invalid request", Unauthenticated: "not authenticated", Denied: "not allowed",
	Foreign: "belongs to another app", Misused: "the key does not allow this operation", NotFound: "not found", Exists: "exists already", Conflict: "changed meanwhile", Disabled: "disabled", Expired: "expired",
	Stale: "stale", Replayed: "replayed", TooLarge: "too large", Exhausted: "limit reached", Unavailable: "unavailable",
	DecryptFailed: "decryption failed", Damaged: "stored state is damaged", Unsupported: "not supported yet",
}

// Kinds lists every kind, for tables that must be exhaustive.
func Kinds() []Kind {
	all := make([]Kind, kindEnd)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

func (k Kind) Error() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

var kindLabels = [...]string{
	Internal: "internal", Invalid: "invalid", Unauthenticated: "unauthenticated", Denied: "denied", Foreign: "foreign", Misused: "misused",
	NotFound: "not_found", Exists: "exists", Conflict: "conflict", Disabled: "disabled", Expired: "expired", Stale: "stale", Replayed: "replayed",
	TooLarge: "too_large", Exhausted: "exhausted", Unavailable: "unavailable", DecryptFailed: "decrypt_failed", Damaged: "damaged",
	Unsupported: "unsupported",
}

// Label is the kind in one word, for metrics.
func (k Kind) Label() string {
	if int(k) < len(kindLabels) {
		return kindLabels[k]
	}
	return "internal"
}

// An Error is an error with a kind.
type Error struct {
	Kind  Kind
	Field string        // the member of the request that is at fault, if one is
	File  string        // the file of the node's state that is at fault, if one is
	Hint  string        // what a person can do about it
	Retry time.Duration // after what time it makes sense to ask again; zero: nobody knows
	Err   error         // what happened; never holds key material or payloads
}

// Errorf makes an error of a kind. It formats as fmt.Errorf does, %w included.
func Errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Err: fmt.Errorf(format, args...)}
}

// WithField names the member of the request that is at fault.
func (e *Error) WithField(f string) *Error { e.Field = f; return e }

// WithFile names the file that is at fault.
func (e *Error) WithFile(f string) *Error { e.File = f; return e }

// WithHint says what a person can do about it.
func (e *Error) WithHint(h string) *Error { e.Hint = h; return e }

// WithRetry says after what time it makes sense to ask again.
func (e *Error) WithRetry(after time.Duration) *Error { e.Retry = after; return e }

func (e *Error) Error() string {
	s := e.Kind.Error()
	if e.File != "" {
		s += ": " + e.File
	}
	if e.Field != "" {
		s += ": " + e.Field
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the error's kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// KindOf returns the kind of the outermost error that has one, else Internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return Internal
}

// HintOf returns the outermost hint of err, or "".
func HintOf(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

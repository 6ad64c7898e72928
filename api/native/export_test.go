package native

import (
	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
)

// MissingVerdicts lists the kinds of errors that have no answer.
func MissingVerdicts() []kms.Kind { return verdicts.Missing() }

// Verdict is how a kind is told: code, kind and message.
func Verdict(k kms.Kind) (connect.Code, string, string) {
	v := verdicts[k]
	return v.code, v.kind, v.message
}

// Reasons are the procedures that have words of their own.
func Reasons() map[string]map[kms.Kind]string { return reasons }

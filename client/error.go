package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"

	"github.com/holdfast-kms/holdfast/kms"
)

// An Error is what went wrong with a call. errors.Is(err, kms.NotFound), and so
// on, ask for its kind; errors.Is(err, context.Canceled) and the like see the
// cause of a call that never reached a node.
type Error struct {
	Action  string   // what was called, "Encrypt"
	Code    int      // the node's code or, where it sent none, its HTTP status; 0: no answer
	Message string   // the node's words, or ours where it said nothing
	Hint    string   // what a person can do about it, or ""
	Kind    kms.Kind // what a program can do about it
	Err     error    // the cause on our side, or nil
}

func (e *Error) Error() string {
	s := e.Action + ": "
	if e.Code != 0 && e.Kind != kms.Internal {
		s += e.Kind.Error() + ": " // eHSM's messages alone are riddles
	}
	s += e.Message
	if e.Code != 0 {
		s += fmt.Sprintf(" (code %d)", e.Code)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the kind and the cause, so that errors.Is finds either.
func (e *Error) Unwrap() []error {
	if e.Err != nil {
		return []error{e.Kind, e.Err}
	}
	return []error{e.Kind}
}

// A verdict is what one of the protocol's messages means.
type verdict struct {
	text string // the message, or its beginning
	kind kms.Kind
	hint string
}

const (
	hintClock = "compare this machine's clock with the node's; a node also refuses requests dated before it was started, and all where it does not reach most of the domain's nodes"
	hintLog   = "the node's log says more"
	hintKey   = "list the app's keys; a deleted key does not come back"
	hintSign  = "check AppID and APIKey; both must come from this domain's Enroll. Where a proxy in between ends TLS, do not tie requests to the connection (Unbound)"
)

// verdicts lists the messages of eHSM's error catalogue that say more than
// their code does.
var verdicts = []verdict{
	{"keyid error", kms.NotFound, hintKey},
	{"not find this keyid", kms.NotFound, hintKey},
	{"appid error", kms.Foreign, "the key belongs to another app: use that app's credential"},
	{"keyid is disabled", kms.Disabled, "enable the key first"},
	{"keyid expire", kms.Expired, "the key's time is over: create another one"},
	{"sign error", kms.Unauthenticated, hintSign},
	{"Server exception.", kms.Misused, "the key's spec or usages do not allow this, or the request does not fit them"},
	{"Argument bad.", kms.TooLarge, ""},
	{"Unexpected Error", kms.TooLarge, ""},
	{"database error", kms.Internal, hintLog},
	{"Server internal error", kms.Internal, hintLog},
	{"It exists already.", kms.Exists, ""},
	{"The service cannot confirm", kms.Stale, "the node cannot reach enough of its domain: try again, or another node"},
	{sessionEnded, kms.Stale, "the client opens another session by itself: call again"},
	{"The session's evidence", kms.Denied, "what the program or its platform proved is not accepted any more: see the domain's policy and the platform's TCB"},
	{"Timestamp can't be repeated", kms.Replayed, "the node had this very request before: send a new one"},
	{"Timestamp", kms.Stale, hintClock},
	{"Nonce", kms.Invalid, ""},
	{"Import key failed.", kms.Invalid, "the material does not fit the key's spec, or was wrapped to other parameters"},
	{"ImportKeyMaterial failed.", kms.Misused, "only a key that was created to be imported waits for material, and only once"},
	{"ImportToken failed.", kms.Denied, "give the token back that came with the public key"},
	{"Token validity time", kms.Expired, "ask for new parameters"},
	{"Decryption failed", kms.DecryptFailed, "wrong key, wrong additional data, or an altered ciphertext"},
	{"Missing required parameters", kms.Invalid, "an eHSM server knows no signature but its own (SignatureV1)"},
	{"Parameter invalid", kms.Invalid, ""},
	{"param type error", kms.Invalid, ""},
	{"Invalid JSON", kms.Invalid, ""},
	{"API Not Found", kms.Invalid, "this node does not offer the call; where it was Enroll, enrolment is closed"},
}

// codeKinds says what a code means where the message does not.
var codeKinds = map[int]kms.Kind{
	http.StatusBadRequest:            kms.Invalid,
	http.StatusUnauthorized:          kms.Unauthenticated,
	http.StatusForbidden:             kms.Denied,
	http.StatusNotFound:              kms.Invalid,
	http.StatusConflict:              kms.Conflict,
	http.StatusRequestEntityTooLarge: kms.TooLarge,
	http.StatusTooManyRequests:       kms.Exhausted,
	http.StatusNotImplemented:        kms.Unsupported,
	http.StatusBadGateway:            kms.Unavailable,
	http.StatusServiceUnavailable:    kms.Unavailable,
	http.StatusGatewayTimeout:        kms.Unavailable,
}

// refusal makes the error of a node that said no.
func refusal(a action, code int, message string) *Error {
	e := &Error{Action: a.name, Code: code, Message: printable(message), Kind: codeKinds[code]}
	if e.Message == "" {
		e.Message = "refused without a word"
	}
	for _, v := range verdicts {
		if strings.HasPrefix(message, v.text) {
			e.Kind, e.Hint = v.kind, v.hint
			break
		}
	}
	if e.Kind == kms.Unavailable && !a.repeatable {
		e.Hint = hintMaybe
	}
	return e
}

// hintMaybe goes with every state change whose outcome is not known.
const hintMaybe = "it may have happened all the same: look before you send it again"

// unreachable makes the error of a call that got no answer.
func unreachable(a action, err error) *Error {
	e := &Error{Action: a.name, Message: "no answer from the node", Kind: kms.Unavailable, Err: err}
	var cert *tls.CertificateVerificationError
	var refused *kms.Error
	switch {
	case errors.As(err, &refused):
		e.Kind, e.Hint, e.Err = refused.Kind, kms.HintOf(err), refused.Err
		if refused.Kind != kms.Unavailable {
			e.Message = "the node is not trusted, and nothing was sent to it"
		}
	case errors.As(err, &cert):
		e.Message, e.Kind = "the node's certificate is not trusted", kms.Denied
		e.Hint = "is this the CA of the domain that you mean, and the name or address in the node's certificate?"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Hint = "nothing listens there: is the node running, and is the port right?"
	case errors.Is(err, context.Canceled):
		e.Message = "cancelled"
	case !a.repeatable:
		e.Hint = hintMaybe
	case errors.Is(err, context.DeadlineExceeded):
		e.Hint = "the node did not answer in time"
	}
	return e
}

// misuse makes the error of a call that is refused before anything is sent.
func misuse(a action, k kms.Kind, hint, format string, args ...any) *Error {
	return &Error{Action: a.name, Message: fmt.Sprintf(format, args...), Kind: k, Hint: hint}
}

// garbled makes the error of an answer that is not one of the protocol.
func garbled(a action, code int, err error) *Error {
	return &Error{Action: a.name, Code: code, Message: "the answer is not one of a Holdfast node", Err: err,
		Hint: "is something else listening at this address?"}
}

// maxMessage bounds what is kept of a server's words.
const maxMessage = 300

// printable drops what could steer a terminal from a server's words.
func printable(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == '\uFFFD' {
			return -1
		}
		return r
	}, s)
}

package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// A method is one procedure of the native API, as generated clients have it.
type method[Req, Res any] func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error)

// callNative calls a procedure, again where that is safe.
func callNative[Req, Res any](ctx context.Context, c *Client, a action, m method[Req, Res], req *Req) (*Res, error) {
	if !a.unsigned && c.key.IsZero() && c.session == nil {
		return nil, misuse(a, kms.Unauthenticated, "give AppID and APIKey", "the client has no credential")
	}
	if c.v1 {
		return nil, errNotV1(a, "the native API")
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	renewed := false
	for try := 1; ; try++ {
		if err := c.attend(ctx, a); err != nil {
			return nil, err
		}
		resp, err := m(ctx, connect.NewRequest(req))
		if err == nil {
			return resp.Msg, nil
		}
		err = nativeError(a, err)
		if !renewed && c.session.ended(err) {
			renewed = true
			continue
		}
		if !a.repeatable || try >= c.tries || !worthRepeating(err) || !pause(ctx, try) {
			return nil, err
		}
	}
}

// nativeOptions are those of every generated client.
func nativeOptions() []connect.ClientOption {
	return []connect.ClientOption{
		connect.WithReadMaxBytes(maxReply),
		connect.WithAcceptCompression("gzip", nil, nil), // an answer is as long as it is
	}
}

// native is the address of the native API.
func (c *Client) native() string { return strings.TrimSuffix(c.base.String(), "/") }

// A nativeHTTP carries a generated client's requests, each with a signature of
// version 2, where the client has a credential to sign with.
type nativeHTTP struct {
	client   *Client
	unsigned bool
}

// Do implements connect.HTTPClient. A request that it was given is not changed.
func (n nativeHTTP) Do(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err := errors.Join(err, req.Body.Close()); err != nil {
		return nil, err
	}
	// A new request, so that the body is sent with its length and can be sent again.
	out, err := http.NewRequestWithContext(req.Context(), req.Method, req.URL.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out.Header = req.Header.Clone()
	if !n.unsigned {
		n.client.session.show(out.Header)
	}
	if !n.unsigned && !n.client.key.IsZero() {
		out = n.client.sign(out, body)
	}
	return n.client.http.Do(out)
}

// faultKinds are the kinds of a Fault.
var faultKinds = map[string]kms.Kind{
	"invalid": kms.Invalid, "unauthenticated": kms.Unauthenticated, "denied": kms.Denied, "misused": kms.Misused,
	"unsupported": kms.Unsupported,
	"not_found":   kms.NotFound, "exists": kms.Exists, "conflict": kms.Conflict, "disabled": kms.Disabled, "expired": kms.Expired,
	"stale": kms.Stale, "replayed": kms.Replayed, "too_large": kms.TooLarge, "exhausted": kms.Exhausted,
	"unavailable": kms.Unavailable, "decrypt_failed": kms.DecryptFailed, "internal": kms.Internal,
}

// connectKinds say what a code means where no Fault comes with it.
var connectKinds = map[connect.Code]kms.Kind{
	connect.CodeInvalidArgument: kms.Invalid, connect.CodeUnauthenticated: kms.Unauthenticated, connect.CodePermissionDenied: kms.Denied,
	connect.CodeNotFound: kms.NotFound, connect.CodeAlreadyExists: kms.Exists, connect.CodeAborted: kms.Conflict,
	connect.CodeFailedPrecondition: kms.Misused, connect.CodeResourceExhausted: kms.Exhausted, connect.CodeUnavailable: kms.Unavailable,
	connect.CodeUnimplemented: kms.Invalid,
}

// nativeHints go with kinds that a person can do something about.
var nativeHints = map[kms.Kind]string{
	kms.Unauthenticated: "check AppID, credential id and APIKey, and that the credential was not revoked and has not expired. Where a proxy in between ends TLS, do not tie requests to the connection (Unbound)",
	kms.Stale:           hintClock,
	kms.Replayed:        "the node had this very request before: send a new one",
	kms.Internal:        hintLog,
}

// nativeError makes an *Error of what a generated client returns.
func nativeError(a action, err error) error {
	ce := new(connect.Error)
	if !errors.As(err, &ce) {
		return unreachable(a, unURL(err))
	}
	fault := faultOf(ce)
	if fault == nil && !connect.IsWireError(err) { // there was no answer, or none of ours
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || ce.Code() == connect.CodeUnavailable || ce.Code() == connect.CodeUnknown {
			return unreachable(a, unURL(ce.Unwrap()))
		}
	}
	e := &Error{Action: a.name, Message: printable(ce.Message()), Kind: connectKinds[ce.Code()], Code: int(ce.Code())}
	if fault != nil {
		if kind, ok := faultKinds[fault.GetKind()]; ok {
			e.Kind = kind
		}
		if f := printable(fault.GetField()); f != "" {
			e.Message += ": " + f
		}
	}
	e.Hint = nativeHints[e.Kind]
	if hint := printable(fault.GetHint()); hint != "" {
		e.Hint = hint
	}
	if ce.Code() == connect.CodeUnimplemented {
		e.Hint = "this node does not offer the call"
	}
	if e.Kind == kms.Unavailable && !a.repeatable {
		e.Hint = hintMaybe
	}
	return e
}

// faultOf is what a node of ours says of its refusal, or nil.
func faultOf(e *connect.Error) *holdfastv1.Fault {
	for _, d := range e.Details() {
		v, err := d.Value()
		if err != nil {
			continue
		}
		if f, ok := v.(*holdfastv1.Fault); ok {
			return f
		}
	}
	return nil
}

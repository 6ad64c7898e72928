package native

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// A verdict is how a kind of error is told.
type verdict struct {
	code    connect.Code
	kind    string // of the Fault
	message string
}

// verdicts says how each kind of error is answered. Another app's things are
// answered like things that do not exist.
var verdicts = api.ErrorTable[verdict]{
	kms.Internal:        {connect.CodeInternal, "internal", "internal error: the node's log says more"},
	kms.Invalid:         {connect.CodeInvalidArgument, "invalid", "the request is malformed"},
	kms.Unauthenticated: {connect.CodeUnauthenticated, "unauthenticated", "no valid credential"},
	kms.Denied:          {connect.CodePermissionDenied, "denied", "not allowed"},
	kms.Foreign:         {connect.CodeNotFound, "not_found", "no such thing"},
	kms.Misused:         {connect.CodeFailedPrecondition, "misused", "what it is about does not allow this"},
	kms.NotFound:        {connect.CodeNotFound, "not_found", "no such thing"},
	kms.Exists:          {connect.CodeAlreadyExists, "exists", "it exists already, or was used before"},
	kms.Conflict:        {connect.CodeAborted, "conflict", "the state changed meanwhile: try again"},
	kms.Disabled:        {connect.CodeFailedPrecondition, "disabled", "it is disabled"},
	kms.Expired:         {connect.CodeFailedPrecondition, "expired", "it has expired"},
	kms.Stale:           {connect.CodeUnavailable, "stale", "the node cannot confirm that its state is current: try again later"},
	kms.Replayed:        {connect.CodeUnauthenticated, "replayed", "this very request was accepted before"},
	kms.TooLarge:        {connect.CodeInvalidArgument, "too_large", "the request is too large"},
	kms.Exhausted:       {connect.CodeResourceExhausted, "exhausted", "a quota or rate is used up"},
	kms.Unavailable:     {connect.CodeUnavailable, "unavailable", "not now; it may have happened all the same"},
	kms.DecryptFailed:   {connect.CodeInvalidArgument, "decrypt_failed", "it did not open"},
	kms.Damaged:         {connect.CodeInternal, "internal", "internal error: the node's log says more"},
	kms.Unsupported:     {connect.CodeFailedPrecondition, "unsupported", "not every node that votes runs a program that knows this: the node list shows which do, and once all do it is served"},
}

// untimely is told to who holds the secret, and dated the request too far off,
// or to who holds the key of a session.
var untimely = verdict{connect.CodeUnauthenticated, "stale", "the request's time is outside what is accepted, or its session has ended"}

// errUntimely is Stale, as authenticating means it.
var errUntimely = errors.New("untimely")

// authenticating changes what an error means that says who is calling, before
// it is known who is: everything about the caller looks alike.
func authenticating(err error) error {
	switch kms.KindOf(err) {
	case kms.Stale:
		return errUntimely
	case kms.Denied, // a session that is not taken any more
		kms.Replayed, kms.Conflict, kms.Exhausted, kms.Unavailable, kms.Internal, kms.Damaged:
		return err
	}
	return errUnauthenticated
}

// wornOut is told of a key that encrypts no more.
const wornOut = "a rate is used up, or the key has encrypted as often as is safe and is not rotated by itself: make a new key and have the alias name it"

// reasons are clearer words for what a procedure refuses, where the caller may
// know. The keys are a procedure's name and a kind.
var reasons = map[string]map[kms.Kind]string{
	"/holdfast.v1.CredentialService/RevokeCredential": {
		kms.Misused: "it is the app's last credential that may manage and does not expire: create another one first"},
	"/holdfast.v1.CredentialService/CreateCredential": {
		kms.Denied:    "the calling credential may not manage, or would give away more than it has itself",
		kms.Exhausted: "the app has its full number of credentials: revoke one"},
	"/holdfast.v1.CredentialService/RotateCredential": {
		kms.Denied:    "the calling credential may not manage, or would give away more than it has itself",
		kms.Exhausted: "the app has its full number of credentials, the old one included: revoke one, or give no grace time"},
	"/holdfast.v1.SessionService/OpenSession": {
		kms.Denied: "the evidence does not prove what the domain's policy asks of every platform"},
	"/holdfast.v1.KeyService/CreateKey": {
		kms.Exists:  "the app has an alias of this name: UpdateAlias has it name another key",
		kms.Misused: "keys of this spec are not for these usages"},
	"/holdfast.v1.KeyService/Encrypt":                         {kms.Exhausted: wornOut},
	"/holdfast.v1.KeyService/ReEncrypt":                       {kms.Exhausted: wornOut},
	"/holdfast.v1.KeyService/GenerateDataKey":                 {kms.Exhausted: wornOut},
	"/holdfast.v1.KeyService/GenerateDataKeyWithoutPlaintext": {kms.Exhausted: wornOut},
	"/holdfast.v1.KeyService/SetKeyRotation": {
		kms.Misused: "keys of this spec, and imported ones, are not rotated in place: make a new key and have the alias name it"},
	"/holdfast.v1.KeyService/RotateKey": {
		kms.Misused:   "keys of this spec, and imported ones, are not rotated in place: make a new key and have the alias name it",
		kms.Exhausted: "the key has its full number of versions: re-encrypt what is under the oldest, and destroy them"},
	"/holdfast.v1.KeyService/SetKeyVersionState": {
		kms.Misused: "the current version stays enabled, and only a disabled version can be destroyed"},
	"/holdfast.v1.KeyService/ScheduleKeyDeletion": {
		kms.Exists: "the key's deletion is scheduled already"},
	"/holdfast.v1.KeyService/CancelKeyDeletion": {
		kms.Misused: "no deletion of the key is scheduled"},
	"/holdfast.v1.KeyService/CreateAlias": {
		kms.Exists:    "the app has an alias of this name: UpdateAlias has it name another key",
		kms.Exhausted: "the key has its full number of aliases"},
	"/holdfast.v1.KeyService/UpdateAlias": {
		kms.NotFound:  "no such alias or key",
		kms.Exhausted: "the key has its full number of aliases"},
	"/holdfast.v1.SecretService/CreateSecret": {
		kms.Exists: "the app has a secret of this name, or the deletion of one is scheduled"},
	"/holdfast.v1.SecretService/PutSecretValue": {
		kms.Exhausted: "the secret has its full number of versions, or the app's secrets take all the room that they may"},
	"/holdfast.v1.SecretService/DestroySecretVersion": {
		kms.Misused: "the version is the current one: put or promote another one first, or delete the secret"},
	"/holdfast.v1.KeyService/SetCondition": {
		kms.Denied:   "a condition is widened only by a caller whose session meets the present one, or by an operator's document for just this change",
		kms.Conflict: "the key changed meanwhile, or the operator's document is for another revision of it"},
	"/holdfast.v1.EnrolmentService/Enrol": {
		kms.Denied:    "the domain does not let the caller enrol in this way",
		kms.Foreign:   "the ticket is another domain's",
		kms.Expired:   "the ticket or challenge has expired: ask for another one",
		kms.Exists:    "the ticket or challenge was used before: ask for another one",
		kms.Exhausted: "the domain has its full number of apps"},
	"/holdfast.v1.EventService/WatchEvents":    streamReasons,
	"/holdfast.v1.EventService/WatchStatus":    streamReasons,
	"/holdfast.v1.RuntimeService/GetPublicKey": runtimeReasons,
	"/holdfast.v1.RuntimeService/GetKeys":      runtimeReasons,
	"/holdfast.v1.RuntimeService/Decrypt":      runtimeReasons,
	"/holdfast.v1.RuntimeService/Mac":          runtimeReasons,
}

// told makes the error that leaves: its kind, its field, and nothing else.
func (h *handler) told(ctx context.Context, procedure string, err error) *connect.Error {
	kind, v := verdicts.For(err)
	switch {
	case errors.Is(err, errUntimely):
		v = untimely
	case kind == kms.Internal, kind == kms.Damaged:
		h.Logger.LogAttrs(ctx, slog.LevelError, "native request failed",
			slog.String("procedure", procedure), slog.String("kind", kind.Error()))
	}
	if clearer, ok := reasons[procedure][kind]; ok {
		v.message = clearer
	}
	fault := &holdfastv1.Fault{Kind: v.kind}
	var e *kms.Error
	if kind == kms.Invalid && errors.As(err, &e) {
		fault.Field = e.Field
	}
	if held, ok := errors.AsType[*kms.KeyHeldError](err); ok {
		heldFault(held, &v, fault)
	}
	if said, ok := errors.AsType[spokenError](err); ok {
		v, fault = said.speak()
	}
	out := connect.NewError(v.code, errors.New(v.message))
	if detail, err := connect.NewErrorDetail(fault); err == nil {
		out.AddDetail(detail)
	}
	if after := kms.RetryAfter(err); after > 0 {
		out.Meta().Set("Retry-After", api.RetrySeconds(after))
	}
	return out
}

// refuse answers a request that does not get to its service.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	// Where it fails the client has gone: nobody is left to tell.
	_ = h.errors.Write(w, r, h.told(r.Context(), "", err))
}

// translate turns what a service returns into what leaves.
func (h *handler) translate(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		resp, err := next(ctx, req)
		callOf(ctx).ended(err)
		if err != nil {
			return nil, h.told(ctx, req.Spec().Procedure, err)
		}
		return resp, nil
	}
}

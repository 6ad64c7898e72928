package ehsm

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// An exchange is one request and the reply to it. Its memory is pooled, and
// wiped when it ends.
type exchange struct {
	config  *Config
	req     *wire.Request   // nil for an open action
	v2      *kms.Credential // where the request has a signature of version 2
	session shownSession
	caller  Caller                 // nil for an open action
	failed  error                  // why the core refused it, if it did
	args    args                   // slices of scratch
	scratch *api.Buffer            // what base64 decodes to
	out     *api.Buffer            // the reply
	mac     [wire.MACSize + 1]byte // base64 decodes in threes
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

func (h *handler) newExchange(bodySize int) *exchange {
	x := exchanges.Get().(*exchange)
	// Base64 decodes to less than itself, so all fields fit and nothing moves.
	*x = exchange{config: &h.Config, scratch: api.NewBuffer(bodySize), out: api.NewBuffer(0)}
	return x
}

func (x *exchange) release() {
	if x.req != nil {
		x.req.Release()
	}
	x.scratch.Release()
	x.out.Release()
	*x = exchange{}
	exchanges.Put(x)
}

// serveOpen serves an action that anyone may call.
func (h *handler) serveOpen(w http.ResponseWriter, r *http.Request, rt *route) {
	begun := h.Watch.Begin()
	if err := h.Watch.Enter(r.Context()); err != nil {
		h.shed(w, rt, begun, err)
		return
	}
	defer h.Watch.Leave()
	x := h.newExchange(0)
	defer x.release()
	refused := h.run(r.Context(), rt, x)
	h.Watch.End(begun, x.served(rt, refused))
	x.finish(w, refused)
}

// serveSigned serves a signed request. here is false for another path than the
// API's.
func (h *handler) serveSigned(w http.ResponseWriter, r *http.Request, rt *route, here bool) {
	if !api.IsJSON(r.Header.Get("Content-Type")) {
		send(w, &missingParameters) // eHSM does not parse any other type
		return
	}
	body, err := api.ReadBody(r, maxBody)
	if err != nil {
		send(w, unreadable(err))
		return
	}
	defer body.Release()
	begun := h.Watch.Begin() // not before: how long a body takes is the client's affair
	if err := h.Watch.Enter(r.Context()); err != nil {
		h.shed(w, rt, begun, err)
		return
	}
	defer h.Watch.Leave()
	x := h.newExchange(len(body.B))
	defer x.release()
	refused := h.answer(r, rt, x, body.B, here)
	h.Watch.End(begun, x.served(rt, refused))
	x.finish(w, refused)
}

// answer serves a request that was read. It returns the refusal, nil where x has
// the reply.
func (h *handler) answer(r *http.Request, rt *route, x *exchange, body []byte, here bool) *answer {
	req, err := wire.Parse(body)
	if err != nil {
		return unreadable(err)
	}
	x.req = req
	if value, present := signatureHeader(r); present {
		if x.v2, err = credentialV2(value, r, body); err != nil {
			return &signError
		}
	}
	if x.session, err = sessionOf(r); err != nil {
		return &signError
	}
	return h.serve(r.Context(), rt, x, here)
}

// unreadable is the answer to a body that could not be read or parsed.
func unreadable(err error) *answer {
	switch {
	case kms.KindOf(err) == kms.TooLarge:
		return &pageTooLarge
	case err == wire.ErrScalar:
		return &pageBadRequest
	}
	return &invalidJSON
}

// serve takes a request through its checks. Authentication comes before the
// payload is looked at, unlike in eHSM: a stranger learns nothing of what a
// valid payload is, and makes us do no more than one MAC.
func (h *handler) serve(ctx context.Context, rt *route, x *exchange, here bool) *answer {
	cred, refused := x.sender(rt)
	if refused != nil {
		return refused
	}
	caller, err := h.Authenticate(ctx, cred)
	if err != nil {
		x.failed = err
		if refused := x.session.refusal(err); refused != nil {
			return refused
		}
		return h.refusal(ctx, rt, err, true)
	}
	x.caller = caller
	switch {
	case caller == nil:
		return &signError // nobody is nobody, even without an error
	case !here:
		return &pageNotFound
	case rt.do == nil:
		return &apiNotFound
	case rt.is(onlyV2) && x.v2 == nil:
		return &needsV2
	}
	if rt.is(exact) {
		if refused := x.checkOwn(rt); refused != nil {
			return refused
		}
	}
	if refused := x.checkWhole(rt); refused != nil {
		return refused
	}
	if refused := x.checkPayload(rt); refused != nil {
		return refused
	}
	return h.run(ctx, rt, x)
}

func (h *handler) run(ctx context.Context, rt *route, x *exchange) *answer {
	err := rt.do(ctx, x)
	if err == nil {
		return nil
	}
	if own, ok := err.(*answer); ok {
		return own
	}
	x.failed = err
	return h.refusal(ctx, rt, err, false)
}

// refusal finds the answer to an error. An internal one is logged by kind and
// action only: its text may hold anything.
func (h *handler) refusal(ctx context.Context, rt *route, err error, authenticating bool) *answer {
	kind, common := answers.For(err)
	if kind == kms.Internal || kind == kms.Damaged {
		h.Logger.LogAttrs(ctx, slog.LevelError, "ehsm request failed", slog.String("action", rt.action),
			slog.String("kind", kind.Error()), slog.Bool("authenticating", authenticating))
	}
	if authenticating {
		return common.authenticating
	}
	if own, ok := rt.errors[kind]; ok {
		return &own
	}
	return common.serving
}

const contentType = "application/json; charset=utf-8"

// finish sends the refusal, or the reply that the action built.
func (x *exchange) finish(w http.ResponseWriter, refused *answer) {
	if refused != nil {
		api.RetryAfter(w.Header(), x.failed)
		send(w, refused)
		return
	}
	x.out.Reserve(2)
	x.out.B = append(x.out.B, "}}"...)
	api.Send(w, http.StatusOK, contentType, x.out.B)
}

// send sends a refusal. Every answer in JSON has all three members, whatever
// happened: the Python SDK raises the wrong exception without "result".
func send(w http.ResponseWriter, a *answer) {
	if a.page {
		api.SendPage(w, a.code)
		return
	}
	if a.drop {
		w.Header().Set("Connection", "close")
	}
	b := append([]byte(`{"code":`), strconv.Itoa(a.code)...)
	b = append(b, `,"message":`...)
	b, _ = jsontext.AppendQuote(b, a.message) // valid UTF-8: ours, or a name from a parsed body
	if a.null {
		b = append(b, `,"result":null}`...)
	} else {
		b = append(b, `,"result":{}}`...)
	}
	api.Send(w, http.StatusOK, contentType, b)
}

// begin starts a reply: up to, and with, the brace that opens its result. The
// message must need no escaping.
func (x *exchange) begin(message string) {
	x.append(`{"code":200,"message":"`, message, `","result":{`)
}

func (x *exchange) append(parts ...string) {
	for _, s := range parts {
		x.out.Reserve(len(s))
		x.out.B = append(x.out.B, s...)
	}
}

// comma separates what follows from what stands before it, if anything does.
func (x *exchange) comma() {
	if last := x.out.B[len(x.out.B)-1]; last != '{' && last != '[' {
		x.append(",")
	}
}

func (x *exchange) name(name string) {
	x.comma()
	x.append(`"`, name, `":`)
}

// base64 appends a member with bytes, encoded where they will be sent from.
func (x *exchange) base64(name string, data []byte) {
	x.name(name)
	x.out.Reserve(base64.StdEncoding.EncodedLen(len(data)) + 2)
	x.out.B = append(x.out.B, '"')
	x.out.B = base64.StdEncoding.AppendEncode(x.out.B, data)
	x.out.B = append(x.out.B, '"')
}

// text appends a member with a string.
func (x *exchange) text(name, s string) {
	x.name(name)
	x.out.Reserve(len(`"\u0000`)*len(s) + 2)
	x.out.B, _ = jsontext.AppendQuote(x.out.B, s)
}

func (x *exchange) integer(name string, n int64) {
	x.name(name)
	x.append(strconv.FormatInt(n, 10))
}

func (x *exchange) boolean(name string, b bool) {
	x.name(name)
	x.append(strconv.FormatBool(b))
}

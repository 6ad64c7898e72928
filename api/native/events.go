package native

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// A Watcher tells anyone what happens to the domain and to the node. Both call
// send until it fails, ctx ends or the node does, and keep nothing for a reader
// who is slow. Where there is nothing to say they call it now and then all the
// same.
type Watcher interface {
	EventWatcher
	WatchStatus(ctx context.Context, send func() error) error
}

// An EventWatcher tells what the caller may see. Its errors: Invalid, Denied,
// Expired and Conflict (the position), Exhausted, Unauthenticated, Stale and
// Unavailable.
type EventWatcher interface {
	WatchEvents(ctx context.Context, r kms.WatchRequest, send func(kms.Events) error) error
}

// events serves the EventService.
type events struct {
	Watcher
	domain Custodian
}

// streams serves whoever has not signed as nobody, and who has as himself: what is
// signed and does not hold is refused. What is sent there is small.
func streams(s service) service {
	s.open, s.mayAuthenticate, s.stream, s.maxBody = true, true, true, 4<<10
	return s
}

// signs reports whether a request says who sent it.
func signs(r *http.Request) bool {
	return len(r.Header[signature.HeaderName]) > 0 || len(r.Header.Values(api.SessionHeader)) > 0
}

func (e events) WatchStatus(ctx context.Context, _ *connect.Request[holdfastv1.WatchStatusRequest], out *connect.ServerStream[holdfastv1.WatchStatusResponse]) error {
	return toldOfStream(e.Watcher.WatchStatus(ctx, func() error {
		m := &holdfastv1.WatchStatusResponse{Status: e.status(ctx)}
		return callOf(ctx).bounded(func() error { return out.Send(m) })
	}))
}

// status is what DomainService says, or of a node that has stopped that it has.
func (e events) status(ctx context.Context) *holdfastv1.GetStatusResponse {
	if resp, err := (domains{e.domain}).GetStatus(ctx, nil); err == nil {
		return resp.Msg
	}
	s := e.domain.Status()
	return &holdfastv1.GetStatusResponse{DomainId: s.DomainID.String(), Domain: s.Domain, NodeId: s.Node.String(),
		Ready: s.Ready, Reason: s.Reason, Secure: s.Secure, Time: s.Time, Generation: s.Generation, Warnings: s.Warnings}
}

func (e events) WatchEvents(ctx context.Context, r *connect.Request[holdfastv1.WatchEventsRequest], out *connect.ServerStream[holdfastv1.WatchEventsResponse]) error {
	req, err := watchRequest(r.Msg)
	if err != nil {
		return err
	}
	c := callOf(ctx)
	var from EventWatcher = e.Watcher
	if c.caller != nil {
		from = c.caller
	}
	return toldOfStream(from.WatchEvents(ctx, req, func(batch kms.Events) error {
		m := &holdfastv1.WatchEventsResponse{At: position(batch.At)}
		for i := range batch.Events {
			m.Events = append(m.Events, event(&batch.Events[i]))
		}
		return c.bounded(func() error { return out.Send(m) })
	}))
}

// toldOfStream has those refusals told in full that a reader can do something
// about. They say nothing of anybody else.
func toldOfStream(err error) error {
	switch kms.KindOf(err) {
	case kms.Expired, kms.Conflict, kms.Exhausted:
		return spoken(err)
	}
	return err
}

// streamReasons are for the ends of streams.
var streamReasons = map[kms.Kind]string{
	kms.Denied:      "the calling credential may not read, or its session's evidence does not hold any more",
	kms.Unavailable: "the node is stopping, or does not serve: WatchStatus and /status say why. Resume there later, or at another node",
}

// watchRequest reads from where on events are wanted. The error is Invalid.
func watchRequest(m *holdfastv1.WatchEventsRequest) (r kms.WatchRequest, err error) {
	r.UntilNow = m.GetUntilNow()
	switch from := m.GetFrom().(type) {
	case *holdfastv1.WatchEventsRequest_After:
		if r.After = (kms.Position{Index: from.After.GetIndex(), Sub: from.After.GetSub()}); r.After == (kms.Position{}) {
			return r, kms.Errorf(kms.Invalid, "no entry has index 0").WithField("after")
		}
	case *holdfastv1.WatchEventsRequest_Earliest:
		if r.Earliest = from.Earliest; !r.Earliest {
			return r, kms.Errorf(kms.Invalid, "earliest is true or left out").WithField("earliest")
		}
	}
	return r, nil
}

func position(p kms.Position) *holdfastv1.Position {
	return &holdfastv1.Position{Index: p.Index, Sub: p.Sub}
}

func event(e *kms.Event) *holdfastv1.Event {
	m := &holdfastv1.Event{Time: timestamp(e.Time), Kind: e.Kind.String(), Alias: e.Alias, Secret: string(e.Secret), Number: e.Number,
		At: timestamp(e.At), Reason: e.Reason}
	if e.Position != (kms.Position{}) {
		m.Position = position(e.Position)
	}
	if e.Key != (kms.KeyID{}) {
		m.KeyId = e.Key.String()
	}
	if e.Credential != (kms.CredentialID{}) {
		m.CredentialId = e.Credential.String()
	}
	if e.Node != (kms.NodeID{}) {
		m.NodeId = e.Node.String()
	}
	return m
}

// sendTimeout is Config.SendTimeout where that says nothing.
const sendTimeout = 10 * time.Second

// errSlow ends the stream of a reader who does not read. He hears of it only by
// the end of his connection.
var errSlow = kms.Errorf(kms.Exhausted, "the reader does not take a message")

// long takes a request out of the server's limits on how long one may take: a
// stream has one for each message instead. Where there is no connection, as in
// some tests, there is none to limit.
func (c *call) long(w http.ResponseWriter, patience time.Duration) {
	rc := http.NewResponseController(w)
	// The first is needed as well: the server looks at the connection while the
	// handler runs, and ends the request where that look times out.
	_ = errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{}))
	c.patience = patience
	c.abort = func() { _ = rc.SetWriteDeadline(time.Unix(1, 0)) } // long past
}

// bounded sends one message of a stream in time, or ends the connection.
func (c *call) bounded(send func() error) error {
	if c.abort == nil {
		return send()
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.patience)
	defer cancel()
	stop := context.AfterFunc(ctx, c.abort)
	err := send()
	if !stop() {
		return errSlow
	}
	return err
}

// An interceptor turns what services return into what leaves.
type interceptor struct{ *handler }

// WrapUnary implements connect.Interceptor.
func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return i.translate(next) }

// WrapStreamingClient implements connect.Interceptor. No client is made of ours.
func (interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		callOf(ctx).ended(err)
		if err == nil || ctx.Err() != nil { // in the second case nobody listens
			return err
		}
		return i.told(ctx, conn.Spec().Procedure, err)
	}
}

var _ holdfastv1connect.EventServiceHandler = events{}

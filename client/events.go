package client

import (
	"context"
	"errors"
	"iter"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

var (
	actWatchEvents = action{name: "WatchEvents", repeatable: true}
	actWatchStatus = action{name: "WatchStatus", unsigned: true, repeatable: true}
)

// silence is how long a node may say nothing on a stream before it is taken for
// gone: four times as long as it ever is silent.
const silence = time.Minute

// Events is what happens to the domain and, where the client has a credential or
// a session, to its app, in order. Where a connection is lost, or the node stops,
// it connects again and goes on where it was, so that each event comes once,
// until ctx ends; only the first connection must succeed. It ends after the first
// error. Errors: Invalid; Expired (what follows the position is not kept any more)
// and Conflict (the domain has not come that far); Exhausted (too many streams, or
// this reader is too slow); Denied without the permission "read"; Unauthenticated;
// Unavailable.
//
//	for e, err := range c.Events(ctx, kms.WatchRequest{}) {
//		if err != nil { … }
//		fmt.Println(e.Kind, e.Key)
//	}
func (c *Client) Events(ctx context.Context, r kms.WatchRequest) iter.Seq2[kms.Event, error] {
	return func(yield func(kms.Event, error) bool) {
		for batch, err := range c.EventBatches(ctx, r) {
			if err != nil {
				yield(kms.Event{}, err)
				return
			}
			for _, e := range batch.Events {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// EventBatches is Events as they come. Batches without events come too, every 15
// seconds and after each connection: their position is what to resume after in
// another process, and moves on where there is nothing for this reader.
func (c *Client) EventBatches(ctx context.Context, r kms.WatchRequest) iter.Seq2[kms.Events, error] {
	return func(yield func(kms.Events, error) bool) {
		again := reconnection{}
		for {
			more, err := c.readEvents(ctx, &r, func(e kms.Events) bool {
				again.reached()
				return yield(e, nil)
			})
			if !more || err == nil {
				return
			}
			if !again.worth(ctx, c, err) {
				yield(kms.Events{}, err)
				return
			}
		}
	}
}

// readEvents reads one stream, and moves r to where it has come. more is false
// where yield wants no more; a nil error is the end that was asked for.
func (c *Client) readEvents(ctx context.Context, r *kms.WatchRequest, yield func(kms.Events) bool) (more bool, err error) {
	open := func(ctx context.Context, s holdfastv1connect.EventServiceClient) (*connect.ServerStreamForClient[holdfastv1.WatchEventsResponse], error) {
		return s.WatchEvents(ctx, connect.NewRequest(eventsRequest(*r)))
	}
	more = true
	err = watch(ctx, c, actWatchEvents, open, func(m *holdfastv1.WatchEventsResponse) bool {
		batch := kms.Events{At: positionOf(m.GetAt())}
		for _, e := range m.GetEvents() {
			batch.Events = append(batch.Events, eventOf(e))
		}
		if batch.At != (kms.Position{}) {
			r.After, r.Earliest = batch.At, false
		}
		more = yield(batch)
		return more
	})
	return more, err
}

// WatchStatus is the node's status: at once, and again whenever the node says that
// it has changed, and every 15 seconds. It connects again by itself, as Events
// does, and needs no credential. Errors: Exhausted, Unavailable.
func (c *Client) WatchStatus(ctx context.Context) iter.Seq2[kms.Status, error] {
	open := func(ctx context.Context, s holdfastv1connect.EventServiceClient) (*connect.ServerStreamForClient[holdfastv1.WatchStatusResponse], error) {
		return s.WatchStatus(ctx, connect.NewRequest(&holdfastv1.WatchStatusRequest{}))
	}
	return func(yield func(kms.Status, error) bool) {
		again := reconnection{}
		for {
			more := true
			var failed error
			err := watch(ctx, c, actWatchStatus, open, func(*holdfastv1.WatchStatusResponse) bool {
				again.reached()
				// The stream says when to look; the page has all there is to see.
				s, err := c.Status(ctx)
				if failed = err; err == nil {
					more = yield(s, nil)
				}
				return more && err == nil
			})
			switch {
			case !more:
				return
			case failed != nil:
				err = failed
			case err == nil:
				err = unreachable(actWatchStatus, errors.New("the stream ended"))
			}
			if !again.worth(ctx, c, err) {
				yield(kms.Status{}, err)
				return
			}
		}
	}
}

// A reconnection says when to connect again.
type reconnection struct {
	connected bool
	tries     int // since something was heard
}

func (r *reconnection) reached() { r.connected, r.tries = true, 0 }

// worth reports whether another connection may go better, and waits before it.
func (r *reconnection) worth(ctx context.Context, c *Client, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if c.session.ended(err) && r.tries == 0 {
		r.tries++
		return true
	}
	r.tries++
	if !worthRepeating(err) || !r.connected && r.tries >= c.tries {
		return false
	}
	return pause(ctx, r.tries)
}

// watch reads a stream until it ends or read wants no more; both are no error. It
// also ends, as Unavailable, when a node is silent, and when the proof that the
// connection rests on does not count any more.
func watch[M any](ctx context.Context, c *Client, a action, open func(context.Context, holdfastv1connect.EventServiceClient) (*connect.ServerStreamForClient[M], error), read func(*M) bool) error {
	if c.v1 {
		return errNotV1(a, "the native API")
	}
	signed := !a.unsigned && (!c.key.IsZero() || c.session != nil)
	a.unsigned = !signed
	start, stopStart := context.WithTimeout(ctx, c.timeout)
	err := c.attend(start, a)
	stopStart()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(c.timeout, func() { cancel(errSilent) })
	defer timer.Stop()
	stream, err := open(ctx, holdfastv1connect.NewEventServiceClient(nativeHTTP{c, !signed}, c.native(), nativeOptions()...))
	if err != nil {
		return streamError(ctx, a, err)
	}
	defer stream.Close()
	left := func() time.Duration { return silence }
	for first := true; stream.Receive(); first = false {
		timer.Stop() // read may take its time
		if first {
			left = c.proofLeft()
		}
		if !read(stream.Msg()) {
			return nil
		}
		timer.Reset(min(left(), silence))
	}
	if err := stream.Err(); err != nil {
		return streamError(ctx, a, err)
	}
	return nil
}

var errSilent = errors.New("the node said nothing for long, or has to prove itself again")

func streamError(ctx context.Context, a action, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return unreachable(a, cause)
	}
	return nativeError(a, err)
}

// proofLeft says for how long the proof of a connection that was just made still
// counts. One that was not attested has none that could end.
func (c *Client) proofLeft() func() time.Duration {
	if a, ok := c.http.Transport.(*attested); ok {
		if until := a.current.Load().until.Load(); until != nil {
			return func() time.Duration { return max(until.Sub(a.now()), 0) }
		}
	}
	return func() time.Duration { return silence }
}

func eventsRequest(r kms.WatchRequest) *holdfastv1.WatchEventsRequest {
	m := &holdfastv1.WatchEventsRequest{UntilNow: r.UntilNow}
	switch {
	case r.After != (kms.Position{}):
		m.From = &holdfastv1.WatchEventsRequest_After{After: &holdfastv1.Position{Index: r.After.Index, Sub: r.After.Sub}}
	case r.Earliest:
		m.From = &holdfastv1.WatchEventsRequest_Earliest{Earliest: true}
	}
	return m
}

func positionOf(p *holdfastv1.Position) kms.Position {
	return kms.Position{Index: p.GetIndex(), Sub: p.GetSub()}
}

// eventOf reads an event. What a newer node tells that has no word here is
// EventOtherChange; an id of another form is none.
func eventOf(m *holdfastv1.Event) kms.Event {
	e := kms.Event{Position: positionOf(m.GetPosition()), Alias: printable(m.GetAlias()), Number: m.GetNumber(), Reason: printable(m.GetReason())}
	var known bool
	if e.Kind, known = kms.ParseEventKind(m.GetKind()); !known {
		e.Kind = kms.EventOtherChange
	}
	if t := m.GetTime(); t != nil {
		e.Time = t.AsTime()
	}
	if t := m.GetAt(); t != nil {
		e.At = t.AsTime()
	}
	e.Key, _ = kms.ParseKeyID(m.GetKeyId())
	e.Credential, _ = kms.ParseCredentialID(m.GetCredentialId())
	if name := kms.SecretName(m.GetSecret()); name.Valid() { // as it is: it may hold anything
		e.Secret = name
	}
	e.Node, _ = kms.ParseNodeID(m.GetNodeId())
	return e
}

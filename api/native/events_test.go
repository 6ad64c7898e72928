package native_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/api/native"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// all reads what has happened so far.
func all(t *testing.T, c *client.Client, after kms.Position) (events []kms.Event) {
	t.Helper()
	for e, err := range c.Events(t.Context(), kms.WatchRequest{After: after, Earliest: after == kms.Position{}, UntilNow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func kinds(events []kms.Event) string {
	var names []string
	for _, e := range events {
		if e.Kind != kms.EventEphemeralPublished { // comes when it wants
			names = append(names, e.Kind.String())
		}
	}
	return strings.Join(names, " ")
}

func anonymous(t *testing.T, n *node) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: n.endpoint.URL, HTTPClient: n.stream(false), Now: n.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// stream is n.http for requests that last.
func (n *node) stream(two bool) *http.Client {
	c := n.http(two)
	c.Timeout = 0
	return c
}

func (n *node) streamer(a *trustedtest.App, key string, id kms.CredentialID) *client.Client {
	n.t.Helper()
	c, err := client.New(client.Config{URL: n.endpoint.URL, AppID: a.ID, CredentialID: id, APIKey: client.NewAPIKey(key),
		HTTPClient: n.stream(false), Now: n.Clock.Now})
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func newKey(t *testing.T, c *client.Client) kms.KeyID {
	t.Helper()
	id, err := c.CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestEvents: each sees what is its own, in order, and nobody sees another's.
func TestEvents(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	a, appA := n.enrol()
	b, _ := n.enrol()
	ctx := t.Context()
	key := newKey(t, a)
	theirs := newKey(t, b)
	must(t, a.DisableKey(ctx, key))
	must(t, b.DisableKey(ctx, theirs))
	must(t, a.EnableKey(ctx, key))
	must(t, a.DeleteKey(ctx, key))
	for range 3 {
		newKey(t, a)
	}
	must(t, a.DeleteAllKeys(ctx))
	made, err := a.CreateCredential(ctx, kms.CreateCredentialRequest{Permissions: kms.PermUse})
	must(t, err)
	must(t, a.RevokeCredential(ctx, made.ID))

	if got := kinds(all(t, anonymous(t, n), kms.Position{})); got != "app_enrolled app_enrolled" && got != "domain_founded app_enrolled app_enrolled" {
		t.Errorf("a stranger sees %q", got)
	}
	mine := all(t, a, kms.Position{})
	const want = "app_enrolled credential_created app_enrolled key_created key_disabled key_enabled key_deleted " +
		"key_created key_created key_created keys_deleted credential_created credential_revoked"
	if got := strings.TrimPrefix(kinds(mine), "domain_founded "); got != want {
		t.Errorf("the app sees\n%s, want\n%s", got, want)
	}
	last := kms.Position{}
	for _, e := range mine {
		if !last.Before(e.Position) {
			t.Errorf("%v after %v", e.Position, last)
		}
		if last = e.Position; e.Sub > 1 {
			t.Errorf("%s is at %v: positions count what others see", e.Kind, e.Position)
		}
		if e.Key == theirs || e.Credential == kms.CredentialID(appA.ID) && e.Kind != kms.EventCredentialCreated {
			t.Errorf("%+v is none of the app's", e)
		}
	}
	for _, e := range all(t, b, kms.Position{}) {
		if e.Key == key || e.Credential == kms.CredentialID(appA.ID) || e.Credential == made.ID {
			t.Errorf("the other app sees %+v", e)
		}
	}
	user := n.as(mustCredential(t, a, kms.PermUse))
	for _, err := range user.Events(ctx, kms.WatchRequest{UntilNow: true}) {
		kind(t, "without the right to read", err, kms.Denied)
	}
	forged := n.sdk(appA.ID, kms.CredentialID{}, "0123456789ABCDEFGHJKLMNPQRSTUVWX")
	for _, err := range forged.Events(ctx, kms.WatchRequest{UntilNow: true}) {
		kind(t, "with a wrong key", err, kms.Unauthenticated)
	}
}

func mustCredential(t *testing.T, c *client.Client, p kms.Permissions) client.NewCredential {
	t.Helper()
	made, err := c.CreateCredential(t.Context(), kms.CreateCredentialRequest{Permissions: p})
	must(t, err)
	return made
}

// TestEventsResume reads in pieces, each in a stream of its own, over a restart
// of the node: every event comes once.
func TestEventsResume(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c, app := n.enrol()
	start := all(t, c, kms.Position{})
	at := start[len(start)-1].Position
	want := map[kms.KeyID]int{}
	got := map[kms.KeyID]int{}
	read := func(most int) {
		for e, err := range n.streamer(app, app.APIKey, kms.CredentialID{}).Events(t.Context(), kms.WatchRequest{After: at, UntilNow: true}) {
			must(t, err)
			if at = e.Position; e.Kind == kms.EventKeyCreated {
				got[e.Key]++
			}
			if most--; most == 0 {
				return
			}
		}
	}
	for round := range 4 {
		c := n.streamer(app, app.APIKey, kms.CredentialID{})
		for range 5 {
			want[newKey(t, c)]++
		}
		read(2)
		if round == 2 {
			n.Restart()
			n.endpoint = n.Serve(listen.Config{}, nil)
		}
		read(2)
	}
	read(0)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read %v, want %v", got, want)
	}
	c = n.streamer(app, app.APIKey, kms.CredentialID{})
	for _, err := range c.Events(t.Context(), kms.WatchRequest{After: kms.After(at.Index + 1000)}) {
		kind(t, "from the future", err, kms.Conflict)
	}
}

// TestEventsReconnect: a stream lives through the end of its node.
func TestEventsReconnect(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	addr := n.endpoint.Addr
	_, app := n.enrol()
	reader := n.streamer(app, app.APIKey, kms.CredentialID{})
	first := newKey(t, reader)
	var second kms.KeyID
	seen := 0
	for batch, err := range reader.EventBatches(t.Context(), kms.WatchRequest{Earliest: true}) {
		must(t, err)
		for _, e := range batch.Events {
			switch e.Key {
			case first:
				n.Restart()
				n.endpoint = n.serveAt(addr)
				second = newKey(t, n.streamer(app, app.APIKey, kms.CredentialID{}))
			case kms.KeyID{}:
				continue
			case second:
			default:
				t.Errorf("%+v", e)
			}
			seen++
		}
		if seen >= 2 {
			break
		}
	}
	if seen != 2 {
		t.Errorf("%d events, want 2", seen)
	}
}

// serveAt serves the node at an address that it had before.
func (n *node) serveAt(addr string) *trustedtest.Endpoint {
	e := n.Serve(listen.Config{}, func(l net.Listener) net.Listener {
		inner, err := net.Listen("tcp", addr)
		if err != nil {
			n.t.Fatal(err)
		}
		l.Close()
		return inner
	})
	e.Addr, e.URL = addr, "https://"+addr
	return e
}

// TestEventsRevoked: the stream of a credential ends with it.
func TestEventsRevoked(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c, app := n.enrol()
	made := mustCredential(t, c, kms.PermAll)
	n.domain.Log.Plant([]byte(made.APIKey.Reveal()))
	reader := n.streamer(app, made.APIKey.Reveal(), made.ID)
	revoked := false
	var end error
	for batch, err := range reader.EventBatches(t.Context(), kms.WatchRequest{}) {
		if end = err; err != nil {
			break
		}
		if revoked {
			t.Errorf("after it was revoked: %+v", batch)
		}
		must(t, c.RevokeCredential(t.Context(), made.ID))
		revoked = true
		newKey(t, c)
	}
	kind(t, "at the end", end, kms.Unauthenticated)
}

// TestWatchesAtShutdown: streams end when their server does, in order.
func TestWatchesAtShutdown(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c, app := n.enrol()
	l, err := listen.TCP("127.0.0.1:0", listen.Config{})
	must(t, err)
	must(t, c.DeleteAllKeys(t.Context()))
	_ = n.Stop() // its own endpoint
	n.MustStart()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- n.Server().Serve(ctx, l) }()
	ends := make(chan error, 4)
	for i := range 4 {
		hc := n.stream(i%2 == 1)
		hc.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
		svc := holdfastv1connect.NewEventServiceClient(signer{hc, app}, "https://"+l.Addr().String())
		ready := make(chan struct{})
		if i < 2 {
			go func() { ends <- drain(t.Context(), ready, svc.WatchEvents, &holdfastv1.WatchEventsRequest{}) }()
		} else {
			svc = holdfastv1connect.NewEventServiceClient(hc, "https://"+l.Addr().String())
			go func() { ends <- drain(t.Context(), ready, svc.WatchStatus, &holdfastv1.WatchStatusRequest{}) }()
		}
		<-ready
	}
	stop()
	if err := <-served; err != nil { // a deadline's where streams kept the server waiting
		t.Error(err)
	}
	for range 4 {
		if err := <-ends; connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "stopping") {
			t.Errorf("a stream ended with %v", err)
		}
	}
}

// drain reads a stream to its end.
func drain[Req, Res any](ctx context.Context, ready chan<- struct{}, open func(context.Context, *connect.Request[Req]) (*connect.ServerStreamForClient[Res], error), req *Req) error {
	s, err := open(ctx, connect.NewRequest(req))
	if err != nil {
		close(ready)
		return err
	}
	defer s.Close()
	for first := true; s.Receive(); first = false {
		if first {
			close(ready)
		}
	}
	return s.Err()
}

// TestStreamProtocols speaks all there are.
func TestStreamProtocols(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c, app := n.enrol()
	key := newKey(t, c)
	for _, two := range []bool{false, true} {
		for name, opts := range map[string][]connect.ClientOption{
			"Connect": nil, "Connect JSON": {connect.WithProtoJSON()}, "gRPC-Web": {connect.WithGRPCWeb()}, "gRPC": {connect.WithGRPC()},
		} {
			if name == "gRPC" && !two {
				continue
			}
			t.Run(fmt.Sprintf("%s, HTTP/2 %t", name, two), func(t *testing.T) {
				svc := holdfastv1connect.NewEventServiceClient(signer{n.stream(two), app}, n.endpoint.URL, opts...)
				s, err := svc.WatchEvents(t.Context(), connect.NewRequest(&holdfastv1.WatchEventsRequest{
					From: &holdfastv1.WatchEventsRequest_Earliest{Earliest: true}, UntilNow: true}))
				must(t, err)
				defer s.Close()
				seen := false
				for s.Receive() {
					for _, e := range s.Msg().GetEvents() {
						seen = seen || e.GetKeyId() == key.String() && e.GetKind() == "key_created" && e.GetPosition().GetIndex() > 0
					}
				}
				if s.Err() != nil || !seen {
					t.Errorf("seen %t, %v", seen, s.Err())
				}
				s, err = svc.WatchEvents(t.Context(), connect.NewRequest(&holdfastv1.WatchEventsRequest{
					From: &holdfastv1.WatchEventsRequest_After{After: &holdfastv1.Position{Index: 1 << 40}}}))
				must(t, err)
				for s.Receive() {
					t.Errorf("%v", s.Msg())
				}
				if connect.CodeOf(s.Err()) != connect.CodeFailedPrecondition || !strings.Contains(s.Err().Error(), "ends at entry") {
					t.Errorf("from the future: %v", s.Err())
				}
				s.Close()
			})
		}
	}
}

// TestWatchStatus: the present one comes first, and then what changes.
func TestWatchStatus(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := anonymous(t, n)
	seen := 0
	for st, err := range c.WatchStatus(t.Context()) {
		must(t, err)
		if !st.Ready || st.Apps != seen {
			t.Errorf("%d apps, want %d: %+v", st.Apps, seen, st)
		}
		if seen++; seen == 3 {
			break
		}
		n.Enrol()
	}
}

// A firehose never ends and never waits.
type firehose struct {
	native.Custodian
	ended chan error
	sent  int
}

func (firehose) WatchStatus(context.Context, func() error) error { return errSecret }

func (f *firehose) WatchEvents(_ context.Context, _ kms.WatchRequest, send func(kms.Events) error) error {
	batch := kms.Events{Events: make([]kms.Event, kms.MaxEventBatch), At: kms.After(1)}
	for {
		if err := send(batch); err != nil {
			f.ended <- err
			return err
		}
		f.sent++
	}
}

// TestSlowReader: who does not read is dropped, and until then little is kept.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	for _, two := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %t", two), func(t *testing.T) {
			f := &firehose{ended: make(chan error, 1)}
			fk := newFake()
			h := native.New(native.Config{Authenticate: fk.authenticate, Watcher: f, Custodian: f, SendTimeout: 100 * time.Millisecond})
			srv := httptest.NewUnstartedServer(h)
			srv.EnableHTTP2 = two
			srv.Config.WriteTimeout, srv.Config.ReadTimeout = time.Minute, time.Minute
			srv.StartTLS()
			defer srv.Close()
			tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: two}
			defer tr.CloseIdleConnections()
			svc := holdfastv1connect.NewEventServiceClient(&http.Client{Transport: tr}, srv.URL)
			s, err := svc.WatchEvents(t.Context(), connect.NewRequest(&holdfastv1.WatchEventsRequest{}))
			must(t, err)
			defer s.Close()
			if err := <-f.ended; err == nil || !errors.Is(err, kms.Exhausted) {
				t.Errorf("dropped with %v", err)
			}
		})
	}
}

// TestStreamErrors: nothing internal leaves with the end of a stream.
func TestStreamErrors(t *testing.T) {
	f := &firehose{}
	fk := newFake()
	h := native.New(native.Config{Authenticate: fk.authenticate, Watcher: f, Custodian: f})
	w := do(h, request("/holdfast.v1.EventService/WatchStatus", "application/connect+json", "\x00\x00\x00\x00\x02{}", nil))
	mustNotLeak(t, w)
	if !strings.Contains(w.Body.String(), `"code":"internal"`) {
		t.Errorf("%q", w.Body)
	}
	for name, body := range map[string]string{
		"an unknown member": "\x00\x00\x00\x00\x07{\"x\":1}", "nothing": "", "half an envelope": "\x00\x00",
		"compressed": "\x01\x00\x00\x00\x02{}", "more than is there": "\x00\x00\x00\x10\x02{}", "too much": "\x00\x00\x01\x00\x00" + strings.Repeat(" ", 1<<16),
	} {
		w := do(h, request("/holdfast.v1.EventService/WatchEvents", "application/connect+json", body, nil))
		mustNotLeak(t, w)
		if !strings.Contains(w.Body.String(), `"error"`) && !strings.Contains(w.Body.String(), `"code"`) {
			t.Errorf("%s: %d %q", name, w.Code, w.Body)
		}
	}
}

package native_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A node that serves its whole API over TLS.
type node struct {
	*trustedtest.Node
	t        *testing.T
	domain   *trustedtest.Domain
	endpoint *trustedtest.Endpoint
}

func newNode(t *testing.T) *node {
	t.Helper()
	d := trustedtest.NewDomain(t, 1)
	n := &node{Node: d.Nodes[0], t: t, domain: d}
	_ = n.Stop()
	n.Edit = func(c *server.Config) {
		c.Mount, c.ConnContext = mount.Program{}.Handler, signature.ConnContext
	}
	n.MustStart()
	n.endpoint = n.Serve(listen.Config{}, nil)
	return n
}

// http carries requests to the node over one version of HTTP.
func (n *node) http(two bool) *http.Client {
	tr := &http.Transport{TLSClientConfig: n.endpoint.TLS(), ForceAttemptHTTP2: two}
	if !two {
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	n.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// sdk is a client with a credential, going by the node's clock.
func (n *node) sdk(app kms.AppID, id kms.CredentialID, key string) *client.Client {
	n.t.Helper()
	c, err := client.New(client.Config{URL: n.endpoint.URL, AppID: app, CredentialID: id, APIKey: client.NewAPIKey(key),
		HTTPClient: n.http(false), Now: n.Clock.Now})
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func (n *node) enrol() (*client.Client, *trustedtest.App) {
	a := n.Enrol()
	return n.sdk(a.ID, kms.CredentialID{}, a.APIKey), a
}

// as is the SDK with a credential that was just made.
func (n *node) as(c client.NewCredential) *client.Client {
	n.domain.Log.Plant([]byte(c.APIKey.Reveal()))
	return n.sdk(c.App, c.ID, c.APIKey.Reveal())
}

func kind(t *testing.T, what string, err error, want error) {
	t.Helper()
	if !errors.Is(err, want) && (err != nil || want != nil) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// TestSDK lives through a credential, with the SDK, on a real node.
func TestSDK(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c, app := n.enrol()
	ctx := t.Context()
	made, err := c.CreateCredential(ctx, kms.CreateCredentialRequest{Name: "ci", Permissions: kms.PermUse | kms.PermRead,
		Expires: n.Clock.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	user := n.as(made)
	key, err := c.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM})
	kind(t, "creating a key", err, nil)
	_, err = user.Encrypt(ctx, key, []byte("text"), nil) // eHSM's API, with the same credential
	kind(t, "using it with the new credential", err, nil)
	_, err = user.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM})
	kind(t, "creating one with it", err, kms.Denied)
	_, err = user.CreateCredential(ctx, kms.CreateCredentialRequest{Permissions: kms.PermUse})
	kind(t, "creating a credential with it", err, kms.Denied)

	all, err := user.ListCredentials(ctx)
	if err != nil || len(all) != 2 {
		t.Fatalf("%v %v", all, err)
	}
	next, err := c.RotateCredential(ctx, made.ID, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if next.Name != "ci" || next.Permissions != kms.PermUse|kms.PermRead || !next.Expires.Equal(made.Expires) {
		t.Errorf("%+v after %+v", next.CredentialInfo, made.CredentialInfo)
	}
	_, err = user.ListCredentials(ctx)
	kind(t, "the old one in its grace time", err, nil)
	n.Clock.Move(10 * time.Minute)
	_, err = user.ListCredentials(ctx)
	kind(t, "the old one after it", err, kms.Unauthenticated)
	successor := n.as(next)
	_, err = successor.ListCredentials(ctx)
	kind(t, "the new one", err, nil)
	kind(t, "revoking", c.RevokeCredential(ctx, next.ID), nil)
	_, err = successor.ListCredentials(ctx)
	kind(t, "revoked", err, kms.Unauthenticated)
	kind(t, "revoking it again", c.RevokeCredential(ctx, next.ID), kms.NotFound)
	kind(t, "revoking the last", c.RevokeCredential(ctx, kms.CredentialID(app.ID)), kms.Misused)
	other, _ := n.enrol()
	kind(t, "revoking another tenant's", other.RevokeCredential(ctx, kms.CredentialID(app.ID)), kms.NotFound)
	_, err = n.sdk(app.ID, kms.CredentialID{}, "0123456789ABCDEFGHJKLMNPQRSTUVWX").ListCredentials(ctx)
	kind(t, "with a wrong key", err, kms.Unauthenticated)
	_, err = c.CreateCredential(ctx, kms.CreateCredentialRequest{Permissions: kms.PermUse, Expires: n.Clock.Now().Add(-time.Hour)})
	if kind(t, "over already", err, kms.Invalid); !strings.Contains(fmt.Sprint(err), "expires") {
		t.Errorf("the field is not named: %v", err)
	}
}

// TestRevokedInFlight: many use a credential while it is revoked. From when
// that returned not one gets through.
func TestRevokedInFlight(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c, _ := n.enrol()
	made, err := c.CreateCredential(t.Context(), kms.CreateCredentialRequest{Permissions: kms.PermAll})
	if err != nil {
		t.Fatal(err)
	}
	user := n.as(made)
	revoked := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				over := false
				select {
				case <-revoked:
					over = true
				default:
				}
				_, err := user.ListCredentials(context.Background())
				if over {
					kind(t, "after it was revoked", err, kms.Unauthenticated)
					return
				}
				if err != nil && !errors.Is(err, kms.Unauthenticated) {
					t.Error(err)
				}
			}
		})
	}
	err = c.RevokeCredential(t.Context(), made.ID)
	close(revoked)
	wg.Wait()
	kind(t, "revoking", err, nil)
}

// signer signs requests of any generated client.
type signer struct {
	http *http.Client
	app  *trustedtest.App
}

func (s signer) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Set(signature.HeaderName, signed(r, string(body), kms.CredentialID(s.app.ID), s.app.APIKey))
	return s.http.Do(r)
}

// TestProtocols speaks all there are, over both versions of HTTP.
func TestProtocols(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	_, app := n.enrol()
	for _, two := range []bool{false, true} {
		for name, opts := range map[string][]connect.ClientOption{
			"Connect": nil, "Connect JSON": {connect.WithProtoJSON()}, "gRPC-Web": {connect.WithGRPCWeb()}, "gRPC": {connect.WithGRPC()},
		} {
			if name == "gRPC" && !two {
				continue
			}
			t.Run(fmt.Sprintf("%s, HTTP/2 %t", name, two), func(t *testing.T) {
				c := holdfastv1connect.NewCredentialServiceClient(signer{n.http(two), app}, n.endpoint.URL, opts...)
				list, err := c.ListCredentials(t.Context(), connect.NewRequest(&holdfastv1.ListCredentialsRequest{}))
				if err != nil || len(list.Msg.GetCredentials()) != 1 {
					t.Fatalf("%v %v", list, err)
				}
				_, err = c.RevokeCredential(t.Context(), connect.NewRequest(&holdfastv1.RevokeCredentialRequest{Id: app.ID.String()}))
				if connect.CodeOf(err) != connect.CodeFailedPrecondition {
					t.Errorf("the last one: %v", err)
				}
				var ce *connect.Error
				if !errors.As(err, &ce) || len(ce.Details()) != 1 {
					t.Fatalf("no fault: %v", err)
				}
				if v, err := ce.Details()[0].Value(); err != nil || v.(*holdfastv1.Fault).GetKind() != "misused" {
					t.Errorf("%v %v", v, err)
				}
				unsigned := holdfastv1connect.NewCredentialServiceClient(n.http(two), n.endpoint.URL, opts...)
				_, err = unsigned.ListCredentials(t.Context(), connect.NewRequest(&holdfastv1.ListCredentialsRequest{}))
				if connect.CodeOf(err) != connect.CodeUnauthenticated {
					t.Errorf("unsigned: %v", err)
				}
				gzip := holdfastv1connect.NewCredentialServiceClient(signer{n.http(two), app}, n.endpoint.URL, append(opts, connect.WithSendGzip())...)
				if _, err = gzip.RevokeCredential(t.Context(), connect.NewRequest(&holdfastv1.RevokeCredentialRequest{Id: strings.Repeat("0", 4000)})); err == nil || connect.CodeOf(err) == connect.CodeInvalidArgument {
					t.Errorf("compressed: %v", err)
				}
			})
		}
	}
}

// A request that was served is not served again, over any connection.
func TestReplay(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	_, app := n.enrol()
	const path = "/holdfast.v1.CredentialService/CreateCredential"
	body := []byte(`{"permissions":["use"]}`)
	first, err := http.NewRequest(http.MethodPost, n.endpoint.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	header := signed(first, string(body), kms.CredentialID(app.ID), app.APIKey)
	for i, want := range []int{200, 401, 401} {
		r, err := http.NewRequest(http.MethodPost, n.endpoint.URL+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(signature.HeaderName, header)
		resp, err := n.http(i == 2).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want || want == 401 && !strings.Contains(string(text), "accepted before") {
			t.Errorf("%d: %d %s", i, resp.StatusCode, text)
		}
	}
}

// TestEnrolByTicket enrols with the SDK, by a ticket and without.
func TestEnrolByTicket(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	anyone, err := client.New(client.Config{URL: n.endpoint.URL, HTTPClient: n.http(false)})
	if err != nil {
		t.Fatal(err)
	}
	r := n.domain.Rulers
	if _, err := n.Core().SubmitPolicy(t.Context(), r.Next(func(p *govern.Policy) { p.Enrolment.Mode = govern.EnrolTicket })); err != nil {
		t.Fatal(err)
	}
	_, err = anyone.Enroll(t.Context())
	kind(t, "without a ticket", err, kms.Denied)
	ticket := &govern.Ticket{Version: 1, Domain: r.Founding.Domain, ID: govern.TicketID{1}, Permissions: kms.PermAll,
		Expires: n.Clock.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	code := govern.EncodeCode(r.Sign(govern.TicketType, ticket.Canonical(), r.Operator))
	made, err := anyone.EnrolByTicket(t.Context(), code)
	if err != nil {
		t.Fatal(err)
	}
	n.domain.Log.Plant([]byte(made.APIKey.Reveal()))
	_, err = n.sdk(made.AppID, kms.CredentialID{}, made.APIKey.Reveal()).CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM})
	kind(t, "with the new app", err, nil)
	_, err = anyone.EnrolByTicket(t.Context(), code)
	kind(t, "the ticket again", err, kms.Exists)
	_, err = anyone.EnrolByTicket(t.Context(), "x"+code)
	kind(t, "a forged one", err, kms.Denied)
	n.Clock.Move(time.Hour)
	_, err = anyone.EnrolByTicket(t.Context(), code)
	kind(t, "a late one", err, kms.Expired)
}

// TestGetStatus: whoever asks is told all that there is to know of a domain.
func TestGetStatus(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	r, err := holdfastv1connect.NewDomainServiceClient(n.http(false), n.endpoint.URL).GetStatus(t.Context(), connect.NewRequest(&holdfastv1.GetStatusRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	m := r.Msg
	if !m.GetInitialized() || !m.GetReady() || m.GetSecure() || m.GetTime() != "host" || m.GetFeatureLevel() != 1 || m.GetPolicySerial() != 1 || len(m.GetPolicyDigest()) != 64 ||
		m.GetEpoch() == 0 || !m.GetEpochEnds().AsTime().After(m.GetDomainTime().AsTime()) || m.GetPolicyValidUntil() == nil || m.GetLastRotation() == nil {
		t.Errorf("%v", m)
	}
	if g := m.GetGenerations(); len(g) != 1 || len(g[0].GetChecksum()) != 32 || len(g[0].GetSigningKey()) != 32 {
		t.Errorf("generations: %v", g)
	}
	if all := m.GetNodes(); len(all) != 1 || !all[0].GetSelf() || all[0].GetIdentity() == "" || all[0].GetTcbStatus() == "" || all[0].GetProved() == nil {
		t.Errorf("nodes: %v", all)
	}
}
